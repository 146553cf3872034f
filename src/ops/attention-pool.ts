import source from '../../shaders/attention-pool.wgsl';
import { fail } from '../errors.js';
import type { Runtime } from '../kernels/runtime.js';
import { Shader } from '../kernels/shader.js';
import { formatShape, quadCount, type Shape } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { checkChoice, checkNames } from './arguments.js';
import { distinct, type OpCase, uniform } from './cases.js';
import { fill_ } from './fill.js';
import { type Extents, gemmRows, gemmWeights, rowsGeometry } from './gemm.js';
import { operands, readsImages } from './gemm-tiling.js';
import { nd } from './nd.js';
import { allocate, type BackwardCall, bytesOf, type Call, dispatch, gridFor, type Op, run } from './op.js';

/**
 * The shader by what maps (w) and features (x) come as, with the tile of an invocation (MAPS × CHANNELS, in vec4f), the pixels it reads
 * in a turn and the invocations of a workgroup (GROUP). Loads from images cost little: there, larger tiles pay.
 */
const VARIANTS = {
  buffers: { shader: new Shader('attention-pool', source, operands('buffer')), constants: { MAPS: 1, CHANNELS: 1, PIXELS: 1, GROUP: 64 } },
  images: { shader: new Shader('attention-pool images', source, operands('image')), constants: { MAPS: 2, CHANNELS: 4, GROUP: 8 } },
} as const;

/** What a tile from images does with a pixel is so long in vec4f multiply-adds: 32 products that are compared, and its loads. */
const TURN_PER_PIXEL = 40;

/** From images, a turn of the loop must be as short as that of weight gradients. */
const variantFor = (runtime: Runtime, features: Tensor, maps: Tensor) => {
  if (!readsImages(runtime, features, maps)) return VARIANTS.buffers;
  const { shader, constants } = VARIANTS.images;
  return { shader, constants: { ...constants, PIXELS: Math.max(1, Math.floor(runtime.gemm.weightsTurn / TURN_PER_PIXEL)) } };
};

/** `GAP`: mean over the pixels of map · feature, as published recipes use it. `GMP`: the maximum. */
export type PoolMode = 'GAP' | 'GMP';

interface Attrs {
  readonly pool: PoolMode;
}

interface Sizes {
  readonly batch: number;
  readonly pixels: number;
  readonly maps: number;
  readonly channels: number;
  readonly mapQuads: number;
  readonly channelQuads: number;
}

const sizesOf = ([features, maps]: readonly Shape[]): Sizes => {
  const [[batch, height, width, channels], count] = [features as [number, number, number, number], maps![3]!];
  return { batch, pixels: height * width, maps: count, channels, mapQuads: Math.ceil(count / 4), channelQuads: Math.ceil(channels / 4) };
};

const infer = ([features, maps]: readonly Shape[]): Shape => {
  if (features!.length !== 4 || maps!.length !== 4) {
    fail(`attentionPool: features and maps must be [B, H, W, channels], got ${formatShape(features!)} and ${formatShape(maps!)}`);
  }
  if ([0, 1, 2].some((axis) => features![axis] !== maps![axis])) {
    fail(`attentionPool: features ${formatShape(features!)} and maps ${formatShape(maps!)} must agree in batch, height and width; resize the maps with interpolate()`);
  }
  return [features![0]!, maps![3]!, features![3]!];
};

/** The matrices of a batch, one per image, as a product's operands: maps [pixels, M], features [pixels, C], pooled [M, C]. */
const matricesOf = ({ batch, pixels, maps, mapQuads, channelQuads }: Sizes) => ({
  batches: batch, wTap: 0,
  maps: { pitch: mapQuads, stride: pixels * mapQuads }, features: { pitch: channelQuads, stride: pixels * channelQuads },
  pooled: { pitch: channelQuads, stride: maps * channelQuads },
});

type Matrix = ReturnType<typeof matricesOf>['maps'];

const extents = (depth: number, width: number, { batches, wTap }: ReturnType<typeof matricesOf>, x: Matrix, w: Matrix, y: Matrix): Extents => ({
  depth, width, batches, wTap, xPitch: x.pitch, xBatch: x.stride, wPitch: w.pitch, wBatch: w.stride, yPitch: y.pitch, yBatch: y.stride,
});

