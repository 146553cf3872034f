import { UserError } from '../errors.js';
import type { Runtime } from '../kernels/runtime.js';
import { fill_, zeros } from '../ops/fill.js';
import { countNonFinite } from '../ops/finite.js';
import { installOutputHook } from '../ops/op.js';
import { modulePath } from '../tensor/module-path.js';
import { keep } from '../tensor/scope.js';
import { formatShape, type Shape } from '../tensor/shape.js';
import { withOwner } from '../tensor/storage.js';
import type { Tensor } from '../tensor/tensor.js';

/** Ops watched by one buffer of counters; more ops get more buffers. */
const SLOTS = 1024;

interface Watched {
  readonly op: string;
  readonly module: string;
  readonly shape: Shape;
}

/**
 * Debug mode: counts NaN and infinite numbers in the output of every op, forward and backward, on the device.
 * {@link check} reads the counts once per step and names the first op that produced any.
 */
export class NanTracer {
  private readonly watched: Watched[] = [];
  private readonly counters: Tensor[] = [];

  constructor(private readonly runtime: Runtime) {}

  /** Watches all ops from here on, and forgets what was seen before. One tracer can watch at a time. */
  start(): void {
    this.reset();
    installOutputHook((op, output) => this.watch(op, output));
  }

  /** Stops watching and gives the counters back. */
  stop(): void {
    installOutputHook(null);
    this.watched.length = 0;
    for (const counters of this.counters.splice(0)) counters.release();
  }

  /**
   * Reads the counts of everything since {@link start} or the last check, and begins anew.
   *
   * @throws Error naming the first op whose output was not finite, its module and the step
   */
  async check(step: number): Promise<void> {
    const found = await this.firstBroken();
    this.reset();
    if (!found) return;
    const { op, module, shape, count, position } = found;
    throw new UserError(`Step ${step}: ${count} NaN or infinite numbers in the output ${formatShape(shape)} of op "${op}", ` +
      `${module ? `in module ${module}` : 'outside of modules'}, the first of the step's ops to produce any (number ${position}). ` +
      'No float32 output of an earlier op had any; what is not watched are uploaded data, loaded weights and parameters changed in place. Look at what the op read, or lower the learning rate.');
  }

  private watch(op: string, output: Tensor): void {
    if (output.dtype !== 'float32' || output.runtime !== this.runtime) return;
    const position = this.watched.push({ op, module: modulePath(), shape: output.shape }) - 1;
    const part = Math.floor(position / SLOTS);
    if (part === this.counters.length) {
      this.counters.push(withOwner('debugging', () => keep(zeros([SLOTS], { runtime: this.runtime, dtype: 'uint32', label: 'NaN counters' }))));
    }
    countNonFinite(output, this.counters[part]!, position % SLOTS);
  }

  private async firstBroken(): Promise<(Watched & { count: number; position: number }) | null> {
    for (let part = 0; part * SLOTS < this.watched.length; part++) {
      const counts = await this.counters[part]!.data();
      const at = counts.findIndex((count) => count > 0);
      if (at >= 0) return { ...this.watched[part * SLOTS + at]!, count: counts[at]!, position: part * SLOTS + at + 1 };
    }
    return null;
  }

  private reset(): void {
    this.watched.length = 0;
    for (const counters of this.counters) fill_(counters, 0);
  }
}
