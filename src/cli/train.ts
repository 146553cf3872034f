import { fail, inCommand } from '../errors.js';
import type { Checkpoint } from '../train/checkpoint-meta.js';
import { idleNotes } from '../train/options/idle-options.js';
import { savedOptions } from '../train/options/saved-options.js';
import { checkFolder, resultOptions, toTrainConfig, trainOptions, type TrainOptions, withPreset } from '../train/options/train-options.js';
import { presetLines } from '../train/presets.js';
import { lastCheckpoint } from '../train/resume.js';
import { printNotes } from '../train/printable.js';
import { claimRunFolder } from '../train/run-folder.js';
import { runTraining } from '../train/run.js';
import { openRuntime } from './open-runtime.js';
import { kebab, type Parsed, parseOptions, toConfig } from './options.js';
import { otherNames } from './other-names.js';
import { INTERRUPTED, onInterrupt, runCommand } from './run-command.js';

const spec = {
  name: 'train',
  summary: 'Trains WS-DAN. Without options it trains on the embedded synthetic birds, which needs no data.',
  options: trainOptions,
  otherNames,
  more: ['Presets of the data sets:', ...presetLines().map((line) => `  ${line}`)],
  examples: [
    'node dist/train.js',
    'node dist/train.js --dataset folder --data my-birds --model resnet18 --image-size 224 --epochs 60',
    'node dist/train.js --out runs/synthetic-1 --resume',
    'node dist/train.js --dataset folder --data my-birds --limit-train 16 --epochs 60 --eval-every 60 --flip 0 --brightness 0 --saturation 0 --resize-ratio 1    # can it be learned at all? 16 pictures by heart',
  ],
};

/**
 * Options that a resumed run may change: where files lie, which changes no number; the epochs, which makes the same run longer unless
 * the schedule is stretched over them (cosine), and the patience, which does so, too; which checkpoints are kept; and what helps a run that has
 * diverged or met an unreadable image. A note tells where the numbers become others.
 */
const CHANGEABLE = ['data', 'weights', 'weightsIgnore', 'epochs', 'patience', 'keepEvery', 'lr', 'clipGradNorm', 'skipBadImages'];

/** A resumed run takes the options it was saved with; others that were given must agree. */
const resumedOptions = (parsed: Parsed<typeof trainOptions>, checkpoint: Checkpoint): TrainOptions => {
  const saved: Readonly<Record<string, unknown>> = savedOptions(checkpoint);
  const values: Record<string, unknown> = { ...parsed.values };
  for (const name of Object.keys(resultOptions)) {
    const given = (parsed.source as Record<string, string>)[name] !== 'default';
    if (given && !CHANGEABLE.includes(name) && JSON.stringify(values[name]) !== JSON.stringify(saved[name])) {
      fail(`--resume: the run was started with --${kebab(name)} ${JSON.stringify(saved[name] ?? 'unset')}, not ${JSON.stringify(values[name])}; leave the option out, or start a new run with another --out`);
    }
    if (!given || !CHANGEABLE.includes(name)) values[name] = saved[name];
  }
  if (parsed.values.data) checkFolder(values as TrainOptions);
  return values as TrainOptions;
};

const train = async (): Promise<number> => {
  const parsed = parseOptions(spec, process.argv.slice(2));
  const { resume, out: given, dataset } = parsed.values;
  if (resume && !given) fail('--resume needs the folder of the run: add --out DIR');
  const checkpoint = resume ? lastCheckpoint(given!) : null;
  const options = checkpoint ? resumedOptions(parsed, checkpoint) : withPreset(parsed);
  if (options.debugNan && options.precision === 'mixed') fail('--debug-nan stops at the first infinity, and with --precision mixed the loss scaling meets some on purpose; use it with --precision float32');
  const config = toTrainConfig(options);
  const { path: out, release } = claimRunFolder(given, dataset, resume);
  // However the process ends, save by kill −9.
  process.once('exit', release);
  const runtime = await openRuntime(options.adapter);
  printNotes(idleNotes(parsed, options));
  const remove: (() => void)[] = [];
  const { finished } = await runTraining(runtime, config, {
    options: toConfig(resultOptions, options), out, logEvery: options.logEvery, saveEveryMinutes: options.saveEvery, workers: options.workers ?? -1,
    cacheMegabytes: options.cacheMb, memoryBudgetMegabytes: options.memoryBudget, checkpointing: options.checkpointing,
    reportImages: options.reportImages, debugNan: options.debugNan,
  }, checkpoint, (trainer) => remove.push(onInterrupt(() => {
    console.log('\nStopping after this step …');
    trainer.stop();
  })));
  remove.forEach((f) => f());
  if (!finished) console.log(`Stopped and saved. Go on with: node dist/train.js --out ${inCommand(out)} --resume`);
  runtime.device.close();
  return finished ? 0 : INTERRUPTED;
};

await runCommand(train, { outlivesReader: true });
