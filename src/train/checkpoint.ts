import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { fail, UserError } from '../errors.js';
import { openSafetensors, type StoredTensor, writeSafetensors } from '../io/safetensors.js';
import { type TensorEntry, toFloat32 } from '../io/tensor-file.js';
import { type Checkpoint, checkpointIn, FORMAT, type Meta, META, type Position } from './checkpoint-meta.js';
import { diverged } from './diverged.js';
import type { ModelSession } from './session.js';
import { fromFileEntry, stateToFile } from './state-layout.js';
import { isUsable, uselessNumber } from './usable.js';
import { loadWeights } from './weights/load-weights.js';
import { CENTERS, interpret, OPTIMIZER, TRAINED } from './weights/weights.js';

/** Refuses to replace a usable checkpoint by one that nothing can go on from. */
const checkUsable = (path: string, tensors: ReadonlyMap<string, StoredTensor>, { step }: Position): void => {
  for (const [name, { data }] of tensors) {
    const odd = uselessNumber(data as Float32Array, name.startsWith(OPTIMIZER) ? Number.isFinite : isUsable);
    if (odd !== undefined) diverged(dirname(path), step, `${name} holds ${odd}`);
  }
};

/**
 * Writes weights (PyTorch's names and layout), centers, optimiser and position, atomically. Where averages are kept, they are the weights that readers
 * find, and those that training goes on from have {@link TRAINED} in front of their names.
 *
 * @throws UserError, with nothing written, when a number is not finite or beyond use
 */
export const saveCheckpoint = async (path: string, model: ModelSession, options: Checkpoint['options'], classes: readonly string[], position: Position): Promise<void> => {
  const { ema, method: { module, centers } } = model;
  const tensors = stateToFile(await (ema ?? module).stateDict());
  if (ema) for (const [name, tensor] of stateToFile(await module.stateDict())) tensors.set(TRAINED + name, tensor);
  if (centers) tensors.set(CENTERS, stored(centers.table.shape, await centers.table.data()));
  const optimizer = await model.optimizer.stateDict();
  for (const [name, data] of optimizer.vectors) tensors.set(OPTIMIZER + name, stored([data.length], data));
  checkUsable(path, tensors, position);
  const meta: Meta = {
    format: FORMAT, options, classes, position, optimizerStep: optimizer.step, ...(model.scaler ? { scaler: await model.scaler.stateDict() } : {}),
  };
  writeSafetensors(path, tensors, { [META]: JSON.stringify(meta) });
};

const stored = (shape: readonly number[], data: ArrayLike<number>): StoredTensor => ({ dtype: 'F32', shape, data: Float32Array.from(data) });

/** Opens a checkpoint; the weights go to a model with {@link restore}. */
export const readCheckpoint = (path: string): Checkpoint => {
  if (!existsSync(path)) fail(`${path}: there is no such checkpoint; train first, or name the run's folder with --out`);
  return checkpointIn(openSafetensors(path));
};

/** Whether a file is a checkpoint that a run goes on from: more than weights. */
export const isResumable = (path: string): boolean => {
  try {
    const { facts, tensors } = openSafetensors(path);
    return facts.has(META) && [...tensors.keys()].some((name) => name.startsWith(OPTIMIZER));
  } catch (error) {
    if (error instanceof UserError) return false;
    throw error;
  }
};

/** The tensors whose names begin so, without that. */
const under = (prefix: string, { file: { tensors } }: Checkpoint): [name: string, entry: TensorEntry][] =>
  [...tensors].filter(([name]) => name.startsWith(prefix)).map(([name, entry]) => [name.slice(prefix.length), entry]);

/** Puts everything back, so that training goes on to the bit. */
export const restore = (model: ModelSession, checkpoint: Checkpoint): void => {
  loadWeights(model.method, interpret(checkpoint.file));
  if (model.ema) {
    model.ema.set();
    model.method.module.loadStateDict(new Map(under(TRAINED, checkpoint).map(([name, entry]) => [name, fromFileEntry(name, entry)])));
  }
  const vectors = under(OPTIMIZER, checkpoint).map(([name, { dtype, read }]) => [name, toFloat32(dtype, read())] as const);
  model.optimizer.loadStateDict({ step: checkpoint.optimizerStep, vectors: new Map(vectors) });
  if (checkpoint.scaler) model.scaler?.loadStateDict(checkpoint.scaler);
  model.method.metrics.restore(checkpoint.position.sums);
};
