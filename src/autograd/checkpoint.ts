import { fail } from '../errors.js';
import { repeated } from '../kernels/capture.js';
import { checkFunction, checkTensors } from '../ops/arguments.js';
import { type AutocastRegion, currentAutocast, inAutocast } from '../ops/autocast.js';
import type { BackwardCall } from '../ops/op.js';
import { getRandomState, type RandomState, setRandomState } from '../ops/random.js';
import { scope } from '../tensor/scope.js';
import { formatShape, sameShape, type Shape } from '../tensor/shape.js';
import { Tensor } from '../tensor/tensor.js';
import { backward } from './backward.js';
import { checkUnchanged, enableGrad, isRecording, noticingGradients, recomputing, recordCall } from './tape.js';

type Fn = (...inputs: Tensor[]) => Tensor;

/** What the second call must find as the first did. */
interface State {
  random: RandomState;
  readonly autocast: AutocastRegion;
}

/**
 * Calls `fn` and keeps only its inputs for backward, which calls it again when it needs what was computed in between
 * (PyTorch's `checkpoint`): memory for the time of one more forward.
 *
 * Values and gradients are those of a plain call, to the bit: random ops draw the same numbers again, `autocast` holds as it did, and running
 * statistics of `BatchNorm2d` are updated by the first call alone (a layer with state of its own, or one that calls `batchNorm2d` itself, asks
 * {@link isRecomputing}). Only where an input is also read outside of `fn` are its gradients added in another order. Tensors to which `fn` applies
 * `retainGrad` get their gradients in the second call.
 *
 * @param fn must do the same both times, and read other computed tensors only through `inputs`; parameters it may read anywhere
 * @throws UserError when `fn` is no function or returns no tensor, reads a computed tensor that is not among the inputs, or returns another shape
 *   when it is called again; in backward when a parameter that it read was changed in place since
 */
export const checkpoint = <Inputs extends Tensor[]>(fn: (...inputs: NoInfer<Inputs>) => Tensor, ...inputs: Inputs): Tensor => {
  checkFunction('checkpoint', fn, 'checkpoint((x) => …, x)');
  checkTensors('checkpoint', 'inputs', inputs, 'checkpoint((x) => …, x)');
  if (!isRecording()) return fn(...inputs);
  const run = fn as unknown as Fn;
  const state: State = { random: getRandomState(), autocast: currentAutocast() };
  repeated(() => { state.random = getRandomState(); });
  const { result, leaves } = noticingGradients(() => scope(() => detachedCall(run, inputs)));
  if (leaves.length === 0 && !result.requiresGrad && !inputs.some((input) => input.requiresGrad)) return result;
  // A parameter that is returned as it is must not get the checkpoint's node.
  const output = result.requiresGrad ? result.alias() : result;
  recordCall({
    name: 'checkpoint', keeps: { inputs: inputs.map((_, i) => i) },
    backward: (call) => {
      checkUnchanged('checkpoint', call.shape, leaves);
      return gradientsByRunningAgain(run, state, call);
    },
  }, { runtime: output.runtime, inputs, operands: inputs, attrs: undefined as never, shape: output.shape }, output);
  return output;
};

/** The inputs are cut off: what still hangs on a graph inside `fn` was captured by it. */
const detachedCall = (fn: Fn, inputs: readonly Tensor[]): Tensor => {
  const output: unknown = fn(...inputs.map((input) => input.alias()));
  if (!(output instanceof Tensor)) {
    fail(`checkpoint: the function must return one tensor, got ${output instanceof Promise ? 'a promise; async functions cannot be run again in backward' : typeof output}`);
  }
  if (output.gradNode) fail(`checkpoint: the function returns tensor "${output.label}", which was computed outside of it; pass it as one of its inputs`);
  return output;
};

const gradientsByRunningAgain = (fn: Fn, state: State, { grad, inputs, needs, shape }: BackwardCall<unknown>): (Tensor | null)[] => {
  const leaves = inputs.map((input, i) => (needs[i] ? input!.alias().requiresGrad_() : input!.alias()));
  recomputing(() => {
    const output = runAgain(fn, state, leaves, shape);
    if (!output.requiresGrad) return;
    // The graph keeps what it needs of the value; the rest of backward need not.
    if (output.gradNode) output.release();
    backward(output, grad);
  });
  return leaves.map((leaf) => leaf.grad);
};

const runAgain = (fn: Fn, state: State, leaves: Tensor[], shape: Shape): Tensor => {
  let now = state.random;
  repeated(() => {
    now = getRandomState();
    setRandomState(state.random);
  });
  try {
    const output = inAutocast(state.autocast, () => enableGrad(() => scope(() => fn(...leaves))));
    if (!sameShape(output.shape, shape)) {
      fail(`checkpoint: the function returned ${formatShape(shape)} first and ${formatShape(output.shape)} when backward called it again; it must do the same both times`);
    }
    return output;
  } finally {
    repeated(() => setRandomState(now));
  }
};
