import source from '../../shaders/join.wgsl';
import { fail } from '../errors.js';
import { Shader } from '../kernels/shader.js';
import { formatShape, normalizeAxis, numel, quadsPerRow, rowCount, rowWidth, sameShape, type Shape } from '../tensor/shape.js';
import { Tensor } from '../tensor/tensor.js';
import { integers } from './cases.js';
import { checkTypes, commonType } from './convert.js';
import { narrow } from './layout.js';
import { type Nd, nd } from './nd.js';
import { type BackwardCall, bytesOf, type Call, dispatch, gridFor, type Op, run } from './op.js';
import { reshape } from './reshape.js';
import { storedStrides, stridedCopy } from './strided-copy.js';

const shader = new Shader('join', source);
interface CatAttrs {
  readonly axis: number;
}

/** Copies a piece to its place; `offset` is in entries of the axis. */
const place = (piece: Tensor, y: Tensor, axis: number, offset: number, isLast: boolean): void => {
  const { runtime, shape } = piece;
  const rowAxis = axis === shape.length - 1;
  if (rowAxis && (offset % 4 !== 0 || (!isLast && rowWidth(shape) % 4 !== 0))) {
    const stride = quadsPerRow(y.shape) * 4;
    const span = isLast ? stride - offset : rowWidth(shape);
    const chunks = Math.ceil(span / 4);
    const items = rowCount(shape) * chunks;
    dispatch(runtime, shader.kernel('placeElements'), { x: piece, y }, { items, chunks, stride, offset, width: rowWidth(shape), span }, gridFor(items));
    return;
  }
  const strides = storedStrides(y.shape);
  stridedCopy('cat', piece, { shape, base: 0, strides: storedStrides(shape) }, { y, base: offset * strides[axis]!, strides });
};

const catForward = ({ runtime, inputs, attrs: { axis }, shape }: Call<CatAttrs>): Tensor => {
  const y = Tensor.allocate(runtime, shape, commonType(inputs), 'cat');
  let offset = 0;
  inputs.forEach((piece, i) => {
    place(piece, y, axis, offset, i === inputs.length - 1);
    offset += piece.shape[axis]!;
  });
  return y;
};

const catBackward = ({ grad, attrs: { axis }, shapes, needs }: BackwardCall<CatAttrs>) => {
  let offset = 0;
  return shapes.map((shape, i) => {
    const start = offset;
    offset += shape[axis]!;
    return needs[i] ? narrow(grad, axis, start, shape[axis]!) : null;
  });
};

const catReference = (inputs: readonly Nd[], axis: number, shape: Shape): Nd => {
  const outer = numel(shape.slice(0, axis));
  const data: number[] = [];
  for (let o = 0; o < outer; o++) {
    for (const { data: piece } of inputs) data.push(...piece.subarray((o * piece.length) / outer, ((o + 1) * piece.length) / outer));
  }
  return nd(shape, data);
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
  name: 'cat', group: 'Shape', precision: 'any', infer: catInfer, forward: catForward, backward: catBackward,
  reference: (inputs, attrs) => catReference(inputs, attrs.axis, catInfer(inputs.map((x) => x.shape), attrs)),
  cost: (shapes, _, shape) => ({ flops: 0, bytes: bytesOf(...shapes, shape) }),
  cases: [
    { name: 'rows', shapes: [[2, 5], [3, 5]], attrs: { axis: 0 } },
    { name: 'channels of fours', shapes: [[3, 4], [3, 8], [3, 2]], attrs: { axis: 1 } },
    { name: 'ragged channels', shapes: [[2, 2, 3], [2, 2, 6], [2, 2, 1]], attrs: { axis: 2 } },
    { name: 'ragged after fours', shapes: [[2, 4], [2, 3], [2, 5], [2, 4]], attrs: { axis: 1 } },
    { name: 'middle', shapes: [[2, 1, 3], [2, 4, 3]], attrs: { axis: 1 } },
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
  if (tensors.length === 0) fail('cat: the list of tensors is empty');
  checkTypes('cat', tensors);
  return run(catOp, tensors, { axis: normalizeAxis('cat', axis, tensors[0]!.rank) });
};

/** Tensors of one shape joined along a new axis (PyTorch's `stack`). */
export const stack = (tensors: readonly Tensor[], axis = 0): Tensor => {
  if (tensors.length === 0) fail('stack: the list of tensors is empty');
  const at = normalizeAxis('stack', axis, tensors[0]!.rank + 1);
  const other = tensors.find((x) => !sameShape(x.shape, tensors[0]!.shape));
  if (other) fail(`stack: shapes ${formatShape(tensors[0]!.shape)} and ${formatShape(other.shape)} differ; all must be equal`);
  return cat(tensors.map((x) => reshape(x, [...x.shape.slice(0, at), 1, ...x.shape.slice(at)])), at);
};
