import source from '../../shaders/reduce.wgsl';
import { linearGrid } from '../kernels/grid.js';
import { type Kernel, Shader } from '../kernels/shader.js';
import { normalizeAxes, normalizeAxis, numel, quadCount, quadsPerRow, rowWidth, sameShape, type Shape } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { checkTensor } from './arguments.js';
import { div, eq, whereEqual } from './binary.js';
import { closeBy, distinct, type Fill, literal, type OpCase } from './cases.js';
import { convert } from './convert.js';
import { forEachIndex, type Nd, nd, strides } from './nd.js';
import { allocate, bytesOf, dispatch, gridFor, type Op, run } from './op.js';
import { reshape } from './reshape.js';
import { expanded } from './strided-copy.js';
import { affine } from './unary.js';

const shader = new Shader('reduce', source);
const CODES = { sum: 0, max: 1, min: 2 } as const;
type Kind = keyof typeof CODES;

interface Attrs {
  readonly axes: readonly number[];
  readonly keepdim: boolean;
}

/** With one item per invocation, work for a device; beyond it splitting the reduced axis costs more than it gives. */
const TARGET_INVOCATIONS = 4096;
const ROWS_PER_SPLIT = 32;
/** vec4f of a row for one workgroup: one that adds more loses digits, and leaves the rest of the device idle. */
const QUADS_PER_PART = 4096;

/** The shape with axes of size 1 in place of those that are reduced. */
const kept = (shape: Shape, axes: readonly number[]): Shape => shape.map((size, i) => (axes.includes(i) ? 1 : size));
const reducedShape = (shape: Shape, { axes, keepdim }: Attrs): Shape => (keepdim ? kept(shape, axes) : shape.filter((_, i) => !axes.includes(i)));

/** What a mean multiplies a sum by. */
const meanScale = (shape: Shape, axes: readonly number[]): number => 1 / numel(axes.map((axis) => shape[axis]!));

/** Where a reduction goes that makes no tensor of its own. */
interface Target {
  readonly y: Tensor;
  /** Adds to what is there. */
  readonly accumulate: boolean;
}

/**
 * Reduces the leading or middle axes [from, to) of x; the row axis stays.
 *
 * @param best counts the entries of x that equal those of this tensor instead; for sums
 */
const reduceColumns = (kind: Kind, x: Tensor, from: number, to: number, scale: number, target?: Target, best?: Tensor): Tensor => {
  const { shape, runtime } = x;
  const outer = numel(shape.slice(0, from));
  const length = numel(shape.slice(from, to));
  const quads = quadCount(shape) / (outer * length);
  const splits = Math.max(1, Math.min(Math.ceil(length / ROWS_PER_SPLIT), Math.floor(TARGET_INVOCATIONS / (outer * quads))));
  const kernel = shader.kernel('columns', { OP: CODES[kind] });
  const [firstKernel, inputs] = best ? [shader.kernel('ties'), { x, best }] : [kernel, { x }];
  const width = rowWidth(shape);
  const result = target?.y ?? allocate(runtime, shape.map((size, i) => (i >= from && i < to ? 1 : size)), kind);
  const launch = (by: Kernel, tensors: Readonly<Record<string, Tensor>>, y: Tensor, rows: number, parts: number, factor: number): void =>
    dispatch(runtime, by, { ...tensors, y },
      { outer, length: rows, quads, splits: parts, width, scale: factor, accumulate: y === target?.y && target.accumulate ? 1 : 0 },
      gridFor(outer * parts * quads));
  if (splits === 1) {
    launch(firstKernel, inputs, result, length, 1, scale);
    return result;
  }
  // The cut into splits depends on shapes alone, so the order of summation, and each bit, repeats.
  const used = Math.ceil(length / Math.ceil(length / splits));
  const parts = allocate(runtime, [outer * used * (quads / quadsPerRow(shape)), width], `${kind} parts`);
  launch(firstKernel, inputs, parts, length, used, 1);
  launch(kernel, { x: parts }, result, used, 1, scale);
  return result;
};

