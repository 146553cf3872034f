import { extname } from 'node:path';
import { fail } from '../../errors.js';
import { checkTorchDtypes, type Picklable, PicklableTensor, writeTorch } from '../../io/pytorch/write.js';
import { writeSafetensors } from '../../io/safetensors.js';
import { entryOf, type TensorEntry, type TensorFile } from '../../io/tensor-file.js';
import { checkpointIn, META } from '../checkpoint-meta.js';
import type { EpochRecord } from '../history.js';
import { programsScale, rescaled, SCALE_FACT, scaleOf } from './feature-scale.js';
import { BACKBONE, CLASSIFIER, counterOf, fromPipit, type Naming, namingTitles, type Recognised } from './naming.js';
import { CENTERS, type Weights } from './weights.js';

export const weightFormats = ['.safetensors', '.ckpt', '.pth', '.pt'] as const;

export interface WriteReport {
  readonly written: number;
  /** null: they kept names that Pipit does not know. */
  readonly naming: Naming | null;
  readonly centers: boolean;
  /** Weights for which that program has no name. */
  readonly left: readonly string[];
  /** What that program does otherwise than the run did. */
  readonly notes: readonly string[];
}

/** WS-DAN.PyTorch's blocks of two convolutions expect biases; zeros change nothing. */
const blockBiases = (tensors: ReadonlyMap<string, TensorEntry>): Map<string, TensorEntry> => {
  const biases = new Map<string, TensorEntry>();
  for (const [name, { shape }] of tensors) {
    const block = /^(features\.layer\d\.\d+)\.conv[12]\.weight$/.exec(name)?.[1];
    if (block && !tensors.has(`${block}.conv3.weight`)) biases.set(name.replace(/weight$/, 'bias'), entryOf({ dtype: 'F32', shape: [shape[0]!], data: new Float32Array(shape[0]!) }));
  }
  return biases;
};

const COUNTER: TensorEntry = entryOf({ dtype: 'I64', shape: [], data: BigInt64Array.of(0n) });

/** Weights by another program's names, with what that program expects besides. */
export const renamed = (weights: Weights, target: Recognised): { tensors: Map<string, TensorEntry>; left: string[] } => {
  // Torchvision's own classifier has its place there.
  const keepsAll = target.naming === 'torchvision' && weights.recognised?.naming === 'torchvision';
  const extra = target.naming === 'reference' && target.table.blockBiases ? blockBiases(weights.tensors) : new Map<string, TensorEntry>();
  const tensors = new Map<string, TensorEntry>();
  const left = keepsAll ? [] : [...weights.surplus.keys()];
  const put = (theirs: string, entry: TensorEntry): void => {
    tensors.set(theirs, entry);
    if (target.naming !== 'pipit' && theirs.endsWith('.running_var')) tensors.set(counterOf(theirs), COUNTER);
  };
  for (const [ours, entry] of weights.tensors) {
    const theirs = fromPipit(ours, target);
    if (theirs === undefined) {
      left.push(ours);
      continue;
    }
    put(theirs, entry);
    const bias = extra.get(ours.replace(/weight$/, 'bias'));
    if (bias) tensors.set(theirs.replace(/weight$/, 'bias'), bias);
  }
  if (keepsAll) for (const [name, entry] of weights.surplus) put(name, entry);
  return { tensors, left };
};

/**
 * WS-DAN.PyTorch's `logs` of the last epoch. Lists stand for its arrays, so that torch.load opens the file in its safe mode too; where it goes on
 * with training, it compares the epochs to come with `val_topk_accuracy`, which must be a number for that (it takes the first of its own arrays).
 */
const logsOf = (file: TensorFile): { [key: string]: Picklable } => {
  if (!file.facts.has(META)) {
    return Object.fromEntries([...file.facts].filter(([name]) => name.startsWith('logs.')).map(([name, value]) => [name.slice('logs.'.length), value]));
  }
  const { position } = checkpointIn(file);
  const last: EpochRecord | undefined = position.unevaluated ?? position.history.at(-1);
  const pair = (accuracy: { top1: number; top5: number } | null | undefined): Picklable => (accuracy ? [accuracy.top1, accuracy.top5] : null);
  if (!last) return { epoch: position.epoch };
  const { train, eval: evaluation } = last;
  return {
    epoch: position.epoch, lr: last.lr, train_loss: train.loss, train_raw_topk_accuracy: pair(train.raw), train_crop_topk_accuracy: pair(train.crop),
    train_drop_topk_accuracy: pair(train.drop),
    ...(evaluation ? { val_loss: evaluation.loss, val_topk_accuracy: (evaluation.refined ?? evaluation.raw).top1 } : {}),
  };
};

