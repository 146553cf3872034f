import { backward } from '../autograd/backward.js';
import { noGrad } from '../autograd/tape.js';
import { add, affine, cast, crossEntropy, slice, sum, topKCorrect } from '../ops/index.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import { attentionCrop, attentionDrop, chooseAttentionMaps, drawTheta } from './augment.js';
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
  readonly loss: Tensor;
  readonly top: { readonly top1: Tensor; readonly top5: Tensor };
}

const THIRD = 1 / 3;

/**
 * One training step without the optimiser's update (GuYuc's loop, with gradients added up branch by branch:
 * the loss is a plain sum, and one graph is alive at a time instead of three).
 *
 * loss = CE(raw)/3 + CE(crop)/3 + CE(drop)/3 + centerWeight · (1/B) Σ ‖f − n‖². Batch norm sees raw, crop and drop as three
 * batches, in this order. Nothing is read back: crop boxes and drop masks stay on the device.
 *
 * @param images normalised pixels [B, H, W, 3]
 * @param labels int32 [B]
 */
export const trainStep = (
  model: WSDAN, centers: FeatureCenters, images: Tensor, labels: Tensor, options: WsdanOptions, metrics: MetricSums<StepMetric>,
): void => scope(() => {
  const raw = rawBranch(model, centers, images, labels, options);
  const crop = attentionCrop(images, raw.cropMap, drawTheta(images, options.cropTheta), options.cropPadding, options);
  const cropped = augmentedBranch(model, crop.images, labels, options);
  const drop = attentionDrop(images, raw.dropMap, drawTheta(images, options.dropTheta), options);
  const dropped = augmentedBranch(model, drop.images, labels, options);
  const batch = images.shape[0]!;
  metrics.add({
    lossRaw: affine(raw.loss, batch), lossCrop: affine(cropped.loss, batch), lossDrop: affine(dropped.loss, batch), lossCenter: affine(raw.centerLoss, batch),
    rawTop1: raw.top.top1, rawTop5: raw.top.top5, cropTop1: cropped.top.top1, cropTop5: cropped.top.top5, dropTop1: dropped.top.top1, dropTop5: dropped.top.top5,
    degenerateCrop: count(crop.degenerate), degenerateDrop: count(drop.degenerate),
  });
});

const count = (flags: Tensor): Tensor => sum(cast(flags, 'float32'));

interface RawBranch extends Branch {
  readonly centerLoss: Tensor;
  readonly cropMap: Tensor;
  readonly dropMap: Tensor;
}

const rawBranch = (model: WSDAN, centers: FeatureCenters, images: Tensor, labels: Tensor, options: WsdanOptions): RawBranch => scope(() => {
  const { logits, featureMatrix, maps } = model.call(images);
  const loss = crossEntropy(logits, labels, { labelSmoothing: options.labelSmoothing });
  const centerLoss = centers.loss(featureMatrix, labels);
  centers.update(featureMatrix, labels);
  const { cropMap, dropMap } = chooseAttentionMaps(maps);
  backward(add(affine(loss, THIRD), affine(centerLoss, options.centerWeight)));
  return { loss: loss.detach(), centerLoss: centerLoss.detach(), cropMap, dropMap, top: correct(logits, labels) };
});

const augmentedBranch = (model: WSDAN, images: Tensor, labels: Tensor, options: WsdanOptions): Branch => scope(() => {
  const { logits } = model.call(images);
  const loss = crossEntropy(logits, labels, { labelSmoothing: options.labelSmoothing });
  backward(affine(loss, THIRD));
  return { loss: loss.detach(), top: correct(logits, labels) };
});

/** Numbers of samples whose label is the best, or among the best five. */
export const correct = (logits: Tensor, labels: Tensor): Branch['top'] => noGrad(() => {
  const counts = topKCorrect(logits.detach(), labels, [1, 5]);
  return { top1: slice(counts, [0], [1]), top5: slice(counts, [1], [2]) };
});
