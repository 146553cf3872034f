import { fail } from '../errors.js';
import { crossEntropy, div } from '../ops/index.js';
import { sumOfWeights } from '../ops/label-weights.js';
import { Tensor } from '../tensor/tensor.js';
import { type Rows, shareOf } from './micro-batches.js';

/** Class weights within a step. */
export interface Weighing {
  /** [classes] */
  readonly weight: Tensor;
  /** Of the labels of the whole batch: what a mean divides by, in each of its micro-batches. */
  readonly total: Tensor;
}

/** @param labels gives int32 [B] of the whole batch */
export const weighingOf = (caller: string, weight: Tensor | null, labels: () => Tensor): Weighing | null => {
  if (!weight) return null;
  if (!(weight instanceof Tensor)) fail(`${caller}: classWeights must be a tensor [classes]; tensor(...) makes one of numbers`);
  return { weight, total: sumOfWeights(weight, labels()) };
};

/** The cross-entropy of some rows of a batch. */
export interface RowsEntropy {
  readonly loss: Tensor;
  /** What part of the loss is these rows' part of the batch's mean. */
  readonly share: number;
  /** How often the loss counts in a sum over samples. */
  readonly count: number;
}

/** Without weights the rows' own mean; with weights their sum over the total of the whole batch. Parts of a batch add up to its mean either way. */
export const rowsEntropy = (logits: Tensor, labels: Tensor, rows: Rows, labelSmoothing: number, weighing: Weighing | null): RowsEntropy => {
  if (!weighing) return { loss: crossEntropy(logits, labels, { labelSmoothing }), share: shareOf(rows), count: rows.to - rows.from };
  const total = crossEntropy(logits, labels, { weight: weighing.weight, labelSmoothing, reduction: 'sum' });
  return { loss: div(total, weighing.total), share: 1, count: rows.of };
};
