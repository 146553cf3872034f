import type { AircraftLevel, DatasetName } from '../data/dataset.js';
import type { AugmentOptions } from '../data/augment.js';
import type { EmbeddedSize } from '../data/types.js';
import type { ScheduleOptions } from '../nn/schedule.js';
import type { WsdanOptions } from '../wsdan/options.js';

/** Everything that decides the result of a training run and what it leaves. Kept in `config.json` and in each checkpoint. */
export interface TrainConfig {
  readonly dataset: DatasetName;
  /** Folder of the data; empty for the embedded set. */
  readonly data: string;
  readonly level: AircraftLevel;
  /** Images of the embedded set. */
  readonly embedded: EmbeddedSize;
  readonly limitTrain: number;
  readonly limitTest: number;
  readonly valFraction: number;
  readonly skipBadImages: boolean;
  /** `balanced`: in the cross-entropies of training a class counts the less the more training images it has. */
  readonly classWeights: 'none' | 'balanced';
  /** `plain` trains the same backbone with pooling and a linear classifier, for comparison. */
  readonly method: 'wsdan' | 'plain';
  /** `mixed`: activations and the operands of products are float16; weights, statistics and losses float32, as is all arithmetic. */
  readonly precision: 'float32' | 'mixed';
  readonly model: string;
  /** Inception's weights from Google want pixels in −1 … 1; off in the reference, on in torchvision. */
  readonly transformInput: boolean;
  /** File of weights the network starts from; empty: fresh weights. */
  readonly weights: string;
  /** Patterns of names that may be missing there, or of another shape. */
  readonly weightsIgnore: readonly string[];
  readonly batchSize: number;
  /** Leaves out an epoch's last batch where it is not full. */
  readonly dropLast: boolean;
  /** Most images on the device at a time; 0: the whole batch. */
  readonly microBatch: number;
  /** Batch norm uses and keeps its running statistics in training. */
  readonly freezeBn: boolean;
  readonly evalBatchSize: number;
  readonly epochs: number;
  readonly optimizer: 'sgd' | 'adamw';
  readonly lr: number;
  /** The backbone learns at this multiple of {@link lr}. */
  readonly backboneLrFactor: number;
  readonly momentum: number;
  readonly nesterov: boolean;
  readonly weightDecay: number;
  /** 0: no clipping. */
  readonly clipGradNorm: number;
  /** Decay of the weights' averages, which are what counts then; 0: none are kept. */
  readonly emaDecay: number;
  readonly schedule: Required<Omit<ScheduleOptions, 'epochs'>>;
  readonly seed: number;
  readonly augment: AugmentOptions;
  readonly wsdan: WsdanOptions;
  readonly evalEvery: number;
  /** Evaluations without a better one after which the run ends; 0: never. */
  readonly patience: number;
  /** Every how many epochs a checkpoint is kept beside the last and the best; 0: none. */
  readonly keepEvery: number;
}

/** What a run needs besides its config: it changes no number of the result. */
export interface RunOptions {
  /** All options by name, to be kept in checkpoints. */
  readonly options: Readonly<Record<string, unknown>>;
  readonly out: string;
  readonly logEvery: number;
  readonly saveEveryMinutes: number;
  readonly workers: number;
  readonly cacheMegabytes: number;
  /** 0: only reported. */
  readonly memoryBudgetMegabytes: number;
  /** Stages keep what enters them and compute the rest again in backward. */
  readonly checkpointing: boolean;
  readonly reportImages: number;
  readonly debugNan: boolean;
}
