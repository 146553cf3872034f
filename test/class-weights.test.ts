/** Class weights in training: which they are, what they do to the losses and gradients of a step, and what a run makes of them. */
import t from 'tap';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { worstError } from '../src/autograd/verify.js';
import { toConfig } from '../src/cli/options.js';
import type { Batch } from '../src/data/loader.js';
import { freezeBatchNorm } from '../src/nn/layers.js';
import { cat, manualSeed } from '../src/ops/index.js';
import { tensor } from '../src/tensor/create.js';
import { keep, scope } from '../src/tensor/scope.js';
import type { Tensor } from '../src/tensor/tensor.js';
import { classWeightsLine, classWeightsOf } from '../src/train/class-weights.js';
import type { EpochRecord } from '../src/train/history.js';
import { resultOptions, toTrainConfig } from '../src/train/options/train-options.js';
import { runTraining } from '../src/train/run.js';
import type { Trainer } from '../src/train/trainer.js';
import { FeatureCenters } from '../src/wsdan/centers.js';
import { MetricSums } from '../src/wsdan/metric-sums.js';
import { defaultWsdan } from '../src/wsdan/options.js';
import { stepMetrics, trainStep } from '../src/wsdan/train-step.js';
import { writePng } from './data-helpers.js';
import { call } from './support/command.js';
import { optionsOf } from './support/default-training.js';
import { readJsonLines } from './support/json-lines.js';
import { portableSigned } from './support/portable.js';
import { openRuntime } from './support/runtime.js';
import { int32, releaseAll, rowsOf, smallNet, softmaxRow } from './support/small-wsdan.js';

const runtime = await openRuntime();
t.teardown(() => runtime.device.close());

const datasetOf = (...counts: number[]) => ({
  classes: counts.map((_, i) => `class ${i}`), train: { samples: counts.flatMap((count, label) => Array.from({ length: count }, (_, i) => ({ id: `${label}/${i}`, label }))) },
});

t.test('balanced weights are n / (K · n_c), over the classes that have images', async (t) => {
  const balanced = (...counts: number[]) => classWeightsOf({ classWeights: 'balanced' }, datasetOf(...counts));
  t.equal(classWeightsOf({ classWeights: 'none' }, datasetOf(6, 3)), null);
  // compute_class_weight('balanced', …) of scikit-learn: np.bincount is 6, 3, 1.
  t.same(balanced(6, 3, 1), [10 / 18, 10 / 9, 10 / 3]);
  t.same(balanced(6, 0, 3, 1), [10 / 18, 0, 10 / 9, 10 / 3]);
  t.same(balanced(4, 4), [1, 1]);
  const line = (...counts: number[]): string => classWeightsLine(balanced(...counts)!, datasetOf(...counts));
  t.equal(line(6, 0, 3, 1), 'Class weights (balanced): from 0.556 for "class 0" (6 training images) to 3.33 for "class 3" (1 training image)');
  t.equal(line(4, 4), 'Class weights (balanced): 1 for each class, as all have 4 training images');
});

/** Mean by the weights of the labels, and terms by the weights of their own classes: PyTorch's definition. */
const entropyByHand = (logits: readonly (readonly number[])[], labels: ArrayLike<number>, weights: readonly number[], smoothing: number): number => {
  let [total, divisor] = [0, 0];
  logits.forEach((row, b) => {
    softmaxRow(row).forEach((p, k) => { total -= weights[k]! * ((k === labels[b] ? 1 - smoothing : 0) + smoothing / row.length) * Math.log(p); });
    divisor += weights[labels[b]!]!;
  });
  return total / divisor;
};

const SIDE = 16;
const fixedDraws = (count: number) =>
  ({ maps: () => int32(Array.from({ length: count }, () => [0, 1]).flat(), [count, 2]), cropTheta: () => 0.5, dropTheta: () => 0.5 });

/** One step of WS-DAN with batch norm frozen, so that images do not notice each other, and without centers. */
const stepOf = (images: Tensor, labels: number[], smoothing: number, weights: number[] | null) => scope(async () => {
  const model = smallNet();
  freezeBatchNorm(model);
  const options = { ...defaultWsdan, attentions: 6, labelSmoothing: smoothing, centerWeight: 0 };
  const [centers, metrics] = [new FeatureCenters(runtime, 4, model.featureSize, options), new MetricSums(runtime, stepMetrics)];
  manualSeed(1);
  const { logits } = trainStep(model, centers, images, int32(labels), options, metrics,
    { draws: fixedDraws(labels.length), classWeights: weights && tensor(weights) });
  const sums = await metrics.read();
  const gradients = new Map<string, Float32Array>();
  for (const [name, p] of model.namedParameters()) gradients.set(name, (await p.grad!.data()).slice() as Float32Array);
  const rows = { Raw: rowsOf(await logits.raw.data(), 4), Crop: rowsOf(await logits.crop.data(), 4), Drop: rowsOf(await logits.drop.data(), 4) };
  releaseAll(model);
  centers.table.release();
  metrics.release();
  return { sums, gradients, rows };
});

