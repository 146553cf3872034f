import { backward } from '../autograd/backward.js';
import { noGrad } from '../autograd/tape.js';
import { add, affine, cast, cat, nextRandomKey, slice, sum, topKCorrect, type Weighted } from '../ops/index.js';
import type { GradScaler } from '../nn/grad-scaler.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import { attentionCrop, attentionDrop, chooseAttentionMaps, drawMaps, drawTheta } from './augment.js';
import { rowsEntropy, type RowsEntropy, type Weighing, weighingOf } from './batch-entropy.js';
import type { FeatureCenters } from './centers.js';
import type { MetricSums } from './metric-sums.js';
import { type BatchSource, microBatches, type Rows, shareOf, wholeBatch } from './micro-batches.js';
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
  readonly entropy: Pick<RowsEntropy, 'loss' | 'count'>;
  readonly top: { readonly top1: Tensor; readonly top5: Tensor };
}

const THIRD = 1 / 3;

/** The random choices of a step, for some of its images. */
export interface Draws {
  /** Map numbers per image, the first for cropping and the second for dropping: int32 [n, 2] from maps [n, h, w, M]. */
  maps(maps: Tensor, rows: Rows): Tensor;
  /** Thresholds per image, [n], or one for all. */
  cropTheta(rows: Rows): Tensor | number;
  dropTheta(rows: Rows): Tensor | number;
}

/** Draws from the next random keys of the step, as the options say: what an image gets does not depend on how the batch is cut. */
export const randomDraws = (options: WsdanOptions): Draws => {
  const [maps, crop, drop] = [nextRandomKey(), nextRandomKey(), nextRandomKey()];
  return {
    maps: (from, rows) => drawMaps(from, maps, rows),
    cropTheta: (rows) => drawTheta(crop, rows, options.cropTheta),
    dropTheta: (rows) => drawTheta(drop, rows, options.dropTheta),
  };
};

/** What a step computed, cut off from the tape. */
export interface StepResult {
  /** [B, classes] of the three branches. */
  readonly logits: { readonly raw: Tensor; readonly crop: Tensor; readonly drop: Tensor };
  /** Crop boxes [B, 4] in pixels: y0, x0, y1, x1, half-open. */
  readonly boxes: Tensor;
  /** The images [B, H, W, 3] without their attended pixels. */
  readonly dropped: Tensor;
}

/** What a step reads besides its images. */
interface Setting {
  readonly model: WSDAN;
  readonly centers: FeatureCenters;
  readonly options: WsdanOptions;
  readonly metrics: MetricSums<StepMetric>;
  readonly draws: Draws;
  readonly scaler: GradScaler | null;
  readonly weighing: Weighing | null;
}

/** How a step may depart from the usual one. */
export interface StepOptions {
  /** The random choices; tests pass fixed ones. */
  readonly draws?: Draws;
  /** Scales the loss before its backward; gradients are scaled then. */
  readonly scaler?: GradScaler | null;
  /** How much each class counts in the three cross-entropies, [classes], as `weight` of `crossEntropy`; the center loss takes no notice. */
  readonly classWeights?: Tensor | null;
}

/**
 * One training step without the optimiser's update (GuYuc's loop, with gradients added up branch by branch:
 * the loss is a plain sum, and one graph is alive at a time instead of three).
 *
 * loss = CE(raw)/3 + CE(crop)/3 + CE(drop)/3 + centerWeight · (1/B) Σ ‖f − n‖². With class weights CE is the mean by the weights of
 * the labels. Batch norm sees raw, crop and drop as three batches, in this order. Nothing is read back: crop boxes and drop masks stay on the device.
 *
 * @param images normalised pixels [B, H, W, 3]
 * @param labels int32 [B]
 */
export const trainStep = (
  model: WSDAN, centers: FeatureCenters, images: Tensor, labels: Tensor, options: WsdanOptions, metrics: MetricSums<StepMetric>,
  { draws = randomDraws(options), scaler = null, classWeights = null }: StepOptions = {},
): StepResult => scope(() => {
  const weighing = weighingOf('trainStep', classWeights, () => labels);
  const setting = { model, centers, options, metrics, draws, scaler, weighing };
  const { featureMatrix, ...result } = threeBranches(setting, images, labels, wholeBatch(images.shape[0]!));
  centers.update(featureMatrix, labels);
  return result;
});

/**
 * The same step with at most `most` images on the device at a time. Losses, and so the gradients, add up to those of the
 * whole batch; all micro-batches see the centers from before the step, which are updated once, at the end. Only batch norm, unless it is frozen, notices:
 * it normalises with the statistics of a micro-batch, and updates the running ones with each of them.
 */
