import { noGrad } from '../autograd/tape.js';
import { add, affine, softmax } from '../ops/index.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import { attentionCrop, attentionDrop, meanMap } from './augment.js';
import type { WSDAN } from './model.js';
import type { WsdanOptions } from './options.js';

export interface Prediction {
  /** Probabilities [B, classes] of the whole image (paper: coarse), of the localised object, and their mean. */
  readonly raw: Tensor;
  readonly crop: Tensor;
  readonly refined: Tensor;
  /** The mean that the options did not ask for: of logits instead of probabilities, or the other way. */
  readonly refinedOtherAverage: Tensor;
  /** Probabilities with the attended region removed; only with `withDrop`. */
  readonly drop: Tensor | null;
  /** Localised boxes [B, 4] in pixels of the network's input: y0, x0, y1, x1, half-open. */
  readonly boxes: Tensor;
  /** int32 [B]: 1 where the map was unusable and the whole image was taken. */
  readonly degenerate: Tensor;
  /** All maps [B, h, w, M] and their mean [B, h, w, 1]. */
  readonly maps: Tensor;
  readonly meanMap: Tensor;
  /** The enlarged objects [B, H, W, 3], normalised. */
  readonly cropped: Tensor;
  readonly dropped: Tensor | null;
}

/**
 * Object localisation and refinement (Algorithm 1 of the paper): predict on the image, box the object from the mean
 * attention map, enlarge it, predict again, and average. The model must be in evaluation mode.
 *
 * @param images normalised pixels [B, H, W, 3]
 */
export const localiseAndRefine = (model: WSDAN, images: Tensor, options: WsdanOptions, withDrop = false): Prediction => scope(() => noGrad(() => {
  const coarse = model.call(images);
  const mean = meanMap(coarse.maps);
  const { images: cropped, boxes, degenerate } = attentionCrop(images, mean, options.testTheta, options.testPadding, options);
  const fine = model.call(cropped);
  const [raw, crop] = [softmax(coarse.logits), softmax(fine.logits)];
  const means = [affine(add(raw, crop), 0.5), softmax(affine(add(coarse.logits, fine.logits), 0.5))] as const;
  const [refined, refinedOtherAverage] = options.average === 'probabilities' ? means : [means[1], means[0]];
  const dropped = withDrop ? attentionDrop(images, mean, meanOf(options.dropTheta), options).images : null;
  const drop = dropped ? softmax(model.call(dropped).logits) : null;
  return { raw, crop, refined, refinedOtherAverage, drop, boxes, degenerate, maps: coarse.maps, meanMap: mean, cropped, dropped };
}));

const meanOf = ([low, high]: readonly [number, number]): number => (low + high) / 2;
