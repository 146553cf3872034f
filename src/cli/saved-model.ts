/** What `eval`, `predict` and `convert` share: the checkpoint, its options, and the network with its weights. */
import { readFileSync } from 'node:fs';
import { counted, fail, inCommand } from '../errors.js';
import { openTensorFile } from '../io/open-tensor-file.js';
import { type Checkpoint, checkpointIn, META } from '../train/checkpoint-meta.js';
import { readCheckpoint } from '../train/checkpoint.js';
import type { TrainConfig } from '../train/config.js';
import { savedOptions } from '../train/options/saved-options.js';
import { type ResultOptions, toTrainConfig, trainOptions, withPreset } from '../train/options/train-options.js';
import { checkpointFile } from '../train/run-folder.js';
import { programNotes } from '../train/weights/load-weights.js';
import { CLASSIFIER, namingTitles } from '../train/weights/naming.js';
import { interpret, type Weights } from '../train/weights/weights.js';
import { choice, flag, int, number, type OptionValues, parseConfigFile, text, withoutMark } from './options.js';

/** What another program's weights do not tell about their network. */
export const networkOptions = {
  trainedWith: text({ help: 'for weights of other programs: options of train.js that describe the network, as a run’s config.json has them', placeholder: 'FILE.json' }),
  classes: text({ help: 'for weights of other programs: names of the classes, one a line', placeholder: 'FILE' }),
};

/** Where the weights come from. */
export const checkpointOptions = {
  checkpoint: text({ help: 'checkpoint that training wrote', placeholder: 'FILE' }),
  out: text({ help: 'folder of a run; its last checkpoint is taken', placeholder: 'DIR' }),
  best: flag({ help: 'with --out: take the best checkpoint instead of the last' }),
  weights: text({ help: 'instead: weights that another program trained (.ckpt, .pth, .pt, .safetensors)', placeholder: 'FILE' }),
  ...networkOptions,
};

/** Options of the run that change only how a trained network is used; without them those of the run hold. */
export const refinementOptions = {
  testTheta: number({ help: 'threshold of the box, relative to the attention’s maximum', min: 0, max: 1, defaultText: 'as trained' }),
  testPadding: number({ help: 'margin of the box, of the side', min: 0, max: 1, defaultText: 'as trained' }),
  average: choice(['probabilities', 'logits'], { help: 'what refinement averages', defaultText: 'as trained' }),
  precision: choice(['float32', 'mixed'], { help: 'numbers in memory', defaultText: 'as trained' }),
  batchSize: int({ help: 'images per step', min: 1, max: 4096, defaultText: 'as in training’s evaluation' }),
};

/** A trained network on disk. */
export interface SavedModel {
  readonly path: string;
  readonly weights: Weights;
  readonly config: TrainConfig;
  readonly classes: readonly string[];
  /** False where another program's file names no classes: they are numbered then. */
  readonly classesKnown: boolean;
  /** Training so far; null where the file does not tell. */
  readonly epochs: number | null;
  readonly steps: number | null;
}

type Values = Partial<OptionValues<typeof checkpointOptions>>;

/** The checkpoint that `--checkpoint` or `--out` names. */
const checkpointPath = ({ checkpoint, out, best }: Values): string => {
  if (checkpoint && out) fail('--checkpoint and --out both name the weights; leave one of them out');
  if (checkpoint && best) fail('--best chooses between the checkpoints in the folder of --out; --checkpoint already names one');
  return checkpoint ?? checkpointFile(out ?? fail('name the weights: --checkpoint FILE, --out DIR for the folder of a run, or --weights FILE for those of another program'), best ? 'best' : 'last');
};

type Replaced = Readonly<Partial<ResultOptions>>;

const withReplaced = (options: object, replaced: Replaced): ResultOptions =>
  ({ ...options, ...Object.fromEntries(Object.entries(replaced).filter(([, value]) => value !== undefined)) }) as unknown as ResultOptions;

