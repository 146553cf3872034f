import { fail } from '../errors.js';
import { checkList, checkShape, formatShape, normalizeAxes, normalizeAxis, numel, type Shape } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { integers, type OpCase } from './cases.js';
import { broadcastOffset, forEachIndex, type Nd, nd, strides } from './nd.js';
import { bytesOf, type Op, run } from './op.js';
import { sumTo } from './reduce.js';
import { reshape } from './reshape.js';
import { expanded, storedStrides, stridedCopy } from './strided-copy.js';

const GROUP = 'Shape';
const cost = ([from]: readonly Shape[], _: unknown, to: Shape) => ({ flops: 0, bytes: bytesOf(from!, to) });
/** A case of whole numbers, which have no gradient. */
const integerCase = (name: string, shape: Shape): Partial<OpCase> & { name: string; shapes: Shape[] } =>
  ({ name, shapes: [shape], fill: [integers(1000)], dtypes: ['int32'], gradient: 'none' });

/** A reference by index: the element of `x` that each output element shows. */
const gathered = (x: Nd, shape: Shape, source: (index: readonly number[]) => readonly number[]): Nd => {
  const out = nd(shape);
  const steps = strides(x.shape);
  forEachIndex(shape, (index, flat) => { out.data[flat] = x.data[source(index).reduce((sum, at, i) => sum + at * steps[i]!, 0)]!; });
  return out;
};

interface PermuteAttrs {
  /** Output axis i shows input axis `axes[i]`. */
  readonly axes: readonly number[];
}

const permuted = (x: Tensor, axes: readonly number[]): Tensor => {
  const steps = storedStrides(x.shape);
  return stridedCopy('permute', x, { shape: axes.map((axis) => x.shape[axis]!), base: 0, strides: axes.map((axis) => steps[axis]!) });
};

export const permuteOp: Op<PermuteAttrs> = {
  name: 'permute', takes: ['any'], precision: 'any', group: GROUP, cost,
  infer: ([shape], { axes }) => {
    if (axes.length !== shape!.length) fail(`permute: ${axes.length} axes ${formatShape(axes)} for a tensor of ${shape!.length} dimensions ${formatShape(shape!)}; name each axis once`);
    return axes.map((axis) => shape![axis]!);
  },
  forward: ({ inputs: [x], attrs: { axes } }) => permuted(x!, axes),
  backward: ({ grad, attrs: { axes } }) => [permuted(grad, axes.map((_, i) => axes.indexOf(i)))],
  reference: ([x], { axes }) => gathered(x!, axes.map((axis) => x!.shape[axis]!), (index) => axes.map((_, i) => index[axes.indexOf(i)]!)),
  cases: [
    { name: 'matrix', shapes: [[3, 5]], attrs: { axes: [1, 0] } },
    { name: 'leading axes', shapes: [[2, 3, 5]], attrs: { axes: [1, 0, 2] } },
    { name: 'NHWC to NCHW', shapes: [[2, 3, 5, 6]], attrs: { axes: [0, 3, 1, 2] } },
    { name: 'NCHW to NHWC', shapes: [[2, 6, 3, 5]], attrs: { axes: [0, 2, 3, 1] } },
    { name: 'six axes', shapes: [[2, 1, 3, 2, 2, 3]], attrs: { axes: [5, 3, 0, 2, 1, 4] } },
    { name: 'one axis', shapes: [[5]], attrs: { axes: [0] } },
    { name: '64 channels to NCHW', shapes: [[2, 3, 5, 64]], attrs: { axes: [0, 3, 1, 2] } },
    { name: 'six axes, 64 channels', shapes: [[2, 3, 2, 2, 3, 64]], attrs: { axes: [3, 1, 0, 5, 2, 4] } },
    { name: 'many ragged rows', shapes: [[2, 37, 130, 10]], attrs: { axes: [0, 3, 1, 2] } },
    { name: 'few ragged rows', shapes: [[2, 10, 37, 131]], attrs: { axes: [0, 2, 3, 1] } },
    { ...integerCase('int32', [3, 2, 7]), attrs: { axes: [2, 0, 1] } },
    { name: '2×26×26×768 to NCHW', shapes: [[2, 26, 26, 768]], attrs: { axes: [0, 3, 1, 2] }, bench: true },
  ],
};

