/** Times compute passes by the adapter's own clock. */
import type { RecorderObserver } from '../src/kernels/recorder.js';
import type { Runtime } from '../src/kernels/runtime.js';
import type { Kernel } from '../src/kernels/shader.js';

/** A pass that was executed. */
export interface Pass {
  /** The kernel of its first dispatch. */
  readonly kernel: Kernel;
  readonly ms: number;
}

/** Dawn rounds timestamps to 100 µs unless it is told not to, before the adapter is opened. */
export const exactTimestamps = (): void => {
  process.env.PIPIT_DAWN_FLAGS = [process.env.PIPIT_DAWN_FLAGS, 'disable-dawn-features=timestamp_quantization'].filter(Boolean).join(';');
};

/** WebGPU's largest query set. */
const QUERIES = 4096;

interface Chunk {
  readonly queries: GPUQuerySet;
  readonly kernels: Kernel[];
}

/** Gives each dispatch, or each submit, a pass with timestamps. Watching dispatches separates them, which costs some time between them. */
export class PassTimer implements RecorderObserver {
  private readonly chunks: Chunk[] = [];
  private opening = true;

  constructor(private readonly runtime: Runtime, private readonly unit: 'dispatch' | 'submit') {}

  static isPossible({ device }: Runtime): boolean {
    return device.gpu.features.has('timestamp-query');
  }

  dispatching(kernel: Kernel): GPUComputePassDescriptor | null {
    if (this.unit === 'submit' && !this.opening) return null;
    this.opening = false;
    const { queries, kernels } = this.openChunk();
    const first = 2 * kernels.length;
    kernels.push(kernel);
    return { timestampWrites: { querySet: queries, beginningOfPassWriteIndex: first, endOfPassWriteIndex: first + 1 } };
  }

  submitted(): void {
    this.opening = true;
  }

  /** Waits for all passes and gives their times, in order; watching may go on afterwards. */
  async read(): Promise<Pass[]> {
    this.runtime.recorder.flush();
    const passes: Pass[] = [];
    for (const { queries, kernels } of this.chunks) {
      const times = new BigUint64Array(await this.readBack(queries, 2 * kernels.length));
      kernels.forEach((kernel, i) => passes.push({ kernel, ms: Number(times[2 * i + 1]! - times[2 * i]!) / 1e6 }));
      queries.destroy();
    }
    this.chunks.length = 0;
    return passes;
  }

  private openChunk(): Chunk {
    const last = this.chunks.at(-1);
    if (last && 2 * last.kernels.length < QUERIES) return last;
    const chunk: Chunk = { queries: this.runtime.device.gpu.createQuerySet({ label: 'profile', type: 'timestamp', count: QUERIES }), kernels: [] };
    this.chunks.push(chunk);
    return chunk;
  }

  private async readBack(queries: GPUQuerySet, count: number): Promise<ArrayBuffer> {
    const { device } = this.runtime;
    const buffer = (usage: number): GPUBuffer => device.gpu.createBuffer({ label: 'profile', size: count * 8, usage });
    const values = buffer(GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC);
    const staging = buffer(GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST);
    const encoder = device.gpu.createCommandEncoder();
    encoder.resolveQuerySet(queries, 0, count, values, 0);
    encoder.copyBufferToBuffer(values, 0, staging, 0, count * 8);
    device.gpu.queue.submit([encoder.finish()]);
    await device.wait(staging.mapAsync(GPUMapMode.READ));
    const copy = staging.getMappedRange().slice(0);
    values.destroy();
    staging.destroy();
    return copy;
  }
}
