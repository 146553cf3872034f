import { IMAGENET_MEAN, IMAGENET_STD } from '../../data/augment.js';
import { DATASET_NAMES, EMBEDDED_SIZE } from '../../data/types.js';
import { fail } from '../../errors.js';
import { backboneNames, backboneRecord } from '../../nn/models/index.js';
import { defaultWsdan } from '../../wsdan/options.js';
import type { TrainConfig } from '../config.js';
import { presets } from '../presets.js';
import type { Parsed } from './config-values.js';
import { adapterOption, choice, configFile, flag, int, number, numbers, type OptionValues, text, texts, workersOption } from './specs.js';

const preset = 'preset of the data set';
/** For options that some preset sets, others leave alone. */
const orPreset = <T extends string | number | readonly number[]>(usual: T) => ({ default: usual, defaultText: `${usual.toString()}, or ${preset}` });

/** Options that decide the result of a run and what it leaves: they are kept in checkpoints. */
export const resultOptions = {
  dataset: choice(DATASET_NAMES, { help: 'data set', default: 'synthetic' }),
  data: text({ help: 'folder of the data set, or the table of csv (not for synthetic)', placeholder: 'DIR' }),
  level: choice(['variant', 'family', 'manufacturer'], { help: 'label level of FGVC-Aircraft', default: 'variant' }),
  trainImages: int({ help: 'training images of the synthetic set', min: 16, default: EMBEDDED_SIZE.train }),
  testImages: int({ help: 'test images of the synthetic set', min: 16, default: EMBEDDED_SIZE.test }),
  method: choice(['wsdan', 'plain'], { help: 'WS-DAN, or the same backbone as a plain classifier', default: 'wsdan' }),
  model: choice(backboneNames, { help: 'backbone', defaultText: preset }),
  precision: choice(['float32', 'mixed'], { help: 'numbers in memory; mixed: activations and products’ operands as float16, with loss scaling, on adapters that have it', default: 'float32' }),
  transformInput: flag({ help: 'bring pixels to −1 … 1 inside Inception, as torchvision does for Google’s weights' }),
  weights: text({ help: 'weights to start from: a checkpoint of Pipit or of the PyTorch programs, or torchvision’s file for the backbone (.safetensors, .pth, .pt, .ckpt)', placeholder: 'FILE' }),
  weightsIgnore: texts({ help: 'names in --weights that may be missing or of another shape, such as fc.weight or "fc.*"; fresh values stand there then' }),
  imageSize: int({ help: 'side of the square network input in pixels', min: 16, max: 2048, defaultText: preset }),
  batchSize: int({ help: 'images per step', min: 2, max: 4096, defaultText: preset }),
  dropLast: flag({ help: 'leave out an epoch’s last batch where it is not full (PyTorch’s drop_last)' }),
  microBatch: int({ help: 'most images on the device at a time; the gradients of a step add up to those of the whole batch', min: 1, max: 4096, defaultText: 'the whole batch' }),
  freezeBn: flag({ help: 'batch norm uses and keeps its running statistics in training: for small batches and pretrained weights' }),
  evalBatchSize: int({ help: 'images per step of evaluation', min: 1, max: 4096, defaultText: 'twice the batch size' }),
  epochs: int({ help: 'passes over the training images', min: 1, defaultText: preset }),
  optimizer: choice(['sgd', 'adamw'], { help: 'optimiser', ...orPreset('sgd') }),
  lr: number({ help: 'initial learning rate', min: 0, aboveMin: true, defaultText: preset }),
  backboneLrFactor: number({ help: 'factor on the backbone’s learning rate, below 1 where it starts from pretrained weights and the rest is fresh', min: 0, default: 1 }),
  momentum: number({ help: 'momentum of SGD', min: 0, max: 0.9999, default: 0.9 }),
  nesterov: flag({ help: 'Nesterov momentum' }),
  weightDecay: number({ help: 'weight decay on all parameters', min: 0, defaultText: preset }),
  clipGradNorm: number({ help: 'scale gradients down to this norm; 0: never', min: 0, default: 0 }),
  emaDecay: number({ help: 'keep averages of the weights, of which this share stays in each step (such as .999); evaluations and checkpoints’ weights are these then; 0: none', min: 0, max: 0.999999, default: 0 }),
  schedule: choice(['step', 'cosine', 'constant'], { help: 'learning rate over the epochs', defaultText: preset }),
  lrStep: int({ help: 'epochs between two steps of the step schedule', min: 1, ...orPreset(2) }),
  lrGamma: number({ help: 'factor of each step', min: 0, aboveMin: true, max: 1, ...orPreset(0.9) }),
  warmupEpochs: number({ help: 'epochs of linear warm-up from a tenth of the rate', min: 0, ...orPreset(0) }),
  seed: int({ help: 'seed of initial weights, data order, augmentation and map choice', min: 0, max: 4294967295, default: 0 }),
  attentions: int({ help: 'number of attention maps M', min: 2, max: 512, defaultText: preset }),
  pooling: choice(['GAP', 'GMP'], { help: 'bilinear attention pooling', default: defaultWsdan.pooling }),
  attentionSource: choice(['head', 'features'], { help: 'maps from a 1×1 head, or the first M feature channels', defaultText: 'head; features for inception_mixed_7c' }),
  attentionRim: int({ help: 'outermost rings of the maps set to 0, against maps that settle on the zero padding', min: 0, max: 16, ...orPreset(defaultWsdan.attentionRim) }),
  scale: number({ help: 'factor on the unit-norm features before the classifier', min: 0, aboveMin: true, ...orPreset(defaultWsdan.scale) }),
  classifierBias: flag({ help: 'bias in the classifier', default: defaultWsdan.classifierBias }),
  convention: choice(['GuYuc', 'wvinzh', 'listing'], { help: 'corner, threshold and padding rules of crop and drop, after GuYuc’s program, wvinzh’s, or a blog’s listing', default: defaultWsdan.convention }),
  duplicates: choice(['accumulate', 'last'], { help: 'center update when a class occurs twice in a batch', default: defaultWsdan.duplicates }),
  beta: number({ help: 'step of the center update', min: 0, max: 1, default: defaultWsdan.beta }),
  centerWeight: number({ help: 'weight of the center loss', min: 0, ...orPreset(defaultWsdan.centerWeight) }),
  cropTheta: numbers({ help: 'range of the crop threshold in training', min: 0, max: 1, length: 2, ascending: true, ...orPreset(defaultWsdan.cropTheta) }),
  cropPadding: number({ help: 'margin of the crop box in training, of the side', min: 0, max: 1, default: defaultWsdan.cropPadding }),
  dropTheta: numbers({ help: 'range of the drop threshold in training', min: 0, max: 1, length: 2, ascending: true, default: defaultWsdan.dropTheta }),
  dropFill: choice(['mean', 'black'], { help: 'colour of dropped pixels', default: 'mean' }),
  testTheta: number({ help: 'threshold of the box at test time', min: 0, max: 1, ...orPreset(defaultWsdan.testTheta) }),
  testPadding: number({ help: 'margin of the box at test time', min: 0, max: 1, default: defaultWsdan.testPadding }),
  average: choice(['probabilities', 'logits'], { help: 'what refinement averages', default: defaultWsdan.average }),
  labelSmoothing: number({ help: 'label smoothing of the cross-entropies', min: 0, max: 0.999, default: defaultWsdan.labelSmoothing }),
  classWeights: choice(['none', 'balanced'], { help: 'weights of the classes in the cross-entropies of training; balanced: n / (classes × n of the class), so that rare ones count as much as frequent ones', default: 'none' }),
  bnMomentum: number({ help: 'weight of new batch statistics; .0003 is the authors’ decay .9997', min: 0, max: 1, default: defaultWsdan.bnMomentum }),
  resizeRatio: number({ help: 'input side divided by the side pictures are resized to', min: 0.1, max: 1, default: 0.875 }),
  normalize: choice(['imagenet', 'inception'], { help: 'pixel normalisation: ImageNet mean and std, or −1 to 1', default: 'imagenet' }),
  flip: number({ help: 'probability of a mirror image', min: 0, max: 1, default: 0.5 }),
  brightness: number({ help: 'brightness jitter', min: 0, max: 1, default: 0.126 }),
  contrast: number({ help: 'contrast jitter', min: 0, max: 1, default: 0 }),
  saturation: number({ help: 'saturation jitter', min: 0, max: 1, default: 0.5 }),
  randomResizedCrop: numbers({ help: 'area range of a random window instead of resize and crop', min: 0.01, max: 1, length: 2, ascending: true, defaultText: 'off' }),
  valFraction: number({ help: 'share of the training images held out to choose the best epoch; 0: the test images choose, as in the references', min: 0, max: 0.9, default: 0 }),
  limitTrain: int({ help: 'use at most this many training images', min: 1, defaultText: 'all' }),
  limitTest: int({ help: 'use at most this many test images', min: 1, defaultText: 'all' }),
  skipBadImages: flag({ help: 'count unreadable images and go on' }),
  evalEvery: int({ help: 'epochs between evaluations', min: 1, defaultText: preset }),
  patience: int({ help: 'end the run after this many evaluations in a row without a better one than the best; 0: never', min: 0, default: 0 }),
  keepEvery: int({ help: 'keep the checkpoint of every Nth epoch (epoch-010.safetensors) beside the last and the best; 0: none', min: 0, default: 0 }),
};

