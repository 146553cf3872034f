/** One training step of WS-DAN: what it draws, counts and adds up, by hand. */
import t from 'tap';
import { noGrad } from '../src/autograd/tape.js';
import { manualSeed } from '../src/ops/index.js';
import { tensor, write } from '../src/tensor/create.js';
import { scope } from '../src/tensor/scope.js';
import type { Tensor } from '../src/tensor/tensor.js';
import { FeatureCenters } from '../src/wsdan/centers.js';
import { wholeBatch } from '../src/wsdan/micro-batches.js';
import { MetricSums } from '../src/wsdan/metric-sums.js';
import { defaultWsdan, type WsdanOptions } from '../src/wsdan/options.js';
import { randomDraws, stepMetrics, trainStep } from '../src/wsdan/train-step.js';
import { portableSigned } from './support/portable.js';
import { openRuntime } from './support/runtime.js';
import { int32, releaseAll, rowsOf, smallNet, softmaxRow } from './support/small-wsdan.js';

const runtime = await openRuntime();

t.test('the draws of a step: each threshold of its own range, and none the shadow of another', (t) => scope(async () => {
  const draws = randomDraws({ ...defaultWsdan, cropTheta: [0.4, 0.6], dropTheta: [0.1, 0.2] });
  const rows = wholeBatch(400);
  // Where in its range each threshold lies.
  const within = async (theta: Tensor | number, low: number, high: number): Promise<number[]> =>
    Array.from(await (theta as Tensor).data(), (x) => (x - low) / (high - low));
  const [crop, drop] = [await within(draws.cropTheta(rows), 0.4, 0.6), await within(draws.dropTheta(rows), 0.1, 0.2)];
  // Bounds in float32.
  for (const [name, places] of [['crop', crop], ['drop', drop]] as const) {
    t.ok(places.every((p) => p > -1e-6 && p < 1 + 1e-6) && Math.max(...places) - Math.min(...places) > 0.9, name);
  }
  // The sum of n products of independent uniforms has the deviation sqrt(n) / 12.
  const together = crop.reduce((total, p, i) => total + (p - 0.5) * (drop[i]! - 0.5), 0);
  t.ok(Math.abs(together) < 4 * Math.sqrt(400) / 12, `correlation sum ${together}`);
}));

t.test('a training step counts unusable maps and stays finite', (t) => scope(async () => {
  const model = smallNet();
  // weight 0 and bias −1 before the ReLU: every map is zero
  write(model.attentions.bn.weight, new Float32Array(6));
  write(model.attentions.bn.bias, new Float32Array(6).fill(-1));
  const centers = new FeatureCenters(runtime, 4, model.featureSize, defaultWsdan);
  const metrics = new MetricSums(runtime, stepMetrics);
  trainStep(model, centers, tensor(portableSigned(1, 5 * 16 * 16 * 3), [5, 16, 16, 3]), int32([0, 1, 2, 3, 0]), defaultWsdan, metrics);
  const sums = await metrics.read();
  t.same([sums.degenerateCrop, sums.degenerateDrop], [5, 5]);
  for (const name of ['lossRaw', 'lossCrop', 'lossDrop'] as const) t.ok(Math.abs(sums[name] / 5 - Math.log(4)) < 1e-5, `${name}: zero features know nothing`);
  t.equal(sums.lossCenter, 0, 'and lie on the zero centers');
  for (const [name, p] of model.namedParameters()) t.ok((await p.grad!.data()).every(Number.isFinite), `${name}: finite gradient`);
  releaseAll(model);
  centers.table.release();
  metrics.release();
}));

t.test('in training a blog’s listing crops as wvinzh does', (t) => scope(async () => {
  const images = tensor(portableSigned(1, 8 * 64 * 64 * 3), [8, 64, 64, 3]);
  const boxes = async (convention: WsdanOptions['convention']): Promise<number[]> => {
    const [model, options] = [smallNet(), { ...defaultWsdan, convention }];
    const [centers, metrics] = [new FeatureCenters(runtime, 4, model.featureSize, options), new MetricSums(runtime, stepMetrics)];
    manualSeed(3);
    const found = [...(await trainStep(model, centers, images, int32([0, 1, 2, 3, 0, 1, 2, 3]), options, metrics).boxes.data())];
    releaseAll(model);
    centers.table.release();
    metrics.release();
    return found;
  };
  const wvinzh = await boxes('wvinzh');
  t.same(await boxes('listing'), wvinzh);
  t.notSame(await boxes('GuYuc'), wvinzh);
}));