export const trainMicroBatches = (
  model: WSDAN, centers: FeatureCenters, batch: BatchSource, most: number, options: WsdanOptions, metrics: MetricSums<StepMetric>,
  { draws = randomDraws(options), scaler = null, classWeights = null }: StepOptions = {},
): void => scope(() => {
  const weighing = weighingOf('trainMicroBatches', classWeights, () => batch.labels());
  const setting = { model, centers, options, metrics, draws, scaler, weighing };
  const parts = microBatches(batch.size, most).map((rows) => scope(() => {
    const { images, labels } = batch.rows(rows);
    return { labels, featureMatrix: threeBranches(setting, images, labels, rows).featureMatrix };
  }));
  centers.update(joined(parts.map((p) => p.featureMatrix)), joined(parts.map((p) => p.labels)));
});

const joined = (parts: readonly Tensor[]): Tensor => (parts.length === 1 ? parts[0]! : cat(parts, 0));

/** The listing aligns corners for the box at test time alone; in training it does as wvinzh. */
const trainingConvention = (convention: WsdanOptions['convention']): WsdanOptions['convention'] => (convention === 'listing' ? 'wvinzh' : convention);

/** Forward and backward of some rows of a batch. */
const threeBranches = (setting: Setting, images: Tensor, labels: Tensor, rows: Rows): StepResult & { featureMatrix: Tensor } => scope(() => {
  const { options, draws, metrics } = setting;
  const raw = rawBranch(setting, images, labels, rows);
  const crop = attentionCrop(images, raw.cropMap, draws.cropTheta(rows), options.cropPadding, { convention: trainingConvention(options.convention) });
  const cropped = augmentedBranch(setting, crop.images, labels, rows);
  const drop = attentionDrop(images, raw.dropMap, draws.dropTheta(rows), options);
  const dropped = augmentedBranch(setting, drop.images, labels, rows);
  const weighed = ({ entropy }: Branch): Weighted => [entropy.loss, entropy.count];
  metrics.add({
    lossRaw: weighed(raw), lossCrop: weighed(cropped), lossDrop: weighed(dropped), lossCenter: [raw.centerLoss, images.shape[0]!],
    rawTop1: raw.top.top1, rawTop5: raw.top.top5, cropTop1: cropped.top.top1, cropTop5: cropped.top.top5,
    dropTop1: dropped.top.top1, dropTop5: dropped.top.top5,
    degenerateCrop: countOf(crop.degenerate), degenerateDrop: countOf(drop.degenerate),
  });
  return { logits: { raw: raw.logits, crop: cropped.logits, drop: dropped.logits }, boxes: crop.boxes, dropped: drop.images, featureMatrix: raw.featureMatrix };
});

/** The loss whose backward is run. */
export const scaled = (loss: Tensor, scaler: GradScaler | null | undefined): Tensor => (scaler ? scaler.scale(loss) : loss);

/** How many of the flags (int32, 0 or 1) are set, as a float32 scalar. */
export const countOf = (flags: Tensor): Tensor => sum(cast(flags, 'float32'));

interface RawBranch extends Branch {
  readonly centerLoss: Tensor;
  readonly featureMatrix: Tensor;
  readonly cropMap: Tensor;
  readonly dropMap: Tensor;
}

const rawBranch = ({ model, centers, options, draws, scaler, weighing }: Setting, images: Tensor, labels: Tensor, rows: Rows): RawBranch => scope(() => {
  const { logits, featureMatrix, maps } = model.call(images);
  const { loss, share, count } = rowsEntropy(logits, labels, rows, options.labelSmoothing, weighing);
  const centerLoss = centers.loss(featureMatrix, labels);
  const { cropMap, dropMap } = chooseAttentionMaps(maps, draws.maps(maps, rows));
  backward(scaled(add(affine(loss, THIRD * share), affine(centerLoss, options.centerWeight * shareOf(rows))), scaler));
  return {
    logits: logits.detach(), entropy: { loss: loss.detach(), count }, centerLoss: centerLoss.detach(), featureMatrix: featureMatrix.detach(), cropMap, dropMap,
    top: correct(logits, labels),
  };
});

const augmentedBranch = ({ model, options, scaler, weighing }: Setting, images: Tensor, labels: Tensor, rows: Rows): Branch => scope(() => {
  const { logits } = model.call(images);
  const { loss, share, count } = rowsEntropy(logits, labels, rows, options.labelSmoothing, weighing);
  backward(scaled(affine(loss, THIRD * share), scaler));
  return { logits: logits.detach(), entropy: { loss: loss.detach(), count }, top: correct(logits, labels) };
});

/** Numbers of samples whose label is the best, or among the best five. */
export const correct = (logits: Tensor, labels: Tensor): Branch['top'] => noGrad(() => {
  const counts = topKCorrect(logits.detach(), labels, [1, 5]);
  return { top1: slice(counts, [0], [1]), top5: slice(counts, [1], [2]) };
});
