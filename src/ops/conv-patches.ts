/** Convolutions of few input channels as plain matrix products over laid-out taps (PyTorch's unfold). */
import source from '../../shaders/conv-patches.wgsl';
import { gridParts } from '../kernels/grid.js';
import type { Runtime } from '../kernels/runtime.js';
import { Shader } from '../kernels/shader.js';
import { scope } from '../tensor/scope.js';
import { quadsPerRow, type Shape, storageBytes } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { type ConvAttrs, windowParams } from './conv-shape.js';
import type { Epilogue } from './epilogue.js';
import { type Extents, gemmRows, gemmWeights, rowsGeometry } from './gemm.js';
import { allocate, dispatch, forAdapter, gridFor } from './op.js';

const shader = new Shader('conv-patches', source);

/** From this many channels on, an implicit product wastes less than the rows of taps cost. */
const FEW_CHANNELS = 8;

const rowsShape = (w: Shape, y: Shape): Shape => [y[0]! * y[1]! * y[2]!, w[0]! * w[1]! * w[2]!];

/** Whether a convolution should go this way: several taps of few channels, and rows that one buffer can hold. */
export const suitsPatches = ({ device }: Runtime, w: Shape, y: Shape, { groups }: ConvAttrs): boolean =>
  groups === 1 && w[0]! * w[1]! > 1 && w[2]! < FEW_CHANNELS && storageBytes(rowsShape(w, y)) <= device.limits.maxStorageBufferBindingSize;

/** Of the workgroups that fold: no larger than a GPU needs, since lines of few strides would leave most of it idle. */
const FOLDED = { gpu: 64, software: 16 };

/** So many taps of channels that fill one vec4f at most are laid out in one piece; more would take seconds to compile. */
const [FEW_TAPS, ONE_QUAD] = [12, 4];

/** Fours of taps that one turn of the loop lays out. */
const foursOf = ([down, across, channels]: Shape): number => {
  const taps = down! * across!;
  return taps <= FEW_TAPS && channels! <= ONE_QUAD ? Math.ceil(taps / 4) : 1;
};

/** How the window moves over x, apart by what the compiler knows and what it is told. */
const windowOf = (runtime: Runtime, x: Shape, w: Shape, y: Shape, a: ConvAttrs) => {
  const { kernelH: DOWN, kernelW: ACROSS, strideX: STRIDE_X, ...params } = windowParams(x, w, y, a);
  const CHANNELS = w[2]!;
  const constants = { CHANNELS, LOW: Math.min(CHANNELS, 4), HIGH: Math.max(CHANNELS - 4, 0), DOWN, ACROSS, FOURS: foursOf(w), STRIDE_X };
  return { constants: { ...constants, FOLDED: forAdapter(runtime, FOLDED) }, params };
};

const unfold = (x: Tensor, w: Shape, y: Shape, a: ConvAttrs): Tensor => {
  const rows = allocate(x.runtime, rowsShape(w, y), 'conv2d patches', x.dtype);
  const items = rows.shape[0]!;
  const { constants, params } = windowOf(x.runtime, x.shape, w, y, a);
  dispatch(x.runtime, shader.kernel('unfold', constants), { x, y: rows }, { ...params, items, firstImage: 0, firstLine: 0 }, gridFor(items));
  return rows;
};

/** Every launch covers strides of some images, line by line: drivers on CPUs divide integers one lane at a time. */
const fold = (rows: Tensor, w: Shape, grad: Shape, result: Tensor, a: ConvAttrs): void => {
  const [down, across] = ([0, 1] as const).map((axis) => Math.ceil((result.shape[axis + 1]! + a.padding[axis]!) / a.stride[axis]!)) as [number, number];
  const { constants, params } = windowOf(rows.runtime, result.shape, w, grad, a);
  for (const [lines, of] of gridParts(down, result.shape[0]!)) {
    const part = { ...params, items: 0, firstLine: lines.first, firstImage: of.first };
    dispatch(rows.runtime, shader.kernel('fold', constants), { source: rows, result }, part, [Math.ceil(across / constants.FOLDED), lines.count, of.count]);
  }
};

/** w [KH, KW, C, D] is a matrix [KH·KW·C, D] as it stands. */
const extents = (depth: number, width: number, pitches: Pick<Extents, 'xPitch' | 'wPitch' | 'yPitch'>): Extents =>
  ({ depth, width, ...pitches, wTap: 0, batches: 1, xBatch: 0, wBatch: 0, yBatch: 0 });

export const patchesForward = (x: Tensor, w: Tensor, y: Tensor, a: ConvAttrs, epilogue: Epilogue): void => scope(() => {
  const rows = unfold(x, w.shape, y.shape, a);
  gemmRows(rows, w, y, rowsGeometry(rows.shape[0]!),
    extents(rows.shape[1]!, w.shape[3]!, { xPitch: quadsPerRow(rows.shape), wPitch: quadsPerRow(w.shape), yPitch: quadsPerRow(y.shape) }), epilogue);
});

export const patchesGradWeight = (x: Tensor, grad: Tensor, result: Tensor, a: ConvAttrs, epilogue: Pick<Epilogue, 'accumulate'>): void => scope(() => {
  const rows = unfold(x, result.shape, grad.shape, a);
  gemmWeights(rows, grad, result, rowsGeometry(rows.shape[0]!),
    extents(rows.shape[1]!, grad.shape[3]!, { xPitch: quadsPerRow(rows.shape), wPitch: quadsPerRow(grad.shape), yPitch: quadsPerRow(result.shape) }), epilogue);
});

/** The gradient of the input, without dilation: that of its laid-out taps is one product, and each pixel collects its own. */
export const patchesGradInput = (grad: Tensor, w: Tensor, result: Tensor, a: ConvAttrs): void => scope(() => {
  const rows = allocate(grad.runtime, rowsShape(w.shape, grad.shape), 'conv2d patches gradient');
  gemmRows(grad, w, rows, rowsGeometry(rows.shape[0]!),
    extents(grad.shape[3]!, rows.shape[1]!,
      { xPitch: quadsPerRow(grad.shape), wPitch: quadsPerRow(w.shape), yPitch: quadsPerRow(rows.shape) }), { transposed: true });
  fold(rows, w.shape, grad.shape, result, a);
});
