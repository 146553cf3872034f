import { fail } from '../errors.js';
import { formatShape, numel, type Shape } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { checkIntegers, checkNames, given, pair } from './arguments.js';
import { literal, type OpCase } from './cases.js';
import { nd } from './nd.js';
import { bytesOf, type Op, run } from './op.js';
import { checkAxes, type ImageSize, resample, resampleBackward } from './resample.js';
import { bilinearTaps } from './resample-reference.js';

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

/** Boxes that leave out a little of each image, another part of each. */
const nearlyWhole = (batch: number, side: number): number[] => Array.from({ length: batch }, (_, b) => [b, 2 * b, side - b, side - 3 * b]).flat();

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
  cost: (shapes, _, out) => ({ flops: 6 * numel(out), bytes: bytesOf(...shapes, out) }),
  cases: [
    oneCase([2, 6, 5, 3], [1, 0, 5, 4, 0, 2, 6, 5], [4, 7]),
    oneCase([2, 6, 5, 3], [1, 0, 5, 4, 0, 2, 6, 5], [4, 7], false),
    oneCase([1, 3, 4, 5], [2, 1, 3, 2], [3, 3]),
    oneCase([2, 9, 9, 1], [0, 0, 9, 9, 3, 3, 5, 9], [1, 4]),
    oneCase([1, 4, 4, 2], [-3, 2, 9, 2], [5, 2]),
    oneCase([1, 4, 5, 2], [4, 7, 9, 9], [3, 2]),
    oneCase([2, 64, 64, 3], nearlyWhole(2, 64), [64, 64]),
    oneCase([2, 448, 448, 3], nearlyWhole(2, 448), [448, 448], true, true),
    oneCase([16, 65, 65, 3], nearlyWhole(16, 65), [65, 65], true, true),
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
  checkNames('cropResize', options, ['size', 'alignCorners']);
  return run(cropResizeOp, [images, boxes], { size: pair('cropResize', 'size', size), alignCorners });
};
