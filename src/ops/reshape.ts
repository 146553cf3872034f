import source from '../../shaders/reshape.wgsl';
import { fail } from '../errors.js';
import { Shader } from '../kernels/shader.js';
import { checkList, checkShape, formatShape, numel, quadCount, quadsPerRow, rowWidth, type Shape } from '../tensor/shape.js';
import { Tensor } from '../tensor/tensor.js';
import { nd } from './nd.js';
import { bytesOf, dispatch, type Op, run, stretchesFor } from './op.js';

const shader = new Shader('reshape', source);

interface Attrs {
  readonly to: Shape;
}

/** Rows of both shapes begin at the same places in storage, so the memory can be shared. */
const sharesRows = (from: Shape, to: Shape): boolean =>
  rowWidth(from) === rowWidth(to) || (rowWidth(from) % 4 === 0 && rowWidth(to) % 4 === 0);

const reshaped = (x: Tensor, to: Shape): Tensor => {
  if (sharesRows(x.shape, to)) return x.alias(to, 'reshape');
  const y = Tensor.allocate(x.runtime, to, x.dtype, 'reshape');
  const { steps, grid } = stretchesFor(x.runtime, quadCount(to));
  dispatch(x.runtime, shader.kernel('forward'), { x, y }, {
    quads: quadCount(to), steps, toQuadsPerRow: quadsPerRow(to), toWidth: rowWidth(to), fromWidth: rowWidth(x.shape), fromStride: quadsPerRow(x.shape) * 4,
  }, grid);
  return y;
};

export const reshapeOp: Op<Attrs> = {
  name: 'reshape',
  takes: ['any'],
  precision: 'any',
  group: 'Shape',
  infer: ([from], { to }) => {
    checkShape('reshape', to);
    if (numel(from!) !== numel(to)) fail(`reshape: ${formatShape(from!)} has ${numel(from!)} elements, ${formatShape(to)} would have ${numel(to)}`);
    return to;
  },
  forward: ({ inputs, shape }) => reshaped(inputs[0]!, shape),
  backward: ({ grad, shapes }) => [reshaped(grad, shapes[0]!)],
  reference: ([x], { to }) => nd(to, x!.data),
  cost: ([from], _, to) => ({ flops: 0, bytes: bytesOf(from!, to) }),
  cases: [
    { name: 'same row', shapes: [[2, 3, 5]], attrs: { to: [6, 5] } },
    { name: 'rows of fours', shapes: [[2, 8]], attrs: { to: [4, 4] } },
    { name: 'ragged rows', shapes: [[2, 3, 5]], attrs: { to: [5, 6] } },
    { name: 'many ragged rows', shapes: [[9, 32, 26, 26]], attrs: { to: [9, 32, 676] } },
    { name: 'to scalar', shapes: [[1, 1]], attrs: { to: [] } },
    { name: 'flatten', shapes: [[3, 7, 3]], attrs: { to: [63] } },
    { name: '12×128×26² to 12×128×676', shapes: [[12, 128, 26, 26]], attrs: { to: [12, 128, 676] }, bench: true },
  ],
};

/**
 * The same elements in row-major order with another shape; one size may be −1 and is then inferred.
 * Shares memory where rows allow it, else copies.
 */
export const reshape = (x: Tensor, shape: Shape): Tensor => {
  checkList('reshape', 'the shape', shape);
  const known = shape.reduce((product, size) => (size === -1 ? product : product * size), 1);
  const unknown = shape.filter((size) => size === -1).length;
  if (unknown > 1) fail(`reshape: ${formatShape(shape)} leaves ${unknown} sizes open; only one can be inferred`);
  if (unknown === 1 && x.size % known !== 0) fail(`reshape: the ${x.size} elements of ${formatShape(x.shape)} do not divide into ${formatShape(shape)}`);
  return run(reshapeOp, [x], { to: shape.map((size) => (size === -1 ? x.size / known : size)) });
};
