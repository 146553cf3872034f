/** Proof of an op record: its forward against the float64 reference, its gradient against finite differences. */
import type { Runtime } from '../kernels/runtime.js';
import { caseInputs, CaseRandom, type OpCase, provingCases } from '../ops/cases.js';
import type { Nd } from '../ops/nd.js';
import { type Op, run } from '../ops/op.js';
import { tensor } from '../tensor/create.js';
import { roundToHalf } from '../float16.js';
import { scope } from '../tensor/scope.js';
import { formatShape, numel, quadsPerRow, rowWidth, sameShape, type Shape } from '../tensor/shape.js';
import { type DType, isFloat, Tensor } from '../tensor/tensor.js';
import { backward } from './backward.js';

export interface Verdict {
  readonly op: string;
  readonly case: string;
  /** Largest error relative to the scale of the expected values. */
  readonly error: number;
  readonly tolerance: number;
  readonly passed: boolean;
  /** How it was checked, or where the largest error is. */
  readonly note: string;
}

/**
 * Default tolerances: float32 rounds with 6e-8; sums of the cases have up to some hundred terms of one size,
 * whose rounding errors grow with the square root of their number, so 1e-6 of the scale has a margin of a few.
 * Gradients pass through two such computations.
 */
const USUAL = { forward: 1e-6, gradient: 4e-6 };

/** What a float32 result of a case may err: as the case says, the op, or all. */
export const toleranceOf = ({ tolerance }: Op, opCase: OpCase, kind: 'forward' | 'gradient'): number => (opCase.tolerance ?? tolerance)?.[kind] ?? USUAL[kind];

/**
 * Unit roundoff of float16: what storing a result in it adds to its error. The references compute from inputs that are rounded
 * already, so that nothing else is added.
 */
export const HALF = 2 ** -11;
/** A gradient in float16 has met it up to four times: the longest formula, that of a quotient, goes through three ops, and sums are converted. */
const HALF_GRADIENT = 4 * HALF;

/** Central differences in float64 have an error of about h² · f''' / 6, far below float32's rounding. */
const STEP = 1e-5;
const ELEMENTWISE_LIMIT = 64;
const DIRECTIONAL_LIMIT = 20_000;
const DIRECTIONS = 3;

const upload = (runtime: Runtime, opCase: OpCase, inputs: readonly Nd[]): Tensor[] =>
  inputs.map((input, i) => tensor(Float32Array.from(input.data), input.shape, { runtime, dtype: opCase.dtypes?.[i] ?? 'float32' }));

/** Whether an input of a case is one that the op has a gradient for. */
const hasGradient = ({ constants = [] }: Op, { dtypes }: OpCase, input: number): boolean => isFloat(dtypes?.[input] ?? 'float32') && !constants.includes(input);

/** Notes the kernels that the checks of these cases will want, for {@link Runtime.compileAhead}. */
export const foresee = (runtime: Runtime, op: Op, cases: readonly OpCase[]): void => {
  runtime.planMemory(() => {
    for (const opCase of cases) rehearse(runtime, op, opCase);
  });
};

/** Goes through what the checks of a case run on the device: some ops compute more where a gradient is asked for. */
const rehearse = (runtime: Runtime, op: Op, opCase: OpCase): void => scope(() => {
  const blank = (shape: Shape, dtype: DType = 'float32'): Tensor => Tensor.allocate(runtime, shape, dtype, 'rehearsal');
  const inputs = opCase.shapes.map((shape, i) => blank(shape, opCase.dtypes?.[i]));
  try {
    run(op, inputs, opCase.attrs);
    if (gradientMode(op, opCase) === 'none') return;
    inputs.forEach((t, i) => { if (hasGradient(op, opCase, i)) t.requiresGrad_(); });
    const output = run(op, inputs, opCase.attrs);
    backward(output, blank(output.shape));
  } catch {
    // The check of this case meets it again and tells.
  }
  for (const t of inputs) t.grad?.release();
});

