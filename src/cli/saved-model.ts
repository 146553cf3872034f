/** What `eval` and `predict` share: the checkpoint, its options, and the network with its weights. */
import { join } from 'node:path';
import { fail } from '../errors.js';
import type { Runtime } from '../kernels/runtime.js';
import { withoutInit } from '../nn/init.js';
import { type Checkpoint, readCheckpoint, restoreWeights } from '../train/checkpoint.js';
import type { TrainConfig } from '../train/config.js';
import { createMethod, type Method } from '../train/method.js';
import { choice, flag, int, number, type OptionValues, text } from './options.js';
import { type ResultOptions, resultOptions, toTrainConfig } from './train-options.js';

/** Where the weights come from. */
export const checkpointOptions = {
  checkpoint: text({ help: 'checkpoint that training wrote', placeholder: 'FILE' }),
  out: text({ help: 'folder of a run; its last checkpoint is taken', placeholder: 'DIR' }),
  best: flag({ help: 'with --out: take the best checkpoint instead of the last' }),
};

/** Options of the run that change only how a trained network is used; without them those of the run hold. */
export const refinementOptions = {
  testTheta: number({ help: 'threshold of the box, relative to the attention’s maximum', min: 0, max: 1, defaultText: 'as trained' }),
  testPadding: number({ help: 'margin of the box, of the side', min: 0, max: 1, defaultText: 'as trained' }),
  average: choice(['probabilities', 'logits'], { help: 'what refinement averages', defaultText: 'as trained' }),
  batchSize: int({ help: 'images per step', min: 1, max: 4096, defaultText: 'as in training’s evaluation' }),
};

export interface SavedModel {
  readonly path: string;
  readonly checkpoint: Checkpoint;
  readonly config: TrainConfig;
}

/** The file that `--checkpoint` or `--out` names. */
export const checkpointPath = ({ checkpoint, out, best }: OptionValues<typeof checkpointOptions>): string => {
  if (checkpoint && out) fail('--checkpoint and --out both name the weights; leave one of them out');
  if (checkpoint && best) fail('--best chooses between the checkpoints in the folder of --out; --checkpoint already names one');
  return checkpoint ?? join(out ?? fail('name the weights: --checkpoint FILE, or --out DIR for the folder of a run'), `${best ? 'best' : 'last'}.safetensors`);
};

/** A checkpoint of an earlier version lacks later options; their defaults are what it was trained with. */
const complete = (saved: Checkpoint['options']): Record<string, unknown> =>
  Object.fromEntries(Object.entries(resultOptions).map(([name, spec]) => [name, saved[name] ?? (spec as { default?: unknown }).default]));

/** Reads a checkpoint and the config that follows from its options, with some of them replaced. */
export const readSavedModel = (path: string, replaced: Readonly<Partial<ResultOptions>> = {}): SavedModel => {
  const checkpoint = readCheckpoint(path);
  const given = Object.fromEntries(Object.entries(replaced).filter(([, value]) => value !== undefined));
  const options = { ...complete(checkpoint.options), ...given } as unknown as ResultOptions;
  return { path, checkpoint, config: toTrainConfig(options) };
};

/** Builds the network with the checkpoint's weights, in evaluation mode. */
export const buildSaved = (runtime: Runtime, { checkpoint, config }: SavedModel): Method => {
  const method = withoutInit(() => createMethod(runtime, config, checkpoint.classes.length));
  restoreWeights(method.module, checkpoint);
  method.module.eval();
  return method;
};

/** One line about the weights. */
export const describeSaved = ({ path, checkpoint: { classes, position }, config: { method, model, augment } }: SavedModel): string =>
  `Checkpoint: ${path}, ${method === 'wsdan' ? 'WS-DAN' : 'plain classifier'} on ${model}, ${augment.imageSize} px, ${classes.length} classes, after ${position.epoch} epochs (${position.step} steps)`;
