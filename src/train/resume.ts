/** What a run must agree on with the checkpoint it goes on from, and what to know where it does not. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Dataset } from '../data/dataset.js';
import { BadImageError } from '../data/decode.js';
import { batchesIn } from '../data/loader.js';
import { counted, fail, inCommand, UserError } from '../errors.js';
import { checkClasses } from './check-classes.js';
import { readCheckpoint } from './checkpoint.js';
import { type Checkpoint, inPresentTerms } from './checkpoint-meta.js';
import type { TrainConfig } from './config.js';
import { isOutOfPatience } from './history.js';
import { checkpointFile } from './run-folder.js';

/** The checkpoint a resumed run starts from. */
export const lastCheckpoint = (out: string): Checkpoint => readCheckpoint(checkpointFile(out, 'last'));

/** Refuses fewer epochs than are done, and an end at which no epoch was evaluated. */
export const checkEpochs = ({ position: { epoch, batch, history, unevaluated } }: Checkpoint, { epochs }: TrainConfig): void => {
  const least = batch > 0 ? epoch + 1 : epoch;
  const done = `${counted(epoch, 'epoch')}${batch > 0 ? ` and ${counted(batch, 'batch', 'batches')} of the next` : ''} ${epoch === 1 && batch === 0 ? 'is' : 'are'} done`;
  if (epochs < least) fail(`--epochs ${epochs}: ${done} already; leave the option out, or ask for ${least} or more`);
  if (epochs === epoch && !unevaluated && !history.some((record) => record.eval)) fail(`--epochs ${epochs}: ${done}, but none was evaluated (--eval-every); ask for ${epoch + 1} or more`);
};

/** Refuses data of other classes, other numbers of images than the run's epochs tell of, and fewer batches than the position counts. */
export const checkData = ({ classes, file: { path }, position: { batch, history } }: Checkpoint, config: TrainConfig, dataset: Dataset): void => {
  checkClasses({ classes, classesKnown: true, path }, dataset.classes);
  // What was passed over stands in no count.
  if (!config.skipBadImages) checkCounts(path, history, config, dataset);
  const images = dataset.train.samples.length;
  const batches = batchesIn(images, config);
  if (batch > 0 && batch >= batches) {
    fail(`${path} was saved after ${counted(batch, 'batch', 'batches')} of an epoch, and the ${counted(images, 'training image')} fill only ${batches}. Point --data to the data set the network was trained on.`);
  }
};

const checkCounts = (path: string, history: Checkpoint['position']['history'], config: TrainConfig, { train, val, test }: Dataset): void => {
  const other = (what: string, before: number, now: number): void => {
    if (before !== now) fail(`${path}: the run had ${before} ${what}, now there are ${now}; the results would not be those of one data set. Point --data to the data set as it was, or start a new run with another --out (--weights ${path} takes the weights along)`);
  };
  const evaluated = history.findLast((record) => record.eval)?.eval;
  if (evaluated?.split === 'val') other('held-out images', evaluated.images, val?.samples.length ?? 0);
  if (evaluated?.split === 'test') other('test images', evaluated.images, test.samples.length);
  const last = history.at(-1);
  if (last) other('batches of training images an epoch', last.step / last.epoch, batchesIn(train.samples.length, config));
};

/** An image that ended a run may have been removed since, as its message says: that is no reason to refuse, but to tell. */
export const dataNotes = ({ position: { dataImages } }: Checkpoint, { train: { samples } }: Dataset): string[] =>
  (dataImages === undefined || dataImages === samples.length ? [] : [`the run had ${dataImages} training images, now there are ${samples.length}: from here on it trains on others than before`]);

/** Options that steps alone read, as they are called in notes. */
const OF_STEPS = { lr: ['--lr', 'the learning rate that the schedule starts from'], clipGradNorm: ['--clip-grad-norm', 'the bound of --clip-grad-norm'] } as const;
const ofSteps = Object.keys(OF_STEPS) as (keyof typeof OF_STEPS)[];

/** Whether the last step is done: what is left is to evaluate and to report. */
const noStepLeft = ({ position: { epoch, batch, history, unevaluated } }: Checkpoint, { epochs, patience }: TrainConfig): boolean =>
  batch === 0 && (epoch >= epochs || (!unevaluated && isOutOfPatience(history, patience)));

/** The options that a resumed run keeps in its files: where no step is left, with the rates that all steps had. */
export const keptOptions = (checkpoint: Checkpoint, config: TrainConfig, options: Checkpoint['options']): Checkpoint['options'] => {
  const known = noStepLeft(checkpoint, config) ? ofSteps.filter((name) => checkpoint.options[name] !== undefined) : [];
  return { ...options, ...Object.fromEntries(known.map((name) => [name, checkpoint.options[name]])) };
};

/** What is no longer as if the run had never been interrupted. */
export const resumeNotes = (checkpoint: Checkpoint, config: TrainConfig): string[] => {
  const { options } = checkpoint;
  const { epochs, schedule, skipBadImages } = config;
  const ended = noStepLeft(checkpoint, config);
  return [
    ...ofSteps.filter((name) => options[name] !== undefined && options[name] !== config[name]).map((name) => {
      const [option, what] = OF_STEPS[name];
      return ended ? `no step is left to train, so ${option} changes nothing` : `from here on ${what} is ${config[name]} instead of ${String(options[name])}`;
    }),
    ...(skipBadImages === (options.skipBadImages ?? false) ? [] : [`from here on unreadable images ${skipBadImages ? 'are counted and passed over' : 'end the run'}`]),
    ...(!ended && schedule.kind === 'cosine' && epochs !== options.epochs
      ? [`the cosine schedule falls to 0 at the last epoch: over ${epochs} epochs instead of ${String(options.epochs)} the learning rate goes on at another value than it had`] : []),
  ];
};

/** A resumed run takes its options from the checkpoint: whoever changed `config.json` would wait in vain for an effect. */
export const configNotes = ({ options }: Checkpoint, out: string): string[] => {
  const path = join(out, 'config.json');
  let written: unknown;
  try {
    written = JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return [];
  }
  const changed = Object.entries(inPresentTerms(written as Checkpoint['options']))
    .filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(options[name])).map(([name]) => name);
  return changed.length ? [`${path} says other than the checkpoint: ${changed.join(', ')}. A resumed run takes the checkpoint's options, and writes the file anew; options on the command line change what can be changed`] : [];
};

/** An image that ends a run does not cost what was trained: tells how to go on from there. */
export const withWayOn = (error: unknown, out: string): unknown => {
  if (!(error instanceof BadImageError) || !existsSync(checkpointFile(out, 'last'))) return error;
  return new UserError(`${error.message}. What was trained is saved; go on with: node dist/train.js --out ${inCommand(out)} --resume`);
};
