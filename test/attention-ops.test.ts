/** Golden values of WS-DAN's masks and boxes, centers against float64, and behaviour on maps that mean nothing. */
import t from 'tap';
import { backward } from '../src/autograd/backward.js';
import { worstError } from '../src/autograd/verify.js';
import {
  attentionBox, attentionPool, chooseMaps, dropMask, gatherRows, mapWeights, type MaskConvention, ones, thresholdMask, updateCenters_,
} from '../src/ops/index.js';
import { CaseRandom } from '../src/ops/cases.js';
import { tensor } from '../src/tensor/create.js';
import { scope } from '../src/tensor/scope.js';
import { drawTheta } from '../src/wsdan/augment.js';
import { wholeBatch } from '../src/wsdan/micro-batches.js';
import { openRuntime } from './support/runtime.js';

const runtime = await openRuntime();

await t.test('the first of equal maxima, and of several NaN, has the gradient', (t) => scope(async () => {
  // Kernels take several pixels at a time: equal ones lie within such a turn and in different ones.
  for (const [pixels, first] of [
    [[1, 3, 3, 2, 3], 1], [[1, 2, NaN, 3, NaN], 2], [[-5, -4, -3, -2, -1, -1, -9, -1, -8, -1, -1], 4], [[0, 0, 0, 0, 0, 0, 0, 0, 0], 0],
    [[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 13], 12], [[1, 9, 2, 3, 4, 5, NaN, NaN, 7, NaN], 6], [[-Infinity, -Infinity, -Infinity, 1, -Infinity], 3],
    [[-(2 ** 126), -(2 ** 126), -(2 ** 126), -(2 ** 126), -(2 ** 125)], 4],
  ] as const) {
    const shape = [1, 1, pixels.length, 1];
    const [features, maps] = [tensor(pixels, shape).requiresGrad_(), ones(shape).requiresGrad_()];
    backward(attentionPool(features, maps, { pool: 'GMP' }), tensor([2], [1, 1, 1]));
    t.same([...await features.grad!.data()], pixels.map((_, i) => (i === first ? 2 : 0)), `features ${pixels.join(', ')}`);
    t.same([...await maps.grad!.data()], pixels.map((v, i) => (i === first ? 2 * v : 0)), 'maps');
  }
}));

const BLOBS = [[10, 17, 3], [2, 24, 2], [12.5, 12.5, 5]];
const blob = ([row, column, s]: readonly number[]): number[] =>
  Array.from({ length: 676 }, (_, i) => Math.exp(-((Math.floor(i / 26) - row!) ** 2 + ((i % 26) - column!) ** 2) / (2 * s! * s!)));
const blobs = () => tensor(BLOBS.flatMap(blob), [3, 26, 26, 1]);

/** Rows y0–y1 and columns x0–x1 for the three blobs, first with θ .5 and margin .1, then with θ .1 and margin .05. */
const BOXES: Record<MaskConvention, number[][]> = {
  GuYuc: [[71, 286, 196, 411], [0, 122, 342, 448], [73, 373, 73, 373], [40, 317, 165, 442], [0, 136, 328, 448], [8, 438, 8, 438]],
  wvinzh: [[76, 285, 196, 406], [0, 127, 337, 448], [78, 369, 78, 369], [47, 314, 167, 435], [0, 140, 325, 448], [16, 431, 16, 431]],
  listing: [[72, 286, 197, 411], [0, 122, 343, 448], [74, 373, 74, 373], [41, 317, 166, 442], [0, 136, 329, 448], [9, 438, 9, 438]],
};

for (const convention of ['GuYuc', 'wvinzh', 'listing'] as const) {
  await t.test(`boxes of Gaussian blobs, convention ${convention}`, (t) => scope(async () => {
    const found: number[][] = [];
    for (const [theta, padding] of [[0.5, 0.1], [0.1, 0.05]] as const) {
      const { boxes, degenerate } = attentionBox(blobs(), { imageSize: [448, 448], theta, padding, convention });
      const values = await boxes.data();
      for (let b = 0; b < 3; b++) found.push([values[4 * b]!, values[4 * b + 2]!, values[4 * b + 1]!, values[4 * b + 3]!]);
      t.same([...await degenerate.data()], [0, 0, 0]);
    }
    t.same(found, BOXES[convention]);
  }));
}

