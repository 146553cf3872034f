import source from '../../shaders/attention-choice.wgsl';
import { fail } from '../errors.js';
import { Shader } from '../kernels/shader.js';
import { formatShape, numel, quadCount, quadsPerRow, rowWidth, type Shape } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { integers, literal, type OpCase, uniform } from './cases.js';
import { mapNd, nd } from './nd.js';
import { allocate, bytesOf, dispatch, gridFor, type NoAttrs, type Op, run, stretchesFor } from './op.js';

const shader = new Shader('attention-choice', source);

const paramsOf = (shape: Shape) => ({ steps: 1, batch: shape[0]!, pixels: shape[1]! * shape[2]!, quads: quadsPerRow(shape), channels: rowWidth(shape) });

const multiplied = (images: Tensor, mask: Tensor): Tensor => {
  const { shape, runtime } = images;
  const y = allocate(runtime, shape, 'maskedMultiply');
  const { steps, grid } = stretchesFor(runtime, quadCount(shape));
  dispatch(runtime, shader.kernel('multiply'), { x: images, mask, y }, { ...paramsOf(shape), steps }, grid);
  return y;
};

export const maskedMultiplyOp: Op<NoAttrs> = {
  name: 'maskedMultiply',
  group: 'WS-DAN',
  infer: ([images, mask]) => {
    if (images!.length !== 4 || mask!.length !== 4 || mask![3] !== 1 || [0, 1, 2].some((axis) => images![axis] !== mask![axis])) {
      fail(`maskedMultiply: images must be [B, H, W, C] and the mask [B, H, W, 1], got ${formatShape(images!)} and ${formatShape(mask!)}`);
    }
    return images!;
  },
  forward: ({ inputs: [images, mask] }) => multiplied(images!, mask!),
  keeps: { inputs: [1] },
  backward: ({ grad, inputs: [, mask] }) => [multiplied(grad, mask!), null],
  reference: ([images, mask]) => mapNd(images!.shape, (i) => images!.data[i]! * mask!.data[Math.floor(i / images!.shape[3]!)]!),
  cost: ([images, mask]) => ({ flops: 0, bytes: 2 * bytesOf(images!) + bytesOf(mask!) }),
  cases: [
    { name: 'three channels', shapes: [[2, 4, 5, 3], [2, 4, 5, 1]], attrs: {}, fill: [undefined, integers(2)], dtypes: [undefined, 'bool'] },
    { name: 'many channels', shapes: [[1, 3, 1, 9], [1, 3, 1, 1]], attrs: {}, fill: [undefined, integers(2)], dtypes: [undefined, 'bool'] },
    { name: '2×448×448×3', shapes: [[2, 448, 448, 3], [2, 448, 448, 1]], attrs: {}, fill: [undefined, integers(2)], dtypes: [undefined, 'bool'], bench: true },
  ],
};

export const chooseMapOp: Op<{ which: number }> = {
  name: 'chooseMap',
  takes: ['float', 'int32'],
  group: 'WS-DAN',
  infer: ([maps, indices]) => {
    if (maps!.length !== 4) fail(`chooseMaps: maps must be [B, H, W, M], got ${formatShape(maps!)}`);
    if (indices!.length !== 2 || indices![0] !== maps![0] || indices![1] !== 2) {
      fail(`chooseMaps: indices must be [${maps![0]}, 2], two per image, got ${formatShape(indices!)}`);
    }
    return [...maps!.slice(0, 3), 1];
  },
  forward: ({ runtime, inputs: [maps, indices], attrs: { which }, shape }) => {
    const y = allocate(runtime, shape, 'chooseMap');
    dispatch(runtime, shader.kernel('choose', { WHICH: which }), { x: maps!, indices: indices!, y }, paramsOf(maps!.shape), gridFor(quadCount(shape)));
    return y;
  },
  backward: null,
  reference: ([maps, indices], { which }) => {
    const [batch, height, width, count] = maps!.shape as [number, number, number, number];
    return mapNd([batch, height, width, 1], (i) => maps!.data[i * count + indices!.data[2 * Math.floor(i / (height * width)) + which]!]!);
  },
  cost: (_, __, out) => ({ flops: 0, bytes: bytesOf(out, out) }),
  cases: [0, 1].flatMap((which): OpCase<{ which: number }>[] => [
    { name: `index ${which} of 6 maps`, shapes: [[3, 4, 5, 6], [3, 2]], attrs: { which }, fill: [undefined, integers(6)], dtypes: [undefined, 'int32'] },
    { name: `index ${which}, one map`, shapes: [[2, 1, 3, 1], [2, 2]], attrs: { which }, fill: [undefined, integers(1)], dtypes: [undefined, 'int32'] },
  ]),
};

export const mapWeightsOp: Op<NoAttrs> = {
  name: 'mapWeights',
  group: 'WS-DAN',
  infer: ([maps]) => (maps!.length === 4 ? [maps![0]!, maps![3]!] : fail(`mapWeights: maps must be [B, H, W, M], got ${formatShape(maps!)}`)),
  forward: ({ runtime, inputs: [maps], shape }) => {
    const y = allocate(runtime, shape, 'mapWeights');
    dispatch(runtime, shader.kernel('weights'), { x: maps!, y }, paramsOf(maps!.shape), gridFor(quadCount(shape)));
    return y;
  },
  backward: null,
  reference: ([maps]) => {
    const [batch, height, width, count] = maps!.shape as [number, number, number, number];
    const sums = nd([batch, count]);
    maps!.data.forEach((value, i) => { sums.data[Math.floor(i / (height * width * count)) * count + (i % count)]! += value; });
    return mapNd(sums.shape, (i) => (sums.data[i]! >= 0 && sums.data[i]! < Infinity ? Math.sqrt(sums.data[i]! + 1e-12) : 0));
  },
  cost: ([maps], _, out) => ({ flops: numel(maps!), bytes: bytesOf(maps!, out) }),
  cases: [
    { name: 'six maps', shapes: [[3, 4, 5, 6]], attrs: {}, fill: [uniform(0, 1)] },
    { name: 'one pixel', shapes: [[2, 1, 1, 1]], attrs: {}, fill: [uniform(0, 4)] },
    { name: 'dead, infinite and broken maps', shapes: [[1, 1, 2, 5]], attrs: {}, fill: [literal([0, 1, NaN, Infinity, -1, 0, 2, 1, 1, -1])] },
    { name: '12×26×26×32', shapes: [[12, 26, 26, 32]], attrs: {}, fill: [uniform(0, 1)], bench: true },
  ],
};

/** images [B, H, W, C] times a mask [B, H, W, 1]; gradient for the images. WS-DAN's dropping. */
export const maskedMultiply = (images: Tensor, mask: Tensor): Tensor => run(maskedMultiplyOp, [images, mask], {});

/**
 * The two maps of each image that `indices` (int32 [B, 2], two indices per image) name, of maps [B, H, W, M]:
 * two tensors [B, H, W, 1]. No gradient. An index outside 0 … M − 1 is taken as the nearest inside.
 */
export const chooseMaps = (maps: Tensor, indices: Tensor): [Tensor, Tensor] =>
  [run(chooseMapOp, [maps, indices], { which: 0 }), run(chooseMapOp, [maps, indices], { which: 1 })];

/**
 * How likely each map of [B, H, W, M] is to be drawn for augmentation, not normalised: sqrt(Σ over the pixels + 1e-12),
 * [B, M]. 0 for a map with a negative sum or one that is not finite. No gradient.
 */
export const mapWeights = (maps: Tensor): Tensor => run(mapWeightsOp, [maps], {});
