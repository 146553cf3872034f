import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { fail } from '../errors.js';
import { openSafetensors, type StoredTensor, writeSafetensors } from '../io/safetensors.js';
import { type Fact, type TensorFile, toFloat32 } from '../io/tensor-file.js';
import type { GradScalerState } from '../nn/grad-scaler.js';
import { diverged } from './diverged.js';
import type { EpochRecord } from './history.js';
import type { ModelSession } from './session.js';
import { stateToFile } from './state-layout.js';
import { loadWeights, type Target } from './weights/load-weights.js';
import { CENTERS, interpret, OPTIMIZER } from './weights/weights.js';

const FORMAT = 1;
/** Where a checkpoint keeps what is no tensor. */
export const META = 'pipit';

/** Where a run stands; with the weights it decides everything that follows. */
export interface Position {
  /** Epochs completed. */
  readonly epoch: number;
  /** Batches completed in the next epoch; 0 at its start. */
  readonly batch: number;
  /** Training steps so far: keys the random numbers. */
  readonly step: number;
  /** Sums of the metrics of the batches completed. */
  readonly sums: Readonly<Record<string, number>>;
  /** Seconds of training and evaluation so far, and of training alone without warm-up. */
  readonly seconds: number;
  readonly trainSeconds: number;
  readonly trainImages: number;
  readonly history: readonly EpochRecord[];
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

/** Where squares overflow, so do variances and norms: the next step has no finite number any more, although the weights have. */
const isUsable = (value: number): boolean => Math.fround(value * value) < Infinity;

/** Refuses to replace a usable checkpoint by one that nothing can go on from. */
const checkUsable = (path: string, tensors: ReadonlyMap<string, StoredTensor>, { step }: Position): void => {
  for (const [name, { data }] of tensors) {
    const fits = name.startsWith(OPTIMIZER) ? Number.isFinite : isUsable;
    const odd = (data as Float32Array).find((value) => !fits(value));
    if (odd !== undefined) diverged(dirname(path), step, `${name} holds ${odd}`);
  }
};

/**
 * Writes weights (PyTorch's names and layout), centers, optimiser and position, atomically.
 *
 * @throws UserError, with nothing written, when a number is not finite or beyond use
 */
export const saveCheckpoint = async (path: string, model: ModelSession, options: Checkpoint['options'], classes: readonly string[], position: Position): Promise<void> => {
  const tensors = new Map<string, StoredTensor>();
  for (const [name, { shape, data }] of stateToFile(await model.method.module.stateDict())) tensors.set(name, stored(shape, data));
  const { centers } = model.method;
  if (centers) tensors.set(CENTERS, stored(centers.table.shape, await centers.table.data()));
  const optimizer = await model.optimizer.stateDict();
  for (const [name, data] of optimizer.vectors) tensors.set(OPTIMIZER + name, stored([data.length], data));
  checkUsable(path, tensors, position);
  const meta: Meta = { format: FORMAT, options, classes, position, optimizerStep: optimizer.step, ...(model.scaler ? { scaler: await model.scaler.stateDict() } : {}) };
  writeSafetensors(path, tensors, { [META]: JSON.stringify(meta) });
};

const stored = (shape: readonly number[], data: ArrayLike<number>): StoredTensor => ({ dtype: 'F32', shape, data: Float32Array.from(data) });

interface Meta {
  format: number;
  options: Checkpoint['options'];
  classes: readonly string[];
  position: Position;
  optimizerStep: number;
  scaler?: GradScalerState;
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);
const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;

/** What a part of the metadata must look like; one that was written by hand or is damaged must not end in a fault later. */
const forms: Readonly<Record<Exclude<keyof Meta, 'format'>, (value: unknown) => boolean>> = {
  options: isObject,
  classes: (value) => Array.isArray(value) && value.every((name) => typeof name === 'string'),
  position: (value) => isObject(value) && [value.epoch, value.batch, value.step].every(isCount) && isObject(value.sums) && Array.isArray(value.history) && value.history.every(isObject),
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

/** Earlier versions called a value of an option otherwise. */
const underPresentNames = (options: Checkpoint['options']): Checkpoint['options'] =>
  (options.convention === 'seed' ? { ...options, convention: 'listing' } : options);

/** What a run wrote about itself into an opened file. */
export const checkpointIn = (file: TensorFile): Checkpoint => {
  const { options, classes, position, optimizerStep, scaler } = readMeta(file.path, file.facts.get(META));
  return { options: underPresentNames(options), classes, position, optimizerStep, scaler, file };
};

/** Opens a checkpoint; the weights go to a model with {@link restore}. */
export const readCheckpoint = (path: string): Checkpoint => {
  if (!existsSync(path)) fail(`${path}: there is no such checkpoint; train first, or name the run's folder with --out`);
  return checkpointIn(openSafetensors(path));
};

/** Puts weights, running statistics and centers into a network. */
export const restoreWeights = (target: Target, { file }: Checkpoint): void => {
  loadWeights(target, interpret(file));
};

/** Puts everything back, so that training goes on to the bit. */
export const restore = (model: ModelSession, checkpoint: Checkpoint): void => {
  restoreWeights(model.method, checkpoint);
  const vectors = [...checkpoint.file.tensors].filter(([name]) => name.startsWith(OPTIMIZER))
    .map(([name, { dtype, read }]) => [name.slice(OPTIMIZER.length), toFloat32(dtype, read())] as const);
  model.optimizer.loadStateDict({ step: checkpoint.optimizerStep, vectors: new Map(vectors) });
  if (checkpoint.scaler) model.scaler?.loadStateDict(checkpoint.scaler);
  model.method.metrics.restore(checkpoint.position.sums);
};
