import source from '../../shaders/join.wgsl';
import { fail } from '../errors.js';
import { linearGrid } from '../kernels/grid.js';
import { Shader } from '../kernels/shader.js';
import { checkList, formatShape, normalizeAxis, numel, quadCount, quadsPerRow, rowCount, rowWidth, sameShape, type Shape } from '../tensor/shape.js';
import { Tensor } from '../tensor/tensor.js';
import { integers } from './cases.js';
import { checkTypes, commonType } from './convert.js';
import { narrow, unsqueeze } from './layout.js';
import { type Nd, nd } from './nd.js';
import { ABREAST, type BackwardCall, bytesOf, type Call, dispatch, gridFor, type Op, run, stepsFor, WORKGROUP } from './op.js';

const shader = new Shader('join', source);

interface CatAttrs {
  readonly axis: number;
}

/** A piece with its place, in entries of the axis. */
interface Placed {
  readonly piece: Tensor;
  readonly start: number;
}

/** Where each piece begins along the axis. */
const startsOf = (shapes: readonly Shape[], axis: number): number[] => {
  let end = 0;
  return shapes.map((shape) => (end += shape[axis]!) - shape[axis]!);
};

/** Whether every piece begins at a whole vec4 of a row. */
const areAligned = (shapes: readonly Shape[], axis: number): boolean =>
  axis < shapes[0]!.length - 1 || shapes.slice(0, -1).every((shape) => rowWidth(shape) % 4 === 0);

/** Pieces that one dispatch moves. */
const MOST_PIECES = 4;
const NO_ELEMENTS = { items: 0, chunks: 0, stride: 0, offset: 0, width: 0, span: 0 };
const NO_PIECES = { widths: [0, 0, 0, 0], offsets: [0, 0, 0, 0], totals: [0, 0, 0, 0], begins: [0, 0, 0, 0], ends: [0, 0, 0, 0], pitch: 0, steps: 0 };

/** Moves up to four pieces to or from a whole: everything before the axis counts as rows. A single row lies in one piece, and can be cut as one likes. */
const movePieces = (entry: 'join' | 'part', whole: Tensor, pieces: readonly Placed[], axis: number): void => {
  const { runtime } = whole;
  const rows = numel(whole.shape.slice(0, axis));
  const perEntry = axis === whole.rank - 1 ? 1 / 4 : quadCount(whole.shape.slice(axis + 1));
  const totals = pieces.map(({ piece }) => quadCount(piece.shape));
  const widths = totals.map((total) => (rows === 1 ? ABREAST : total / rows));
  const steps = stepsFor(runtime, totals.reduce((sum, total) => sum + total, 0));
  const ends: number[] = [];
  totals.forEach((total, i) => ends.push((ends[i - 1] ?? 0) + Math.ceil((widths[i]! * Math.ceil(Math.ceil(total / widths[i]!) / steps)) / WORKGROUP)));
  const four = (values: readonly number[]): number[] => Array.from({ length: MOST_PIECES }, (_, i) => values[i] ?? 0);
  const named = Object.fromEntries(pieces.map(({ piece }, i) => [`${entry === 'join' ? 'piece' : 'part'}${i}`, piece]));
  dispatch(runtime, shader.kernel(entry, { PIECES: pieces.length }), { [entry === 'join' ? 'joined' : 'whole']: whole, ...named }, {
    ...NO_ELEMENTS,
    widths: four(widths), offsets: four(pieces.map(({ start }) => start * perEntry)), totals: four(totals), begins: four([0, ...ends]), ends: four(ends),
    pitch: rows === 1 ? ABREAST : quadCount(whole.shape) / rows, steps,
  }, linearGrid(ends.at(-1)!));
};

const moveAll = (entry: 'join' | 'part', whole: Tensor, pieces: readonly Placed[], axis: number): void => {
  for (let i = 0; i < pieces.length; i += MOST_PIECES) movePieces(entry, whole, pieces.slice(i, i + MOST_PIECES), axis);
};

/** Copies a piece to where it lies across vec4. */
const placeElements = ({ piece, start }: Placed, y: Tensor, isLast: boolean): void => {
  const stride = quadsPerRow(y.shape) * 4;
  const span = isLast ? stride - start : rowWidth(piece.shape);
  const chunks = Math.ceil(span / 4);
  const items = rowCount(piece.shape) * chunks;
  dispatch(y.runtime, shader.kernel('placeElements', { PIECES: 0 }), { x: piece, y },
    { ...NO_PIECES, items, chunks, stride, offset: start, width: rowWidth(piece.shape), span }, gridFor(items));
};

const catForward = ({ runtime, inputs, attrs: { axis }, shape }: Call<CatAttrs>): Tensor => {
  const y = Tensor.allocate(runtime, shape, commonType(inputs), 'cat');
  const shapes = inputs.map((piece) => piece.shape);
  const starts = startsOf(shapes, axis);
  const pieces = inputs.map((piece, i) => ({ piece, start: starts[i]! }));
  if (areAligned(shapes, axis)) moveAll('join', y, pieces, axis);
  else pieces.forEach((placed, i) => placeElements(placed, y, i === pieces.length - 1));
  return y;
};

