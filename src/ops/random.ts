import source from '../../shaders/random.wgsl';
import { fail } from '../errors.js';
import { repeated } from '../kernels/capture.js';
import { type Live, numberOf } from '../kernels/params.js';
import { Shader } from '../kernels/shader.js';
import { defaultRuntime, type TensorOptions } from '../tensor/create.js';
import { checkShape, formatShape, quadCount, quadsPerRow, rowWidth, type Shape } from '../tensor/shape.js';
import { Tensor } from '../tensor/tensor.js';
import { checkNames } from './arguments.js';
import { literal, type OpCase, uniform } from './cases.js';
import { mapNd, type Nd, nd } from './nd.js';
import { allocate, bytesOf, dispatch, floatOf, gridFor, type Op, run, stretchesFor } from './op.js';
import { hashKey, randomUniform } from './random-bits.js';

const shader = new Shader('random', source);

/** Where the stream of keys stands. Saved with a checkpoint and set again, a run goes on to the bit. */
export interface RandomState {
  readonly seed: number;
  readonly step: number;
  /** Keys taken within the step. */
  readonly index: number;
}

let state: RandomState = { seed: 0, step: 0, index: 0 };

const checkInteger = (what: string, value: number): number =>
  Number.isSafeInteger(value) && value >= 0 ? value : fail(`${what}: ${value} must be an integer of at least 0`);

/** Begins the stream of keys anew: step 0, first key. */
export const manualSeed = (seed: number): void => {
  state = { seed: checkInteger('manualSeed', seed), step: 0, index: 0 };
};

/** Begins a step: what its random ops draw depends on (seed, step, order within the step) and on nothing before. */
export const setRandomStep = (step: number): void => {
  state = { seed: state.seed, step: checkInteger('setRandomStep', step), index: 0 };
};

/** Where the stream of keys stands now, to go on from there later (PyTorch's `get_rng_state`; three numbers, for all runtimes). */
export const getRandomState = (): RandomState => state;

/**
 * Goes on where the stream of keys stood (PyTorch's `set_rng_state`): the random ops that follow draw the same again.
 *
 * @throws UserError when a number is negative or not whole
 */
export const setRandomState = ({ seed, step, index }: RandomState): void => {
  state = { seed: checkInteger('setRandomState: seed', seed), step: checkInteger('setRandomState: step', step), index: checkInteger('setRandomState: index', index) };
};

/** What a random op draws from: 32 bits, or those that are another number when captured work is replayed. */
export type RandomKey = number | Live;

/** The key of the next random op of this step. */
export const nextRandomKey = (): RandomKey => {
  const key = { value: 0 };
  repeated(() => { key.value = takeKey(); });
  return key;
};

const takeKey = (): number => {
  const key = hashKey(state.seed, state.step, state.index);
  state = { ...state, index: state.index + 1 };
  return key;
};

const none = { steps: 1, a: 0, b: 0, most: 0, options: 0, optionStride: 0 };
const paramsOf = (shape: Shape, key: RandomKey) => ({ ...none, quads: quadCount(shape), quadsPerRow: quadsPerRow(shape), width: rowWidth(shape), key });

export interface RandomOptions extends Omit<TensorOptions, 'dtype'> {
  /** Default: the step's next key. */
  readonly key?: RandomKey;
}

const OPTIONS = ['key', 'runtime', 'label'] as const;

/** The largest float32. */
const LARGEST = 2 ** 128 - 2 ** 104;

/** The largest float32 below a number. */
const justBelow = (x: number): number => {
  const number = Float32Array.of(x);
  if (number[0]! < x) return number[0]!;
  if (number[0] === 0) return -(2 ** -149);
  new Int32Array(number.buffer)[0]! += number[0]! > 0 ? -1 : 1;
  return number[0]!;
};

interface Interval {
  readonly a: number;
  readonly b: number;
  readonly most: number;
}