const ofRun = (path: string, checkpoint: Checkpoint, replaced: Replaced): SavedModel => {
  const { classes, position: { epoch, step }, file } = checkpoint;
  return {
    path, weights: interpret(file), config: toTrainConfig(withReplaced(savedOptions(checkpoint), replaced)),
    classes, classesKnown: true, epochs: epoch, steps: step,
  };
};

const readLines = (path: string): string[] => {
  try {
    return withoutMark(readFileSync(path, 'utf8')).split(/\r?\n/).map((line) => line.trim()).filter(Boolean);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return fail(code === 'ENOENT' ? `--classes: there is no file ${path}.` : code === 'EISDIR' ? `--classes: ${path} is a folder; name a file` : `--classes: ${path} cannot be read: ${message}`);
  }
};

/** The number of classes is that of the classifier's rows. */
const classesOf = (weights: Weights, listed: string | undefined): string[] => {
  const count = weights.tensors.get(CLASSIFIER)?.shape[0] ?? fail(`${weights.file.path} ${weights.surplus.has(CLASSIFIER) ? "is torchvision's network, of which only the backbone is used here" : `has no classifier (${CLASSIFIER}): it holds a backbone alone`}. Train with it: node dist/train.js --weights ${inCommand(weights.file.path)}`);
  const names = listed ? readLines(listed) : Array.from({ length: count }, (_, i) => `class ${i}`);
  if (names.length !== count) fail(`--classes: ${listed} has ${names.length} lines, but ${CLASSIFIER} in ${weights.file.path} tells ${count} classes apart`);
  return names;
};

const ofOthers = async (path: string, { trainedWith, classes: listed }: Values, replaced: Replaced): Promise<SavedModel> => {
  const file = await openTensorFile(path);
  if (file.facts.has(META)) {
    if (trainedWith ?? listed) fail(`${path} is a checkpoint of Pipit and describes its network itself; leave --trained-with and --classes out`);
    return ofRun(path, checkpointIn(file), replaced);
  }
  if (!trainedWith) fail(`${path} does not tell all about its network. Say it with --trained-with FILE.json, options of train.js such as {"dataset": "cub", "data": "CUB_200_2011", "model": "resnet50"}`);
  const weights = interpret(file);
  const options = withPreset(parseConfigFile(trainOptions, trainedWith, '--trained-with'));
  const epoch = weights.file.facts.get('logs.epoch') ?? weights.file.facts.get('epoch');
  return {
    path, weights, config: toTrainConfig(withReplaced(options, replaced)), classes: classesOf(weights, listed), classesKnown: listed !== undefined,
    epochs: typeof epoch === 'number' ? epoch : null, steps: null,
  };
};

/** Opens a trained network and the config that follows from its options, with some of them replaced. */
export const readSavedModel = async (values: Values, replaced: Replaced = {}): Promise<SavedModel> => {
  const { weights, checkpoint, out, trainedWith, classes } = values;
  if (weights && (checkpoint ?? out)) fail('--weights stands instead of --checkpoint and --out; leave one of them out');
  if (!weights && (trainedWith ?? classes)) fail('--trained-with and --classes describe the network of --weights; a checkpoint of Pipit describes itself');
  if (weights) return ofOthers(weights, values, replaced);
  const path = checkpointPath(values);
  return ofRun(path, readCheckpoint(path), replaced);
};

/** A line about the weights, and what to know about them. */
export const describeSaved = ({ path, classes, epochs, steps, weights, config }: SavedModel): string => {
  const { recognised } = weights;
  const { method, model, augment } = config;
  return [
    `Checkpoint: ${path}, ${method === 'wsdan' ? 'WS-DAN' : 'plain classifier'} on ${model}, ${augment.imageSize} px, ${classes.length} classes` +
      `${recognised && recognised.naming !== 'pipit' ? `, names of ${namingTitles[recognised.naming]}` : ''}` +
      `${epochs === null ? '' : `, after ${counted(epochs, 'epoch')}`}${steps === null ? '' : ` (${counted(steps, 'step')})`}${config.emaDecay > 0 ? ', averages of the weights' : ''}`,
    ...programNotes(weights, config).map((note) => `Note: ${note}`),
  ].join('\n');
};
