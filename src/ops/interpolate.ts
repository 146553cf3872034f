import { fail } from '../errors.js';
import { formatShape, numel, sameShape, type Shape } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { antialias as antialiased, antialiasBackward } from './antialias.js';
import { checkChoice, checkIntegers, checkNames, given, pair } from './arguments.js';
import type { OpCase } from './cases.js';
import { nd } from './nd.js';
import { bytesOf, type Op, run } from './op.js';
import { checkAxes, type ImageSize, resample, resampleBackward } from './resample.js';
import { bilinearTaps, triangleFlops, triangleTaps } from './resample-reference.js';

interface Attrs {
  readonly size: ImageSize;
  readonly mode: 'bilinear' | 'nearest';
  readonly alignCorners: boolean;
  readonly antialias: boolean;
}

const infer: Op<Attrs>['infer'] = ([images], { size: [height, width], mode, alignCorners, antialias }) => {
  if (images!.length !== 4) fail(`interpolate: images must be [B, H, W, C], got ${formatShape(images!)}`);
  checkIntegers('interpolate', 'size', [height, width], 1);
  if (mode === 'nearest' && (alignCorners || antialias)) fail('interpolate: alignCorners and antialias belong to mode: "bilinear"; name it, or leave them out');
  if (alignCorners && antialias) fail('interpolate: antialias averages around pixel centres, which alignCorners moves; choose one of the two');
  if (images![1] !== height || images![2] !== width) checkAxes('interpolate', [images![1]!, images![2]!], [height, width]);
  return [images![0]!, height, width, images![3]!];
};

const tapsFor = ({ mode, alignCorners, antialias }: Attrs) => (o: number, inSize: number, outSize: number): [number, number][] => {
  if (antialias) return triangleTaps((o + 0.5) * (inSize / outSize), inSize / outSize, inSize);
  return mode === 'nearest' ? [[Math.floor((o * inSize) / outSize), 1]] : bilinearTaps(o, inSize, outSize, alignCorners);
};

const reference: Op<Attrs>['reference'] = ([images], attrs) => {
  const [batch, inHeight, inWidth, channels] = images!.shape as [number, number, number, number];
  const [height, width] = attrs.size;
  const taps = tapsFor(attrs);
  const out = nd([batch, height, width, channels]);
  let at = 0;
  for (let b = 0; b < batch; b++) {
    for (let y = 0; y < height; y++) {
      const rows = taps(y, inHeight, height);
      for (let x = 0; x < width; x++) {
        const columns = taps(x, inWidth, width);
        for (let c = 0; c < channels; c++) {
          for (const [row, rowWeight] of rows) {
            for (const [column, weight] of columns) {
              out.data[at]! += rowWeight * weight * images!.data[((b * inHeight + row) * inWidth + column) * channels + c]!;
            }
          }
          at++;
        }
      }
    }
  }
  return out;
};

const SIZES: readonly (readonly [Shape, ImageSize])[] = [
  [[1, 2, 3, 1], [5, 4]], [[2, 5, 4, 3], [3, 7]], [[1, 1, 1, 5], [3, 2]], [[1, 7, 3, 2], [1, 1]], [[1, 4, 4, 4], [4, 4]], [[1, 13, 11, 3], [4, 3]],
  [[1, 5, 3, 2], [70, 4]], [[1, 40, 3, 5], [7, 50]], [[2, 9, 13, 6], [7, 8]],
  [[1, 5, 7, 3], [9, 4]], [[1, 6, 5, 3], [6, 3]], [[1, 1, 6, 3], [3, 2]],
];
const MODES: readonly Pick<Attrs, 'mode' | 'alignCorners' | 'antialias'>[] = [
  { mode: 'bilinear', alignCorners: false, antialias: false },
  { mode: 'bilinear', alignCorners: true, antialias: false },
  { mode: 'nearest', alignCorners: false, antialias: false },
  { mode: 'bilinear', alignCorners: false, antialias: true },
];

const caseOf = (shape: Shape, size: ImageSize, how: (typeof MODES)[number], bench = false): OpCase<Attrs> => ({
  name: `${shape.join('×')} to ${size.join('×')}, ${how.antialias ? 'antialiased' : how.alignCorners ? 'aligned corners' : how.mode}`,
  shapes: [shape], attrs: { size, ...how }, ...(bench ? { bench } : {}),
});

/** Bilinear: two mixes of two, the second on mixed lines. */
const flopsOf = (images: Shape, { mode, antialias }: Attrs, out: Shape): number => {
  if (antialias) return numel(out) * triangleFlops(images[1]! / out[1]!, images[2]! / out[2]!);
  return mode === 'nearest' ? 0 : 6 * numel(out);
};

export const interpolateOp: Op<Attrs> = {
  name: 'interpolate',
  precision: 'any',
  group: 'Image',
  infer,
  forward: ({ inputs: [images], attrs: { mode, alignCorners, antialias }, shape }) => {
    if (sameShape(images!.shape, shape)) return images!.alias();
    return antialias ? antialiased(images!, shape) : resample(images!, shape, { nearest: mode === 'nearest', alignCorners, boxes: null });
  },
  backward: ({ grad, attrs: { mode, alignCorners, antialias }, shapes: [images], shape }) => {
    if (sameShape(images!, shape)) return [grad];
    return [antialias ? antialiasBackward(grad, images!) : resampleBackward(grad, images!, { nearest: mode === 'nearest', alignCorners, boxes: null })];
  },
  reference,
  cost: ([images], attrs, out) => ({ flops: flopsOf(images!, attrs, out), bytes: bytesOf(images!, out) }),
  cases: [
    ...MODES.flatMap((how) => SIZES.map(([shape, size]) => caseOf(shape, size, how))),
    { ...caseOf([1, 1, 2, 1], [2050, 2048], MODES[2]!), name: '65,600 workgroups', gradient: 'none' },
    caseOf([1, 150, 40, 3], [67, 5], MODES[3]!),
    caseOf([1, 2, 3, 1], [2, 2100], MODES[1]!), caseOf([1, 1, 2100, 1], [2, 7], MODES[0]!),
    caseOf([12, 26, 26, 1], [448, 448], MODES[1]!, true),
    caseOf([1, 26, 26, 32], [448, 448], MODES[1]!, true),
    caseOf([2, 448, 448, 3], [224, 224], MODES[3]!, true),
  ],
};

export interface InterpolateOptions {
  /** Height and width of the result; a number for both. */
  readonly size: number | ImageSize;
  /** Default: nearest, as in PyTorch. */
  readonly mode?: 'bilinear' | 'nearest';
  /** Bilinear: whether the corner pixels of both images coincide, or (PyTorch's default) pixel centres scale. */
  readonly alignCorners?: boolean;
  /** Bilinear: average over all covered pixels when shrinking, as PIL does. */
  readonly antialias?: boolean;
}

/**
 * Resizes images [B, H, W, C] to [B, h, w, C] as PyTorch's `interpolate` does. The gradient is exact and
 * gathered in a fixed order.
 *
 * @throws UserError for options that exclude each other
 */
export const interpolate = (images: Tensor, options: InterpolateOptions): Tensor => {
  const { size, mode = 'nearest', alignCorners = false, antialias = false } = given('interpolate', options, 'size');
  checkNames('interpolate', options, ['size', 'mode', 'alignCorners', 'antialias']);
  checkChoice('interpolate', 'mode', mode, ['bilinear', 'nearest']);
  return run(interpolateOp, [images], { size: pair('interpolate', 'size', size), mode, alignCorners, antialias });
};
