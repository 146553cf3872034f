/** Inception-v3 against published golden values, and a whole WS-DAN training step on it against PyTorch: test/reference/inception_step_torch.py. */
import t from 'tap';
import { readFileSync } from 'node:fs';
import { worstError } from '../src/autograd/verify.js';
import { createBackbone } from '../src/nn/models/index.js';
import { withModuleHook } from '../src/nn/module.js';
import { SGD } from '../src/nn/optimizer.js';
import { mapWeights, noGrad } from '../src/index.js';
import { tensor, write } from '../src/tensor/create.js';
import { keep, scope } from '../src/tensor/scope.js';
import type { Tensor } from '../src/tensor/tensor.js';
import { toFileLayout } from '../src/train/state-layout.js';
import { attentionCrop, meanMap } from '../src/wsdan/augment.js';
import { FeatureCenters } from '../src/wsdan/centers.js';
import { MetricSums } from '../src/wsdan/metric-sums.js';
import { WSDAN } from '../src/wsdan/model.js';
import { defaultWsdan } from '../src/wsdan/options.js';
import { type Draws, stepMetrics, trainStep } from '../src/wsdan/train-step.js';
import { fillPortable, portableImages, summarise } from './support/portable.js';
import { openRuntime } from './support/runtime.js';

const runtime = await openRuntime({ winograd: 'off' });

type Summaries = Record<string, [norm: number, projection: number]>;
const fixture = JSON.parse(readFileSync('test/fixtures/inception-step-torch.json', 'utf8')) as {
  size: number; batch: number; classes: number; maps: number; labels: number[]; sgd: { lr: number; momentum: number; weight_decay: number }; order: string[];
  float32: Record<'terms' | 'logits' | 'centers', number> & Record<'gradients' | 'running' | 'changes', [median: number, largest: number]>; terms: number[]; boxes: number[]; kept: number[]; logits: [number[], number[], number[]]; numbers: number[]; thetas: [number[], number[]];
  gradients: Summaries; running: Summaries; changes: Summaries; centers: { head: number[][]; all: [number, number] };
};
const { size, batch, classes } = fixture;

const model = new WSDAN(createBackbone('inception_mixed_6e'), classes, defaultWsdan).nameAll();
fillPortable(model, fixture.order);
const pixels = portableImages(batch, size, 2);
const images = (): Tensor => tensor(pixels, [batch, size, size, 3]);

/** Stage, then mean, standard deviation and maximum of its output, as published. */
const GOLDEN: readonly (readonly [string, number, number, number])[] = [
  ['Conv2d_1a_3x3', 0.652133, 0.955135, 8.39845],
  ['Conv2d_2a_3x3', 0.686932, 0.950694, 7.99217],
  ['Conv2d_2b_3x3', 0.642975, 0.997999, 8.39919],
  ['maxpool1', 1.778792, 1.327271, 8.39919],
  ['Conv2d_3b_1x1', 1.095989, 1.836661, 11.76962],
  ['Conv2d_4a_3x3', 1.2642, 1.833531, 11.02445],
  ['maxpool2', 1.919698, 2.217895, 11.02445],
  ['Mixed_5b', 1.413125, 2.260929, 14.20848],
  ['Mixed_5c', 1.46952, 2.073642, 11.51172],
  ['Mixed_5d', 1.357405, 2.138277, 13.90316],
  ['Mixed_6a', 1.525542, 2.250876, 13.90316],
  ['Mixed_6b', 1.424464, 2.174091, 16.12652],
  ['Mixed_6c', 1.443028, 2.19016, 18.79253],
  ['Mixed_6d', 1.383347, 2.059065, 17.61478],
  ['Mixed_6e', 1.111001, 1.724697, 12.80603],
];

const momentsOf = (values: ArrayLike<number>): [mean: number, std: number, max: number] => {
  let [sum, squares, max] = [0, 0, -Infinity];
  for (let i = 0; i < values.length; i++) {
    sum += values[i]!;
    squares += values[i]! ** 2;
    max = Math.max(max, values[i]!);
  }
  const average = sum / values.length;
  return [average, Math.sqrt(squares / values.length - average ** 2), max];
};

const close = (actual: ArrayLike<number>, expected: readonly number[], tolerance: number): boolean =>
  expected.every((value, i) => Math.abs(actual[i]! - value) <= tolerance);

