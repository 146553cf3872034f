import { backward } from '../autograd/backward.js';
import { noGrad } from '../autograd/tape.js';
import { add, affine, cast, crossEntropy, slice, sum, topKCorrect } from '../ops/index.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import { attentionCrop, attentionDrop, chooseAttentionMaps, drawMaps, drawTheta } from './augment.js';
import type { FeatureCenters } from './centers.js';
import type { MetricSums } from './metric-sums.js';
import type { WSDAN } from './model.js';
import type { WsdanOptions } from './options.js';

/** Sums over samples that a step adds up; divide by `samples`. Losses are the single terms, unweighted. */
export const stepMetrics = [
  'lossRaw', 'lossCrop', 'lossDrop', 'lossCenter', 'rawTop1', 'rawTop5', 'cropTop1', 'cropTop5', 'dropTop1', 'dropTop5', 'degenerateCrop', 'degenerateDrop',
] as const;
export type StepMetric = (typeof stepMetrics)[number];

/** What one branch hands on; everything else of its graph has been released by backward. */
interface Branch {
  readonly logits: Tensor;
  readonly loss: Tensor;
  readonly top: { readonly top1: Tensor; readonly top5: Tensor };
}

const THIRD = 1 / 3;

/** The random choices of a step. */
export interface Draws {
  /** Map numbers per image, the first for cropping and the second for dropping: int32 [B, 2] from maps [B, h, w, M]. */
  maps(maps: Tensor): Tensor;
  /** Thresholds per image, [B], or one for all. */
  cropTheta(images: Tensor): Tensor | number;
  dropTheta(images: Tensor): Tensor | number;
}

/** Draws from the step's random keys, as the options say. */
export const randomDraws = (options: WsdanOptions): Draws => ({
  maps: drawMaps,
  cropTheta: (images) => drawTheta(images, options.cropTheta),
  dropTheta: (images) => drawTheta(images, options.dropTheta),
});

/** What a step computed, cut off from the tape. */
export interface StepResult {
  /** [B, classes] of the three branches. */
  readonly logits: { readonly raw: Tensor; readonly crop: Tensor; readonly drop: Tensor };
  /** Crop boxes [B, 4] in pixels: y0, x0, y1, x1, half-open. */
  readonly boxes: Tensor;
  /** The images [B, H, W, 3] without their attended pixels. */
  readonly dropped: Tensor;
}

/**
 * One training step without the optimiser's update (GuYuc's loop, with gradients added up branch by branch:
 * the loss is a plain sum, and one graph is alive at a time instead of three).
 *
 * loss = CE(raw)/3 + CE(crop)/3 + CE(drop)/3 + centerWeight · (1/B) Σ ‖f − n‖². Batch norm sees raw, crop and drop as three
 * batches, in this order. Nothing is read back: crop boxes and drop masks stay on the device.
 *
 * @param images normalised pixels [B, H, W, 3]
 * @param labels int32 [B]
 * @param draws the random choices; tests pass fixed ones
 */
export const trainStep = (
  model: WSDAN, centers: FeatureCenters, images: Tensor, labels: Tensor, options: WsdanOptions, metrics: MetricSums<StepMetric>, draws = randomDraws(options),
): StepResult => scope(() => {
  const raw = rawBranch(model, centers, images, labels, options, draws);
  const crop = attentionCrop(images, raw.cropMap, draws.cropTheta(images), options.cropPadding, options);
  const cropped = augmentedBranch(model, crop.images, labels, options);
  const drop = attentionDrop(images, raw.dropMap, draws.dropTheta(images), options);
  const dropped = augmentedBranch(model, drop.images, labels, options);
  const batch = images.shape[0]!;
  metrics.add({
    lossRaw: [raw.loss, batch], lossCrop: [cropped.loss, batch], lossDrop: [dropped.loss, batch], lossCenter: [raw.centerLoss, batch],
    rawTop1: raw.top.top1, rawTop5: raw.top.top5, cropTop1: cropped.top.top1, cropTop5: cropped.top.top5, dropTop1: dropped.top.top1, dropTop5: dropped.top.top5,
    degenerateCrop: count(crop.degenerate), degenerateDrop: count(drop.degenerate),
  });
  return { logits: { raw: raw.logits, crop: cropped.logits, drop: dropped.logits }, boxes: crop.boxes, dropped: drop.images };
});

const count = (flags: Tensor): Tensor => sum(cast(flags, 'float32'));

interface RawBranch extends Branch {
  readonly centerLoss: Tensor;
  readonly cropMap: Tensor;
  readonly dropMap: Tensor;
}

const rawBranch = (
  model: WSDAN, centers: FeatureCenters, images: Tensor, labels: Tensor, options: WsdanOptions, draws: Draws,
): RawBranch => scope(() => {
  const { logits, featureMatrix, maps } = model.call(images);
  const loss = crossEntropy(logits, labels, { labelSmoothing: options.labelSmoothing });
  const centerLoss = centers.loss(featureMatrix, labels);
  centers.update(featureMatrix, labels);
  const { cropMap, dropMap } = chooseAttentionMaps(maps, draws.maps(maps));
  backward(add(affine(loss, THIRD), affine(centerLoss, options.centerWeight)));
  return { logits: logits.detach(), loss: loss.detach(), centerLoss: centerLoss.detach(), cropMap, dropMap, top: correct(logits, labels) };
});

const augmentedBranch = (model: WSDAN, images: Tensor, labels: Tensor, options: WsdanOptions): Branch => scope(() => {
  const { logits } = model.call(images);
  const loss = crossEntropy(logits, labels, { labelSmoothing: options.labelSmoothing });
  backward(affine(loss, THIRD));
  return { logits: logits.detach(), loss: loss.detach(), top: correct(logits, labels) };
});

/** Numbers of samples whose label is the best, or among the best five. */
export const correct = (logits: Tensor, labels: Tensor): Branch['top'] => noGrad(() => {
  const counts = topKCorrect(logits.detach(), labels, [1, 5]);
  return { top1: slice(counts, [0], [1]), top5: slice(counts, [1], [2]) };
});