interface SliceAttrs {
  readonly starts: readonly number[];
  readonly ends: readonly number[];
}

const sliced = (x: Tensor, { starts, ends }: SliceAttrs): Tensor => {
  const steps = storedStrides(x.shape);
  return stridedCopy('slice', x, { shape: starts.map((start, i) => ends[i]! - start), base: starts.reduce((sum, start, i) => sum + start * steps[i]!, 0), strides: steps });
};

/** A slice's gradient put back into zeros of the input's shape. */
const embedded = (grad: Tensor, shape: Shape, { starts, ends }: SliceAttrs): Tensor => {
  const steps = storedStrides(grad.shape);
  return stridedCopy('slice gradient', grad, {
    shape, base: -starts.reduce((sum, start, i) => sum + start * steps[i]!, 0), strides: steps, bounds: starts.map((start, i) => [start, ends[i]!] as const),
  });
};

export const sliceOp: Op<SliceAttrs> = {
  name: 'slice', takes: ['any'], precision: 'any', group: GROUP, cost,
  infer: ([shape], { starts, ends }) => shape!.map((size, i) => {
    if (![starts[i], ends[i]].every(Number.isInteger)) fail(`slice: the limits ${starts[i]} … ${ends[i]} of axis ${i} must be integers`);
    if (!(starts[i]! < ends[i]! && ends[i]! <= size)) {
      fail(`slice: ${starts[i]} … ${ends[i]} selects nothing, or more than there is, of axis ${i} with size ${size} of ${formatShape(shape!)}`);
    }
    return ends[i]! - starts[i]!;
  }),
  forward: ({ inputs: [x], attrs }) => sliced(x!, attrs),
  backward: ({ grad, attrs, shapes: [shape] }) => [embedded(grad, shape!, attrs)],
  reference: ([x], { starts, ends }) => gathered(x!, starts.map((start, i) => ends[i]! - start), (index) => index.map((at, i) => at + starts[i]!)),
  cases: [
    { name: 'rows', shapes: [[5, 3]], attrs: { starts: [1, 0], ends: [4, 3] } },
    { name: 'first channels', shapes: [[2, 3, 7]], attrs: { starts: [0, 0, 0], ends: [2, 3, 5] } },
    { name: 'channels from a multiple of four', shapes: [[2, 3, 11]], attrs: { starts: [0, 1, 4], ends: [2, 3, 11] } },
    { name: 'ragged channels', shapes: [[2, 3, 11]], attrs: { starts: [1, 0, 3], ends: [2, 2, 10] } },
    { name: 'one element', shapes: [[3, 4, 5]], attrs: { starts: [2, 3, 4], ends: [3, 4, 5] } },
    { name: 'ragged channels of many rows', shapes: [[40, 70, 23]], attrs: { starts: [3, 5, 8], ends: [40, 66, 18] } },
    { name: 'channels of many rows from within a vec4', shapes: [[40, 70, 23]], attrs: { starts: [3, 5, 7], ends: [40, 66, 18] } },
    { name: 'all', shapes: [[6]], attrs: { starts: [0], ends: [6] } },
    { name: 'six axes', shapes: [[2, 2, 3, 2, 2, 5]], attrs: { starts: [0, 1, 1, 0, 1, 1], ends: [2, 2, 3, 1, 2, 4] } },
    { ...integerCase('int32', [3, 7]), attrs: { starts: [1, 2], ends: [3, 7] } },
    { name: 'half of 2×26×26×768', shapes: [[2, 26, 26, 768]], attrs: { starts: [0, 0, 0, 384], ends: [2, 26, 26, 768] }, bench: true },
  ],
};

