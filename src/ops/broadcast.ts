import { fail } from '../errors.js';
import { formatShape, quadsPerRow, rowWidth, type Shape } from '../tensor/shape.js';

/** How a kernel walks two inputs broadcast to one output: leading axes collapsed to at most four. */
export interface BroadcastPlan {
  /** How many of the four are in use, counted from the last; at least one. */
  readonly axes: number;
  readonly sizes: number[];
  readonly stridesA: number[];
  readonly stridesB: number[];
  readonly splatA: number;
  readonly splatB: number;
}

/** vec4f between neighbours along each leading axis of `shape` as seen from the output; 0 where it is broadcast. */
const leadingStrides = (shape: Shape, out: Shape): number[] => {
  const strides = new Array<number>(Math.max(out.length - 1, 0)).fill(0);
  let stride = quadsPerRow(shape);
  for (let axis = shape.length - 2; axis >= 0; axis--) {
    if (shape[axis] !== 1) strides[axis + out.length - shape.length] = stride;
    stride *= shape[axis]!;
  }
  return strides;
};

/** Merges neighbouring axes that both inputs walk contiguously, then pads to four. */
export const broadcastPlan = (op: string, a: Shape, b: Shape, out: Shape): BroadcastPlan => {
  const [rawA, rawB] = [leadingStrides(a, out), leadingStrides(b, out)];
  const sizes: number[] = [];
  const stridesA: number[] = [];
  const stridesB: number[] = [];
  for (let axis = 0; axis < out.length - 1; axis++) {
    const size = out[axis]!;
    if (size === 1) continue;
    const last = sizes.length - 1;
    if (last >= 0 && stridesA[last] === rawA[axis]! * size && stridesB[last] === rawB[axis]! * size) {
      sizes[last]! *= size;
      stridesA[last] = rawA[axis]!;
      stridesB[last] = rawB[axis]!;
    } else {
      sizes.push(size);
      stridesA.push(rawA[axis]!);
      stridesB.push(rawB[axis]!);
    }
  }
  if (sizes.length > 4) fail(`${op}: broadcasting ${formatShape(a)} with ${formatShape(b)} alternates over more than four axes; reshape or permute first`);
  const lead = <T>(list: T[], value: T): T[] => [...new Array<T>(4 - list.length).fill(value), ...list];
  const splat = (shape: Shape): number => (rowWidth(shape) === 1 && rowWidth(out) > 1 ? 1 : 0);
  return { axes: Math.max(1, sizes.length), sizes: lead(sizes, 1), stridesA: lead(stridesA, 0), stridesB: lead(stridesB, 0), splatA: splat(a), splatB: splat(b) };
};
