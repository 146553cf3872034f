import { type Accuracy, accuracyOf } from './accuracy.js';
import type { Evaluation } from './evaluate.js';

/** One epoch: a line of `metrics.jsonl`. */
export interface EpochRecord {
  /** 1-based. */
  readonly epoch: number;
  readonly step: number;
  readonly lr: number;
  /** Of training, without the first step after a start, which compiles all kernels. */
  readonly seconds: number;
  /** null where that step was the only one. */
  readonly imagesPerSecond: number | null;
  /** Of mixed precision: the loss scale after the epoch, and how many steps of the run were skipped so far. */
  readonly scaler?: { readonly scale: number; readonly skipped: number };
  /** Means over the samples of the epoch, in training mode. Loss terms are unweighted. */
  readonly train: {
    readonly loss: number;
    readonly terms: Readonly<Record<string, number>>;
    readonly raw: Accuracy;
    readonly crop?: Accuracy;
    readonly drop?: Accuracy;
    readonly degenerate: number;
  };
  /** On held-out images (`val`), or on the test split where nothing is held out; absent when the epoch was not evaluated. */
  readonly eval?: Evaluation & { readonly split: 'val' | 'test' };
}

/** Turns the sums of an epoch into means. */
export const trainMetrics = (sums: Readonly<Record<string, number>>, samples: number, loss: number): EpochRecord['train'] => {
  const accuracy = (branch: string): Accuracy => accuracyOf(sums, branch, samples);
  const terms = Object.fromEntries(Object.entries(sums).filter(([name]) => name.startsWith('loss')).map(([name, total]) => [name.slice(4).toLowerCase(), total / samples]));
  return {
    loss, terms, raw: accuracy('raw'),
    ...('cropTop1' in sums ? { crop: accuracy('crop'), drop: accuracy('drop') } : {}),
    degenerate: (sums.degenerateCrop ?? 0) + (sums.degenerateDrop ?? 0),
  };
};

/** What decides which epoch is the best: refined top-1, or raw where nothing is refined. */
export const selectionScore = ({ raw, refined }: Evaluation): number => (refined ?? raw).top1;

export type EvaluatedEpoch = EpochRecord & Required<Pick<EpochRecord, 'eval'>>;

const evaluated = (records: readonly EpochRecord[]): EvaluatedEpoch[] => records.filter((record): record is EvaluatedEpoch => record.eval !== undefined);

/** The epoch with the best evaluation, the first where several are alike; undefined while none was evaluated. */
export const bestEpoch = (records: readonly EpochRecord[]): EvaluatedEpoch | undefined =>
  evaluated(records).reduce<EvaluatedEpoch | undefined>(
    (best, record) => (best && selectionScore(best.eval) >= selectionScore(record.eval) ? best : record), undefined);

/**
 * Whether the last epoch was evaluated, and with it `patience` evaluations in a row were no better than the best before them; a patience of 0 never ends.
 * It follows from the history alone, so that a resumed run decides as one that was never interrupted.
 */
export const isOutOfPatience = (records: readonly EpochRecord[], patience: number): boolean => {
  if (patience === 0 || !records.at(-1)?.eval) return false;
  const best = bestEpoch(records)!.epoch;
  return evaluated(records).filter(({ epoch }) => epoch > best).length >= patience;
};