t.test('losses and hits of a step, by hand from its logits', (t) => scope(async () => {
  const [batch, classes, smoothing] = [18, 9, 0.2];
  const model = smallNet({}, classes);
  // The first map is dead: by it nothing can be cropped.
  write(model.attentions.bn.weight, Float32Array.of(0, 1, 1, 1, 1, 1));
  write(model.attentions.bn.bias, Float32Array.of(-1, 0, 0, 0, 0, 0));
  const pixels = portableSigned(5, batch * 16 * 16 * 3, 2);
  const images = tensor(pixels, [batch, 16, 16, 3]);
  const coarse = rowsOf(await noGrad(() => model.call(images)).logits.data(), classes);
  // Each of the network's guesses, from the first to the ninth, is the label of two images.
  const labels = coarse.map((row, b) => row.indexOf(row.toSorted((p, q) => q - p)[b % classes]!));
  const dropColour: [number, number, number] = [9, -9, 9];
  const options = { ...defaultWsdan, attentions: 6, labelSmoothing: smoothing, dropColour };
  const [centers, metrics] = [new FeatureCenters(runtime, classes, model.featureSize, options), new MetricSums(runtime, stepMetrics)];
  const draws = { maps: () => int32(labels.flatMap(() => [0, 1]), [batch, 2]), cropTheta: () => 0.5, dropTheta: () => 0.5 };
  const { logits, dropped } = trainStep(model, centers, images, int32(labels), options, metrics, { draws });
  const sums = await metrics.read();
  const seen: number[][] = [];
  for (const [branch, name] of [['raw', 'Raw'], ['crop', 'Crop'], ['drop', 'Drop']] as const) {
    const rows = rowsOf(await logits[branch].data(), classes);
    const target = (b: number, k: number): number => (k === labels[b] ? 1 - smoothing : 0) + smoothing / classes;
    const loss = rows.reduce((total, row, b) => total - softmaxRow(row).reduce((sum, p, k) => sum + target(b, k) * Math.log(p), 0), 0);
    t.ok(Math.abs(sums[`loss${name}`] - loss) < 1e-5 * loss, `${branch}: loss ${sums[`loss${name}`]}, by hand ${loss}`);
    const hits = (most: number): number => rows.filter((row, b) => row.filter((v) => v > row[labels[b]!]!).length < most).length;
    seen.push([sums[`${branch}Top1`], sums[`${branch}Top5`]]);
    t.same(seen.at(-1), [hits(1), hits(5)], `${branch}: hits`);
  }
  t.same(seen.slice(0, 2), [[2, 10], [2, 10]], 'as the labels were chosen');
  t.ok(seen[2]![0] !== 2 && seen[2]![1] !== 10, `without what was dropped there are others: ${seen[2]!.join(', ')}`);
  t.same([sums.degenerateCrop, sums.degenerateDrop], [batch, 0]);
  const without = rowsOf(await dropped.data(), 3);
  t.ok(without.every((pixel, i) => [dropColour, pixels.subarray(3 * i, 3 * i + 3)].some((colour) => pixel.every((v, c) => v === colour[c]))),
    'pixels stay or take the drop colour');
  t.ok(without.some(([red]) => red === dropColour[0]), 'some take it');
  releaseAll(model);
  centers.table.release();
  metrics.release();
}));

t.test('the center loss enters gradients with its weight', (t) => scope(async () => {
  const images = tensor(portableSigned(4, 4 * 16 * 16 * 3, 2), [4, 16, 16, 3]);
  const gradient = async (centerWeight: number): Promise<Float64Array> => {
    const [model, options] = [smallNet(), { ...defaultWsdan, centerWeight }];
    const [centers, metrics] = [new FeatureCenters(runtime, 4, model.featureSize, options), new MetricSums(runtime, stepMetrics)];
    centers.load(portableSigned(6, centers.table.size));
    const draws = { maps: () => int32([0, 1, 2, 3, 4, 5, 0, 1], [4, 2]), cropTheta: () => 0.5, dropTheta: () => 0.5 };
    trainStep(model, centers, images, int32([0, 1, 2, 3]), options, metrics, { draws });
    const found = Float64Array.from(await model.attentions.conv.weight.grad!.data());
    releaseAll(model);
    centers.table.release();
    metrics.release();
    return found;
  };
  const [none, once, thrice] = [await gradient(0), await gradient(1), await gradient(3)];
  const share = once.map((g, i) => g - none[i]!);
  const scale = Math.max(...share.map(Math.abs));
  t.ok(scale > 0.01 * Math.max(...none.map(Math.abs)), 'it has a share that can be seen');
  // Sums in float32, of which differences are taken.
  t.ok(thrice.every((g, i) => Math.abs(g - none[i]! - 3 * share[i]!) < 1e-3 * scale), 'three times the weight, three times the share');
}));

t.teardown(() => runtime.device.close());