/** The mean over the pixels of map · feature. */
const poolMeans = ({ inputs: [features, maps], shape }: Call<Attrs>): Tensor => {
  const sizes = sizesOf([features!.shape, maps!.shape]);
  const pooled = allocate(features!.runtime, shape, 'attentionPool');
  const m = matricesOf(sizes);
  const scale = 1 / sizes.pixels;
  gemmWeights(maps!, features!, pooled, rowsGeometry(sizes.pixels), extents(sizes.maps, sizes.channels, m, m.maps, m.features, m.pooled), { scale });
  return pooled;
};

/** Gradients of features and maps, added to those in `into`. */
const meanGradients = ({ runtime, grad, shapes, needs, inputs: [features, maps], into = [] }: BackwardCall<Attrs>): (Tensor | null)[] => {
  const sizes = sizesOf(shapes);
  const m = matricesOf(sizes);
  const scale = 1 / sizes.pixels;
  const multiply = (i: 0 | 1, x: Tensor, e: Extents, transposed: boolean): Tensor | null => {
    const result = into[i] ?? allocate(runtime, shapes[i]!, 'attentionPool gradient');
    gemmRows(x, grad, result, rowsGeometry(sizes.pixels), e, { scale, transposed, accumulate: Boolean(into[i]) });
    return into[i] ? null : result;
  };
  return [
    needs[0] ? multiply(0, maps!, extents(sizes.maps, sizes.channels, m, m.maps, m.pooled, m.features), false) : null,
    needs[1] ? multiply(1, features!, extents(sizes.channels, sizes.maps, m, m.features, m.pooled, m.maps), true) : null,
  ];
};

/** Which pixels the maxima are of only backward asks. */
const poolMaxima = ({ inputs: [features, maps], operands, shape }: Call<Attrs>): Tensor | { output: Tensor; saved: { firsts: Tensor } } => {
  const { runtime } = features!;
  const sizes = sizesOf([features!.shape, maps!.shape]);
  const pooled = allocate(runtime, shape, 'attentionPool');
  const firsts = allocate(runtime, shape, 'attentionPool maxima', 'int32');
  const { shader, constants } = variantFor(runtime, features!, maps!);
  const tiles = Math.ceil(sizes.channelQuads / constants.CHANNELS);
  const blocks = Math.ceil(tiles / constants.GROUP);
  const items = sizes.batch * Math.ceil(sizes.mapQuads / constants.MAPS) * blocks * Math.ceil(tiles / blocks);
  dispatch(runtime, shader.kernel('maximum', constants), { x: features!, w: maps!, pooled, firsts }, { ...sizes }, gridFor(items, constants.GROUP));
  if (!operands.some(({ requiresGrad }) => requiresGrad)) return pooled;
  if (constants.PIXELS > 1) dispatch(runtime, shader.kernel('locate', constants), { x: features!, w: maps!, firsts }, { ...sizes }, gridFor(quadCount(shape)));
  return { output: pooled, saved: { firsts } };
};

/** Invocations of a workgroup where there are few of them and each has much to do. */
const SMALL_GROUP = 8;

/**
 * Gradients of features and maps at the pixels of the maxima, added to those in `into` that are float32: a float16 would be rounded with each of many
 * terms.
 */
const maximumGradients = ({ runtime, grad, shapes, needs, inputs: [features, maps], saved, into = [] }: BackwardCall<Attrs>): (Tensor | null)[] => {
  const sizes = sizesOf(shapes);
  const { shader, constants } = VARIANTS.buffers;
  const scatter = (i: 0 | 1, entry: string, values: Tensor, items: number): Tensor | null => {
    const sum = into[i]?.dtype === 'float32' ? into[i] : null;
    const result = sum ?? fill_(allocate(runtime, shapes[i]!, 'attentionPool gradient'), 0);
    dispatch(runtime, shader.kernel(entry, constants), { values, gradient: grad, winners: saved.firsts!, result }, { ...sizes }, gridFor(items, SMALL_GROUP));
    return sum ? null : result;
  };
  return [
    needs[0] ? scatter(0, 'toFeatures', maps!, sizes.batch * sizes.channelQuads) : null,
    needs[1] ? scatter(1, 'toMaps', features!, sizes.batch * sizes.maps) : null,
  ];
};