await t.test('share of pixels that dropping keeps', (t) => scope(async () => {
  const golden = { GuYuc: [0.9054, 0.9730, 0.7346], wvinzh: [0.9120, 0.9690, 0.7538], listing: [0.9120, 0.9690, 0.7538] };
  for (const convention of ['GuYuc', 'wvinzh', 'listing'] as const) {
    const { mask } = dropMask(blobs(), { imageSize: [448, 448], theta: tensor([0.35, 0.35, 0.35]), convention });
    const values = [...await mask.data()];
    const kept = [0, 1, 2].map((b) => values.slice(b * 448 * 448, (b + 1) * 448 * 448).filter((v) => v === 1).length / 448 ** 2);
    t.same(kept.map((share) => Number(share.toFixed(4))), golden[convention], convention);
  }
}));

const DEGENERATE: [string, number[]][] = [
  ['all zero', [0, 0, 0, 0]], ['constant', [0.3, 0.3, 0.3, 0.3]], ['NaN', [1, NaN, 0.5, 0]], ['infinite', [1, 0, Infinity, 0]], ['negative', [-1, -2, -3, -4]],
];

await t.test('maps that mean nothing keep the whole image and are counted', (t) => scope(async () => {
  const sound = [1, 0, 0, 0];
  for (const [name, values] of DEGENERATE) {
    const maps = tensor([...values, ...sound], [2, 2, 2, 1]);
    for (const convention of ['GuYuc', 'wvinzh'] as const) {
      const { boxes, degenerate } = attentionBox(maps, { imageSize: [6, 8], theta: 0.5, padding: 0, convention });
      t.same([...(await boxes.data()).subarray(0, 4)], [0, 0, 6, 8], `${name}: box, ${convention}`);
      t.same([...await degenerate.data()], [1, 0]);
      const dropped = dropMask(maps, { imageSize: [6, 8], theta: 0.5, convention });
      const keep = await dropped.mask.data();
      t.ok(keep.subarray(0, 48).every((v) => v === 1), `${name}: mask, ${convention}`);
      t.ok(keep.subarray(48).some((v) => v === 0), 'the sound map drops');
      // Negative values stay below their threshold, so that nothing would be dropped anyway: not worth counting.
      t.same([...await dropped.degenerate.data()], [name === 'negative' ? 0 : 1, 0]);
    }
  }
}));

await t.test('a map above its threshold everywhere drops nothing instead of everything', (t) => scope(async () => {
  const { mask, degenerate } = dropMask(tensor([1, 0.9, 0.8, 0.9], [1, 2, 2, 1]), { imageSize: [4, 4], theta: 0.5 });
  t.ok((await mask.data()).every((v) => v === 1));
  t.equal(await degenerate.item(), 1);
  const least = dropMask(tensor([1, 0.5, 0.75, 0.5], [1, 2, 2, 1]), { imageSize: [2, 2], theta: 0.5 });
  t.same([...await least.mask.data(), await least.degenerate.item()], [1, 1, 1, 1, 1], 'the smallest is at the threshold');
}));

await t.test('a threshold above the upsampled peak gives the whole image, a one-pixel box stays one pixel', (t) => scope(async () => {
  const peak = tensor([0, 0, 0, 0, 1, 0, 0, 0, 0], [1, 3, 3, 1]);
  const missed = attentionBox(peak, { imageSize: [8, 8], theta: 0.999, padding: 0 });
  t.same([...await missed.boxes.data()], [0, 0, 8, 8]);
  t.equal(await missed.degenerate.item(), 1);
  const single = attentionBox(peak, { imageSize: [9, 9], theta: 0.9, padding: 0 });
  t.same([...await single.boxes.data()], [4, 4, 5, 5]);
  const highest = attentionBox(peak, { imageSize: [9, 9], theta: 1, padding: 0 });
  t.same([...await highest.boxes.data(), await highest.degenerate.item()], [4, 4, 5, 5, 0], 'the peak is at the threshold');
}));

await t.test('thresholdMask is the complement of dropMask', (t) => scope(async () => {
  const options = { imageSize: [32, 32] as const, theta: 0.4 };
  const hot = await thresholdMask(blobs(), options).data();
  const keep = await dropMask(blobs(), options).mask.data();
  t.ok(hot.every((v, i) => v + keep[i]! === 1));
}));

