import { existsSync } from 'node:fs';
import { fail } from '../errors.js';
import { readSafetensors, type StoredTensor, writeSafetensors } from '../io/safetensors.js';
import type { Module } from '../nn/module.js';
import { sameShape } from '../tensor/shape.js';
import type { EpochRecord } from './history.js';
import type { ModelSession } from './session.js';
import { fromFileLayout, stateToFile } from './state-layout.js';

const FORMAT = 1;
const OPTIMIZER = 'optimizer.';
const CENTERS = 'feature_center';

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
  readonly tensors: ReadonlyMap<string, StoredTensor>;
}

/** Writes weights (PyTorch's names and layout), centers, optimiser and position, atomically. */
export const saveCheckpoint = async (path: string, model: ModelSession, options: Checkpoint['options'], classes: readonly string[], position: Position): Promise<void> => {
  const tensors = new Map<string, StoredTensor>();
  for (const [name, { shape, data }] of stateToFile(await model.method.module.stateDict())) tensors.set(name, stored(shape, data));
  const { centers } = model.method;
  if (centers) tensors.set(CENTERS, stored(centers.table.shape, await centers.table.data()));
  const optimizer = await model.optimizer.stateDict();
  for (const [name, data] of optimizer.vectors) tensors.set(OPTIMIZER + name, stored([data.length], data));
  const meta: Meta = { format: FORMAT, options, classes, position, optimizerStep: optimizer.step };
  writeSafetensors(path, tensors, { pipit: JSON.stringify(meta) });
};

const stored = (shape: readonly number[], data: ArrayLike<number>): StoredTensor => ({ dtype: 'F32', shape, data: Float32Array.from(data) });

interface Meta {
  format: number;
  options: Checkpoint['options'];
  classes: readonly string[];
  position: Position;
  optimizerStep: number;
}

const readMeta = (path: string, text: string | undefined): Meta => {
  if (text === undefined) fail(`${path}: this safetensors file was not written by Pipit's training (its metadata lacks "pipit")`);
  let meta: Meta;
  try {
    meta = JSON.parse(text) as Meta;
  } catch {
    return fail(`${path}: the metadata is damaged; use another checkpoint`);
  }
  if (meta.format !== FORMAT) fail(`${path}: checkpoint format ${meta.format} is not the one of this version (${FORMAT})`);
  return meta;
};

/** Reads a checkpoint; the weights go to a model with {@link restore}. */
export const readCheckpoint = (path: string): Checkpoint & { optimizerStep: number } => {
  if (!existsSync(path)) fail(`${path}: there is no such checkpoint; train first, or name the run's folder with --out`);
  const { tensors, metadata } = readSafetensors(path);
  const meta = readMeta(path, metadata.pipit);
  return { options: meta.options, classes: meta.classes, position: meta.position, optimizerStep: meta.optimizerStep, tensors };
};

const isState = (name: string): boolean => name !== CENTERS && !name.startsWith(OPTIMIZER);

/** Puts the weights and running statistics of a checkpoint into a module. */
export const restoreWeights = (module: Pick<Module, 'loadStateDict'>, checkpoint: Checkpoint): void => {
  const state = [...checkpoint.tensors].filter(([name]) => isState(name))
    .map(([name, { shape, data }]) => [name, fromFileLayout(name, { shape, data: data as Float32Array })] as const);
  module.loadStateDict(new Map(state));
};

/**
 * Starts a network from another run's weights: tensors whose name and shape match are taken, the others (the classifier of another
 * set of classes, usually) keep their fresh values.
 *
 * @throws UserError when nothing matches
 */
export const initializeFrom = async (module: Pick<Module, 'loadStateDict' | 'stateDict'>, path: string): Promise<{ taken: number; fresh: string[] }> => {
  const { tensors } = readCheckpoint(path);
  const fresh: string[] = [];
  const state = await module.stateDict();
  for (const [name, own] of state) {
    const stored = tensors.get(name);
    const theirs = stored && fromFileLayout(name, { shape: stored.shape, data: stored.data as Float32Array });
    if (theirs && sameShape(theirs.shape, own.shape)) state.set(name, theirs);
    else fresh.push(name);
  }
  if (fresh.length === state.size) fail(`${path}: none of its tensors fits this model; --init needs a checkpoint of the same --model`);
  module.loadStateDict(state);
  return { taken: state.size - fresh.length, fresh };
};

/** Puts everything back, so that training goes on to the bit. */
export const restore = (model: ModelSession, checkpoint: Checkpoint & { optimizerStep: number }): void => {
  restoreWeights(model.method.module, checkpoint);
  const centers = checkpoint.tensors.get(CENTERS);
  if (centers) model.method.centers?.load(centers.data as Float32Array);
  const vectors = [...checkpoint.tensors].filter(([name]) => name.startsWith(OPTIMIZER)).map(([name, { data }]) => [name.slice(OPTIMIZER.length), data as Float32Array] as const);
  model.optimizer.loadStateDict({ step: checkpoint.optimizerStep, vectors: new Map(vectors) });
  model.method.metrics.restore(checkpoint.position.sums);
};