t.test('evaluation gives the golden values, stage by stage', (t) => scope(async () => {
  model.eval();
  const stages = new Map<string, Tensor>();
  const look = (path: string, _module: unknown, output: unknown): void => {
    const name = path.replace('features.', '');
    if (GOLDEN.some(([stage]) => stage === name)) stages.set(name, keep((output as Tensor).alias()));
  };
  const { logits, featureMatrix, maps } = withModuleHook(look, () => noGrad(() => model.call(images())));
  for (const [stage, ...expected] of GOLDEN) {
    const output = stages.get(stage)!;
    const found = momentsOf(await output.data());
    // Values are published with six decimals, maxima with five; up to 94 layers of float32 change means by less.
    t.ok(close(found, expected, 1e-5), `${stage}: ${found.map((v) => v.toFixed(6)).join(' ')}`);
    output.release();
  }
  const [average, , largest] = momentsOf(await maps.data());
  // A maximum of 8.4 is judged as those of the stages are: 1e-5 is 10 units in the last place of such a float32.
  t.ok(close([average], [1.436732], 3e-6) && close([largest], [8.41192], 1e-5), `attention maps: mean ${average}, largest ${largest}`);
  t.ok(close(await meanMap(maps).data(), [0.438973, 0.627135, 0.702996], 2e-6), 'mean map');
  const matrix = await featureMatrix.data();
  t.ok(close(matrix, [0.00328616, 0.01281884, 0.00776773, 0.00177742], 2e-8), 'feature matrix');
  const half = matrix.length / 2;
  const rowSums = [matrix.subarray(0, half), matrix.subarray(half)].map((row) => [...row].reduce((sum, v) => sum + v, 0));
  t.ok(close(rowSums, [96.020468, 96.185893], 2e-5), `its row sums ${rowSums.join(', ')}`);
  const values = await logits.data();
  // The published agreement of float32 is 2e-6.
  t.ok(close(values, [-0.166748, -0.037922, 0.505654, 0.160997, -0.236324], 2e-6)
    && close(values.subarray(classes), [-0.170474, -0.054734, 0.50212, 0.164809, -0.252723], 2e-6), 'logits');
  t.same([values.subarray(0, classes), values.subarray(classes)].map((row) => row.indexOf(Math.max(...row))), [106, 106], 'best class');
  const weights = [...(await mapWeights(maps).data())];
  const shares = [weights.slice(0, 32), weights.slice(32)].flatMap((row) => row.map((w) => w / row.reduce((a, b) => a + b)));
  t.ok(close(shares, [0.04101805, 0.01083899, 0.0022313, 0.02554909], 3e-8), 'sampling probabilities');
  t.ok(Math.abs(Math.min(...shares) / 2.66e-9 - 1) < 2e-3 && Math.abs(Math.max(...shares) - 0.0651365) < 1e-7,
    `a dead map keeps ${Math.min(...shares)}, the largest ${Math.max(...shares)}`);
  const crop = attentionCrop(images(), meanMap(maps), 0.1, 0.05, defaultWsdan);
  t.same([...(await crop.boxes.data())], [0, 0, size, size, 0, 0, size, size], 'the box of evaluation is the whole image');
}));

/** The map numbers and thresholds of the reference. */
const draws: Draws = {
  maps: () => tensor(Int32Array.from(fixture.numbers), [batch, 2]),
  cropTheta: () => tensor(fixture.thetas[0]),
  dropTheta: () => tensor(fixture.thetas[1]),
};

/** Median and largest error of summaries, relative to the norm; see `apart` in the reference script. */
const apart = (own: Summaries, expected: Summaries): [median: number, largest: number] => {
  const floor = 1e-4 * Math.max(...Object.values(expected).map(([norm]) => norm));
  const errors = Object.entries(expected).map(([name, [norm, projection]]) =>
    Math.max(Math.abs(own[name]![0] - norm), Math.abs(own[name]![1] - projection)) / Math.max(norm, floor));
  errors.sort((a, b) => a - b);
  return [errors[Math.floor(errors.length / 2)]!, errors.at(-1)!];
};

const summariesOf = async (named: readonly (readonly [string, ArrayLike<number>])[]): Promise<Summaries> =>
  Object.fromEntries(named.map(([name, data], i) => [name, summarise(data, 3000 + i)]));