/** Largest difference, relative to the largest expected magnitude (at least 1e-3, so that zeros compare absolutely). */
export const worstError = (actual: ArrayLike<number>, expected: ArrayLike<number>): { error: number; at: number } => {
  let scale = 1e-3;
  for (let i = 0; i < expected.length; i++) if (Number.isFinite(expected[i]!)) scale = Math.max(scale, Math.abs(expected[i]!));
  let worst = { error: 0, at: -1 };
  for (let i = 0; i < expected.length; i++) {
    const [a, e] = [actual[i]!, expected[i]!];
    const same = Object.is(a, e) || a === e || (Number.isNaN(a) && Number.isNaN(e));
    const error = same ? 0 : Number.isFinite(a) && Number.isFinite(e) ? Math.abs(a - e) / scale : Infinity;
    if (error > worst.error) worst = { error, at: i };
  }
  return worst;
};

/** Runs a case on the device and compares it with the record's float64 reference. */
export const verifyForward = (runtime: Runtime, op: Op, opCase: OpCase): Promise<Verdict> => scope(async () => {
  const inputs = caseInputs(opCase);
  const expected = op.reference(inputs, opCase.attrs);
  const output = run(op, upload(runtime, opCase, inputs), opCase.attrs);
  const tolerance = toleranceOf(op, opCase, 'forward') + (output.dtype === 'float16' ? HALF : 0);
  const base = { op: op.name, case: opCase.name, tolerance };
  if (!sameShape(output.shape, expected.shape)) {
    return { ...base, error: Infinity, passed: false, note: `shape ${formatShape(output.shape)} instead of ${formatShape(expected.shape)}` };
  }
  if (!(await tailIsZero(output))) return { ...base, error: Infinity, passed: false, note: DIRTY };
  const { error, at } = worstError(await output.data(), expected.data);
  return { ...base, error, passed: error <= tolerance, note: at < 0 ? 'exact' : `largest error at element ${at}` };
});

const DIRTY = 'padding behind the last element of a row is not zero';

/** Every kernel must keep the padding of rows at zero: others rely on it. */
const tailIsZero = async (x: Tensor): Promise<boolean> => {
  const width = rowWidth(x.shape);
  if (width % 4 === 0) return true;
  const raw = await x.runtime.recorder.read(x.range);
  const [stored, magnitude] = x.dtype === 'float16' ? [new Uint16Array(raw), 0x7fff] : [new Uint32Array(raw), 0x7fffffff];
  const stride = 4 * quadsPerRow(x.shape);
  return stored.every((bits, i) => i % stride < width || (bits & magnitude) === 0);
};

/** How the gradient of a case is checked. */
export const gradientMode = (op: Op, opCase: OpCase): 'elements' | 'directions' | 'none' => {
  if (!op.backward || opCase.bench) return 'none';
  if (opCase.gradient) return opCase.gradient;
  const count = opCase.shapes.reduce((sum, shape) => sum + numel(shape), 0);
  return count <= ELEMENTWISE_LIMIT ? 'elements' : count <= DIRECTIONAL_LIMIT ? 'directions' : 'none';
};

/** What no case of an op proves, although it has it; null where cases prove all of it. Those count, too, for which an adapter at hand lacks float16. */
export const unproved = (op: Op): 'the op' | 'its gradient' | null => {
  const cases = provingCases(op, { half: true });
  if (cases.length === 0) return 'the op';
  return op.backward && cases.every((opCase) => gradientMode(op, opCase) === 'none') ? 'its gradient' : null;
};

/**
 * Compares the device's gradient of Σ w·f(x), with random weights w, with central differences of the
 * float64 reference: for each element, or along random directions through all inputs at once.
 */