/** Options that change how a run is carried out, and none of its numbers. */
const runOptions = {
  out: text({ help: 'folder for checkpoints, metrics and the report', placeholder: 'DIR', defaultText: 'the next free runs/NAME-N' }),
  resume: flag({ help: 'go on from the last checkpoint in --out' }),
  logEvery: int({ help: 'steps between reads of the running metrics', min: 1, default: 10 }),
  saveEvery: number({ help: 'minutes between checkpoints within an epoch', min: 0.1, default: 10 }),
  workers: workersOption,
  cacheMb: int({ help: 'memory for decoded images in MiB', min: 0, default: 1024 }),
  checkpointing: flag({ help: 'keep only what enters each stage of the backbone and compute the rest again in backward: about 60 % of the memory for about a third more time, and the same numbers to the bit' }),
  memoryBudget: int({ help: 'refuse a step that needs more device memory than this, in MiB; 0: never', min: 0, default: 0 }),
  reportImages: int({ help: 'test images shown in the report', min: 0, max: 200, default: 12 }),
  adapter: adapterOption,
  debugNan: flag({ help: 'find the first op that gives NaN or Inf (slow)' }),
  config: configFile(),
};

export const trainOptions = { ...resultOptions, ...runOptions };
export type TrainOptions = OptionValues<typeof trainOptions>;
export type ResultOptions = OptionValues<typeof resultOptions>;

