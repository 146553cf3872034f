import { fail } from '../errors.js';
import type { Runtime } from '../kernels/runtime.js';
import { addScalars_, fill_, type Weighted, zeros } from '../ops/index.js';
import { write } from '../tensor/create.js';
import { keep } from '../tensor/scope.js';
import { withOwner } from '../tensor/storage.js';
import { Tensor } from '../tensor/tensor.js';

/**
 * Sums that stay on the device during training: a step adds to them without any read-back, and they
 * are read when a line of progress is due.
 */
export class MetricSums<Name extends string> {
  private readonly totals: Tensor;

  constructor(runtime: Runtime, private readonly names: readonly Name[]) {
    this.totals = withOwner('metrics', () => keep(zeros([names.length], { runtime, label: 'metric sums' })));
  }

  /** Adds one number per name; tensors of one element each, on the device. A number beside it is its weight. */
  add(values: Readonly<Record<Name, Tensor | Weighted>>): void {
    addScalars_(this.totals, this.names.map((name) => {
      const value = values[name] as Tensor | Weighted | undefined;
      if (!(value instanceof Tensor || Array.isArray(value))) fail(`MetricSums: "${name}" must be a tensor of one element, or such a tensor and its weight as in [loss, 2], got ${value === undefined ? 'nothing' : String(value)}`);
      return value instanceof Tensor ? [value, 1] as const : value;
    }));
  }

  /** Reads the sums; this waits for all work so far. */
  async read(): Promise<Record<Name, number>> {
    const data = await this.totals.data();
    return Object.fromEntries(this.names.map((name, i) => [name, data[i]!])) as Record<Name, number>;
  }

  /** Gives the memory back, where the sums do not live as long as the process. */
  release(): void {
    this.totals.release();
  }

  /** Puts saved sums back (resume in the middle of an epoch). */
  restore(values: Readonly<Record<Name, number>>): void {
    write(this.totals, Float32Array.from(this.names, (name) => values[name]));
  }

  reset(): void {
    fill_(this.totals, 0);
  }
}