const picklable = (tensors: ReadonlyMap<string, TensorEntry>): Map<string, Picklable> =>
  new Map([...tensors].map(([name, entry]) => [name, new PicklableTensor(entry)]));

/** Weights whose classifier expects what the program multiplies features by. */
const forProgram = (weights: Weights, naming: Naming | null): { weights: Weights; notes: string[] } => {
  const [own, theirs, classifier] = [scaleOf(weights), programsScale(naming ?? undefined), weights.tensors.get(CLASSIFIER)];
  if (!own || !theirs || !classifier) return { weights, notes: [] };
  const { attentionRim } = weights.file.facts.has(META) ? checkpointIn(weights.file).options : {};
  const title = namingTitles[naming!];
  const notes = [
    ...(own === theirs ? [] : [`${CLASSIFIER} is written times ${own / theirs}: ${title} multiplies features by ${theirs}, this run by ${own}`]),
    ...(attentionRim ? [`this run left the maps' outermost cells out (--attention-rim ${attentionRim as number}), which ${title} does not: its maps and logits will be others`] : []),
  ];
  return {
    weights: { ...weights, tensors: new Map([...weights.tensors, [CLASSIFIER, own === theirs ? classifier : rescaled(classifier, own, theirs)]]) },
    notes,
  };
};

/** A whole network has a head, a backbone has none. */
const isBackbone = (weights: Weights): boolean => [...weights.tensors.keys()].every((name) => name.startsWith(BACKBONE));

/** Backbones go out by torchvision's names; whole networks by WS-DAN.PyTorch's where PyTorch reads them. */
const usualNaming = (weights: Weights, extension: string): Naming => (isBackbone(weights) ? 'torchvision' : extension === '.safetensors' ? 'pipit' : 'reference');

/**
 * Writes weights in the format of the file's ending: `.safetensors`; `.pth` and `.pt` with a bare state dictionary; `.ckpt` with
 * the entries of WS-DAN.PyTorch's checkpoints.
 *
 * @param asked whose names to use; by default those that fit the format
 */
export const writeWeights = async (path: string, given: Weights, asked?: Naming): Promise<WriteReport> => {
  const extension = extname(path);
  const { recognised, file } = given;
  if (asked && !recognised) fail(`${file.path}: nobody's names that Pipit knows; leave --names out to keep them`);
  const naming = recognised ? asked ?? usualNaming(given, extension) : null;
  const { weights, notes } = forProgram(given, naming);
  const { tensors, left } = naming ? renamed(weights, { naming, table: recognised!.table }) : { tensors: new Map(weights.tensors), left: [] };
  if (tensors.size === 0) fail(`${file.path}: nothing of it has a name in ${naming}`);
  const centers = weights.centers !== null && extension !== '.pth' && extension !== '.pt' && naming !== 'torchvision';
  const written = tensors.size;
  if (extension === '.safetensors') {
    if (centers) tensors.set(CENTERS, weights.centers!);
    const scale = naming === 'pipit' && tensors.has(CLASSIFIER) && scaleOf(weights);
    const meta = naming === 'pipit' ? file.facts.get(META) : undefined;
    writeSafetensors(path, tensors, typeof meta === 'string' ? { [META]: meta } : { format: 'pt', ...(scale ? { [SCALE_FACT]: String(scale) } : {}) });
  } else {
    checkTorchDtypes(path, tensors);
    const state = picklable(tensors);
    await writeTorch(path, extension === '.ckpt' ? { logs: logsOf(file), state_dict: state, ...(centers ? { [CENTERS]: new PicklableTensor(weights.centers!) } : {}) } : state);
  }
  return { written, naming, centers, left, notes };
};
