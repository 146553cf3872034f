/** What is timed of an op's bench case: its forward, and its backward for all inputs. */
import { noGrad } from '../src/autograd/tape.js';
import type { Runtime } from '../src/kernels/runtime.js';
import { caseInputs, CaseRandom, type OpCase } from '../src/ops/cases.js';
import { type BackwardCall, bytesOf, type Call, type Cost, type Op, run } from '../src/ops/op.js';
import { tensor } from '../src/tensor/create.js';
import { scope } from '../src/tensor/scope.js';
import { numel, type Shape } from '../src/tensor/shape.js';
import { Tensor } from '../src/tensor/tensor.js';

export interface Work {
  readonly direction: 'forward' | 'backward';
  /** Records one run. */
  readonly record: () => void;
  readonly cost: Cost;
}

const isSmooth = (opCase: OpCase, i: number): boolean => (opCase.dtypes?.[i] ?? 'float32') === 'float32';

const random = (shape: Shape): Float32Array => {
  const numbers = new CaseRandom(5);
  return Float32Array.from({ length: numel(shape) }, () => numbers.uniform(-1, 1));
};

/**
 * The least a backward must do: read the gradient and what was kept, write a gradient for each input. An op whose
 * forward multiplies matrices does as many operations again for each operand (biases aside).
 */
const backwardCost = (op: Op, opCase: OpCase, forward: Cost, call: BackwardCall<unknown>): Cost => {
  const wanted = call.shapes.filter((_, i) => call.needs[i]);
  const kept = [...call.inputs, call.output, ...Object.values(call.saved)].filter((t): t is Tensor => t !== null);
  const products = ['Convolution', 'Linear algebra'].includes(op.group) ? opCase.shapes.filter((s, i) => call.needs[i] && s.length > 1).length : 1;
  return { flops: forward.flops * products, bytes: bytesOf(call.shape, ...kept.map((t) => t.shape), ...wanted) };
};

/** Runs the forward once and keeps of it what the tape would keep. */
const backwardCall = (runtime: Runtime, op: Op, opCase: OpCase, inputs: readonly Tensor[], shape: Shape): BackwardCall<unknown> => {
  // Some ops keep what backward needs only where a gradient is asked for.
  const leaves = inputs.map((t, i) => (isSmooth(opCase, i) ? t.alias().requiresGrad_() : t));
  const call: Call<unknown> = { runtime, inputs: leaves, attrs: opCase.attrs, shape };
  const made = scope(() => noGrad(() => op.forward(call)));
  const { output, saved } = made instanceof Tensor ? { output: made, saved: {} } : made;
  return {
    runtime, grad: tensor(random(shape), shape, { runtime }), attrs: opCase.attrs, saved, shape, shapes: opCase.shapes,
    inputs: inputs.map((t, i) => (op.keeps?.inputs?.includes(i) ? t : null)), output: op.keeps?.output ? output : null,
    needs: inputs.map((_, i) => isSmooth(opCase, i)),
  };
};

/** Uploads a case's inputs; call it in the scope that times the work. */
export const prepareWork = (runtime: Runtime, op: Op, opCase: OpCase, withBackward: boolean): Work[] => {
  const inputs = caseInputs(opCase).map(({ data, shape }, i) => tensor(Float32Array.from(data), shape, { runtime, dtype: opCase.dtypes?.[i] ?? 'float32' }));
  const shape = op.infer(opCase.shapes, opCase.attrs);
  const cost = op.cost(opCase.shapes, opCase.attrs, shape);
  const forward: Work = { direction: 'forward', cost, record: () => scope(() => noGrad(() => { run(op, inputs, opCase.attrs); })) };
  if (!op.backward || !withBackward) return [forward];
  const call = backwardCall(runtime, op, opCase, inputs, shape);
  const record = (): void => scope(() => noGrad(() => { op.backward!(call); }));
  return [forward, { direction: 'backward', record, cost: backwardCost(op, opCase, cost, call) }];
};