const filled = (
  op: string, shape: Shape, normal: boolean, interval: Interval, { key = nextRandomKey(), runtime = defaultRuntime(), label = op }: RandomOptions,
): Tensor => {
  checkShape(op, shape);
  const y = Tensor.allocate(runtime, shape, 'float32', label);
  dispatch(runtime, shader.kernel('fill', { NORMAL: normal ? 1 : 0 }), { y }, { ...paramsOf(shape, key), ...interval }, gridFor(quadCount(shape)));
  return y;
};

/** Uniform numbers in [low, high), default [0, 1): a function of the key and the position alone. */
export const rand = (shape: Shape, options: RandomOptions & { readonly low?: number; readonly high?: number } = {}): Tensor => {
  checkNames('rand', options, ['low', 'high', ...OPTIONS]);
  const { low = 0, high = 1 } = options;
  return filled('rand', shape, false, { a: low, b: high - low, most: high > low ? justBelow(high) : high }, options);
};

/** Normally distributed numbers (Box and Muller), default mean 0 and deviation 1. */
export const randn = (shape: Shape, options: RandomOptions & { readonly mean?: number; readonly std?: number } = {}): Tensor => {
  checkNames('randn', options, ['mean', 'std', ...OPTIONS]);
  const { mean = 0, std = 1 } = options;
  return filled('randn', shape, true, { a: mean, b: std, most: LARGEST }, options);
};

interface DropoutAttrs {
  readonly p: number;
  readonly key: RandomKey;
}

const dropped = (x: Tensor, { p, key }: DropoutAttrs): Tensor => {
  const y = allocate(x.runtime, x.shape, 'dropout', floatOf(x));
  const { steps, grid } = stretchesFor(x.runtime, quadCount(x.shape));
  dispatch(x.runtime, shader.kernel('dropout'), { x, y }, { ...paramsOf(x.shape, key), steps, a: p, b: p < 1 ? 1 / (1 - p) : 0 }, grid);
  return y;
};

export const dropoutOp: Op<DropoutAttrs> = {
  name: 'dropout', group: 'Random', precision: 'any',
  infer: ([shape], { p }) => (p >= 0 && p <= 1 ? shape! : fail(`dropout: probability ${p} must be between 0 and 1`)),
  forward: ({ inputs: [x], attrs }) => dropped(x!, attrs),
  // The mask is drawn again from the key, so nothing is kept.
  backward: ({ grad, attrs }) => [dropped(grad, attrs)],
  reference: ([x], { p, key }) => mapNd(x!.shape, (i) => (randomUniform(numberOf(key), i) >= p ? x!.data[i]! / (1 - p) : 0)),
  cost: ([shape]) => ({ flops: 0, bytes: 2 * bytesOf(shape!) }),
  cases: [
    { name: 'ragged rows', shapes: [[3, 4, 5]], attrs: { p: 0.5, key: 17 } },
    { name: 'many ragged rows', shapes: [[60, 40, 33]], attrs: { p: 0.3, key: 23 } },
    { name: 'nothing dropped', shapes: [[7]], attrs: { p: 0, key: 1 } },
    { name: 'all dropped', shapes: [[2, 3]], attrs: { p: 1, key: 2 } },
    { name: 'many', shapes: [[40, 33]], attrs: { p: 0.2, key: 0xfedcba98 } },
    { name: '32×2048', shapes: [[32, 2048]], attrs: { p: 0.5, key: 3 }, bench: true },
  ],
};

interface MultinomialAttrs {
  readonly count: number;
  readonly key: RandomKey;
}

/** The kernel's arithmetic in float32 steps, so that draws agree to the bit. */
const referenceDraw = (weights: ArrayLike<number>, u: number): number => {
  const valid = Array.from(weights, (w) => (w > 0 && Number.isFinite(w) ? w : 0));
  const total = valid.reduce((sum, w) => Math.fround(sum + w), 0);
  if (total === Infinity) return referenceDraw(valid.map((w) => w / 2 ** 32), u);
  if (total === 0) return Math.floor(u * valid.length);
  let sum = 0;
  for (let m = 0; m < valid.length; m++) {
    sum = Math.fround(sum + valid[m]!);
    if (sum > Math.fround(u * total)) return m;
  }
  return valid.findLastIndex((w) => w > 0);
};

