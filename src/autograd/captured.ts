import { fail } from '../errors.js';
import type { Capture } from '../kernels/capture.js';
import type { Runtime } from '../kernels/runtime.js';
import { checkFunction, checkTensors } from '../ops/arguments.js';
import { isAutocastEnabled, withOwnCopies } from '../ops/autocast.js';
import { isInspected } from '../ops/op.js';
import { defaultRuntime } from '../tensor/create.js';
import { keep, scope } from '../tensor/scope.js';
import { formatShape, sameShape } from '../tensor/shape.js';
import { withOwner } from '../tensor/storage.js';
import { Tensor } from '../tensor/tensor.js';
import { isRecording } from './tape.js';

/** The regions around a call, of `autocast` and `noGrad`: ops are other ones in others. */
const regionsNow = (): string => `${isAutocastEnabled()} ${isRecording()}`;

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
 * tensors each time. JavaScript within it does not run each time, so it must not decide by anything that changes: for `train()` and `eval()` capture two
 * functions, after `requiresGrad_()` or `freezeBatchNorm` make a new one. Learning rates, random keys and an optimiser's count of steps may change: the
 * library takes care of them. It is run anew, by itself, where a replay would be wrong: inputs of another shape, memory given back meanwhile (an
 * evaluation in between), a gradient taken away or put elsewhere (`p.grad = null`; `zeroGrad` leaves it in its place), a call inside `autocast` or
 * `noGrad` after one outside, uploads within it, work on another runtime, a debug mode.
 */
export class Captured<Inputs extends readonly Tensor[] = readonly Tensor[]> {
  private inputs: readonly Tensor[] = [];
  private capture: Capture | null = null;
  /** Those around the call that was captured. */
  private regions = '';

  /** @param runtime where inputs and work are; default: that on which tensors are made now */
  constructor(private readonly fn: (...inputs: Inputs) => void, private readonly runtime: Runtime = defaultRuntime()) {
    checkFunction('Captured', fn, 'new Captured((images, labels) => { … })');
  }

  /**
   * Does the work on inputs, which are copied: what making them took is given back first.
   *
   * @throws UserError for an async function, and where `inputs` is no function that returns a list of tensors of the runtime
   */
  run(inputs: () => Inputs): void {
    const { recorder } = this.runtime;
    checkFunction('Captured: run', inputs, 'step.run(() => [images, labels])');
    scope(() => this.take(inputs()));
    const regions = regionsNow();
    if (this.capture && this.regions === regions && !isInspected() && recorder.replay(this.capture)) return;
    this.capture = recorder.capture(() => scope(() => {
      // Handles of their own: a gradient that the work asks of an input ends with it.
      const given = this.inputs.map((input) => input.alias()) as readonly Tensor[] as Inputs;
      const result: unknown = withOwnCopies(() => this.fn(...given));
      if (result instanceof Promise) fail('Captured: the function must not be async; read results after run()');
    }));
    this.regions = regions;
  }

  /** Gives back what it holds. */
  release(): void {
    for (const input of this.inputs) input.release();
    this.inputs = [];
    this.capture = null;
  }

  private take(given: readonly Tensor[]): void {
    checkTensors('Captured: run', 'inputs', given, 'step.run(() => [images, labels])');
    const foreign = given.find(({ runtime }) => runtime !== this.runtime);
    if (foreign) fail(`Captured: run: tensor "${foreign.label}" ${formatShape(foreign.shape)} is on another runtime than the work; name it, as in new Captured(step, runtime)`);
    if (given.length !== this.inputs.length || given.some((tensor, i) => !alike(tensor, this.inputs[i]!))) {
      this.release();
      this.inputs = withOwner('inputs', () => given.map(({ runtime, shape, dtype, label }) => keep(Tensor.allocate(runtime, shape, dtype, label))));
    }
    given.forEach((tensor, i) => this.runtime.recorder.copy(tensor.range, this.inputs[i]!.range));
  }
}

const alike = (a: Tensor, b: Tensor): boolean => a.dtype === b.dtype && sameShape(a.shape, b.shape);
