/** What is timed of an op's bench case: its forward, and its gradients. */
import { noGrad } from '../src/autograd/tape.js';
import type { Runtime } from '../src/kernels/runtime.js';
import { asStored, caseInputs, CaseRandom, type OpCase, uniform } from '../src/ops/cases.js';
import { type Nd, nd } from '../src/ops/nd.js';
import { type BackwardCall, bytesOf, type Call, type Cost, floatOf, type Op, run } from '../src/ops/op.js';
import { tensor } from '../src/tensor/create.js';
import { scope } from '../src/tensor/scope.js';
import { numel, type Shape } from '../src/tensor/shape.js';
import { isFloat, Tensor } from '../src/tensor/tensor.js';
import { checkForward, checkGradient, checkProductGradient, type Known, type Values } from './check.js';
import { products } from './elements.js';
import { type Check, type Direction, PRODUCT_DIRECTIONS } from './results.js';

export interface Work {
  readonly direction: Direction;
  /** Records one run. */
  readonly record: () => void;
  /** Runs it once and compares the results with a reference; null: only the op's small cases were compared. */
  readonly check: () => Promise<Check | null>;
  readonly cost: Cost;
}

const isSmooth = (opCase: OpCase, i: number): boolean => isFloat(opCase.dtypes?.[i] ?? 'float32');

/** A gradient, of the type that the result has. */
const random = (shape: Shape, dtype: Tensor['dtype']): Nd => nd(shape, asStored(new Float32Array(uniform(-1, 1)(new CaseRandom(5), numel(shape))), dtype));

const upload = (runtime: Runtime, { data, shape }: Nd, dtype?: Tensor['dtype']): Tensor => tensor(new Float32Array(data), shape, { runtime, dtype: dtype ?? 'float32' });

const read = async (t: Tensor): Promise<Values> => ({ shape: t.shape, dtype: t.dtype, data: await t.data() });

/** A piece of work from a function that makes tensors, which are released at once when it is timed. */
const workOf = <T extends Tensor | readonly (Tensor | null)[]>(
  runtime: Runtime, direction: Direction, cost: Cost, compute: () => T, check: (results: T) => Promise<Check | null>,
): Work => ({
  direction, cost,
  record: () => scope(() => noGrad(() => {
    runtime.recorder.forgetImages();
    compute();
  })),
  check: () => scope(() => check(noGrad(compute))),
});

/** Runs the forward once and keeps of it what the tape would keep. */
const backwardCall = (runtime: Runtime, { op, opCase }: Known, inputs: readonly Tensor[], grad: Nd): BackwardCall<unknown> => {
  // Some ops keep what backward needs only where a gradient is asked for.
  const leaves = inputs.map((t, i) => (isSmooth(opCase, i) ? t.alias().requiresGrad_() : t));
  const call: Call<unknown> = { runtime, inputs: leaves, operands: leaves, attrs: opCase.attrs, shape: grad.shape };
  const made = scope(() => noGrad(() => op.forward(call)));
  const { output, saved } = made instanceof Tensor ? { output: made, saved: {} } : made;
  return {
    runtime, grad: upload(runtime, grad, floatOf(...inputs)), attrs: opCase.attrs, saved, shape: grad.shape, shapes: opCase.shapes,
    dtypes: inputs.map((t) => t.dtype),
    inputs: inputs.map((t, i) => (op.keeps?.inputs?.includes(i) ? t : null)), output: op.keeps?.output ? output : null,
    needs: inputs.map((_, i) => isSmooth(opCase, i)),
  };
};

/** Costs count float32; as float16 everything takes half of that. */
const storedBytes = ({ half }: OpCase, bytes: number): number => (half ? bytes / 2 : bytes);

/** What a backward must do: by its op's record, else compute as much as forward, read the gradient and what was kept, and write a gradient for each input. */
const backwardCost = ({ op, cost }: Known, call: BackwardCall<unknown>): Cost => {
  const wanted = call.shapes.filter((_, i) => call.needs[i]);
  const kept = [...call.inputs, call.output, ...Object.values(call.saved)].filter((t): t is Tensor => t !== null);
  return { flops: cost.flops, bytes: bytesOf(call.shape, ...kept.map((t) => t.shape), ...wanted), ...op.backwardCost?.(call.shapes, call.attrs) };
};

/** Gradients of a product are products themselves: each is a row of its own. */
const productGradients = (known: Known, call: BackwardCall<unknown>, grad: Nd): Work[] => (['gradInput', 'gradWeight'] as const).map((direction, i) => {
  const { op, cost } = known;
  const needs = call.needs.map((_, k) => k === i);
  return workOf(call.runtime, direction, { flops: cost.flops, bytes: storedBytes(known.opCase, bytesOf(call.shape, call.shapes[0]!, call.shapes[1]!)) },
    () => op.backward!({ ...call, needs })[i]!,
    async (result) => checkProductGradient(known, direction, await read(result), grad));
});

const gradients = (runtime: Runtime, known: Known, inputs: readonly Tensor[], shape: Shape): Work[] => {
  const grad = random(shape, floatOf(...inputs));
  const call = backwardCall(runtime, known, inputs, grad);
  if (known.op.name in products) return productGradients(known, call, grad);
  const check = async (results: readonly (Tensor | null)[]): Promise<Check | null> =>
    checkGradient(known, await Promise.all(results.map(async (t, i) => (t && call.needs[i] ? read(t) : null))), grad);
  return [workOf(runtime, 'backward', backwardCost(known, call), () => known.op.backward!(call), check)];
};

/** What of an op is timed. */
export const directionsOf = (op: Op): readonly Direction[] => {
  if (!op.backward) return ['forward'];
  return op.name in products ? PRODUCT_DIRECTIONS : ['forward', 'backward'];
};

/** Uploads a case's inputs; call it in the scope that times the work. */
export const prepareWork = (runtime: Runtime, op: Op, opCase: OpCase, wanted: (direction: Direction) => boolean): Work[] => {
  const numbers = caseInputs(opCase);
  const inputs = numbers.map((input, i) => upload(runtime, input, opCase.dtypes?.[i]));
  const shape = op.infer(opCase.shapes, opCase.attrs);
  const { flops, bytes } = op.cost(opCase.shapes, opCase.attrs, shape);
  const known: Known = { op, opCase, inputs: numbers, cost: { flops, bytes: storedBytes(opCase, bytes) } };
  const forward = workOf(runtime, 'forward', known.cost, () => run(op, inputs, opCase.attrs), async (result) => checkForward(known, await read(result)));
  const backward = directionsOf(op).some((direction) => direction !== 'forward' && wanted(direction)) ? gradients(runtime, known, inputs, shape) : [];
  return [forward, ...backward].filter(({ direction }) => wanted(direction));
};