const reference: Op<Attrs>['reference'] = ([features, maps], { pool }) => {
  const [batch, height, width, channels] = features!.shape as [number, number, number, number];
  const count = maps!.shape[3]!;
  const out = nd([batch, count, channels]);
  for (let b = 0; b < batch; b++) {
    for (let m = 0; m < count; m++) {
      for (let c = 0; c < channels; c++) {
        let sum = 0;
        let largest = -Infinity;
        for (let p = b * height * width; p < (b + 1) * height * width; p++) {
          const product = maps!.data[p * count + m]! * features!.data[p * channels + c]!;
          sum += product;
          largest = Math.max(largest, product);
        }
        out.data[(b * count + m) * channels + c] = pool === 'GAP' ? sum / (height * width) : largest;
      }
    }
  }
  return out;
};

const casesFor = (pool: PoolMode): OpCase<Attrs>[] => {
  // The maximum needs products without ties: then a small step cannot change which one is the largest.
  const fill = pool === 'GMP' ? [distinct(0.07), uniform(0.5, 1)] : undefined;
  const rows: [Shape, number][] = [
    [[1, 2, 2, 3], 2], [[2, 3, 3, 5], 3], [[1, 1, 1, 1], 1], [[2, 2, 1, 4], 4], [[2, 3, 2, 13], 9], [[1, 5, 7, 8], 12], [[3, 8, 8, 33], 6], [[1, 5, 5, 140], 5],
  ];
  if (pool === 'GAP') rows.push([[1, 2, 3, 1024], 5]);
  const layers: [Shape, number][] = [[[2, 26, 26, 768], 32], [[16, 9, 9, 64], 32]];
  const one = (features: Shape, maps: number, bench: boolean): OpCase<Attrs> => ({
    name: `${pool} ${features.join('×')} by ${maps} maps`, shapes: [features, [...features.slice(0, 3), maps]], attrs: { pool },
    ...(fill ? { fill } : {}), ...(bench ? { bench } : {}),
  });
  return [...rows.map(([f, m]) => one(f, m, false)), ...layers.map(([f, m]) => one(f, m, true))];
};

export const attentionPoolOp: Op<Attrs> = {
  name: 'attentionPool',
  group: 'WS-DAN',
  infer,
  forward: (call) => (call.attrs.pool === 'GMP' ? poolMaxima(call) : poolMeans(call)),
  keeps: { inputs: [0, 1] },
  backward: (call) => (call.attrs.pool === 'GMP' ? maximumGradients(call) : meanGradients(call)),
  reference,
  cost: (shapes, _, out) => {
    const { batch, pixels, maps, channels } = sizesOf(shapes);
    return { flops: 2 * batch * pixels * maps * channels, bytes: bytesOf(...shapes, out) };
  },
  // By the mean it is a product for each operand; by the maximum only the pixels of the maxima count, and zeros are written for the others.
  backwardCost: (shapes, { pool }) => {
    const { batch, pixels, maps, channels } = sizesOf(shapes);
    return { flops: 4 * batch * maps * channels * (pool === 'GAP' ? pixels : 1), ...(pool === 'GMP' ? { bytes: bytesOf(...shapes, infer(shapes), infer(shapes)) } : {}) };
  },
  cases: [...casesFor('GAP'), ...casesFor('GMP')],
};

/**
 * Bilinear attention pooling (WS-DAN eq. 2–3): features [B, H, W, C] weighted by each of M maps [B, H, W, M]
 * and pooled to [B, M, C]. `GAP` is the mean over H·W of map · feature, `GMP` the maximum, whose gradient
 * goes to the first maximum in row-major order.
 *
 * @throws UserError when batch, height or width of the two differ
 */
export const attentionPool = (features: Tensor, maps: Tensor, options: { pool?: PoolMode } = {}): Tensor => {
  checkNames('attentionPool', options, ['pool']);
  const { pool = 'GAP' } = options;
  checkChoice('attentionPool', 'pool', pool, ['GAP', 'GMP']);
  return run(attentionPoolOp, [features, maps], { pool });
};