t.test('the three losses of a step, by hand from its logits', (t) => scope(async () => {
  const [labels, weights] = [[0, 1, 0, 3, 0, 2, 0], [0.5, 2, 3, 0]];
  const images = tensor(portableSigned(3, labels.length * SIDE * SIDE * 3, 2), [labels.length, SIDE, SIDE, 3]);
  for (const smoothing of [0, 0.2]) {
    const { sums, rows } = await stepOf(images, labels, smoothing, weights);
    for (const name of ['Raw', 'Crop', 'Drop'] as const) {
      const [found, expected] = [sums[`loss${name}`] / labels.length, entropyByHand(rows[name], labels, weights, smoothing)];
      t.ok(Math.abs(found - expected) < 1e-5 * expected, `${name}, smoothing ${smoothing}: ${found}, by hand ${expected}`);
      const alike = entropyByHand(rows[name], labels, [1, 1, 1, 1], smoothing);
      t.ok(Math.abs(alike - expected) > 1e-3 * expected, 'which is not what it is without weights');
    }
  }
}));

t.test('a class of weight 2 is one whose images are there twice', (t) => scope(async () => {
  const labels = [0, 1, 0, 2, 3, 1];
  const images = tensor(portableSigned(4, labels.length * SIDE * SIDE * 3, 2), [labels.length, SIDE, SIDE, 3]);
  const twice = labels.flatMap((label, i) => (label === 1 ? [i] : []));
  const [pixels, size] = [portableSigned(4, labels.length * SIDE * SIDE * 3, 2), SIDE * SIDE * 3];
  const copies = tensor(twice.flatMap((i) => [...pixels.subarray(i * size, (i + 1) * size)]), [twice.length, SIDE, SIDE, 3]);
  const weighted = await stepOf(images, labels, 0, [1, 2, 1, 1]);
  const copied = await stepOf(cat([images, copies], 0), [...labels, ...twice.map((i) => labels[i]!)], 0, null);
  const alike = await stepOf(images, labels, 0, null);
  const apart = (other: typeof copied): number => Math.max(...[...other.gradients].map(([name, g]) => worstError(weighted.gradients.get(name)!, g).error));
  // The same numbers in another order of sums.
  t.ok(apart(copied) < 1e-5, `gradients differ by ${apart(copied).toExponential(1)}`);
  t.ok(apart(alike) > 1e-2, `from those without weights by ${apart(alike).toExponential(1)}`);
}));

t.test('what is no tensor of a number for each class is refused', (t) => scope(async () => {
  const images = tensor(portableSigned(4, 2 * SIDE * SIDE * 3, 2), [2, SIDE, SIDE, 3]);
  const model = smallNet();
  const [centers, metrics] = [new FeatureCenters(runtime, 4, model.featureSize, defaultWsdan), new MetricSums(runtime, stepMetrics)];
  const step = (classWeights: Tensor) => () => trainStep(model, centers, images, int32([0, 1]), defaultWsdan, metrics, { classWeights });
  t.throws(step([1, 1, 1, 1] as never), { name: 'UserError', message: /^trainStep: classWeights must be a tensor \[classes\]; tensor\(\.\.\.\) makes one of numbers$/ });
  t.throws(step(tensor([1, 1, 1])), { name: 'UserError', message: /crossEntropy: weight must be \[4\], a number for each class of the logits \[2, 4\], got \[3\]/ });
  releaseAll(model);
  centers.table.release();
  metrics.release();
}));

/** 15 training images, four batches of four and less: 12 gulls and 3 herons; 8 test images. */
const root = t.testdir({});
const data = join(root, 'data');
Array.from({ length: 15 }, (_, i) => join(data, 'train', i % 5 ? 'gull' : 'heron', `${i}.png`)).forEach((path, key) => writePng(path, key, 40, 40));
Array.from({ length: 8 }, (_, i) => join(data, 'test', i % 2 ? 'gull' : 'heron', `${i}.png`)).forEach((path, key) => writePng(path, key, 40, 40));
const TINY = ['--dataset', 'folder', '--data', data, '--image-size', '32', '--attentions', '4', '--model', 'resnet_small', '--eval-every', '1', '--report-images', '0', '--workers', '0'];
const BALANCED = [15 / 24, 15 / 6];
const recordsOf = (out: string): EpochRecord[] => readJsonLines(join(out, 'metrics.jsonl')) as EpochRecord[];

