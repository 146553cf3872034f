/** Proof that what is timed computes the right thing, at its real size. */
import { errorAlong, HALF, toleranceOf, worstError } from '../src/autograd/verify.js';
import { CaseRandom, type OpCase } from '../src/ops/cases.js';
import type { Nd } from '../src/ops/nd.js';
import type { Cost, Op } from '../src/ops/op.js';
import { numel, type Shape } from '../src/tensor/shape.js';
import type { DType } from '../src/tensor/tensor.js';
import { flatIndex, products, sampleIndices } from './elements.js';
import type { Check, ProductDirection } from './results.js';

/** A result as read from the device. */
export interface Values {
  readonly shape: Shape;
  readonly dtype: DType;
  readonly data: ArrayLike<number>;
}

/** A case with the numbers that were uploaded for it. */
export interface Known {
  readonly op: Op;
  readonly opCase: OpCase;
  readonly inputs: readonly Nd[];
  readonly cost: Cost;
}

const SAMPLES = 128;
/** Beyond these a reference in plain loops takes more than about a second. */
const AFFORDABLE_FLOPS = 1e8;
const AFFORDABLE_ELEMENTS = 1e7;
/** Small, so that next to no value crosses a kink; in float64 it costs no accuracy, as differences are taken element by element. */
const STEP = 1e-7;

/**
 * K terms of random sign and size σ add up to about σ√K, through K sums that are each rounded by 2⁻²⁴ of themselves: that is an error of
 * at most about 2⁻²⁴·√K of the result. A single missing term is an error of 1/√K, a hundred times as much even where K is 100,000.
 */
const roundingBound = (terms: number): number => 4 * 2 ** -24 * Math.sqrt(terms);

/** Storing a result as float16 rounds it once more. */
const allowed = ({ op, opCase, cost }: Known, kind: 'forward' | 'gradient', { shape, dtype }: Pick<Values, 'shape' | 'dtype'>): number =>
  Math.max(toleranceOf(op, opCase, kind), roundingBound(cost.flops / 2 / Math.max(1, numel(shape)))) + (dtype === 'float16' ? HALF : 0);

const isAffordable = ({ opCase, op, cost }: Known): boolean => {
  const elements = [...opCase.shapes, op.infer(opCase.shapes, opCase.attrs)].reduce((sum, shape) => sum + numel(shape), 0);
  return cost.flops <= AFFORDABLE_FLOPS && elements <= AFFORDABLE_ELEMENTS;
};

/** Compares some elements of a product with their definition. */
const checkElements = (known: Known, direction: ProductDirection, result: Values, grad: Nd): Check => {
  const element = products[known.op.name]![direction](known.inputs, grad, known.opCase.attrs as never);
  const indices = sampleIndices(result.shape, SAMPLES);
  const expected = indices.map(element);
  const actual = indices.map((index) => result.data[flatIndex(result.shape, index)]!);
  return { how: `${indices.length} elements`, error: worstError(actual, expected).error, tolerance: allowed(known, direction === 'forward' ? 'forward' : 'gradient', result) };
};

/** Null where the reference would take too long: then the op's small cases must do. */
export const checkForward = (known: Known, result: Values): Check | null => {
  const { op, inputs, opCase } = known;
  if (op.name in products) return checkElements(known, 'forward', result, inputs[0]!);
  if (!isAffordable(known)) return null;
  const { error } = worstError(result.data, op.reference(inputs, opCase.attrs).data);
  return { how: 'all elements', error, tolerance: allowed(known, 'forward', result) };
};

/** One gradient of a product. */
export const checkProductGradient = (known: Known, direction: 'gradInput' | 'gradWeight', result: Values, grad: Nd): Check =>
  checkElements(known, direction, result, grad);

/**
 * All gradients of an op at once: Σ gradient · d along a random direction d against the central difference of Σ grad · f in float64.
 * One wrong element among a million moves the sum by a thousandth of its size.
 */
export const checkGradient = (known: Known, gradients: readonly (Values | null)[], grad: Nd): Check | null => {
  const { op, opCase, inputs } = known;
  if (!isAffordable(known) || opCase.gradient === 'none') return null;
  const random = new CaseRandom(11);
  const directions = inputs.map((input, i) => input.data.map(() => (gradients[i] ? random.uniform(-1, 1) : 0)));
  const moved = (sign: number): Float64Array =>
    op.reference(inputs.map((input, i) => ({ shape: input.shape, data: input.data.map((v, k) => v + sign * STEP * directions[i]![k]!) })), opCase.attrs).data;
  const [above, below] = [moved(1), moved(-1)];
  const numeric = grad.data.reduce((sum, g, k) => sum + (g * (above[k]! - below[k]!)) / (2 * STEP), 0);
  const error = errorAlong(directions, gradients.map((gradient) => gradient?.data ?? null), numeric);
  return { how: 'along a direction', error, tolerance: allowed(known, 'gradient', { shape: [1, numel(grad.shape)], dtype: 'float32' }) };
};
