/** How images are resized on the device, for the ops that do so, and which sizes can be. */
import source from '../../shaders/interpolate.wgsl';
import { fail } from '../errors.js';
import { Shader } from '../kernels/shader.js';
import { quadsPerRow, type Shape } from '../tensor/shape.js';
import type { DType, Tensor } from '../tensor/tensor.js';
import { allocate, dispatch, floatOf, forAdapter, gridFor, runsOf } from './op.js';

const shader = new Shader('interpolate', source);

/** Height and width in pixels. */
export type ImageSize = readonly [number, number];

/** Positions along a resized axis are exact fractions with numerators of 31 bits. */
const MOST_PRODUCT = 2 ** 30;

/** Refuses axes that are too long to be resized exactly: of 32 thousand pixels to as many more or less. */
export const checkAxes = (op: string, from: ImageSize, to: ImageSize): void => {
  const axis = [0, 1].find((i) => (from[i]! + 2) * (to[i]! + 2) >= MOST_PRODUCT);
  if (axis !== undefined) fail(`${op}: the ${axis ? 'width' : 'height'} of ${from[axis]} and its new size ${to[axis]} are too long together: their product must stay below 2^30. Resize in parts`);
};

export interface Resampling {
  readonly nearest: boolean;
  readonly alignCorners: boolean;
  /** [B, 4] boxes of the input images, or null for whole images. */
  readonly boxes: Tensor | null;
}

const constants = ({ nearest, alignCorners, boxes }: Resampling) => ({ NEAREST: nearest ? 1 : 0, ALIGNED: alignCorners ? 1 : 0, BOXED: boxes ? 1 : 0 });

/**
 * How invocations walk over images: GPUs down columns, so that neighbours read what lies side by side, and a few entries each; drivers
 * on CPUs along whole lines, as memory lies there, and two at a time, which share what is computed for each entry.
 */
const WALK: Readonly<Record<'gpu' | 'software', { readonly rows: boolean; readonly run: number; readonly across: number }>> =
  { gpu: { rows: true, run: 8, across: 1 }, software: { rows: false, run: 1024, across: 2 } };

interface Launch {
  readonly rows: boolean;
  /** Entries of the walked axis. */
  readonly length: number;
  /** Lines or columns of an image that are walked along, and how many at a time. */
  readonly lines: number;
  readonly across: number;
  /** vec4f that lie side by side in each of them. */
  readonly inner: number;
  readonly leaping?: boolean;
  readonly dense?: boolean;
}

/** Without boxes the images stand in for them: the kernel needs all its bindings. */
const launch = (
  entry: string, x: Tensor, y: Tensor, images: Shape, resized: Shape, how: Resampling, { rows, length, lines, across, inner, leaping, dense }: Launch,
): void => {
  const { runtime } = x;
  const cut = runsOf(length, forAdapter(runtime, WALK).run);
  const kernel = shader.kernel(entry, {
    ...constants(how), ROWS: rows ? 1 : 0, LEAPING: leaping ? 1 : 0, DENSE: dense ? 1 : 0, ACROSS: across, LANES: Math.min(images[3]!, 4),
  });
  dispatch(runtime, kernel, { x, boxes: how.boxes ?? x, y }, {
    batch: images[0]!, inHeight: images[1]!, inWidth: images[2]!, outHeight: resized[1]!, outWidth: resized[2]!, quads: quadsPerRow(images),
    lines, ...cut, inner,
  }, gridFor(images[0]! * Math.ceil(lines / across) * cut.runs * inner));
};

/** Resizes images [B, H, W, C], or a box of each. */
export const resample = (images: Tensor, shape: Shape, how: Resampling): Tensor => {
  const { runtime } = images;
  const y = allocate(runtime, shape, 'resample', floatOf(images));
  const { rows, across } = forAdapter(runtime, WALK);
  const [walked, other] = rows ? [1, 2] : [2, 1];
  launch('forward', images, y, images.shape, shape, how, {
    rows, length: shape[walked]!, lines: shape[other]!, across, inner: quadsPerRow(shape),
    leaping: shape[walked]! < images.shape[walked]!, dense: across > 1 && shape[other]! >= images.shape[other]!,
  });
  return y;
};

/** Gradient with respect to the images of {@link resample}: along one axis, then along the other. The first one reads most. */
export const resampleBackward = (grad: Tensor, images: Shape, how: Resampling): Tensor => {
  const { runtime } = grad;
  const { rows: rowsFirst, across } = forAdapter(runtime, WALK);
  const along = (from: Tensor, rows: boolean, dtype: DType): Tensor => {
    const [batch, height, width, channels] = from.shape as [number, number, number, number];
    const to = rows ? [batch, images[1]!, width, channels] : [batch, height, images[2]!, channels];
    const y = allocate(runtime, to, 'resample gradient', dtype);
    const quads = quadsPerRow(images);
    launch('backward', from, y, images, grad.shape, how, rows
      ? { rows, length: images[1]!, lines: 1, across: 1, inner: width * quads }
      : { rows, length: images[2]!, lines: height, across, inner: quads });
    return y;
  };
  return along(along(grad, rowsFirst, 'float32'), !rowsFirst, floatOf(grad));
};