const reduceRows = (kind: Kind, x: Tensor, scale: number): Tensor => {
  const { shape, runtime } = x;
  const [lead, quads, width] = [shape.slice(0, -1), quadsPerRow(shape), rowWidth(shape)];
  const outer = numel(lead);
  const splits = Math.ceil(quads / QUADS_PER_PART);
  const parts = allocate(runtime, splits === 1 ? [...lead, 1] : [...lead, splits, 1], kind);
  dispatch(runtime, shader.kernel('rows', { OP: CODES[kind] }), { x, y: parts },
    { outer, length: width, quads, splits, width, scale, accumulate: 0 }, linearGrid(outer * splits));
  return splits === 1 ? parts : reshape(reduceColumns(kind, parts, lead.length, lead.length + 1, 1), [...lead, 1]);
};

/** Reduces groups of neighbouring axes one after the other, keeping the dimensions. */
const reduceKept = (kind: Kind, x: Tensor, axes: readonly number[], scale: number): Tensor => {
  let result = x;
  let factor = scale;
  const rowAxis = x.rank - 1;
  const leading = axes.filter((axis) => axis !== rowAxis);
  for (let i = 0; i < leading.length;) {
    let end = i + 1;
    while (end < leading.length && leading[end] === leading[end - 1]! + 1) end++;
    result = reduceColumns(kind, result, leading[i]!, leading[end - 1]! + 1, factor);
    factor = 1;
    i = end;
  }
  return axes.includes(rowAxis) ? reduceRows(kind, result, factor) : result;
};

/** How many entries of x share each extremum of the axes; those of neighbouring leading axes are counted without a tensor of hits. */
const tiesOf = (x: Tensor, best: Tensor, axes: readonly number[]): Tensor => {
  const [first, last] = [axes[0] ?? 0, axes.at(-1) ?? x.rank];
  const neighbours = axes.length > 0 && last - first === axes.length - 1 && last < x.rank - 1;
  return neighbours ? reduceColumns('sum', x, first, last + 1, 1, undefined, best) : reduceKept('sum', eq(x, best), axes, 1);
};

const forwardOf = (kind: Kind, mean: boolean): Op<Attrs>['forward'] => ({ inputs: [x], attrs: { axes }, shape }) => {
  const scale = mean ? meanScale(x!.shape, axes) : 1;
  if (axes.length === 0 || x!.rank === 0) return convert(x!, 'float32');
  return reshape(reduceKept(kind, x!, axes, scale), shape);
};

const groupsOf = (x: Nd, attrs: Attrs, visit: (out: number, value: number) => void): Nd => {
  const out = nd(reducedShape(x.shape, attrs));
  const keptStrides = strides(kept(x.shape, attrs.axes));
  forEachIndex(x.shape, (index, flat) => visit(index.reduce((sum, at, i) => sum + (attrs.axes.includes(i) ? 0 : at * keptStrides[i]!), 0), x.data[flat]!));
  return out;
};

const REAL: Shape = [2, 73, 73, 192];

const cases = (kind: 'linear' | 'extremum'): OpCase<Attrs>[] => {
  const filled = (fill: Fill) => (kind === 'extremum' ? { fill: [fill] } : {});
  const rows: [string, Shape, number[], boolean][] = [
    ['all', [3, 4, 5], [0, 1, 2], false], ['last', [3, 4, 5], [2], false], ['last kept', [3, 6], [1], true], ['first', [7, 3], [0], false],
    ['middle', [2, 3, 2, 5], [1, 2], false], ['first and last', [3, 2, 5], [0, 2], false], ['spread apart', [2, 3, 2, 3], [0, 2], true],
    ['size-1 axes', [1, 4, 1], [0, 2], false], ['many rows', [300, 6], [0], false], ['rows in blocks', [300, 4, 1000], [0], false], ['long row', [3, 517], [1], false], ['row in parts', [2, 40_003], [1], false],
  ];
  return [
    ...rows.map(([name, shape, axes, keepdim]) => ({ name, shapes: [shape], attrs: { axes, keepdim }, ...filled(distinct()) })),
    { name: `${REAL.join('×')} to channels`, shapes: [REAL], attrs: { axes: [0, 1, 2], keepdim: false }, bench: true, ...filled(closeBy(REAL)) },
  ];
};