/** The embedded birds come from no folder: who names one means another data set. */
export const checkFolder = ({ dataset, data }: Pick<ResultOptions, 'dataset' | 'data'>): void => {
  if (dataset === 'synthetic' && data) fail(`--data ${data}: the data set synthetic is made by Pipit itself and reads no folder; add --dataset folder, or the name of the data set that lies there`);
};

/** Fills in the data set's preset where neither the command line nor a config file said anything. */
export const withPreset = ({ values, source }: Parsed<typeof trainOptions>): TrainOptions => {
  checkFolder(values);
  const filled: Record<string, unknown> = { ...values };
  for (const [name, value] of Object.entries(presets[values.dataset])) {
    if ((source as Record<string, string>)[name] === 'default') filled[name] = value;
  }
  return filled as TrainOptions;
};

type Filled = ResultOptions & { [K in 'model' | 'imageSize' | 'batchSize' | 'epochs' | 'lr' | 'weightDecay' | 'schedule' | 'attentions' | 'evalEvery']: NonNullable<ResultOptions[K]> };

const HALVES: [number, number, number] = [0.5, 0.5, 0.5];

const pick = <T, K extends keyof T>(from: T, ...names: readonly K[]): Pick<T, K> => Object.fromEntries(names.map((name) => [name, from[name]])) as Pick<T, K>;

const range = (values: readonly number[]): [number, number] => [values[0]!, values[1]!];

/** Options by name to the structure that training works with. */
export const toTrainConfig = (options: ResultOptions): TrainConfig => {
  const o = options as Filled;
  if (o.transformInput && o.normalize === 'inception') fail('--transform-input and --normalize inception both bring pixels to −1 … 1; use one of them');
  const [mean, std] = o.normalize === 'imagenet' ? [IMAGENET_MEAN, IMAGENET_STD] : [HALVES, HALVES];
  const dropColour = (o.dropFill === 'black' ? mean.map((m, c) => -m / std[c]!) : [0, 0, 0]) as [number, number, number];
  const window = o.randomResizedCrop
    ? { randomResizedCrop: { scaleMin: o.randomResizedCrop[0]!, scaleMax: o.randomResizedCrop[1]!, ratioMin: 3 / 4, ratioMax: 4 / 3 } } : {};
  return {
    ...pick(o, 'dataset', 'level', 'valFraction', 'skipBadImages', 'classWeights', 'method', 'model', 'precision', 'transformInput', 'batchSize', 'dropLast', 'freezeBn', 'epochs'),
    ...pick(o, 'optimizer', 'lr', 'backboneLrFactor', 'momentum', 'nesterov', 'weightDecay', 'clipGradNorm', 'emaDecay', 'seed', 'evalEvery', 'patience', 'keepEvery'),
    data: o.data ?? '', embedded: { train: o.trainImages, test: o.testImages }, limitTrain: o.limitTrain ?? 0, limitTest: o.limitTest ?? 0,
    weights: o.weights ?? '', weightsIgnore: o.weightsIgnore ?? [], microBatch: o.microBatch ?? 0, evalBatchSize: o.evalBatchSize ?? 2 * o.batchSize,
    schedule: { kind: o.schedule, stepSize: o.lrStep, gamma: o.lrGamma, warmupEpochs: o.warmupEpochs },
    augment: { ...pick(o, 'imageSize', 'resizeRatio', 'flip', 'brightness', 'contrast', 'saturation'), ...window, mean, std },
    wsdan: {
      ...pick(o, 'attentions', 'pooling', 'attentionRim', 'scale', 'classifierBias', 'convention', 'duplicates', 'beta', 'centerWeight', 'cropPadding'),
      ...pick(o, 'testTheta', 'testPadding', 'average', 'labelSmoothing', 'bnMomentum'),
      attentionSource: o.attentionSource ?? backboneRecord(o.model).attentionSource ?? defaultWsdan.attentionSource,
      cropTheta: range(o.cropTheta), dropTheta: range(o.dropTheta), dropColour,
    },
  };
};
