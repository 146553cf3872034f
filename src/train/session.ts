import { type AugmentOptions, resizedSide } from '../data/augment.js';
import { type Dataset, openDataset, type Sample, type Split } from '../data/dataset.js';
import type { BadImageError } from '../data/decode.js';
import { DecodePool } from '../data/decode-pool.js';
import { ImageCache } from '../data/image-cache.js';
import { Loader } from '../data/loader.js';
import type { DecodeLimits } from '../data/types.js';
import { counted, fail } from '../errors.js';
import type { Runtime } from '../kernels/runtime.js';
import { seedInit } from '../nn/init.js';
import { GradScaler } from '../nn/grad-scaler.js';
import { ModelEma } from '../nn/model-ema.js';
import { AdamW, type Optimizer, SGD } from '../nn/optimizer.js';
import type { ParamGroup } from '../nn/parameter-groups.js';
import { manualSeed } from '../ops/index.js';
import type { RunOptions, TrainConfig } from './config.js';
import { createMethod, type Method } from './method.js';
import { printable } from './printable.js';

/** Decoded pictures are shrunk beyond twice this multiple of the training resize. */
const DECODE_SIDE_FACTOR = 4;

/** What the decoding threads do with large pictures. Only random windows need more of a picture than the training resize. */
export const decodeLimits = (augment: AugmentOptions): DecodeLimits =>
  ({ maxSide: resizedSide(augment) * DECODE_SIDE_FACTOR, ...(augment.randomResizedCrop ? {} : { square: resizedSide(augment) }) });
const PREFETCH_BATCHES = 3;
/** Pictures or boxes of one fault that are named; more would hide what else is printed. */
const SHOWN = 5;

/** Names the fault of a picture, unless it was met before. */
const warnOnce = (met: Set<string>, id: string, consequence: string, fault: string): void => {
  if (met.has(id)) return;
  met.add(id);
  if (met.size <= SHOWN) console.warn(`${consequence}: ${printable(fault)}`);
  if (met.size === SHOWN + 1) console.warn(`${consequence}: more of that kind, which are not named`);
};

/** Data and decoding of a run, shared by training, evaluation and prediction. */
export interface DataSession {
  readonly dataset: Dataset;
  /** Bad images met so far (only with skipBadImages). */
  readonly bad: Set<string>;
  loader(split: Split, options: { batchSize: number; shuffle: boolean }): Loader;
  close(): Promise<void>;
}

/** How many pictures were passed over, for the end of a run. */
export const badLine = ({ bad }: Pick<DataSession, 'bad'>): string => `${counted(bad.size, 'unreadable image')} left out.`;

/** Opens the data set and starts the decoding workers. */
export const openData = async (config: TrainConfig, run: Pick<RunOptions, 'workers' | 'cacheMegabytes'>): Promise<DataSession> => {
  const dataset = await openDataset(config.dataset, {
    dir: config.data || undefined, level: config.level, seed: config.seed, valFraction: config.valFraction,
    limitTrain: config.limitTrain || undefined, limitTest: config.limitTest || undefined, skipBadImages: config.skipBadImages,
    embedded: config.embedded,
  });
  const pool = new DecodePool({ ...(run.workers >= 0 ? { workers: run.workers } : {}), ...decodeLimits(config.augment) });
  const cache = new ImageCache(run.cacheMegabytes * 2 ** 20);
  const [bad, outside] = [new Set<string>(), new Set<string>()];
  const onBad = ({ id }: Sample, { path, reason }: BadImageError): void => { warnOnce(bad, id, 'skipped', `image ${path} ${reason}`); };
  const onBoxOutside = ({ id, path, boxFrom }: Sample): void => { warnOnce(outside, id, 'ignored', `${boxFrom}: the box lies outside its picture ${path}`); };
  const loader = (split: Split, options: { batchSize: number; shuffle: boolean }): Loader =>
    new Loader(split, {
      ...options, dropLast: options.shuffle && config.dropLast, seed: config.seed,
      prefetch: PREFETCH_BATCHES, pool, cache, skipBadImages: config.skipBadImages, onBad, onBoxOutside,
    });
  return { dataset, bad, loader, close: () => pool.close() };
};

/** The network with its optimiser, initialised from the config's seed. */
export interface ModelSession {
  readonly method: Method;
  readonly optimizer: Optimizer;
  /** Of mixed precision. */
  readonly scaler: GradScaler | null;
  /** With --ema-decay. */
  readonly ema: ModelEma | null;
}

/** One group, or the backbone apart behind the rest, whose rate is the one that is shown. */
const parameterGroups = ({ module }: Method, { lr, backboneLrFactor }: TrainConfig): ParamGroup[] => {
  const parameters = module.parameters().filter((p) => p.requiresGrad);
  if (backboneLrFactor === 1) return [{ params: parameters }];
  const backbone = new Set(module.features.parameters());
  return [{ params: parameters.filter((p) => !backbone.has(p)) }, { params: parameters.filter((p) => backbone.has(p)), lr: lr * backboneLrFactor }];
};

export const createModel = (runtime: Runtime, config: TrainConfig, classes: number, classWeights: readonly number[] | null = null): ModelSession => {
  seedInit(config.seed);
  manualSeed(config.seed);
  const method = createMethod(runtime, config, classes, classWeights);
  const { lr, momentum, nesterov, weightDecay, clipGradNorm, emaDecay } = config;
  const groups = parameterGroups(method, config);
  const optimizer = config.optimizer === 'sgd'
    ? new SGD(groups, { lr, momentum, nesterov, weightDecay, clipGradNorm })
    : new AdamW(groups, { lr, weightDecay, clipGradNorm });
  return {
    method, optimizer, scaler: config.precision === 'mixed' ? new GradScaler({ runtime }) : null,
    ema: emaDecay > 0 ? new ModelEma(method.module, { decay: emaDecay }) : null,
  };
};

/** The optimiser's step, through the scaler where there is one, and the averages'. */
export const updateParameters = ({ optimizer, scaler, ema }: Omit<ModelSession, 'method'>): void => {
  if (scaler) {
    scaler.step(optimizer);
    scaler.update();
  } else optimizer.step();
  ema?.update();
};

/** Runs `work` with the weights that count in the network: the averages, where there are some. */
export const withCountingWeights = <T>({ ema }: ModelSession, work: () => Promise<T>): Promise<T> => (ema ? ema.averaged(work) : work());

/** Refuses a data set that cannot fill one batch, where only full ones count. */
export const checkBatchSize = ({ samples: { length } }: Split, { batchSize, dropLast }: TrainConfig): void => {
  if (dropLast && length < batchSize) {
    const smaller = length < 2 ? '' : `, use --batch-size ${length} or less`;
    fail(`--drop-last: the training split has ${counted(length, 'image')}, fewer than one batch of ${batchSize}; leave the option out${smaller}, or take more data`);
  }
};