interface ExpandAttrs {
  readonly to: Shape;
}

export const expandOp: Op<ExpandAttrs> = {
  name: 'expand', takes: ['any'], precision: 'any', group: GROUP, cost,
  infer: ([from], { to }) => {
    checkShape('expand', to);
    const skip = to.length - from!.length;
    if (skip < 0 || !from!.every((size, i) => size === 1 || size === to[i + skip])) {
      fail(`expand: ${formatShape(from!)} cannot be shown as ${formatShape(to)}; sizes must be equal or 1, aligned at the last axis`);
    }
    return to;
  },
  forward: ({ inputs: [x], attrs: { to } }) => expanded(x!, to),
  backward: ({ grad, shapes: [shape] }) => [sumTo(grad, shape!)],
  reference: ([x], { to }) => {
    const out = nd(to);
    forEachIndex(to, (index, flat) => { out.data[flat] = x!.data[broadcastOffset(x!.shape, index)]!; });
    return out;
  },
  cases: [
    { name: 'scalar', shapes: [[]], attrs: { to: [2, 3] } },
    { name: 'rows', shapes: [[5]], attrs: { to: [3, 5] } },
    { name: 'columns', shapes: [[3, 1]], attrs: { to: [3, 6] } },
    { name: 'middle', shapes: [[2, 1, 3]], attrs: { to: [2, 4, 3] } },
    { name: 'both sides', shapes: [[1, 3, 1]], attrs: { to: [2, 2, 3, 5] } },
    { ...integerCase('int32', [1, 3]), attrs: { to: [4, 3] } },
    // 4,200,000 rows of one vec4 are 65,625 workgroups of 64.
    { name: 'over 65,535 workgroups', shapes: [[1, 1]], attrs: { to: [4_200_000, 1] }, gradient: 'none' },
    { name: '2×1×1×768 to 26²', shapes: [[2, 1, 1, 768]], attrs: { to: [2, 26, 26, 768] }, bench: true },
  ],
};

interface FlipAttrs {
  readonly axes: readonly number[];
}

const flipped = (x: Tensor, axes: readonly number[]): Tensor => {
  const steps = storedStrides(x.shape);
  return stridedCopy('flip', x, {
    shape: x.shape, base: axes.reduce((sum, axis) => sum + (x.shape[axis]! - 1) * steps[axis]!, 0),
    strides: steps.map((step, i) => (axes.includes(i) ? -step : step)),
  });
};

export const flipOp: Op<FlipAttrs> = {
  name: 'flip', takes: ['any'], precision: 'any', group: GROUP, cost,
  infer: ([shape]) => shape!,
  forward: ({ inputs: [x], attrs: { axes } }) => flipped(x!, axes),
  backward: ({ grad, attrs: { axes } }) => [flipped(grad, axes)],
  reference: ([x], { axes }) => gathered(x!, x!.shape, (index) => index.map((at, i) => (axes.includes(i) ? x!.shape[i]! - 1 - at : at))),
  cases: [
    { name: 'image width', shapes: [[2, 3, 5, 3]], attrs: { axes: [2] } },
    { name: 'last axis', shapes: [[3, 7]], attrs: { axes: [1] } },
    { name: 'all axes', shapes: [[2, 3, 5]], attrs: { axes: [0, 1, 2] } },
    { name: '8×224×224×3', shapes: [[8, 224, 224, 3]], attrs: { axes: [2] }, bench: true },
  ],
};

/** Axes in another order, as a copy: output axis i is input axis `axes[i]` (PyTorch's `permute`). */
export const permute = (x: Tensor, axes: readonly number[]): Tensor => {
  checkList('permute', 'the axes', axes);
  const list = axes.map((axis) => normalizeAxis('permute', axis, x.rank));
  normalizeAxes('permute', list, x.rank);
  return run(permuteOp, [x], { axes: list });
};

