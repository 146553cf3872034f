import { fail } from '../errors.js';
import type { Capture } from '../kernels/capture.js';
import type { Runtime } from '../kernels/runtime.js';
import { withOwnCopies } from '../ops/autocast.js';
import { isInspected } from '../ops/op.js';
import { defaultRuntime } from '../tensor/create.js';
import { keep, scope } from '../tensor/scope.js';
import { sameShape } from '../tensor/shape.js';
import { withOwner } from '../tensor/storage.js';
import { Tensor } from '../tensor/tensor.js';

/**
 * Work that is the same each time, a training step above all: JavaScript runs the function once and keeps the commands that it led to; later calls
 * give the adapter those commands again, which takes a fraction of the time (PyTorch calls this a CUDA graph). Results are those of plain calls, to the bit.
 *
 * ```js
 * const step = new Captured((images, labels) => {
 *   optimizer.zeroGrad();
 *   const loss = crossEntropy(net.call(images), labels);
 *   backward(loss);
 *   optimizer.step();
 *   metrics.add({ loss });
 * });
 * for (const batch of batches) step.run(() => [tensor(batch.images), tensor(batch.labels)]);
 * ```
 *
 * The function leaves its results in tensors from before: parameters, gradients, sums of metrics. What it reads besides its inputs must be the same
 * tensors each time. JavaScript within it does not run each time, so it must not decide by anything that changes. Learning rates, random keys and an
 * optimiser's count of steps may change: the library takes care of them. It is run anew, by itself, where a replay would be wrong: inputs of another
 * shape, memory given back meanwhile (an evaluation in between), uploads within it, a debug mode.
 */
export class Captured {
  private inputs: readonly Tensor[] = [];
  private capture: Capture | null = null;

  constructor(private readonly fn: (...inputs: Tensor[]) => void, private readonly runtime: Runtime = defaultRuntime()) {}

  /**
   * Does the work on inputs, which are copied: what making them took is given back first.
   *
   * @throws UserError for an async function
   */
  run(inputs: () => readonly Tensor[]): void {
    const { recorder } = this.runtime;
    scope(() => this.take(inputs()));
    if (this.capture && !isInspected() && recorder.replay(this.capture)) return;
    this.capture = recorder.capture(() => scope(() => {
      const result: unknown = withOwnCopies(() => this.fn(...this.inputs));
      if (result instanceof Promise) fail('Captured: the function must not be async; read results after run()');
    }));
  }

  /** Gives back what it holds. */
  release(): void {
    for (const input of this.inputs) input.release();
    this.inputs = [];
    this.capture = null;
  }

  private take(given: readonly Tensor[]): void {
    if (given.length !== this.inputs.length || given.some((tensor, i) => !alike(tensor, this.inputs[i]!))) {
      this.release();
      this.inputs = withOwner('inputs', () => given.map(({ runtime, shape, dtype, label }) => keep(Tensor.allocate(runtime, shape, dtype, label))));
    }
    given.forEach((tensor, i) => this.runtime.recorder.copy(tensor.range, this.inputs[i]!.range));
  }
}

const alike = (a: Tensor, b: Tensor): boolean => a.dtype === b.dtype && sameShape(a.shape, b.shape);