export const verifyGradient = (runtime: Runtime, op: Op, opCase: OpCase): Promise<Verdict> => scope(async () => {
  const mode = gradientMode(op, opCase);
  const inputs = caseInputs(opCase);
  const smooth = inputs.map((_, i) => hasGradient(op, opCase, i));
  const tensors = upload(runtime, opCase, inputs);
  tensors.forEach((t, i) => { if (smooth[i]) t.requiresGrad_(); });
  const output = run(op, tensors, opCase.attrs);
  const random = new CaseRandom(77);
  const weight = (): number => (output.dtype === 'float16' ? roundToHalf(random.uniform(-1, 1)) : random.uniform(-1, 1));
  const weights = Float32Array.from({ length: output.size }, weight);
  const objective = (at: readonly Nd[]): number => op.reference(at, opCase.attrs).data.reduce((sum, y, i) => sum + y * weights[i]!, 0);
  backward(output, tensor(weights, output.shape, { runtime }));
  const gradients = await Promise.all(tensors.map(async (t) => (t.grad ? await t.grad.data() : null)));
  const rounded = tensors.some((t) => t.grad?.dtype === 'float16');
  const clean = (await Promise.all(tensors.flatMap(({ grad }) => (grad ? [tailIsZero(grad)] : [])))).every(Boolean);
  for (const t of tensors) t.grad?.release();

  const tolerance = toleranceOf(op, opCase, 'gradient') + (rounded ? HALF_GRADIENT : 0);
  if (!clean) return { op: op.name, case: opCase.name, error: Infinity, tolerance, passed: false, note: DIRTY };
  const { error, where } = mode === 'elements'
    ? elementError(inputs, gradients, smooth, objective) : { error: directionError(inputs, gradients, smooth, objective, random), where: '' };
  const passed = error <= tolerance;
  return { op: op.name, case: opCase.name, error, tolerance, passed, note: passed ? mode : `${mode}${where}` };
});

/** All that proves a case: its forward and, unless its {@link gradientMode} is none, its gradient. */
export const verifyCase = async (runtime: Runtime, op: Op, opCase: OpCase): Promise<Verdict[]> => {
  const verdicts = [await verifyForward(runtime, op, opCase)];
  if (gradientMode(op, opCase) !== 'none') verdicts.push(await verifyGradient(runtime, op, opCase));
  return verdicts;
};

type Gradients = readonly (ArrayLike<number> | null)[];
type Objective = (at: readonly Nd[]) => number;

const elementError = (inputs: readonly Nd[], gradients: Gradients, smooth: readonly boolean[], objective: Objective): { error: number; where: string } => {
  let worst = { error: 0, where: '' };
  inputs.forEach((input, i) => {
    if (!smooth[i]) return;
    const numeric = input.data.map((value, k) => {
      input.data[k] = value + STEP;
      const above = objective(inputs);
      input.data[k] = value - STEP;
      const below = objective(inputs);
      input.data[k] = value;
      return (above - below) / (2 * STEP);
    });
    const analytic = gradients[i] ?? new Float64Array(numeric.length);
    const { error, at } = worstError(analytic, numeric);
    if (error > worst.error) worst = { error, where: `; input ${i}, element ${at}: backward gives ${analytic[at]!.toPrecision(7)}, differences ${numeric[at]!.toPrecision(7)}` };
  });
  return worst;
};

/**
 * How far gradients lie from a derivative along a direction. Their terms are of random sign: the sum, and the rounding in it, has the size of the
 * root of their squares.
 */
export const errorAlong = (direction: readonly Float64Array[], gradients: Gradients, numeric: number): number => {
  let analytic = 0;
  let squares = 1e-3;
  direction.forEach((along, i) => along.forEach((step, k) => {
    const term = step * (gradients[i]?.[k] ?? 0);
    analytic += term;
    squares += term * term;
  }));
  const error = Math.abs(numeric - analytic) / Math.sqrt(squares);
  return Number.isNaN(error) ? Infinity : error;
};

const directionError = (inputs: readonly Nd[], gradients: Gradients, smooth: readonly boolean[], objective: Objective, random: CaseRandom): number => {
  let worst = 0;
  for (let d = 0; d < DIRECTIONS; d++) {
    const direction = inputs.map((input, i) => input.data.map(() => (smooth[i] ? random.uniform(-1, 1) : 0)));
    const moved = (sign: number): Nd[] =>
      inputs.map((input, i) => ({ shape: input.shape, data: input.data.map((v, k) => v + sign * STEP * direction[i]![k]!) }));
    const numeric = (objective(moved(1)) - objective(moved(-1))) / (2 * STEP);
    worst = Math.max(worst, errorAlong(direction, gradients, numeric));
  }
  return worst;
};
