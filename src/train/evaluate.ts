import { boxToOutput, type ImageTransform } from '../data/augment.js';
import type { Box, Split } from '../data/dataset.js';
import type { Batch } from '../data/loader.js';
import type { Runtime } from '../kernels/runtime.js';
import { argmax, clamp, crossEntropy, log, type Weighted, zeros } from '../ops/index.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import { MetricSums } from '../wsdan/metric-sums.js';
import { correct, countOf } from '../wsdan/train-step.js';
import { type Accuracy, accuracyOf } from './accuracy.js';
import type { ClassResults } from './class-results.js';
import type { TrainConfig } from './config.js';
import { evalTransforms, uploadBatch } from './image-batch.js';
import { boxAt, LocalisationScore } from './localisation.js';
import type { Evaluated, Method } from './method.js';
import type { DataSession } from './session.js';

export interface Evaluation {
  readonly images: number;
  /** Mean negative log-likelihood of the refined (or only) prediction. */
  readonly loss: number;
  readonly raw: Accuracy;
  readonly crop: Accuracy | null;
  readonly drop: Accuracy | null;
  readonly refined: Accuracy | null;
  /** Top-1 and top-5 of the mean that was not asked for: of logits instead of probabilities, or the other way. */
  readonly refinedOtherAverage: Accuracy | null;
  /** Against the visible part of true boxes, in pixels of the network's input; null where none are known. */
  readonly localisation: { readonly meanIoU: number; readonly corLoc50: number; readonly images: number } | null;
  /** Images whose attention map was unusable, so that the whole image was taken. */
  readonly degenerate: number;
}

/** Predictions that are measured. */
export const branches = ['raw', 'crop', 'drop', 'refined', 'refinedOtherAverage'] as const;
type BranchName = (typeof branches)[number];
const names = ['loss', 'degenerate', ...branches.flatMap((b) => [`${b}Top1`, `${b}Top5`])];

interface EvaluateOptions {
  readonly withDrop: boolean;
  /** Learns which class the final prediction takes each image for. */
  readonly byClass?: ClassResults;
  readonly onBatch?: (done: number, total: number) => void;
  /** Ends it between two batches: it throws the signal's reason. */
  readonly signal?: AbortSignal;
}

/** Runs a split through the network in evaluation mode. */
export const evaluate = async (
  runtime: Runtime, data: DataSession, method: Method, config: TrainConfig, split: Split, options: EvaluateOptions,
): Promise<Evaluation> => {
  const loader = data.loader(split, { batchSize: config.evalBatchSize, shuffle: false });
  const sums = new MetricSums(runtime, names);
  const score = new LocalisationScore();
  let seen = 0;
  await emptyPool(runtime);
  try {
    for await (const batch of loader.epoch(0)) {
      options.signal?.throwIfAborted();
      const transforms = evalTransforms(config.augment, batch.images);
      const { boxes, guesses } = await scope(async () => {
        const { images, labels } = uploadBatch(runtime, batch, transforms, config.augment);
        const result = method.evaluate(images, options.withDrop);
        addCounts(sums, result, labels, images);
        const [boxes, guesses] = await Promise.all([result.boxes?.data(), options.byClass && argmax(finalOf(result), 1).data()]);
        await runtime.endStep();
        return { boxes, guesses };
      });
      if (guesses) options.byClass!.add(batch.labels, guesses);
      if (boxes) scoreBoxes(score, boxes, batch, transforms, config.augment.imageSize);
      seen += batch.labels.length;
      options.onBatch?.(batch.number + 1, loader.batchesPerEpoch);
    }
    return toEvaluation(await sums.read(), seen, method, options.withDrop, score);
  } finally {
    sums.release();
    await emptyPool(runtime);
  }
};

/** Training and evaluation need buffers of other sizes: neither keeps its idle ones while the other works. */
const emptyPool = async (runtime: Runtime): Promise<void> => {
  await runtime.idle();
  runtime.device.pool.trim();
};

/** What counts in the end. */
const finalOf = ({ raw, refined }: Evaluated): Tensor => refined ?? raw;

const addCounts = (sums: MetricSums<string>, result: Evaluated, labels: Tensor, images: Tensor): void => {
  const batch = images.shape[0]!;
  const zero = zeros([1], { runtime: images.runtime });
  const final = finalOf(result);
  // Probabilities may underflow to 0; PyTorch's users would see infinity there, a bound keeps the mean readable.
  const loss: Weighted = [crossEntropy(log(clamp(final, 1e-12, 1)), labels), batch];
  const values: Record<string, Tensor | Weighted> = { loss, degenerate: result.degenerate ? countOf(result.degenerate) : zero };
  for (const name of branches) {
    const probabilities = result[name];
    const top = probabilities ? correct(probabilities, labels) : { top1: zero, top5: zero };
    values[`${name}Top1`] = top.top1;
    values[`${name}Top5`] = top.top5;
  }
  sums.add(values);
};

/** The part of a true box that the centre crop shows to the network, in pixels of its input: what it can localise at all. */
export const visibleBox = (truth: Box, transform: ImageTransform, size: number): Box => {
  const box = boxToOutput(truth, transform, size);
  const clip = (value: number): number => Math.max(0, Math.min(size, value));
  return { x0: clip(box.x0), y0: clip(box.y0), x1: clip(box.x1), y1: clip(box.y1) };
};

const scoreBoxes = (score: LocalisationScore, boxes: ArrayLike<number>, batch: Batch, transforms: readonly ImageTransform[], size: number): void => {
  batch.boxes.forEach((truth, i) => {
    if (truth) score.add(boxAt(boxes, i), visibleBox(truth, transforms[i]!, size));
  });
};

const toEvaluation = (sums: Record<string, number>, images: number, method: Method, withDrop: boolean, score: LocalisationScore): Evaluation => {
  const accuracy = (branch: BranchName): Accuracy => accuracyOf(sums, branch, images);
  const attends = method.centers !== null;
  return {
    images, loss: sums.loss! / images, raw: accuracy('raw'),
    crop: attends ? accuracy('crop') : null, drop: attends && withDrop ? accuracy('drop') : null,
    refined: attends ? accuracy('refined') : null, refinedOtherAverage: attends && withDrop ? accuracy('refinedOtherAverage') : null,
    localisation: attends ? score.result : null, degenerate: sums.degenerate!,
  };
};
