/** Which axes can be resized, and float64 weights for the references of the resampling ops, written from PyTorch's documentation. */
import { fail } from '../errors.js';

/** Height and width in pixels. */
export type ImageSize = readonly [number, number];

/** Positions along a resized axis are exact fractions with numerators of 31 bits. */
const MOST_PRODUCT = 2 ** 30;

/** Refuses axes that are too long to be resized exactly: of 32 thousand pixels to as many more or less. */
export const checkAxes = (op: string, from: ImageSize, to: ImageSize): void => {
  const axis = [0, 1].find((i) => (from[i]! + 2) * (to[i]! + 2) >= MOST_PRODUCT);
  if (axis !== undefined) fail(`${op}: the ${axis ? 'width' : 'height'} of ${from[axis]} and its new size ${to[axis]} are too long together: their product must stay below 2^30. Resize in parts`);
};

/** Source elements and weights of output `o` in a bilinearly resized axis. */
export const bilinearTaps = (o: number, inSize: number, outSize: number, alignCorners: boolean): [number, number][] => {
  const ratio = alignCorners ? (outSize > 1 ? (inSize - 1) / (outSize - 1) : 0) : inSize / outSize;
  const position = alignCorners ? o * ratio : Math.max(0, (o + 0.5) * ratio - 0.5);
  const low = Math.min(Math.floor(position), inSize - 1);
  const high = Math.min(low + 1, inSize - 1);
  return [[low, 1 - (position - low)], [high, position - low]];
};

/** Source elements and weights of output `o` in an axis resized with a triangle that widens when shrinking, as PIL does. */
export const triangleTaps = (o: number, inSize: number, outSize: number): [number, number][] => {
  const ratio = inSize / outSize;
  const support = Math.max(1, ratio);
  const taps: [number, number][] = [];
  for (let i = 0; i < inSize; i++) {
    const weight = 1 - Math.abs(i + 0.5 - (o + 0.5) * ratio) / support;
    if (weight > 0) taps.push([i, weight]);
  }
  const sum = taps.reduce((total, [, weight]) => total + weight, 0);
  return taps.map(([i, weight]) => [i, weight / sum]);
};
