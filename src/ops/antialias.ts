/** Resizing with a triangle that widens when shrinking, as PIL does. */
import source from '../../shaders/antialias.wgsl';
import type { Runtime } from '../kernels/runtime.js';
import { Shader } from '../kernels/shader.js';
import { quadsPerRow, sameShape, type Shape } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { allocate, dispatch, floatOf, forAdapter, gridFor, runsOf } from './op.js';
import { resample, resampleBackward } from './resample.js';

const shader = new Shader('antialias', source);

/**
 * Columns of what is written that an invocation takes, and pixels of each at most. Neighbouring columns share what they read;
 * drivers on CPUs, where reading costs most, take several.
 */
const ACROSS = { forward: { gpu: 1, software: 2 }, backward: { gpu: 1, software: 4 } } as const;
const RUN = { forward: { gpu: 8, software: 32 }, backward: { gpu: 8, software: 64 } } as const;
/** Pixels that are read in one turn of a loop: longer ones outgrow what a processor keeps decoded. Where one turn does, weights are found but once. */
const MOST_TAPS = { gpu: 6, software: 2 } as const;
/** The same for pixels that do not fill a vec4f: fewer numbers of them are loaded. */
const MOST_NARROW_TAPS = { gpu: 6, software: 8 } as const;

/** Columns that an invocation takes, and pixels that it reads side by side for them: all in one turn, or in several of equal length. */
const blockOf = (runtime: Runtime, entry: 'forward' | 'backward', [, , inWidth, channels]: Shape, [, , outWidth]: Shape): { across: number; span: number; TAPS: number } => {
  const across = forAdapter(runtime, ACROSS[entry]);
  if (entry === 'backward') return { across, span: 0, TAPS: Math.ceil(((across - 1) * outWidth!) / inWidth!) + 2 };
  const span = Math.ceil(((across + 1) * inWidth!) / outWidth!);
  if (channels! < 4 && span <= forAdapter(runtime, MOST_NARROW_TAPS)) return { across, span, TAPS: span };
  return { across, span, TAPS: Math.ceil(span / Math.ceil(span / forAdapter(runtime, MOST_TAPS))) };
};

const launch = (entry: 'forward' | 'backward', x: Tensor, y: Tensor, source: Shape, result: Shape): void => {
  const { runtime } = x;
  const [batch, height, width, channels] = y.shape as [number, number, number, number];
  const { across, span, TAPS } = blockOf(runtime, entry, source, result);
  const quads = quadsPerRow(source);
  const { runs, run } = runsOf(height, forAdapter(runtime, RUN[entry]));
  const blocks = Math.ceil(width / across);
  const params = {
    batch, inHeight: source[1]!, inWidth: source[2]!, outHeight: result[1]!, outWidth: result[2]!, quads, blocks, runs, run, span,
  };
  const outputs = params.outHeight + params.outWidth;
  const shares = allocate(runtime, [outputs], 'antialias shares');
  const constants = { ACROSS: across, TAPS, WIDE: span > TAPS ? 1 : 0, LANES: Math.min(channels, 4) };
  // The file's constants mean nothing to this kernel, so that one is enough for all.
  dispatch(runtime, shader.kernel('findShares', { ACROSS: 1, TAPS: 1 }), { found: shares }, params, gridFor(outputs));
  dispatch(runtime, shader.kernel(entry, constants), { x, y, shares }, params, gridFor(batch * runs * blocks * quads));
};

/** What shrinking leaves of images; the other axes grow afterwards, bilinearly: there the triangle is as wide as a source pixel. */
const between = (images: Shape, result: Shape): Shape => images.map((size, axis) => Math.min(size, result[axis]!));
const GROWING = { nearest: false, alignCorners: false, boxes: null };

/** Resizes images [B, H, W, C]. */
export const antialias = (images: Tensor, shape: Shape): Tensor => {
  const shrunk = between(images.shape, shape);
  let y = images;
  if (!sameShape(shrunk, images.shape)) {
    y = allocate(images.runtime, shrunk, 'antialias', floatOf(images));
    launch('forward', images, y, images.shape, shrunk);
  }
  return sameShape(shrunk, shape) ? y : resample(y, shape, GROWING);
};

/** Gradient with respect to the images of {@link antialias}. */
export const antialiasBackward = (grad: Tensor, images: Shape): Tensor => {
  const shrunk = between(images, grad.shape);
  const passed = sameShape(shrunk, grad.shape) ? grad : resampleBackward(grad, shrunk, GROWING);
  if (sameShape(shrunk, images)) return passed;
  const y = allocate(grad.runtime, images, 'antialias gradient', floatOf(grad));
  launch('backward', passed, y, images, shrunk);
  return y;
};