/** Two axes exchanged, as a copy. */
export const transpose = (x: Tensor, a: number, b: number): Tensor => {
  const [from, to] = [normalizeAxis('transpose', a, x.rank), normalizeAxis('transpose', b, x.rank)];
  if (from === to) return x;
  return run(permuteOp, [x], { axes: x.shape.map((_, i) => (i === from ? to : i === to ? from : i)) });
};

/**
 * The part from `starts` to `ends` (not included) along the leading axes; negative numbers count from the
 * end, missing ones mean the whole axis.
 *
 * @throws UserError when nothing is selected or a limit lies outside
 */
export const slice = (x: Tensor, starts: readonly number[], ends: readonly number[] = []): Tensor => {
  checkList('slice', 'the starts', starts);
  if (starts.length > x.rank || ends.length > x.rank) fail(`slice: ${starts.length} starts and ${ends.length} ends for a tensor of ${x.rank} dimensions ${formatShape(x.shape)}`);
  const fromEnd = (at: number, size: number): number => (at < 0 ? at + size : at);
  return run(sliceOp, [x], {
    starts: x.shape.map((size, i) => fromEnd(starts[i] ?? 0, size)), ends: x.shape.map((size, i) => fromEnd(ends[i] ?? size, size)),
  });
};

/** `length` entries of one axis from `start` on (PyTorch's `narrow`). */
export const narrow = (x: Tensor, axis: number, start: number, length: number): Tensor => {
  const at = normalizeAxis('narrow', axis, x.rank);
  const first = start < 0 ? start + x.shape[at]! : start;
  return run(sliceOp, [x], { starts: x.shape.map((_, i) => (i === at ? first : 0)), ends: x.shape.map((size, i) => (i === at ? first + length : size)) });
};

/** x repeated along axes of size 1, and along new leading axes, as a copy; −1 keeps a size (PyTorch's `expand`). */
export const expand = (x: Tensor, shape: Shape): Tensor => {
  checkList('expand', 'the shape', shape);
  return run(expandOp, [x], { to: shape.map((size, i) => (size === -1 ? (x.shape[i - shape.length + x.rank] ?? -1) : size)) });
};

/** Reversed along the given axes. */
export const flip = (x: Tensor, axes: number | readonly number[]): Tensor => run(flipOp, [x], { axes: normalizeAxes('flip', axes, x.rank) });

/** Without the axis `axis`, which must have size 1; without argument, all axes of size 1 go. */
export const squeeze = (x: Tensor, axis?: number): Tensor => {
  if (axis === undefined) return reshape(x, x.shape.filter((size) => size !== 1));
  const at = normalizeAxis('squeeze', axis, x.rank);
  if (x.shape[at] !== 1) fail(`squeeze: axis ${axis} of ${formatShape(x.shape)} has size ${x.shape[at]}; only axes of size 1 can go`);
  return reshape(x, x.shape.filter((_, i) => i !== at));
};

/** With a new axis of size 1 at `axis`. */
export const unsqueeze = (x: Tensor, axis: number): Tensor => {
  const at = normalizeAxis('unsqueeze', axis, x.rank + 1);
  return reshape(x, [...x.shape.slice(0, at), 1, ...x.shape.slice(at)]);
};

/** Axes `from` … `to` (included) merged into one; default: all of them, as in PyTorch. */
export const flatten = (x: Tensor, from = 0, to = -1): Tensor => {
  if (x.rank === 0) return reshape(x, [1]);
  const [first, last] = [normalizeAxis('flatten', from, x.rank), normalizeAxis('flatten', to, x.rank)];
  if (first > last) fail(`flatten: axis ${from} comes after axis ${to} in ${formatShape(x.shape)}`);
  return reshape(x, [...x.shape.slice(0, first), numel(x.shape.slice(first, last + 1)), ...x.shape.slice(last + 1)]);
};