const cost: Op<Attrs>['cost'] = ([shape], _, out) => ({ flops: numel(shape!), bytes: bytesOf(shape!, out) });
const infer: Op<Attrs>['infer'] = ([shape], attrs) => reducedShape(shape!, attrs);

const linearOp = (name: string, mean: boolean): Op<Attrs> => ({
  name, group: 'Reduction', precision: 'any', infer, cost, cases: cases('linear'),
  forward: forwardOf('sum', mean),
  backward: ({ grad, attrs: { axes }, shapes: [shape] }) => {
    const scale = mean ? meanScale(shape!, axes) : 1;
    return [expanded(reshape(scale === 1 ? grad : affine(grad, scale), kept(shape!, axes)), shape!)];
  },
  reference: ([x], attrs) => {
    const sums = new Float64Array(numel(kept(x!.shape, attrs.axes)));
    // Each sum is of as many elements.
    const count = mean ? x!.data.length / sums.length : 1;
    const out = groupsOf(x!, attrs, (at, value) => { sums[at]! += value / count; });
    out.data.set(sums);
    return out;
  },
});

const extremumOp = (name: 'max' | 'min', better: (a: number, b: number) => boolean): Op<Attrs> => ({
  name, group: 'Reduction', precision: 'any', infer, cost, cases: cases('extremum'),
  forward: forwardOf(name, false),
  keeps: { inputs: [0], output: true },
  // Ties share the gradient equally, as PyTorch's amax and amin do.
  backward: ({ grad, attrs: { axes }, inputs: [x], output, shapes: [shape] }) => {
    const best = reshape(output!, kept(shape!, axes));
    return [whereEqual(div(reshape(grad, best.shape), tiesOf(x!, best, axes)), x!, best)];
  },
  reference: ([x], attrs) => {
    const best = new Float64Array(numel(kept(x!.shape, attrs.axes))).fill(NaN);
    const out = groupsOf(x!, attrs, (at, value) => { if (Number.isNaN(best[at]!) || better(value, best[at]!)) best[at] = value; });
    out.data.set(best);
    return out;
  },
});

export const sumOp = linearOp('sum', false);
export const meanOp = linearOp('mean', true);
export const maxOp = extremumOp('max', (a, b) => a > b);
export const minOp = extremumOp('min', (a, b) => a < b);

/** Of three rows and of four columns: before, behind and between numbers, once and twice. */
const SOME_NAN = [1, NaN, 3, NaN, NaN, NaN, 2, 0, 4, 1, NaN, 5];

export const argmaxOp: Op<{ axis: number; keepdim: boolean }> = {
  name: 'argmax', group: 'Reduction', dtype: 'int32',
  infer: ([shape], { axis, keepdim }) => reducedShape(shape!, { axes: [axis], keepdim }),
  forward: ({ runtime, inputs: [x], attrs: { axis }, shape }) => {
    const { shape: from } = x!;
    const indices = allocate(runtime, kept(from, [axis]), 'argmax', 'int32');
    const rowsKernel = axis === from.length - 1;
    const outer = rowsKernel ? quadCount(from) / quadsPerRow(from) : numel(from.slice(0, axis));
    const quads = rowsKernel ? quadsPerRow(from) : quadCount(from) / (outer * from[axis]!);
    dispatch(runtime, shader.kernel(rowsKernel ? 'argmaxRows' : 'argmaxColumns'), { x: x!, indices },
      { outer, length: from[axis]!, quads, splits: 1, width: rowWidth(from), scale: 1, accumulate: 0 }, gridFor(rowsKernel ? outer : outer * quads));
    return reshape(indices, shape);
  },
  backward: null,
  reference: ([x], { axis, keepdim }) => {
    const attrs = { axes: [axis], keepdim };
    const best = new Float64Array(numel(kept(x!.shape, [axis]))).fill(-Infinity);
    const at = new Float64Array(best.length);
    const seen = new Float64Array(best.length);
    const out = groupsOf(x!, attrs, (i, value) => {
      if (value > best[i]! || (Number.isNaN(value) && !Number.isNaN(best[i]!))) {
        best[i] = value;
        at[i] = seen[i]!;
      }
      seen[i]!++;
    });
    out.data.set(at);
    return out;
  },
  cost: ([shape], _, out) => ({ flops: 0, bytes: bytesOf(shape!, out) }),
  cases: [
    { name: 'rows', shapes: [[4, 7]], attrs: { axis: 1, keepdim: false } },
    { name: 'columns', shapes: [[5, 3, 6]], attrs: { axis: 0, keepdim: false } },
    { name: 'middle kept', shapes: [[2, 5, 3]], attrs: { axis: 1, keepdim: true } },
    ...[0, 1].map((axis) => ({ name: `the first of several NaN, axis ${axis}`, shapes: [[3, 4]], attrs: { axis, keepdim: false }, fill: [literal(SOME_NAN)] })),
  ],
};