const inFileLayout = async (named: readonly (readonly [string, Tensor])[]): Promise<[string, Float32Array][]> => {
  const out: [string, Float32Array][] = [];
  for (const [name, x] of named) out.push([name, toFileLayout(name, { shape: x.shape, data: (await x.data()) as Float32Array }).data]);
  return out;
};

t.test('a training step: losses, boxes, kept pixels, gradients, centers, statistics, weights', (t) => scope(async () => {
  model.train();
  // The reference script says why the biases are 1 here.
  for (const [name, p] of model.features.namedParameters()) if (name.endsWith('bn.bias')) write(p, new Float32Array(p.size).fill(1));
  const { lr, momentum, weight_decay: weightDecay } = fixture.sgd;
  const optimizer = new SGD(model.parameters(), { lr, momentum, weightDecay });
  const centers = new FeatureCenters(runtime, classes, model.featureSize, defaultWsdan);
  const metrics = new MetricSums(runtime, stepMetrics);
  const before = await inFileLayout(model.namedParameters());
  optimizer.zeroGrad();
  const { logits, boxes, dropped } = trainStep(model, centers, images(), tensor(fixture.labels, [batch], { dtype: 'int32' }), defaultWsdan, metrics, { draws });
  t.same([...(await boxes.data())], fixture.boxes, 'crop boxes to the pixel');
  const left = await dropped.data();
  const imageOf = (b: number) => left.subarray(b * size * size * 3, (b + 1) * size * size * 3);
  const kept = fixture.kept.map((_, b) => imageOf(b).filter((v, i) => i % 3 === 0 && v !== 0).length / size ** 2);
  t.same(kept, fixture.kept, 'pixels that dropping left');

  // PyTorch's own float32 run of this step tells how far rounding alone leads from float64. Another order of summation is another
  // draw of the same roundings: up to twice as far is allowed.
  const allowed = fixture.float32;
  for (const [i, name] of (['raw', 'crop', 'drop'] as const).entries()) {
    const { error } = worstError(await logits[name].data(), fixture.logits[i]!);
    t.ok(error < 2 * allowed.logits, `${name} logits: ${error.toExponential(1)}`);
  }
  const sums = await metrics.read();
  const terms = [sums.lossRaw, sums.lossCrop, sums.lossDrop, sums.lossCenter].map((total) => total / batch);
  t.ok(worstError(terms, fixture.terms).error < 2 * allowed.terms, `losses ${terms.join(', ')}`);
  const table = (await centers.table.data()) as Float32Array;
  const rows = fixture.labels.map((label) => table.subarray(label * model.featureSize, (label + 1) * model.featureSize));
  const head = rows.flatMap((row) => [...row.subarray(0, 8)]);
  t.ok(worstError(head, fixture.centers.head.flat()).error < 2 * allowed.centers, 'first elements of both centers');
  t.ok(apart({ all: summarise(rows.flatMap((row) => [...row]), 3000) }, { all: fixture.centers.all })[1] < 2 * allowed.centers, 'both centers');
  t.equal(table.filter((v) => v !== 0).length, rows.reduce((count, row) => count + row.filter((v) => v !== 0).length, 0), 'no other center moved');

  const check = (what: 'gradients' | 'running' | 'changes', own: Summaries): void => {
    t.same(Object.keys(own), Object.keys(fixture[what]), `${what}: PyTorch's names in PyTorch's order`);
    const [median, largest] = apart(own, fixture[what]);
    const [allowedMedian, allowedLargest] = allowed[what].map((error) => 2 * error) as [number, number];
    t.ok(median < allowedMedian && largest < allowedLargest,
      `${what}: median ${median.toExponential(1)} of ${allowedMedian.toExponential(1)}, largest ${largest.toExponential(1)} of ${allowedLargest.toExponential(1)}`);
  };
  check('gradients', await summariesOf(await inFileLayout(model.namedParameters().map(([name, p]) => [name, p.grad!]))));
  check('running', await summariesOf(await inFileLayout(model.namedBuffers())));
  optimizer.step();
  const after = await inFileLayout(model.namedParameters());
  check('changes', await summariesOf(after.map(([name, data], i) => [name, data.map((v, k) => v - before[i]![1][k]!)])));
}));

t.teardown(() => runtime.device.close());
