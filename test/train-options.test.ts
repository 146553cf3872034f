/** Each option of training arrives where it belongs, and presets say what is published. */
import t from 'tap';
import { parseOptions } from '../src/cli/options.js';
import type { TrainConfig } from '../src/train/config.js';
import { idleNotes } from '../src/train/options/idle-options.js';
import { trainOptions, withPreset } from '../src/train/options/train-options.js';
import { configOf, optionsOf } from './support/default-training.js';

/** Given as options with values that occur once, and what training reads. */
const GIVEN: readonly (readonly [option: string, value: string])[] = [
  ['dataset', 'aircraft'], ['data', 'planes'], ['level', 'family'], ['train-images', '31'], ['test-images', '32'], ['model', 'resnet34'],
  ['precision', 'mixed'], ['weights', 'w.pth'], ['weights-ignore', 'a,b*'], ['image-size', '33'], ['batch-size', '34'], ['micro-batch', '5'],
  ['eval-batch-size', '36'], ['epochs', '37'], ['optimizer', 'adamw'], ['lr', '0.38'], ['momentum', '0.39'], ['weight-decay', '0.4'],
  ['clip-grad-norm', '0.41'], ['schedule', 'cosine'], ['lr-step', '42'], ['lr-gamma', '0.43'], ['warmup-epochs', '0.44'], ['seed', '45'],
  ['attentions', '46'], ['pooling', 'GMP'], ['attention-source', 'features'], ['attention-rim', '7'], ['scale', '48'], ['convention', 'wvinzh'],
  ['duplicates', 'last'], ['beta', '0.49'], ['center-weight', '0.5'], ['crop-theta', '0.51,0.52'], ['crop-padding', '0.53'], ['drop-theta', '0.54,0.55'],
  ['test-theta', '0.56'], ['test-padding', '0.57'], ['average', 'logits'], ['label-smoothing', '0.58'], ['bn-momentum', '0.59'], ['resize-ratio', '0.6'],
  ['flip', '0.61'], ['brightness', '0.62'], ['contrast', '0.63'], ['saturation', '0.64'], ['random-resized-crop', '0.65,0.66'], ['val-fraction', '0.67'],
  ['limit-train', '68'], ['limit-test', '69'], ['eval-every', '70'], ['patience', '71'], ['keep-every', '72'], ['backbone-lr-factor', '0.73'],
  ['ema-decay', '0.74'], ['class-weights', 'balanced'],
];
const FLAGS = ['transform-input', 'drop-last', 'freeze-bn', 'nesterov', 'classifier-bias', 'skip-bad-images'];

const EXPECTED: TrainConfig = {
  dataset: 'aircraft', data: 'planes', level: 'family', embedded: { train: 31, test: 32 }, limitTrain: 68, limitTest: 69, valFraction: 0.67,
  skipBadImages: true, classWeights: 'balanced',
  method: 'wsdan', precision: 'mixed', model: 'resnet34', transformInput: true, weights: 'w.pth', weightsIgnore: ['a', 'b*'], batchSize: 34, dropLast: true,
  microBatch: 5, freezeBn: true, evalBatchSize: 36,
  epochs: 37, optimizer: 'adamw', lr: 0.38, momentum: 0.39, nesterov: true, weightDecay: 0.4, clipGradNorm: 0.41,
  schedule: { kind: 'cosine', stepSize: 42, gamma: 0.43, warmupEpochs: 0.44 }, seed: 45, evalEvery: 70,
  patience: 71, keepEvery: 72, backboneLrFactor: 0.73, emaDecay: 0.74,
  augment: {
    imageSize: 33, resizeRatio: 0.6, flip: 0.61, brightness: 0.62, contrast: 0.63, saturation: 0.64,
    randomResizedCrop: { scaleMin: 0.65, scaleMax: 0.66, ratioMin: 3 / 4, ratioMax: 4 / 3 },
    mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225],
  },
  wsdan: {
    attentions: 46, pooling: 'GMP', attentionSource: 'features', attentionRim: 7, scale: 48, classifierBias: true, convention: 'wvinzh', duplicates: 'last',
    beta: 0.49, centerWeight: 0.5, cropTheta: [0.51, 0.52], cropPadding: 0.53,
    dropTheta: [0.54, 0.55], dropColour: [0, 0, 0], testTheta: 0.56, testPadding: 0.57, average: 'logits', labelSmoothing: 0.58, bnMomentum: 0.59,
  },
};

t.test('each option arrives where it belongs', async (t) => {
  t.same(configOf(...GIVEN.flatMap(([name, value]) => [`--${name}`, value]), ...FLAGS.map((name) => `--${name}`)), EXPECTED);
  t.equal(configOf('--method', 'plain').method, 'plain');
});

