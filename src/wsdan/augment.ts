import { noGrad } from '../autograd/tape.js';
import { constantRow } from '../tensor/create.js';
import {
  add, affine, attentionBox, cat, chooseMaps, cropResize, dropMask, mapWeights, maskedMultiply, mean, mul, multinomial,
  nextRandomKey, rand, type RandomKey, slice, zeros,
} from '../ops/index.js';
import type { Tensor } from '../tensor/tensor.js';
import { isWhole, type Rows, wholeBatch } from './micro-batches.js';
import type { WsdanOptions } from './options.js';

const imageSize = (images: Tensor): [number, number] => [images.shape[1]!, images.shape[2]!];

/** One map per image for cropping and one for dropping, both [B, h, w, 1]. */
export interface ChosenMaps {
  readonly cropMap: Tensor;
  readonly dropMap: Tensor;
  /** Which maps were drawn: int32 [B, 2]. */
  readonly indices: Tensor;
}

/**
 * Draws two map numbers per image, with replacement, with probability proportional to sqrt(Σ A + 1e-12): int32 [B, 2].
 *
 * @param rows which images of the batch these are: each gets the numbers that it gets when the whole batch is drawn for at once
 */
export const drawMaps = (maps: Tensor, key = nextRandomKey(), rows = wholeBatch(maps.shape[0]!)): Tensor => noGrad(() => {
  const weights = mapWeights(maps);
  if (isWhole(rows)) return multinomial(weights, 2, key);
  // A draw depends on its position in the batch, so the images around these keep their places.
  const others = (count: number): Tensor[] => (count > 0 ? [zeros([count, weights.shape[1]!], { runtime: maps.runtime })] : []);
  const { from, to, of } = rows;
  return slice(multinomial(cat([...others(from), weights, ...others(of - to)], 0), 2, key), [from, 0], [to, 2]);
});

/** The maps to crop and to drop by; without `indices` they are drawn. */
export const chooseAttentionMaps = (maps: Tensor, indices = drawMaps(maps)): ChosenMaps => noGrad(() => {
  const [cropMap, dropMap] = chooseMaps(maps, indices);
  return { cropMap, dropMap, indices };
});

/** Mean over the M maps: [B, h, w, 1]. Used at test time. */
export const meanMap = (maps: Tensor): Tensor => noGrad(() => mean(maps, 3, true));

export interface Cropped {
  /** The enlarged regions, of the images' size. */
  readonly images: Tensor;
  /** [B, 4]: y0, x0, y1, x1 in pixels, half-open. */
  readonly boxes: Tensor;
  /** int32 [B]: 1 where the map was unusable and the whole image was taken. */
  readonly degenerate: Tensor;
}

/** Attention cropping: the box where the map reaches θ of its maximum, with a margin, enlarged to the image size. */
export const attentionCrop = (images: Tensor, map: Tensor, theta: Tensor | number, padding: number, options: Pick<WsdanOptions, 'convention'>): Cropped =>
  noGrad(() => {
    const { boxes, degenerate } = attentionBox(map, { imageSize: imageSize(images), theta, padding, convention: options.convention });
    return { images: cropResize(images, boxes, { size: imageSize(images), alignCorners: true }), boxes, degenerate };
  });

export interface Dropped {
  /** The images with dropped pixels in the drop colour. */
  readonly images: Tensor;
  readonly degenerate: Tensor;
}

/** Attention dropping: pixels where the map reaches θ of its maximum take the drop colour, by default 0, the mean. */
export const attentionDrop = (images: Tensor, map: Tensor, theta: Tensor | number, options: Pick<WsdanOptions, 'convention' | 'dropColour'>): Dropped =>
  noGrad(() => {
    const { mask, degenerate } = dropMask(map, { imageSize: imageSize(images), theta, convention: options.convention });
    const kept = maskedMultiply(images, mask);
    if (options.dropColour.every((c) => c === 0)) return { images: kept, degenerate };
    const colour = constantRow(options.dropColour, images.runtime);
    return { images: add(kept, mul(affine(mask, -1, 1), colour)), degenerate };
  });

/** Thresholds in training: one uniform draw per image, by its place in the batch. */
export const drawTheta = (key: RandomKey, rows: Rows, [low, high]: readonly [number, number]): Tensor => {
  const drawn = rand([rows.of], { key, low, high });
  return isWhole(rows) ? drawn : slice(drawn, [rows.from], [rows.to]);
};
