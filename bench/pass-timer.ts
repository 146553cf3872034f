/** Times compute passes by the adapter's own clock. */
import type { RecorderObserver } from '../src/kernels/recorder.js';
import type { Runtime } from '../src/kernels/runtime.js';
import type { Kernel } from '../src/kernels/shader.js';

export interface KernelTime {
  readonly kernel: Kernel;
  readonly ms: number;
}

/** A pass that was executed; times in milliseconds of the adapter's clock. */
interface Pass {
  /** Where each dispatch has a pass of its own. */
  readonly kernel: Kernel | null;
  /** Number of the submit it was part of. */
  readonly submit: number;
  readonly begin: number;
  readonly end: number;
}

/** Dawn rounds timestamps to 100 µs unless it is told not to, before the adapter is opened. */
export const exactTimestamps = (): void => {
  process.env.PIPIT_DAWN_FLAGS = [process.env.PIPIT_DAWN_FLAGS, 'disable-dawn-features=timestamp_quantization'].filter(Boolean).join(';');
};

/** WebGPU's largest query set. */
const QUERIES = 4096;

interface Chunk {
  readonly queries: GPUQuerySet;
  readonly passes: Pick<Pass, 'kernel' | 'submit'>[];
}

const readsImages = ({ shader }: Kernel): boolean => [...shader.bindings.values()].some(({ access }) => access === 'image');

/** Puts timestamps on every pass, or also gives each dispatch a pass of its own, which costs some time between them. */
export class PassTimer implements RecorderObserver {
  private readonly chunks: Chunk[] = [];
  private submit = 0;
  readonly dispatching?: RecorderObserver['dispatching'];
  readonly opening?: RecorderObserver['opening'];

  constructor(private readonly runtime: Runtime, unit: 'dispatch' | 'pass') {
    if (unit === 'dispatch') this.dispatching = ({ kernel }) => this.timed(kernel);
    else this.opening = () => this.timed(null);
  }

  static isPossible({ device }: Runtime): boolean {
    return device.gpu.features.has('timestamp-query');
  }

  private timed(kernel: Kernel | null): GPUComputePassDescriptor {
    const { queries, passes } = this.openChunk();
    const first = 2 * passes.length;
    passes.push({ kernel, submit: this.submit });
    return { timestampWrites: { querySet: queries, beginningOfPassWriteIndex: first, endOfPassWriteIndex: first + 1 } };
  }

  submitted(): void {
    this.submit++;
  }

  /** Milliseconds between the first pass's begin and the last one's end, over all submits. */
  async busyTime(): Promise<number> {
    const spans = new Map<number, { begin: number; end: number }>();
    for (const { submit, begin, end } of await this.read()) spans.set(submit, { begin: spans.get(submit)?.begin ?? begin, end });
    return [...spans.values()].reduce((sum, { begin, end }) => sum + end - begin, 0);
  }

  /** The time of each pass, in order. What a kernel reads as an image is copied in front of its pass: that time is the kernel's too. */
  async kernelTimes(): Promise<KernelTime[]> {
    return (await this.read()).flatMap(({ kernel, submit, begin, end }, i, all) => {
      if (!kernel) return [];
      const before = all[i - 1];
      const from = before?.submit === submit && readsImages(kernel) ? before.end : begin;
      return [{ kernel, ms: end - from }];
    });
  }

  /** Waits for all passes. */
  private async read(): Promise<Pass[]> {
    this.runtime.recorder.flush();
    const found: Pass[] = [];
    for (const { queries, passes } of this.chunks) {
      const times = new BigUint64Array(await this.readBack(queries, 2 * passes.length));
      passes.forEach((pass, i) => found.push({ ...pass, begin: Number(times[2 * i]!) / 1e6, end: Number(times[2 * i + 1]!) / 1e6 }));
      queries.destroy();
    }
    this.chunks.length = 0;
    return found;
  }

  private openChunk(): Chunk {
    const last = this.chunks.at(-1);
    if (last && 2 * last.passes.length < QUERIES) return last;
    const chunk: Chunk = { queries: this.runtime.device.gpu.createQuerySet({ label: 'profile', type: 'timestamp', count: QUERIES }), passes: [] };
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
