import source from '../../shaders/image-transform.wgsl';
import { fail } from '../errors.js';
import { Shader } from '../kernels/shader.js';
import { tensor } from '../tensor/create.js';
import { formatShape, numel } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import type { Fill, OpCase } from './cases.js';
import { nd } from './nd.js';
import { allocate, bytesOf, type Call, dispatch, forAdapter, gridFor, type Op, run, runsOf } from './op.js';
import { triangleFlops, triangleTaps } from './resample-reference.js';

const shader = new Shader('image-transform', source);

/** Where a picture lies among the packed pixels, and how it becomes an S×S input. */
export interface ImageRow {
  /** Index of the first pixel. */
  readonly offset: number;
  readonly width: number;
  readonly height: number;
  /** Output pixel (x, y), mirrored first with `flip`, is centred at (x0 + (x + ½)·scaleX, y0 + (y + ½)·scaleY) of the picture. */
  readonly x0: number;
  readonly y0: number;
  readonly scaleX: number;
  readonly scaleY: number;
  readonly flip: boolean;
  /** Factors; 1 leaves the picture as it is. */
  readonly brightness: number;
  readonly contrast: number;
  readonly saturation: number;
  /** 0 … 5, lexicographic over brightness, contrast, saturation: 0 is that order, 5 its reverse. */
  readonly order: number;
}

type Triple = readonly [number, number, number];

export interface ImageTransformOptions {
  /** Side S of the square result. */
  readonly size: number;
  /** Per channel, subtracted from and dividing colours in 0 … 1. */
  readonly mean: Triple;
  readonly std: Triple;
}

interface Attrs extends ImageTransformOptions {
  readonly rows: readonly ImageRow[];
}

const WORDS_PER_ROW = 12;

/** The rows as the kernel reads them: integers and bits of floats. */
const tableOf = (rows: readonly ImageRow[]): Uint32Array => {
  const words = new Uint32Array(rows.length * WORDS_PER_ROW);
  const floats = new Float32Array(words.buffer);
  rows.forEach((row, i) => {
    const at = i * WORDS_PER_ROW;
    words.set([row.offset, row.width, row.height, row.order], at);
    floats.set([row.x0, row.y0, row.scaleX, row.scaleY, row.brightness, row.contrast, row.saturation], at + 4);
    words[at + 11] = row.flip ? 1 : 0;
  });
  return words;
};

const infer: Op<Attrs>['infer'] = ([packed], { rows, size, std }) => {
  const available = numel(packed!);
  if (rows.length === 0) fail('imageTransform: no pictures were given');
  if (!(Number.isInteger(size) && size >= 1)) fail(`imageTransform: size must be an integer of at least 1, got ${size}`);
  if (packed!.length !== 1) fail(`imageTransform: packed pixels must be one row of words, got ${formatShape(packed!)}`);
  if (std.some((s) => !(s > 0))) fail(`imageTransform: every std must be above 0, got ${std.join(', ')}`);
  rows.forEach(({ offset, width, height, x0, y0, scaleX, scaleY, order }, i) => {
    const whole = [offset, width, height, order].every(Number.isInteger);
    if (!(whole && width >= 1 && height >= 1 && offset >= 0 && offset + width * height <= available)) {
      fail(`imageTransform: picture ${i} (${width}×${height} from pixel ${offset}) does not lie within the ${available} packed pixels`);
    }
    if (![x0, y0].every(Number.isFinite)) fail(`imageTransform: picture ${i} is cut at ${x0}, ${y0}; both must be finite`);
    if (!(scaleX > 0 && scaleY > 0 && order >= 0 && order <= 5)) fail(`imageTransform: picture ${i} has scale ${scaleX}×${scaleY} and order ${order}; scales must be above 0, orders 0 … 5`);
  });
  return [rows.length, size, size, 3];
};

/** Pixels of an output's column that an invocation takes at most. */
const RUN = { gpu: 8, software: 64 } as const;

/** Pixels of a source row that count for one of the output, at most: a triangle's width, and rounding may let in one more. */
const mostTaps = (scale: number): number => Math.floor(2 * Math.max(scale, 1) + 1e-3) + 1;

