import { mix32 } from '../mix32.js';
import { Extents } from '../tensor/extent.js';
import { numel, type Shape } from '../tensor/shape.js';

let seed = 0;
let stream = 0;

/** Restarts the random numbers of initialisation; the n-th parameter made afterwards always gets the same values. */
export const seedInit = (value: number): void => {
  seed = value >>> 0;
  stream = 0;
};

/** Uniform numbers in (0, 1) for the next parameter. */
const generator = (): (() => number) => {
  const key = mix32(mix32(seed) ^ (++stream * 0x9e3779b9));
  let counter = 0;
  return () => (mix32(mix32(counter++ ^ key) + Math.imul(counter, 0x9e3779b9)) + 0.5) / 2 ** 32;
};

const skipping = new Extents(false);

/** Runs `fn` without drawing initial weights (they are zeros): for networks whose weights are loaded right after, or never needed. */
export const withoutInit = <T>(fn: () => T): T => skipping.within(true, fn);

const filled = (shape: Shape, next: () => number): Float32Array => {
  const values = new Float32Array(numel(shape));
  if (!skipping.current) for (let i = 0; i < values.length; i++) values[i] = next();
  return values;
};

/** Inputs that meet in one output: all axes but the last. Weights are [..., in, out]. */
const fanIn = (shape: Shape): number => numel(shape.slice(0, -1));
/** Outputs one input reaches: kernel area times output channels. */
const fanOut = (shape: Shape): number => numel(shape.slice(0, -2)) * shape[shape.length - 1]!;

export const constant = (shape: Shape, value: number): Float32Array => new Float32Array(numel(shape)).fill(value);

/** PyTorch's default for convolutions and linear layers: uniform in ±1 / sqrt(fan in). */
export const defaultUniform = (shape: Shape, fan = fanIn(shape)): Float32Array => {
  const next = generator();
  const bound = 1 / Math.sqrt(fan);
  return filled(shape, () => (2 * next() - 1) * bound);
};

/** He's normal initialisation with fan out, torchvision's for residual networks: σ = sqrt(2 / fan out). */
export const kaimingNormal = (shape: Shape): Float32Array => normal(shape, Math.sqrt(2 / fanOut(shape)));

/** Normal with mean 0 (Box and Muller). */
export const normal = (shape: Shape, sigma: number): Float32Array => {
  const next = generator();
  return filled(shape, () => sigma * Math.sqrt(-2 * Math.log(next())) * Math.cos(2 * Math.PI * next()));
};

/** Normal cut at ±2σ, by rejection. */
export const truncatedNormal = (shape: Shape, sigma: number): Float32Array => {
  const next = generator();
  return filled(shape, () => {
    for (;;) {
      const x = Math.sqrt(-2 * Math.log(next())) * Math.cos(2 * Math.PI * next());
      if (Math.abs(x) <= 2) return sigma * x;
    }
  });
};
