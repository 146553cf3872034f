import type { Device } from '../device/device.js';
import type { MemoryPlan } from '../device/dry-pool.js';
import { compileAhead } from './compile-ahead.js';
import { type GemmFamily, gemmFamily, type GemmOptions } from './gemm-family.js';
import { Recorder } from './recorder.js';

/** A device with its recorder: what tensors live on. Several runtimes may exist side by side. */
export class Runtime {
  readonly recorder: Recorder;
  /** Which matrix-multiplication kernels this adapter gets. */
  readonly gemm: GemmFamily;
  private fence: Promise<void> | null = null;

  constructor(readonly device: Device, options: GemmOptions = {}) {
    this.recorder = new Recorder(device);
    this.gemm = gemmFamily(device.report, options);
  }

  /** Runs `fn` without touching the device and tells what memory it would need at most, beyond what is in use. */
  planMemory(fn: () => void): MemoryPlan {
    this.recorder.flush();
    this.recorder.dry = true;
    this.device.pool.beginPlan();
    let plan: MemoryPlan;
    try {
      fn();
    } finally {
      this.recorder.dry = false;
      plan = this.device.pool.endPlan();
    }
    return plan;
  }

  /**
   * Compiles the kernels that {@link planMemory} has met, before they are wanted.
   *
   * @param onSlow is told how many there are, where that takes long because the driver does not know them yet
   */
  compileAhead(onSlow: (kernels: number) => void = () => {}): Promise<void> {
    return compileAhead(this.device, this.recorder.pipelines, onSlow);
  }

  /** Submits everything recorded and waits until it has been executed. */
  async idle(): Promise<void> {
    this.recorder.flush();
    await this.device.idle();
  }

  /**
   * Marks the end of a step: submits it, then waits for the step *before* it. The host thus stays
   * at most one step ahead, and the adapter never waits for the host.
   */
  async endStep(): Promise<void> {
    this.recorder.flush();
    const previous = this.fence;
    this.fence = this.device.gpu.queue.onSubmittedWorkDone();
    if (previous) await this.device.wait(previous);
  }
}