const forward = ({ runtime, inputs: [pixels], attrs: { rows, size, mean, std }, shape }: Call<Attrs>): Tensor => {
  const table = tensor(tableOf(rows), [rows.length, WORDS_PER_ROW], { runtime, dtype: 'uint32', label: 'image transforms' });
  const cut = runsOf(size, forAdapter(runtime, RUN));
  const params = { batch: rows.length, size, ...cut, mean: [...mean, 0], inverseStd: [...std.map((s) => 1 / s), 0] };
  const columns = gridFor(rows.length * size * cut.runs);
  const constants = { WIDE: rows.some(({ scaleX }) => mostTaps(scaleX) > 4) ? 1 : 0 };
  const y = allocate(runtime, shape, 'imageTransform');
  if (rows.every((row) => row.contrast === 1)) {
    dispatch(runtime, shader.kernel('direct', constants), { pixels: pixels!, table, y }, params, columns);
    return y;
  }
  const raw = allocate(runtime, shape, 'resampled images');
  const rowGreys = allocate(runtime, [rows.length * size], 'grey sums');
  const means = allocate(runtime, [rows.length], 'grey means');
  dispatch(runtime, shader.kernel('resample', constants), { pixels: pixels!, table, y: raw }, params, columns);
  dispatch(runtime, shader.kernel('sumGreys'), { table, raw, rowGreys }, params, gridFor(rows.length * size));
  dispatch(runtime, shader.kernel('averageGreys'), { greys: rowGreys, meanGreys: means }, params, gridFor(rows.length));
  dispatch(runtime, shader.kernel('finish'), { table, raw, means, y }, params, columns);
  return y;
};

const byteOf = (word: number, channel: number): number => Math.floor(word / 256 ** channel) % 256;

const resampledReference = (pixels: Float64Array, row: ImageRow, size: number): number[] => {
  const out: number[] = [];
  for (let y = 0; y < size; y++) {
    const down = triangleTaps(row.y0 + (y + 0.5) * row.scaleY, row.scaleY, row.height);
    for (let x = 0; x < size; x++) {
      const across = triangleTaps(row.x0 + ((row.flip ? size - 1 - x : x) + 0.5) * row.scaleX, row.scaleX, row.width);
      for (let c = 0; c < 3; c++) {
        let value = 0;
        for (const [j, v] of down) for (const [i, w] of across) value += v * w * byteOf(pixels[row.offset + j * row.width + i]!, c) / 255;
        out.push(value);
      }
    }
  }
  return out;
};

const PERMUTATIONS = ['bcs', 'bsc', 'cbs', 'csb', 'sbc', 'scb'];
const grey = (pixels: readonly number[], i: number): number => 0.299 * pixels[i]! + 0.587 * pixels[i + 1]! + 0.114 * pixels[i + 2]!;

/** torchvision's adjust_brightness, adjust_contrast and adjust_saturation on colours in 0 … 1. */
const jitterReference = (pixels: number[], row: ImageRow): void => {
  for (const kind of PERMUTATIONS[row.order]!) {
    const factor = kind === 'b' ? row.brightness : kind === 'c' ? row.contrast : row.saturation;
    const firsts = pixels.map((_, i) => i).filter((i) => i % 3 === 0);
    const mean = firsts.reduce((sum, i) => sum + grey(pixels, i), 0) / firsts.length;
    for (const i of firsts) {
      const other = kind === 'b' ? 0 : kind === 'c' ? mean : grey(pixels, i);
      for (let c = i; c < i + 3; c++) pixels[c] = Math.min(1, Math.max(0, factor * pixels[c]! + (1 - factor) * other));
    }
  }
};

const reference: Op<Attrs>['reference'] = ([packed], { rows, size, mean, std }) => {
  const values = rows.flatMap((row) => {
    const pixels = resampledReference(packed!.data, row, size);
    jitterReference(pixels, row);
    return pixels.map((v, i) => (v - mean[i % 3]!) / std[i % 3]!);
  });
  return nd([rows.length, size, size, 3], values);
};

/** Pixels without alpha: whole numbers below 2²⁴, which a float32 holds exactly. */
const colours: Fill = (random, count) => Array.from({ length: count }, () => Math.floor(random.next() * 0xffffff));

const plain = { flip: false, brightness: 1, contrast: 1, saturation: 1, order: 0 };
const whole = (offset: number, width: number, height: number, size: number): ImageRow =>
  ({ offset, width, height, x0: 0, y0: 0, scaleX: width / size, scaleY: height / size, ...plain });

const caseOf = (name: string, size: number, rows: readonly ImageRow[], bench = false): OpCase<Attrs> => ({
  name, shapes: [[Math.max(...rows.map((r) => r.offset + r.width * r.height))]], attrs: { rows, size, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] },
  fill: [colours], dtypes: ['uint32'], ...(bench ? { bench, tolerance: positionsOf(Math.max(...rows.map((row) => row.width))) } : {}),
});

