/** Float64 references of attention boxes and masks: NumPy-like, on whole upsampled maps. */
import type { MaskAttrs } from './attention-mask.js';
import { type Nd, nd } from './nd.js';
import { bilinearTaps } from './resample-reference.js';

interface Upsampled {
  readonly values: Float64Array;
  readonly low: Float64Array;
  readonly threshold: number;
}

const upsample = ([maps, thetas]: readonly Nd[], b: number, attrs: MaskAttrs): Upsampled => {
  const [, mapHeight, mapWidth] = maps!.shape as [number, number, number, number];
  const [height, width] = attrs.imageSize;
  const low = maps!.data.subarray(b * mapHeight * mapWidth, (b + 1) * mapHeight * mapWidth);
  const values = new Float64Array(height * width);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (const [row, rowWeight] of bilinearTaps(y, mapHeight, height, attrs.alignCorners)) {
        for (const [column, weight] of bilinearTaps(x, mapWidth, width, attrs.alignCorners)) {
          values[y * width + x]! += rowWeight * weight * low[row * mapWidth + column]!;
        }
      }
    }
  }
  const peak = Math.max(...(attrs.thresholdOn === 'lowres' ? low : values));
  return { values, low, threshold: (attrs.theta ?? thetas!.data[b]!) * peak };
};

const constant = (values: Float64Array): boolean => values.every((v) => v === values[0]);

/** First and last index at which some pixel of that row (or column) is hot. */
const extent = (length: number, hot: (i: number) => boolean): [number, number] => {
  const hits = Array.from({ length }, (_, i) => i).filter(hot);
  return [Math.min(...hits), Math.max(...hits)];
};

/** Cuts towards zero after or before adding the margin. */
const padded = (first: number, last: number, size: number, { padding, paddingMode }: MaskAttrs): [number, number] => {
  const margin = paddingMode === 'pixels' ? Math.floor(padding * size) : padding * size;
  const low = Math.max(Math.trunc(first - margin), 0);
  return [low, Math.max(Math.min(Math.trunc(last + margin), size), low + 1)];
};

export const boxReference = (inputs: readonly Nd[], attrs: MaskAttrs): Nd => {
  const [height, width] = attrs.imageSize;
  const batch = inputs[0]!.shape[0]!;
  const boxes: number[] = [];
  for (let b = 0; b < batch; b++) {
    const { values, low, threshold } = upsample(inputs, b, attrs);
    const hot = (y: number, x: number): boolean => values[y * width + x]! >= threshold;
    const columns = Array.from({ length: width }, (_, x) => x);
    const rows = Array.from({ length: height }, (_, y) => y);
    if (constant(low) || !values.some((v) => v >= threshold)) {
      boxes.push(0, 0, height, width);
      continue;
    }
    const [y0, y1] = padded(...extent(height, (y) => columns.some((x) => hot(y, x))), height, attrs);
    const [x0, x1] = padded(...extent(width, (x) => rows.some((y) => hot(y, x))), width, attrs);
    boxes.push(y0, x0, y1, x1);
  }
  return nd([batch, 4], boxes);
};

/** Keep-mask (`dropping`), or the mask of hot pixels. */
export const maskReference = (inputs: readonly Nd[], attrs: MaskAttrs, dropping: boolean): Nd => {
  const batch = inputs[0]!.shape[0]!;
  const [height, width] = attrs.imageSize;
  const out = nd([batch, height, width, 1]);
  for (let b = 0; b < batch; b++) {
    const { values, low, threshold } = upsample(inputs, b, attrs);
    const keepAll = constant(low) || values.every((v) => v >= threshold);
    values.forEach((v, i) => {
      out.data[b * height * width + i] = dropping ? (keepAll || v < threshold ? 1 : 0) : v >= threshold ? 1 : 0;
    });
  }
  return out;
};

export const maskBoxReference = (mask: Nd): Nd => {
  const [batch, height, width] = mask.shape as [number, number, number, number];
  const boxes: number[] = [];
  for (let b = 0; b < batch; b++) {
    let box: number[] | null = null;
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        if (mask.data[(b * height + y) * width + x] === 0) continue;
        box = box ? [Math.min(box[0]!, y), Math.min(box[1]!, x), y + 1, Math.max(box[3]!, x + 1)] : [y, x, y + 1, x + 1];
      }
    }
    boxes.push(...(box ?? [0, 0, height, width]));
  }
  return nd([batch, 4], boxes);
};
