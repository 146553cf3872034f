/** Where squares overflow, so do variances and norms: the next step has no finite number any more, although the weights have. */
export const isUsable = (value: number): boolean => Math.fround(value * value) < Infinity;

/** The first number of a tensor that makes a network useless; undefined where all are sound. */
export const uselessNumber = (data: Float32Array, fits: (value: number) => boolean = isUsable): number | undefined => data.find((value) => !fits(value));
