import { fail, UserError } from '../errors.js';
import { BufferPool, type PooledBuffer } from './buffers.js';
import { type AdapterReport, describeAdapter, type DeviceLimits, type GpuPlatform, limitsOf } from './gpu.js';

const IDLE_CAP_BYTES = 1024 ** 3;

/**
 * One open adapter: limits, buffers, errors, waiting. Everything above works through it;
 * several may be open in one process.
 */
export class Device {
  readonly report: AdapterReport;
  readonly gpu: GPUDevice;
  readonly pool: BufferPool;
  private readonly destroyListeners: ((bufferId: number) => void)[] = [];
  private failure: Error | null = null;
  private closed = false;
  /** Checks under way whose findings explain errors better than what fails as their consequence. */
  private readonly diagnoses = new Set<Promise<void>>();
  private diagnosed = false;

  constructor(private readonly platform: GpuPlatform) {
    this.gpu = platform.device;
    this.report = describeAdapter(platform.adapter, platform.gpu, () => platform.processor());
    this.limits = limitsOf(this.gpu);
    this.pool = new BufferPool(this.gpu, IDLE_CAP_BYTES, (e) => this.reportFailure(e), (id) => this.destroyListeners.forEach((f) => f(id)));
    this.gpu.addEventListener('uncapturederror', (event) => {
      // A mere consequence of what is told, or about to be found: Dawn and browsers would print it all the same, several lines for each.
      if (this.failure || this.diagnosed || this.diagnoses.size > 0) event.preventDefault();
      this.reportFailure(new Error(`The adapter rejected an operation: ${(event as GPUUncapturedErrorEvent).error.message}`));
    });
    void this.gpu.lost.then((info) => {
      if (this.closed) return;
      // Some browsers reject kernels of a lost device, which explains nothing.
      this.diagnosed = true;
      this.reportFailure(new UserError(`The GPU device was lost (${info.reason || 'unknown reason'}): ${info.message.replace(/\.$/, '')}. ${platform.whenLost}`));
    });
  }

  /** A copy: each look at the device's own object is a call into Dawn. */
  readonly limits: DeviceLimits;

  /** How many threads the machine runs at the same time. */
  get threads(): number {
    return this.platform.threads;
  }

  /** Another device on the same adapter, with a queue of its own. It must be closed. */
  async twin(): Promise<Device> {
    return new Device(await this.platform.reopen());
  }

  /** Called with the id of each buffer that is destroyed. */
  onBufferDestroyed(listener: (bufferId: number) => void): void {
    this.destroyListeners.push(listener);
  }

  /** Remembers the first error that arrived asynchronously; {@link check} throws it. */
  reportFailure(error: Error): void {
    this.failure ??= error;
  }

  /** Takes a check's finding (null: all is well) as the cause of whatever else was reported; {@link wait} waits for it. */
  diagnose(check: Promise<Error | null>): void {
    const done: Promise<void> = check.then((error) => {
      if (!error || this.diagnosed) return;
      this.diagnosed = true;
      this.failure = error;
    }, () => {}).finally(() => this.diagnoses.delete(done));
    this.diagnoses.add(done);
  }

  /** Throws the first error that arrived since the device was opened, if any. */
  check(): void {
    // While a check is under way the failure may be a mere consequence of what it finds: the next wait throws.
    if (this.failure && this.diagnoses.size === 0) throw this.failure;
  }

  /** Waits for a promise of the adapter; on software adapters the thread sleeps meanwhile instead of spinning. */
  async wait<T>(promise: Promise<T>): Promise<T> {
    let result: T;
    try {
      const { nap } = this.platform;
      result = await (this.report.software && nap ? napping(promise, nap) : promise);
    } catch (error) {
      if (this.closed) fail('this runtime was closed: what lay on it is gone; open() gives another');
      // What is found out about the adapter, perhaps a moment later, says more than a promise that fails because of it.
      await nextTick();
      await this.checkAll();
      throw error;
    }
    await this.checkAll();
    return result;
  }

  private async checkAll(): Promise<void> {
    await Promise.all(this.diagnoses);
    this.check();
  }

  /** Resolves when everything submitted so far has been executed. */
  async idle(): Promise<void> {
    await this.wait(this.gpu.queue.onSubmittedWorkDone());
  }

  /** Copies `bytes` of a buffer, a multiple of 4, to the host. The copy is submitted at once, after everything submitted before. */
  async read(buffer: PooledBuffer, offset: number, bytes: number): Promise<ArrayBuffer> {
    const staging = this.gpu.createBuffer({ label: 'read-back', size: bytes, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
    const encoder = this.gpu.createCommandEncoder();
    encoder.copyBufferToBuffer(buffer.gpu, offset, staging, 0, bytes);
    this.gpu.queue.submit([encoder.finish()]);
    try {
      await this.wait(staging.mapAsync(GPUMapMode.READ));
      return staging.getMappedRange().slice(0);
    } finally {
      staging.destroy();
    }
  }

  /** Gives the adapter and all memory on it back. Nothing on it can be used any more. */
  close(): void {
    this.closed = true;
    this.gpu.destroy();
  }
}

/** Each look takes some 30 µs of a core from a software adapter's threads; who has waited long may learn of the end a little later. */
const NAP = { leastMs: 0.3, mostMs: 3, share: 1 / 20 };
const napAfter = (waitedMs: number): number => Math.min(NAP.mostMs, Math.max(NAP.leastMs, NAP.share * waitedMs));

const napping = async <T>(promise: Promise<T>, nap: (ms: number) => void): Promise<T> => {
  const start = performance.now();
  let pending = true;
  const settled = promise.finally(() => { pending = false; });
  settled.catch(() => {});
  while (pending) {
    nap(napAfter(performance.now() - start));
    await nextTick();
  }
  return settled;
};

const nextTick = (): Promise<void> =>
  new Promise((resolve) => (typeof setImmediate === 'function' ? setImmediate(resolve) : setTimeout(resolve, 0)));