/** A result reaches about 2.6; see the op's own tolerance for the rest. */
const positionsOf = (side: number) => ({
  forward: (2 * side * 2 ** -24) / 0.225 / 2.6, reason: 'a position is rounded twice, to 1 part in 2²⁴ of the side, and a colour changes by 1 / 0.225 within a pixel',
});

const jitters = PERMUTATIONS.map((_, order): ImageRow =>
  ({
    ...whole(order * 3, 7, 6, 5), order, brightness: 1.3 - 0.1 * order, contrast: order === 3 ? 1 : 0.6 + 0.2 * order,
    saturation: 1.4 - 0.2 * order, flip: order % 2 === 1,
  }));

/** For three colours: a grey of them, moving them away from a pivot, and subtracting and dividing at the end. */
const [GREY, MOVE, NORMALISE] = [5, 9, 6];

/** Of one output pixel: resizing, the changes of colour that are asked for (brightness has no pivot, contrast sums the greys up), and the end. */
const flopsPerPixel = ({ scaleX, scaleY, brightness, contrast, saturation }: ImageRow): number =>
  3 * triangleFlops(scaleY, scaleX) + (brightness === 1 ? 0 : 3) + (contrast === 1 ? 0 : GREY + 1 + MOVE) + (saturation === 1 ? 0 : GREY + MOVE) + NORMALISE;

/** Pixels of a picture that are seen. */
const windowOf = ({ width, height, scaleX, scaleY }: ImageRow, size: number): number => Math.min(width, size * scaleX) * Math.min(height, size * scaleY);

export const imageTransformOp: Op<Attrs> = {
  name: 'imageTransform',
  takes: ['uint32'],
  group: 'Image',
  infer,
  forward,
  backward: null,
  reference,
  cost: (_, { rows, size }, out) => ({
    flops: size * size * rows.reduce((sum, row) => sum + flopsPerPixel(row), 0),
    bytes: 4 * rows.reduce((sum, row) => sum + windowOf(row, size), 0) + bytesOf(out),
  }),
  cases: [
    caseOf('unchanged', 4, [whole(0, 4, 4, 4)]),
    caseOf('shrunk and enlarged', 6, [whole(0, 23, 17, 6), whole(23 * 17, 3, 2, 6), whole(5, 11, 4, 6)]),
    caseOf('windows and mirror', 8, [{ ...whole(0, 20, 30, 8), x0: 3.25, y0: 7.5, scaleX: 1.7, scaleY: 2.1, flip: true }, { ...whole(9, 1, 1, 8), flip: true }]),
    caseOf('taller than what one invocation takes', 72, [whole(0, 9, 18, 72), { ...whole(7, 36, 9, 72), flip: true }]),
    caseOf('brightness and saturation', 5, jitters.map((row) => ({ ...row, contrast: 1 }))),
    caseOf('jitter in all orders, with contrast', 5, jitters),
    caseOf('2 pictures 1000×680 to 448', 448, Array.from({ length: 2 }, (_, i) => ({ ...whole(i * 680_000, 1000, 680, 512), brightness: 1.1, saturation: 0.7 })), true),
    caseOf('16 pictures 128×128 to 65', 65, Array.from({ length: 16 }, (_, i) => ({ ...whole(i * 16_384, 128, 128, 74), brightness: 1.1, saturation: 0.7 })), true),
  ],
  // A position is rounded to 1 part in 2²⁴ of a picture's side, and a colour changes by 1 / 0.225 within a pixel.
  tolerance: { forward: 2e-6, reason: 'positions are float32 fractions of a pixel; their rounding is multiplied by the contrast between pixels' },
};

/**
 * Pictures of 8 bits a channel to network input [B, S, S, 3], in one kernel: the window of each row is resized with a
 * triangle that widens when shrinking (PIL's antialiased bilinear) and mirrored; brightness, contrast and saturation
 * are changed in the row's order and clamped to 0 … 1 after each (torchvision); then (colour − mean) / std. Contrast needs
 * the mean grey of the picture at that point and takes three more small kernels. No gradient.
 *
 * @param packed uint32 [total pixels]: red in the lowest byte, then green and blue; the highest is not read
 * @throws UserError when a picture does not lie within the packed pixels
 */
export const imageTransform = (packed: Tensor, rows: readonly ImageRow[], options: ImageTransformOptions): Tensor =>
  run(imageTransformOp, [packed], { rows, ...options });