const catBackward = ({ grad, attrs: { axis }, shapes, needs }: BackwardCall<CatAttrs>) => {
  const starts = startsOf(shapes, axis);
  if (!areAligned(shapes, axis)) return shapes.map((shape, i) => (needs[i] ? narrow(grad, axis, starts[i]!, shape[axis]!) : null));
  const gradients = shapes.map((shape, i) => (needs[i] ? Tensor.allocate(grad.runtime, shape, grad.dtype, 'cat gradient') : null));
  moveAll('part', grad, gradients.flatMap((piece, i) => (piece ? [{ piece, start: starts[i]! }] : [])), axis);
  return gradients;
};

const catReference = (inputs: readonly Nd[], axis: number, shape: Shape): Nd => {
  const outer = numel(shape.slice(0, axis));
  const out = nd(shape);
  let at = 0;
  for (let o = 0; o < outer; o++) {
    for (const { data: piece } of inputs) {
      const part = piece.subarray((o * piece.length) / outer, ((o + 1) * piece.length) / outer);
      out.data.set(part, at);
      at += part.length;
    }
  }
  return out;
};

const catInfer: Op<CatAttrs>['infer'] = (shapes, { axis }) => {
  const [first] = shapes as [Shape];
  for (const shape of shapes) {
    if (shape.length !== first.length || shape.some((size, i) => i !== axis && size !== first[i])) {
      fail(`cat: shapes ${shapes.map(formatShape).join(', ')} must agree in all axes but ${axis}`);
    }
  }
  return first.map((size, i) => (i === axis ? shapes.reduce((sum, shape) => sum + shape[axis]!, 0) : size));
};

export const catOp: Op<CatAttrs> = {
  name: 'cat', takes: ['any'], group: 'Shape', precision: 'any', infer: catInfer, forward: catForward, backward: catBackward,
  reference: (inputs, attrs) => catReference(inputs, attrs.axis, catInfer(inputs.map((x) => x.shape), attrs)),
  cost: (shapes, _, shape) => ({ flops: 0, bytes: bytesOf(...shapes, shape) }),
  cases: [
    { name: 'rows', shapes: [[2, 5], [3, 5]], attrs: { axis: 0 } },
    { name: 'channels of fours', shapes: [[3, 4], [3, 8], [3, 2]], attrs: { axis: 1 } },
    { name: 'ragged channels', shapes: [[2, 2, 3], [2, 2, 6], [2, 2, 1]], attrs: { axis: 2 } },
    { name: 'ragged after fours', shapes: [[2, 4], [2, 3], [2, 5], [2, 4]], attrs: { axis: 1 } },
    { name: 'middle', shapes: [[2, 1, 3], [2, 4, 3]], attrs: { axis: 1 } },
    { name: 'six pieces of fours', shapes: [[5, 4], [5, 8], [5, 4], [5, 12], [5, 4], [5, 7]], attrs: { axis: 1 } },
    { name: 'six pieces, middle', shapes: [[2, 3, 5], [2, 1, 5], [2, 2, 5], [2, 1, 5], [2, 4, 5], [2, 1, 5]], attrs: { axis: 1 } },
    { name: 'one piece', shapes: [[3, 3]], attrs: { axis: 1 } },
    { name: 'nine pieces', shapes: new Array<Shape>(9).fill([2, 1]), attrs: { axis: 1 } },
    { name: 'int32', shapes: [[2, 3], [2, 2]], attrs: { axis: 1 }, fill: [integers(9), integers(9)], dtypes: ['int32', 'int32'], gradient: 'none' },
    { name: '35² of 64, 64 and 96 channels', shapes: [[2, 35, 35, 64], [2, 35, 35, 64], [2, 35, 35, 96]], attrs: { axis: 3 }, bench: true },
  ],
};

/**
 * Tensors joined along an existing axis (PyTorch's `cat`); all other sizes must agree.
 *
 * @throws UserError for an empty list, or shapes or types that disagree
 */
export const cat = (tensors: readonly Tensor[], axis = 0): Tensor => {
  checkList('cat', 'the tensors', tensors);
  if (tensors.length === 0) fail('cat: the list of tensors is empty');
  checkTypes('cat', tensors);
  return run(catOp, tensors, { axis: normalizeAxis('cat', axis, tensors[0]!.rank) });
};

/** Tensors of one shape joined along a new axis (PyTorch's `stack`). */
export const stack = (tensors: readonly Tensor[], axis = 0): Tensor => {
  checkList('stack', 'the tensors', tensors);
  if (tensors.length === 0) fail('stack: the list of tensors is empty');
  const at = normalizeAxis('stack', axis, tensors[0]!.rank + 1);
  const other = tensors.find((x) => !sameShape(x.shape, tensors[0]!.shape));
  if (other) fail(`stack: shapes ${formatShape(tensors[0]!.shape)} and ${formatShape(other.shape)} differ; all must be equal`);
  return cat(tensors.map((x) => unsqueeze(x, at)), at);
};
