import type { DecodedImage } from './types.js';

/** Source pixels and weights of one output position; weights are fixed-point numbers that add up to about 2^22. */
interface Taps {
  readonly first: number;
  readonly weights: Int32Array;
}

const PRECISION = 22;
const HALF = 1 << (PRECISION - 1);

/** A triangle that widens when shrinking, as PIL's bilinear filter has it. */
const tapsOf = (from: number, to: number): Taps[] => {
  const scale = from / to;
  const reach = Math.max(scale, 1);
  return Array.from({ length: to }, (_, o) => {
    const centre = (o + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - reach + 0.5));
    const end = Math.min(from, Math.trunc(centre + reach + 0.5));
    const heights = Array.from({ length: end - first }, (_unused, i) => Math.max(0, 1 - Math.abs((first + i - centre + 0.5) / reach)));
    const total = heights.reduce((a, b) => a + b, 0);
    return { first, weights: Int32Array.from(heights, (h) => Math.trunc(0.5 + (h / total) * 2 ** PRECISION)) };
  });
};

/**
 * Resizes one axis. `line` is the distance between lines, `step` that between neighbours along the axis, in pixels; sums are
 * rounded to 8 bits.
 */
const resizeAxis = (
  source: Uint8Array, target: Uint8Array, taps: readonly Taps[], lines: number, from: { line: number; step: number }, to: { line: number; step: number },
): void => {
  for (let l = 0; l < lines; l++) {
    for (let o = 0; o < taps.length; o++) {
      const { first, weights } = taps[o]!;
      let [r, g, b] = [HALF, HALF, HALF];
      for (let i = 0, at = 4 * (l * from.line + first * from.step); i < weights.length; i++, at += 4 * from.step) {
        r += weights[i]! * source[at]!;
        g += weights[i]! * source[at + 1]!;
        b += weights[i]! * source[at + 2]!;
      }
      const at = 4 * (l * to.line + o * to.step);
      target[at] = Math.min(255, r >> PRECISION);
      target[at + 1] = Math.min(255, g >> PRECISION);
      target[at + 2] = Math.min(255, b >> PRECISION);
    }
  }
};

/** Resizes a picture to the bit as PIL's bilinear filter does: first across, then down, each rounded to 8 bits. */
export const resizePicture = (image: DecodedImage, width: number, height: number): DecodedImage => {
  const across = new Uint8Array(4 * width * image.height).fill(255);
  resizeAxis(image.rgba, across, tapsOf(image.width, width), image.height, { line: image.width, step: 1 }, { line: width, step: 1 });
  const rgba = new Uint8Array(4 * width * height).fill(255);
  resizeAxis(across, rgba, tapsOf(image.height, height), width, { line: 1, step: width }, { line: 1, step: width });
  const [shrinkX, shrinkY] = image.shrink;
  return { ...image, rgba, width, height, shrink: [(shrinkX * image.width) / width, (shrinkY * image.height) / height] };
};