for (const method of ['wsdan', 'plain']) {
  t.test(`a run of ${method}: the loss of its one step, by hand from what the network said`, async (t) => {
    const out = join(root, `hand-${method}`);
    mkdirSync(out);
    const options = optionsOf([...TINY, '--epochs', '1', '--batch-size', '15', '--class-weights', 'balanced', '--label-smoothing', '0.1', '--method', method]);
    const run = {
      options: toConfig(resultOptions, options), out, logEvery: 100, saveEveryMinutes: 1000, workers: 0, cacheMegabytes: 0, memoryBudgetMegabytes: 0,
      checkpointing: false, reportImages: 0, debugNan: false,
    };
    const seen: Tensor[] = [];
    let labels: ArrayLike<number> = [];
    await runTraining(runtime, toTrainConfig(options), run, null, (trainer: Trainer) => {
      const { module } = trainer['model'].method as unknown as { module: { call(images: Tensor): Tensor | { logits: Tensor }; training: boolean } };
      const forward = module.call.bind(module);
      module.call = (images) => {
        const result = forward(images);
        const logits = 'logits' in result ? result.logits : result;
        if (module.training) seen.push(keep(logits.detach()));
        return result;
      };
      const training = trainer['training'] as unknown as { run(batch: Batch, transforms: unknown): void };
      const step = training.run.bind(training);
      training.run = (batch, transforms) => {
        labels = Int32Array.from(batch.labels);
        step(batch, transforms);
      };
    });
    const { terms } = recordsOf(out)[0]!.train;
    const names = method === 'wsdan' ? ['raw', 'crop', 'drop'] : ['raw'];
    t.equal(seen.length, names.length);
    for (const [i, name] of names.entries()) {
      const expected = entropyByHand(rowsOf(await seen[i]!.data(), 2), labels, BALANCED, 0.1);
      t.ok(Math.abs(terms[name]! - expected) < 1e-5 * expected, `${name}: ${terms[name]}, by hand ${expected}`);
      seen[i]!.release();
    }
  });
}

t.test('the command: what it says and keeps, and a resumed run to the bit', async (t) => {
  const train = async (name: string, ...args: string[]): Promise<string> => {
    const { code, out, errors } = await call('train', '--out', join(root, name), ...args);
    t.equal(code, 0, errors || name);
    return out;
  };
  const read = (name: string, file: string) => JSON.parse(readFileSync(join(root, name, file), 'utf8')) as Record<string, unknown>;
  const [small, weighted] = [[...TINY, '--batch-size', '4', '--epochs', '2', '--schedule', 'constant'], ['--class-weights', 'balanced', '--micro-batch', '2']];
  const line = /Class weights \(balanced\): from 0\.625 for "gull" \(12 training images\) to 2\.5 for "heron" \(3 training images\)\n/;
  t.match(await train('weighted', ...small, ...weighted), line);
  t.equal(read('weighted', 'config.json').classWeights, 'balanced');
  t.notMatch(await train('alike', ...small, '--micro-batch', '2'), /Class weights/);
  t.equal(read('alike', 'config.json').classWeights, 'none');
  await train('resumed', ...small, ...weighted, '--epochs', '1');
  t.match(await train('resumed', '--resume', '--epochs', '2'), line);
  const [hash, plain, again] = ['weighted', 'alike', 'resumed'].map((name) => read(name, 'summary.json').weightsHash);
  t.equal(again, hash);
  t.not(plain, hash);
  const other = await call('train', '--out', join(root, 'resumed'), '--resume', '--epochs', '3', '--class-weights', 'none');
  t.equal(other.code, 1);
  t.match(other.errors, /the run was started with --class-weights "balanced", not "none"/);
  // Three of each: after --limit-train, which takes of each class in turn, there is nothing to balance.
  t.match(await train('limited', ...small, '--class-weights', 'balanced', '--limit-train', '6', '--epochs', '1'), /Class weights \(balanced\): 1 for each class, as all have 3 training images\n/);
  for (const [value, message] of [['balance', /--class-weights: "balance" is not allowed\. Did you mean balanced\? Allowed: none, balanced\./], ['2,1', /--class-weights: "2,1" is not allowed\..* Allowed: none, balanced\./]] as const) {
    const { code, errors } = await call('train', '--class-weights', value);
    t.equal(code, 1);
    t.match(errors, message);
  }
});