const multinomialReference = ([weights]: readonly Nd[], { count, key }: MultinomialAttrs): Nd => {
  const [rows, options] = weights!.shape as [number, number];
  const out = nd([rows, count]);
  out.data.forEach((_, i) => {
    const row = Math.floor(i / count);
    out.data[i] = referenceDraw(weights!.data.subarray(row * options, (row + 1) * options), randomUniform(numberOf(key), i));
  });
  return out;
};

const multinomialCase = (name: string, shape: Shape, count: number, key: number, fill = uniform(0, 1)): OpCase<MultinomialAttrs> =>
  ({ name, shapes: [shape], attrs: { count, key }, fill: [fill] });

export const multinomialOp: Op<MultinomialAttrs> = {
  name: 'multinomial', group: 'Random', dtype: 'int32', backward: null,
  infer: ([shape], { count }) => {
    if (shape!.length !== 2) fail(`multinomial: expects weights [rows, options], got ${formatShape(shape!)}`);
    if (!Number.isInteger(count) || count < 1) fail(`multinomial: count ${count} must be an integer of at least 1`);
    return [shape![0]!, count];
  },
  forward: ({ runtime, inputs: [weights], attrs: { key }, shape }) => {
    const drawn = allocate(runtime, shape, 'multinomial', 'int32');
    const params = { ...paramsOf(shape, key), options: rowWidth(weights!.shape), optionStride: quadsPerRow(weights!.shape) * 4 };
    dispatch(runtime, shader.kernel('multinomial'), { weights: weights!, drawn }, params, gridFor(params.quads));
    return drawn;
  },
  reference: multinomialReference,
  cost: ([shape], { count }) => ({ flops: 2 * count * shape![0]! * shape![1]!, bytes: bytesOf(shape!, [shape![0]!, count]) }),
  cases: [
    multinomialCase('two of 32', [8, 32], 2, 5), multinomialCase('one option', [3, 1], 3, 6), multinomialCase('ragged', [5, 7], 9, 7),
    multinomialCase('all zero', [2, 6], 20, 8, literal(new Array<number>(12).fill(0))),
    multinomialCase('NaN, infinite and negative weights', [2, 4], 30, 9, literal([NaN, 1, -3, 2, Infinity, NaN, NaN, -1])),
    multinomialCase('a sum beyond all numbers', [1, 4], 60, 12, literal([3e38, 3e38, 3e38, 1e37])),
    multinomialCase('one positive', [2, 5], 10, 10, literal([0, 0, 1e-30, 0, 0, 0, 0, 0, 0, 3e38])),
    { ...multinomialCase('16×32, two draws', [16, 32], 2, 11), bench: true },
  ],
};

export interface DropoutOptions {
  /** Without training the input is returned as it is. Default true. */
  readonly training?: boolean;
  /** Default: the step's next key. */
  readonly key?: RandomKey;
}

/** Zeroes each element with probability p and scales the others by 1/(1 − p) (PyTorch's `dropout`). */
export const dropout = (x: Tensor, p = 0.5, options: DropoutOptions = {}): Tensor => {
  checkNames('dropout', options, ['training', 'key']);
  const { training = true, key } = options;
  return training && p !== 0 ? run(dropoutOp, [x], { p, key: key ?? nextRandomKey() }) : x;
};

/**
 * Draws `count` indices per row with replacement, with probability proportional to the weights.
 * Negative, infinite and NaN weights count as zero; a row without positive weight draws uniformly.
 *
 * @param weights [rows, options]
 * @returns int32 [rows, count]
 */
export const multinomial = (weights: Tensor, count: number, key = nextRandomKey()): Tensor => run(multinomialOp, [weights], { count, key });