t.test('options that were typed and change nothing are named, whoever chose what makes them idle', async (t) => {
  const notes = (...args: string[]): string[] => {
    const parsed = parseOptions({ name: 'train', summary: '', options: trainOptions }, args);
    return idleNotes(parsed, withPreset(parsed));
  };
  const own = ['--dataset', 'folder', '--data', 'birds'];
  const typed = ['--lr-step', '3', '--lr-gamma', '0.5', '--momentum', '0.8', '--nesterov', '--weights-ignore', 'fc.*', '--level', 'family',
    '--train-images', '32', '--test-images', '32'];
  t.same(notes(...own, ...typed).sort(), [
    '--level changes nothing with --dataset folder', '--lr-gamma changes nothing with --schedule cosine', '--lr-step changes nothing with --schedule cosine',
    '--momentum changes nothing with --optimizer adamw', '--nesterov changes nothing with --optimizer adamw',
    '--test-images changes nothing with --dataset folder',
    '--train-images changes nothing with --dataset folder', '--weights-ignore changes nothing without --weights',
  ]);
  t.same(notes(...own, '--lr-step', '3', '--lr-gamma', '0.5', '--momentum', '0.8', '--nesterov', '--weights-ignore', 'fc.*', '--schedule', 'step',
    '--optimizer', 'sgd', '--weights', 'w.pth'), []);
  t.same([notes('--train-images', '32', '--test-images', '32', '--lr-step', '2'),
    notes('--dataset', 'aircraft', '--data', 'x', '--level', 'family', '--lr-gamma', '0.5', '--momentum', '0.8')], [[], []]);
  t.same([notes(), notes(...own)], [[], []], 'presets are not typed');
});

t.test('values that others decide', async (t) => {
  const black = configOf('--drop-fill', 'black').wsdan.dropColour;
  // A black pixel is 0 before the mean is taken off and the deviation divides.
  black.forEach((c, i) => t.ok(Math.abs(c - [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225][i]!) < 1e-12, `channel ${i}: ${c}`));
  const inception = configOf('--normalize', 'inception', '--drop-fill', 'black');
  t.same([inception.augment.mean, inception.augment.std, inception.wsdan.dropColour], [[0.5, 0.5, 0.5], [0.5, 0.5, 0.5], [-1, -1, -1]]);
  t.equal(configOf('--batch-size', '5').evalBatchSize, 10, 'twice the batch');
  const source = (...args: string[]): string => configOf('--data', 'd', '--dataset', ...args).wsdan.attentionSource;
  t.same([source('cub'), source('dogs'), source('dogs', '--attention-source', 'head')], ['head', 'features', 'head'],
    'the last block’s first channels are maps by themselves');
});

t.test('the published recipe, and what departs from it', async (t) => {
  const recipe = ({ model, lr, weightDecay, momentum, optimizer, epochs, batchSize, schedule, augment, wsdan }: TrainConfig) => {
    const { imageSize, brightness, saturation, flip } = augment;
    const { scale, attentionRim, cropTheta, dropTheta, testTheta, beta, centerWeight } = wsdan;
    return {
      model, lr, weightDecay, momentum, optimizer, epochs, batchSize, schedule, imageSize, brightness, saturation, flip,
      scale, attentionRim, cropTheta, dropTheta, testTheta, beta, centerWeight,
    };
  };
  const published = {
    model: 'inception_mixed_6e', lr: 1e-3, weightDecay: 1e-5, momentum: 0.9, optimizer: 'sgd', epochs: 160, batchSize: 12,
    schedule: { kind: 'step', stepSize: 2, gamma: 0.9, warmupEpochs: 0 }, imageSize: 448,
    brightness: 0.126, saturation: 0.5, flip: 0.5,
    scale: 100, attentionRim: 0, cropTheta: [0.4, 0.6], dropTheta: [0.2, 0.5], testTheta: 0.1, beta: 0.05, centerWeight: 1,
  };
  for (const dataset of ['aircraft', 'cub', 'cars']) t.same(recipe(configOf('--dataset', dataset, '--data', 'd')), published, dataset);
  t.same(recipe(configOf('--dataset', 'dogs', '--data', 'd')), { ...published, model: 'inception_mixed_7c', lr: 1e-4 });
  const scratch = { lr: 0.005, weightDecay: 0.02, optimizer: 'adamw', scale: 10, attentionRim: 1 };
  for (const dataset of ['synthetic', 'folder', 'csv']) {
    t.match(recipe(configOf('--dataset', dataset, ...(dataset === 'synthetic' ? [] : ['--data', 'd']))), scratch, dataset);
  }
  t.same([optionsOf(['--dataset', 'cub', '--data', 'd', '--lr', '0.1', '--epochs', '3'])].map(({ lr, epochs, batchSize }) => [lr, epochs, batchSize]),
    [[0.1, 3, 12]], 'what is given goes before the preset');
});
