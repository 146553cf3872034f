/** What a checkpoint says about itself beside its tensors. */
import { fail } from '../errors.js';
import { type Fact, isCount, type TensorFile } from '../io/tensor-file.js';
import type { GradScalerState } from '../nn/grad-scaler.js';
import type { EpochRecord } from './history.js';

export const FORMAT = 1;
/** Where a checkpoint keeps what is no tensor. */
export const META = 'pipit';

/** Where a run stands; with the weights it decides everything that follows. */
export interface Position {
  /** Epochs completed. */
  readonly epoch: number;
  /** Batches completed in the next epoch; 0 at its start. */
  readonly batch: number;
  /** Images trained in those batches; those of earlier versions do not tell, and had full batches. */
  readonly images?: number;
  /** Training steps so far: keys the random numbers. */
  readonly step: number;
  /** Sums of the metrics of the batches completed. */
  readonly sums: Readonly<Record<string, number>>;
  /** Seconds of training and evaluation so far, and of training alone without warm-up. */
  readonly seconds: number;
  readonly trainSeconds: number;
  readonly trainImages: number;
  readonly history: readonly EpochRecord[];
  /** Training images of the data set; earlier versions do not tell. */
  readonly dataImages?: number;
  /** Images left out so far because they could not be read. */
  readonly bad?: readonly string[];
  /** The last epoch completed, where its evaluation is due and not done yet: it is not in the history then. */
  readonly unevaluated?: EpochRecord;
}

export interface Checkpoint {
  /** The run's options by name, as `config.json` has them. */
  readonly options: Readonly<Record<string, unknown>>;
  readonly classes: readonly string[];
  readonly position: Position;
  readonly optimizerStep: number;
  /** Of mixed precision. */
  readonly scaler: GradScalerState | undefined;
  /** The tensors, read when asked. */
  readonly file: TensorFile;
}

export interface Meta {
  format: number;
  options: Checkpoint['options'];
  classes: readonly string[];
  position: Position;
  optimizerStep: number;
  scaler?: GradScalerState;
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);
const isTexts = (value: unknown): boolean => Array.isArray(value) && value.every((name) => typeof name === 'string');

const isNumber = (value: unknown): boolean => typeof value === 'number';
const isAccuracy = (value: unknown): boolean => isObject(value) && isNumber(value.top1) && isNumber(value.top5);
const isAccuracyIfAny = (value: unknown): boolean => (value ?? null) === null || isAccuracy(value);
const isTrained = (value: unknown): boolean =>
  isObject(value) && isNumber(value.loss) && isNumber(value.degenerate) && isAccuracy(value.raw) && isAccuracyIfAny(value.crop) && isAccuracyIfAny(value.drop);
const isEvaluated = (value: unknown): boolean => isObject(value) && isNumber(value.loss) && isAccuracy(value.raw) && isAccuracyIfAny(value.refined);
const isRecord = (value: unknown): boolean =>
  isObject(value) && isCount(value.epoch) && isCount(value.step) && isNumber(value.lr)
  && isTrained(value.train) && (value.eval === undefined || isEvaluated(value.eval));
const isPosition = (value: unknown): boolean =>
  isObject(value) && [value.epoch, value.batch, value.step, value.images ?? 0, value.dataImages ?? 0].every(isCount)
  && isObject(value.sums) && Array.isArray(value.history) && value.history.every(isRecord)
  && (value.unevaluated === undefined || isRecord(value.unevaluated)) && isTexts(value.bad ?? []);

/** What a part of the metadata must look like; one that was written by hand or is damaged must not end in a fault later. */
const forms: Readonly<Record<Exclude<keyof Meta, 'format'>, (value: unknown) => boolean>> = {
  options: isObject,
  classes: isTexts,
  position: isPosition,
  optimizerStep: isCount,
  scaler: (value) => value === undefined || isObject(value),
};

const readMeta = (path: string, text: Fact | undefined): Meta => {
  if (typeof text !== 'string') return fail(`${path}: this safetensors file was not written by Pipit's training (its metadata lacks "pipit")`);
  let meta: unknown;
  try {
    meta = JSON.parse(text);
  } catch {
    meta = null;
  }
  if (!isObject(meta)) return fail(`${path}: the metadata is damaged; use another checkpoint`);
  if (meta.format !== FORMAT) fail(`${path}: checkpoint format ${JSON.stringify(meta.format)} is not the one of this version (${FORMAT})`);
  for (const [name, hasForm] of Object.entries(forms)) if (!hasForm(meta[name])) fail(`${path}: the metadata is damaged, "${name}" is not what training writes; use another checkpoint`);
  return meta as unknown as Meta;
};

/** Earlier versions called a value of an option otherwise, and left incomplete batches out. */
export const inPresentTerms = (options: Checkpoint['options']): Checkpoint['options'] =>
  ({ dropLast: true, ...options, ...(options.convention === 'seed' ? { convention: 'listing' } : {}) });

/** What a run wrote about itself into an opened file. */
export const checkpointIn = (file: TensorFile): Checkpoint => {
  const { options, classes, position, optimizerStep, scaler } = readMeta(file.path, file.facts.get(META));
  return { options: inPresentTerms(options), classes, position, optimizerStep, scaler, file };
};
