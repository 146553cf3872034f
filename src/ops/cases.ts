import { numel, type Shape } from '../tensor/shape.js';
import { roundToHalf } from '../float16.js';
import type { DType } from '../tensor/tensor.js';
import { type Nd, nd } from './nd.js';

/** Deterministic numbers for cases: independent of the kernels' own generator. */
export class CaseRandom {
  private state: number;

  constructor(seed: number) {
    this.state = (seed * 2654435761 + 12345) | 0;
  }

  /** Uniform in [0, 1). */
  next(): number {
    // Signed, which the engine keeps as an integer: a real layer takes tens of millions.
    this.state = (Math.imul(this.state, 1664525) + 1013904223) | 0;
    const high = this.state >>> 9;
    return high / 8388608;
  }

  uniform(from: number, to: number): number {
    return from + (to - from) * this.next();
  }
}

/** Makes the elements of one input. */
export type Fill = (random: CaseRandom, count: number) => ArrayLike<number>;

/** Uniform numbers; the default is −1 … 1. */
export const uniform = (from: number, to: number): Fill => (random, count) => {
  // A real layer has tens of millions of numbers: a loop over a typed array takes a tenth of the time of Array.from.
  const values = new Float64Array(count);
  for (let i = 0; i < count; i++) values[i] = random.uniform(from, to);
  return values;
};

/** −1 … 1 without the neighbourhood of `points`, where an op has a kink and finite differences mean nothing. */
export const awayFrom = (points: readonly number[], distance = 0.05): Fill => (random, count) =>
  Array.from({ length: count }, () => {
    for (;;) {
      const x = random.uniform(-1, 1);
      if (points.every((p) => Math.abs(x - p) > distance)) return x;
    }
  });

const withoutTies = new WeakSet<Fill>();

/** All elements different by at least `gap`, in random order: no ties for max and min. */
export const distinct = (gap = 0.05): Fill => {
  const fill: Fill = (random, count) => {
    const values = Array.from({ length: count }, (_, i) => (i - count / 2) * gap);
    for (let i = count - 1; i > 0; i--) {
      const j = Math.floor(random.next() * (i + 1));
      [values[i], values[j]] = [values[j]!, values[i]!];
    }
    return values;
  };
  withoutTies.add(fill);
  return fill;
};

/** Different values of −4 … 4 in any number: far apart, millions of them would be too large to take small differences. */
export const closeBy = (shape: Shape): Fill => distinct(8 / numel(shape));

/** Integers of at least 0 and less than `below`, as labels and indices. */
export const integers = (below: number): Fill => (random, count) =>
  Array.from({ length: count }, () => Math.floor(random.next() * below));

/** The same given numbers each time. */
export const literal = (values: readonly number[]): Fill => () => [...values];

/** Largest error allowed, relative to the scale of the result; the default covers one rounding of each operand. */
export interface Tolerance {
  readonly forward?: number;
  readonly gradient?: number;
  readonly reason: string;
}

/** One concrete call of an op: it is tested, gradient-checked, and, with `bench`, timed. */
export interface OpCase<A = unknown> {
  readonly name: string;
  readonly shapes: readonly Shape[];
  readonly attrs: A;
  /** How to fill each input; missing entries are uniform in −1 … 1. */
  readonly fill?: readonly (Fill | undefined)[];
  readonly dtypes?: readonly (DType | undefined)[];
  /**
   * How the gradient is checked against central differences of the float64 reference: per element (tiny
   * inputs), along random directions, or not at all. By default elements up to 64 numbers, directions up
   * to 20,000, and none beyond (a reference in plain loops takes too long).
   */
  readonly gradient?: 'elements' | 'directions' | 'none';
  /** A real layer's shape: timed by the benchmark, too slow for the reference test. `gpu`: too large for software adapters. */
  readonly bench?: boolean | 'gpu';
  /** Where this case may err more than the op's others, with the reason. */
  readonly tolerance?: Tolerance;
  readonly seed?: number;
  /** Runs only where the adapter has float16. */
  readonly half?: boolean;
}

/** The cases by which an op is proved on an adapter with or without float16; what is only timed is not among them. */
export const provingCases = <A>({ cases }: { readonly cases: readonly OpCase<A>[] }, { half }: { readonly half: boolean }): readonly OpCase<A>[] =>
  cases.filter((c) => !c.bench && (half || !c.half));

/** Numbers as a tensor of the type holds them. */
export const asStored = (values: Float32Array, dtype?: DType): Float32Array => (dtype === 'float16' ? values.map(roundToHalf) : values);

/** The inputs of a case as float64 arrays, rounded to what the device holds so that it sees the same numbers. */
export const caseInputs = (opCase: OpCase): Nd[] => {
  const random = new CaseRandom(opCase.seed ?? 1);
  return opCase.shapes.map((shape, i) => {
    const fill = opCase.fill?.[i] ?? uniform(-1, 1);
    return nd(shape, asStored(new Float32Array(fill(random, numel(shape))), opCase.dtypes?.[i]));
  });
};

/**
 * So many numbers at equal distances around 0 are still different as float16: 2^10 on either side, whose neighbours differ by a unit in the last
 * place or more.
 */
const DISTINCT_HALVES = 2 ** 11;

/** The case with its float32 inputs stored as float16. Where rounding would make ties, the gradient is not checked. */
export const inHalf = (opCase: OpCase): OpCase => {
  const dtypes = opCase.shapes.map((_, i) => (opCase.dtypes?.[i] ?? 'float32') === 'float32' ? 'float16' : opCase.dtypes![i]);
  const ties = opCase.shapes.some((shape, i) => withoutTies.has(opCase.fill?.[i] as Fill) && numel(shape) > DISTINCT_HALVES);
  return { ...opCase, half: true, dtypes, ...(ties ? { gradient: 'none' as const } : {}) };
};