await t.test('wrong shapes are refused', (t) => scope(async () => {
  const maps = tensor(new Float32Array(8), [1, 2, 2, 2]);
  t.throws(() => attentionBox(maps, { imageSize: [4, 4], theta: 0.5, padding: 0.1 }), /must be \[B, h, w, 1\], got \[1, 2, 2, 2\]; choose one map/);
  const one = tensor(new Float32Array(4), [1, 2, 2, 1]);
  t.throws(() => dropMask(one, { imageSize: [4, 4], theta: tensor([1, 2]) }), /theta must be a number or a tensor \[1\]/);
  t.throws(() => chooseMaps(maps, tensor(Int32Array.of(0), [1, 1])), /two per image/);
}));

await t.test('maps chosen by index; weights by the root of their sum', (t) => scope(async () => {
  const maps = tensor([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], [2, 1, 2, 3]);
  const [crop, drop] = chooseMaps(maps, tensor(Int32Array.of(0, 2, 1, 1), [2, 2]));
  t.same([...await crop.data()], [1, 4, 8, 11]);
  t.same([...await drop.data()], [3, 6, 8, 11]);
  const [below, beyond] = chooseMaps(maps, tensor(Int32Array.of(-1, 3, -5, 9), [2, 2]));
  t.same([[...await below.data()], [...await beyond.data()]], [[1, 4, 7, 10], [3, 6, 9, 12]], 'the nearest for an index outside');
  t.ok(worstError(await mapWeights(maps).data(), [5, 7, 9, 17, 19, 21].map((sum) => Math.sqrt(sum + 1e-12))).error < 1e-6);
}));

await t.test('thresholds drawn per image', (t) => scope(async () => {
  const rows = wholeBatch(1000);
  const a = [...await drawTheta(42, rows, [0.4, 0.6]).data()];
  t.same(a, [...await drawTheta(42, rows, [0.4, 0.6]).data()], 'the key decides');
  t.notSame(a, [...await drawTheta(43, rows, [0.4, 0.6]).data()]);
  t.ok(a.every((v) => v >= 0.4 && v < 0.6));
  // The mean of 1000 draws has a standard deviation of 0.2 / sqrt(12 · 1000) = 0.0018.
  t.ok(Math.abs(a.reduce((sum, v) => sum + v, 0) / 1000 - 0.5) < 0.008);
}));

/** The published rule in order of the batch; n always comes from the centers before the step. */
const centerReference = (
  centers: Float64Array, features: Float32Array, labels: Int32Array, width: number, beta: number, duplicates: string, normalize: boolean,
): void => {
  const old = centers.slice();
  labels.forEach((label, b) => {
    const row = old.subarray(label * width, (label + 1) * width);
    const length = normalize ? Math.max(Math.sqrt(row.reduce((sum, v) => sum + v * v, 0)), 1e-12) : 1;
    row.forEach((value, d) => {
      const at = label * width + d;
      const step = beta * (features[b * width + d]! - value / length);
      centers[at] = duplicates === 'last' ? old[at]! + step : centers[at]! + step;
    });
  });
};

await t.test('center update against float64 over several steps', (t) => scope(async () => {
  const random = new CaseRandom(9);
  const [classes, width, batch, beta] = [5, 70, 9, 0.3];
  for (const duplicates of ['last', 'accumulate'] as const) {
    for (const normalize of [true, false]) {
      const start = Float32Array.from({ length: classes * width }, () => random.uniform(-1, 1));
      const expected = Float64Array.from(start);
      const centers = tensor(start, [classes, width]);
      for (let step = 0; step < 3; step++) {
        const features = Float32Array.from({ length: batch * width }, () => random.uniform(-1, 1));
        const labels = Int32Array.from({ length: batch }, () => Math.floor(random.next() * classes));
        updateCenters_(centers, tensor(features, [batch, width]), tensor(labels), { beta, duplicates, normalize });
        centerReference(expected, features, labels, width, beta, duplicates, normalize);
      }
      t.ok(worstError(await centers.data(), expected).error < 1e-6, `${duplicates}, ${normalize ? 'normalised' : 'as they are'}`);
    }
  }
}));

await t.test('a label outside the table gives NaN rows and leaves centers alone', (t) => scope(async () => {
  const table = tensor([1, 2, 3, 4], [2, 2]);
  const labels = tensor(Int32Array.of(1, 2, -1));
  t.same([...await gatherRows(table, labels).data()], [3, 4, NaN, NaN, NaN, NaN]);
  updateCenters_(table, tensor(new Float32Array(6).fill(9), [3, 2]), labels, { beta: 1, normalize: false });
  t.same([...await table.data()], [1, 2, 9, 9]);
}));

runtime.device.close();
