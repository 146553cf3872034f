import source from '../../shaders/interpolate.wgsl';
import { fail } from '../errors.js';
import { Shader } from '../kernels/shader.js';
import { formatShape, quadsPerRow, type Shape } from '../tensor/shape.js';
import type { DType, Tensor } from '../tensor/tensor.js';
import { checkIntegers, given } from './arguments.js';
import { literal, type OpCase } from './cases.js';
import { pair } from './conv-shape.js';
import { nd } from './nd.js';
import { allocate, bytesOf, dispatch, floatOf, forAdapter, gridFor, type Op, run, runsOf } from './op.js';
import { bilinearTaps, checkAxes, type ImageSize } from './resample.js';

const shader = new Shader('interpolate', source);

/** How images are resampled on the device; shared with `interpolate`. */
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
}

/** Without boxes the images stand in for them: the kernel needs all its bindings. */
const launch = (entry: string, x: Tensor, y: Tensor, images: Shape, resized: Shape, how: Resampling, { rows, length, lines, across, inner, leaping }: Launch): void => {
  const { runtime } = x;
  const cut = runsOf(length, forAdapter(runtime, WALK).run);
  const kernel = shader.kernel(entry, { ...constants(how), ROWS: rows ? 1 : 0, LEAPING: leaping ? 1 : 0, ACROSS: across });
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
    rows, length: shape[walked]!, lines: shape[other]!, across, inner: quadsPerRow(shape), leaping: shape[walked]! < images.shape[walked]!,
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

interface Attrs {
  readonly size: ImageSize;
  readonly alignCorners: boolean;
}

const infer: Op<Attrs>['infer'] = ([images, boxes], { size: [height, width] }) => {
  if (images!.length !== 4) fail(`cropResize: images must be [B, H, W, C], got ${formatShape(images!)}`);
  if (boxes!.length !== 2 || boxes![0] !== images![0] || boxes![1] !== 4) {
    fail(`cropResize: boxes must be [${images![0]}, 4] (y0, x0, y1, x1 per image), got ${formatShape(boxes!)}`);
  }
  checkIntegers('cropResize', 'size', [height, width], 1);
  checkAxes('cropResize', [images![1]!, images![2]!], [height, width]);
  return [images![0]!, height, width, images![3]!];
};

/** The box as the kernel reads it: whole pixels, inside the image, at least one pixel. */
const insideImage = (low: number, high: number, limit: number): [number, number] => {
  const from = Math.min(Math.max(Math.trunc(low), 0), limit - 1);
  return [from, Math.min(Math.max(Math.trunc(high), from + 1), limit)];
};

const reference: Op<Attrs>['reference'] = ([images, boxes], { size: [height, width], alignCorners }) => {
  const [batch, inHeight, inWidth, channels] = images!.shape as [number, number, number, number];
  const out = nd([batch, height, width, channels]);
  let at = 0;
  for (let b = 0; b < batch; b++) {
    const [y0, x0, y1, x1] = boxes!.data.subarray(4 * b, 4 * b + 4) as unknown as [number, number, number, number];
    const [top, bottom] = insideImage(y0, y1, inHeight);
    const [left, right] = insideImage(x0, x1, inWidth);
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        for (let c = 0; c < channels; c++) {
          for (const [row, rowWeight] of bilinearTaps(y, bottom - top, height, alignCorners)) {
            for (const [column, weight] of bilinearTaps(x, right - left, width, alignCorners)) {
              out.data[at]! += rowWeight * weight * images!.data[((b * inHeight + top + row) * inWidth + left + column) * channels + c]!;
            }
          }
          at++;
        }
      }
    }
  }
  return out;
};

/** Boxes get half a pixel more, which is cut off: between whole numbers the result is constant in them, as its gradient says. */
const oneCase = (images: Shape, boxes: number[], size: ImageSize, alignCorners = true, bench = false): OpCase<Attrs> => ({
  name: `${images.join('×')} to ${size.join('×')}${alignCorners ? '' : ', half-pixel centres'}`, shapes: [images, [images[0]!, 4]], attrs: { size, alignCorners },
  fill: [undefined, literal(boxes.map((edge) => edge + 0.5))], ...(bench ? { bench } : {}),
});

const wholeImages = (batch: number, side: number): number[] => Array.from({ length: batch }, (_, b) => [b, 2 * b, side - b, side - 3 * b]).flat();

export const cropResizeOp: Op<Attrs> = {
  name: 'cropResize',
  precision: 'any',
  group: 'WS-DAN',
  infer,
  forward: ({ inputs: [images, boxes], attrs: { alignCorners }, shape }) => resample(images!, shape, { nearest: false, alignCorners, boxes: boxes! }),
  keeps: { inputs: [1] },
  backward: ({ grad, inputs: [, boxes], attrs: { alignCorners }, shapes, needs }) =>
    [needs[0] ? resampleBackward(grad, shapes[0]!, { nearest: false, alignCorners, boxes: boxes! }) : null, null],
  reference,
  cost: (shapes, _, out) => ({ flops: 6 * out.reduce((a, b) => a * b, 1), bytes: bytesOf(...shapes, out) }),
  cases: [
    oneCase([2, 6, 5, 3], [1, 0, 5, 4, 0, 2, 6, 5], [4, 7]),
    oneCase([2, 6, 5, 3], [1, 0, 5, 4, 0, 2, 6, 5], [4, 7], false),
    oneCase([1, 3, 4, 5], [2, 1, 3, 2], [3, 3]),
    oneCase([2, 9, 9, 1], [0, 0, 9, 9, 3, 3, 5, 9], [1, 4]),
    oneCase([1, 4, 4, 2], [-3, 2, 9, 2], [5, 2]),
    oneCase([2, 64, 64, 3], wholeImages(2, 64), [64, 64]),
    oneCase([2, 448, 448, 3], wholeImages(2, 448), [448, 448], true, true),
    oneCase([16, 65, 65, 3], wholeImages(16, 65), [65, 65], true, true),
  ],
};

/**
 * Cuts box b out of image b and resizes it bilinearly to `size`; the boxes stay on the device.
 * images [B, H, W, C], boxes float32 [B, 4] as y0, x0, y1, x1 in whole pixels, rows y0 … y1 − 1 and columns
 * x0 … x1 − 1. Boxes are clamped to the image and hold at least one pixel. Gradient for the images only.
 * With `alignCorners` (the default, as in WS-DAN) the region's corner pixels become the corners of the result.
 *
 * @throws UserError when the boxes' shape does not fit the images'
 */
export const cropResize = (images: Tensor, boxes: Tensor, options: { size: number | ImageSize; alignCorners?: boolean }): Tensor => {
  const { size, alignCorners = true } = given('cropResize', options, 'size');
  return run(cropResizeOp, [images, boxes], { size: pair('cropResize', 'size', size), alignCorners });
};
