/** Float64 weights for the references of the resampling ops, written from PyTorch's documentation. */

/** Source elements and weights of output `o` in a bilinearly resized axis. */
export const bilinearTaps = (o: number, inSize: number, outSize: number, alignCorners: boolean): [number, number][] => {
  const ratio = alignCorners ? (outSize > 1 ? (inSize - 1) / (outSize - 1) : 0) : inSize / outSize;
  const position = alignCorners ? o * ratio : Math.max(0, (o + 0.5) * ratio - 0.5);
  const low = Math.min(Math.floor(position), inSize - 1);
  const high = Math.min(low + 1, inSize - 1);
  return [[low, 1 - (position - low)], [high, position - low]];
};

/**
 * Source elements and weights at a position of an axis of `length` elements that is read `scale` elements apart: a triangle that widens when
 * shrinking, as PIL does.
 */
export const triangleTaps = (centre: number, scale: number, length: number): [number, number][] => {
  const support = Math.max(1, scale);
  const taps: [number, number][] = [];
  for (let i = 0; i < length; i++) {
    const weight = 1 - Math.abs(i + 0.5 - centre) / support;
    if (weight > 0) taps.push([i, weight]);
  }
  const sum = taps.reduce((total, [, weight]) => total + weight, 0);
  return taps.map(([i, weight]) => [i, weight / sum]);
};

/**
 * Operations for one element of an image resized with that triangle: source lines are resized along the width, and the results along the height.
 *
 * @param down @param across pixels of the source for one of the result
 */
export const triangleFlops = (down: number, across: number): number => 4 * (Math.max(1, across) * down + Math.max(1, down));