export type Axes = number | readonly number[];

const isEmptyList = (axes: Axes | undefined): boolean => Array.isArray(axes) && axes.length === 0;

const reduce = (op: Op<Attrs>, x: Tensor, axes: Axes | undefined, keepdim: boolean): Tensor =>
  run(op, [x], { axes: normalizeAxes(op.name, isEmptyList(axes) ? undefined : axes, x.rank), keepdim });

/**
 * Sum over axes (default: all; an empty list, too, means all, as in PyTorch and unlike NumPy). `keepdim` keeps reduced axes with size 1.
 * The result is float32, of float16 too: sums soon leave its range.
 */
export const sum = (x: Tensor, axes?: Axes, keepdim = false): Tensor => reduce(sumOp, x, axes, keepdim);
/** Mean over axes, given as for {@link sum}. */
export const mean = (x: Tensor, axes?: Axes, keepdim = false): Tensor => reduce(meanOp, x, axes, keepdim);
/** Maximum over axes, given as for {@link sum} (PyTorch's `amax`: ties share the gradient). NaN wins over numbers. */
export const max = (x: Tensor, axes?: Axes, keepdim = false): Tensor => reduce(maxOp, x, axes, keepdim);
/** Minimum over axes, given as for {@link sum} (PyTorch's `amin`). NaN wins over numbers. */
export const min = (x: Tensor, axes?: Axes, keepdim = false): Tensor => reduce(minOp, x, axes, keepdim);
/**
 * Index (int32) of the maximum along an axis; without one, as in PyTorch, among all elements in their order. The first of equals; NaN is larger than
 * any number.
 */
export const argmax = (x: Tensor, axis?: number, keepdim = false): Tensor => {
  checkTensor('argmax', x, 0);
  if (axis !== undefined) return run(argmaxOp, [x], { axis: normalizeAxis('argmax', axis, x.rank), keepdim });
  const index = run(argmaxOp, [reshape(x, [-1])], { axis: 0, keepdim: false });
  return keepdim ? reshape(index, x.shape.map(() => 1)) : index;
};

/** y = scale · Σ x over the leading axes that y lacks, or y + that. The order of summation depends on shapes alone, so results repeat bit by bit. */
export const sumInto = (x: Tensor, y: Tensor, { scale = 1, accumulate = false }: { readonly scale?: number; readonly accumulate?: boolean }): void => {
  reduceColumns('sum', x, 0, x.rank - y.rank, scale, { y, accumulate });
};

/** Sums a gradient over the axes along which its operand was broadcast. */
export const sumTo = (grad: Tensor, shape: Shape): Tensor => {
  if (sameShape(grad.shape, shape)) return grad;
  const extra = grad.rank - shape.length;
  const axes = grad.shape.map((_, i) => i).filter((i) => i < extra || (shape[i - extra] === 1 && grad.shape[i] !== 1));
  return reshape(axes.length ? reduceKept('sum', grad, axes, 1) : grad, shape);
};
