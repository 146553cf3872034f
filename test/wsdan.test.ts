/** WS-DAN piece by piece: published values, degenerate maps, centers, and refinement against plain loops. */
import t from 'tap';
import { backward } from '../src/autograd/backward.js';
import { affine, interpolate, manualSeed, mean, nextRandomKey, ones, permute } from '../src/ops/index.js';
import { tensor } from '../src/tensor/create.js';
import { scope } from '../src/tensor/scope.js';
import type { Tensor } from '../src/tensor/tensor.js';
import { attentionCrop, attentionDrop, chooseAttentionMaps, drawTheta, meanMap } from '../src/wsdan/augment.js';
import { FeatureCenters } from '../src/wsdan/centers.js';
import { localiseAndRefine } from '../src/wsdan/localise.js';
import { wholeBatch } from '../src/wsdan/micro-batches.js';
import { MetricSums } from '../src/wsdan/metric-sums.js';
import { PlainClassifier } from '../src/wsdan/model.js';
import { defaultWsdan, type WsdanOptions } from '../src/wsdan/options.js';
import { bilinearAttentionPooling } from '../src/wsdan/pooling.js';
import { portableSigned, portableUniform } from './support/portable.js';
import { openRuntime } from './support/runtime.js';
import { int32, releaseAll, rowsOf, smallNet, softmaxRow } from './support/small-wsdan.js';

const runtime = await openRuntime();
const nearly = (actual: ArrayLike<number>, expected: readonly number[], tolerance: number): boolean =>
  actual.length === expected.length && expected.every((value, i) => Math.abs(actual[i]! - value) <= tolerance);
const uniforms = (count: number, number: number): Float32Array => Float32Array.from({ length: count }, (_, k) => portableUniform(number, k));

t.test('bilinear attention pooling gives the published values', (t) => scope(async () => {
  const maps = permute(tensor(Float32Array.from({ length: 8 }, (_, k) => k / 4), [1, 2, 2, 2]), [0, 2, 3, 1]);
  const features = permute(tensor(Float32Array.from({ length: 12 }, (_, k) => (k - 5) / 3), [1, 3, 2, 2]), [0, 2, 3, 1]);
  // The values have six decimals.
  t.ok(nearly(await bilinearAttentionPooling(features, maps).data(), [-0.254, 0.179605, 0.359211, -0.538816, 0.254, 0.647576], 6e-7), 'GAP');
  t.ok(nearly(await bilinearAttentionPooling(features, maps, 'GMP').data(), [0, 0.252646, 0.437595, -0.385923, 0.385923, 0.668437], 6e-7), 'GMP');
  t.same(await bilinearAttentionPooling(features, affine(maps, 0)).data(), new Float32Array(6), 'dead maps give zeros, not NaN');
  t.ok(nearly(await bilinearAttentionPooling(affine(features, 1e-6), maps).data(), [-0.254, 0.179605, 0.359211, -0.538816, 0.254, 0.647576], 1e-5),
    'and of tiny features: rows are of unit length all the same');
  const enlarged = interpolate(maps, { size: [3, 5], mode: 'bilinear', alignCorners: true });
  const larger = tensor(portableSigned(2, 3 * 5 * 3), [1, 3, 5, 3]);
  t.same(await bilinearAttentionPooling(larger, maps).data(), await bilinearAttentionPooling(larger, enlarged).data(), 'maps of another size are resized');
}));

const centersOf = (rows: number[][], options: Partial<WsdanOptions> = {}): FeatureCenters => {
  const centers = new FeatureCenters(runtime, rows.length, rows[0]!.length, { ...defaultWsdan, ...options });
  centers.load(Float32Array.from(rows.flat()));
  return centers;
};
const zeroRows = [[0, 0], [0, 0], [0, 0]];
const features = (): Tensor => tensor([[1, 0], [0, 1], [1, 1]]);

t.test('center update: both ways with a label that occurs twice', (t) => scope(async () => {
  const labels = int32([1, 1, 2]);
  for (const [duplicates, row] of [['accumulate', [0.05, 0.05]], ['last', [0, 0.05]]] as const) {
    const centers = centersOf(zeroRows, { duplicates });
    centers.update(features(), labels);
    t.ok(nearly(await centers.table.data(), [0, 0, ...row, 0.05, 0.05], 1e-8), `${duplicates}: ${(await centers.table.data()).join(' ')}`);
    centers.table.release();
  }
  // center (3, 4) has the direction (.6, .8): (3, 4) + β((1, 0) − (.6, .8)) + β((0, 1) − (.6, .8))
  const accumulated = centersOf([[3, 4]], { beta: 0.5 });
  accumulated.update(tensor([[1, 0], [0, 1]]), int32([0, 0]));
  t.ok(nearly(await accumulated.table.data(), [2.9, 3.7], 1e-6), 'both are taken against the old center');
  accumulated.table.release();
}));

t.test('center loss: 1 with zero centers, with a vanishing gradient', (t) => scope(async () => {
  const source = tensor(uniforms(4 * 70, 3), [4, 7, 10, 1]).requiresGrad_();
  const matrix = bilinearAttentionPooling(source, ones([4, 7, 10, 5]));
  const centers = new FeatureCenters(runtime, 3, 5, defaultWsdan);
  const loss = centers.loss(matrix, int32([0, 1, 2, 1]));
  // ‖f‖² of a vector normalised in float32.
  t.ok(Math.abs(await loss.item() - 1) < 1e-6, `${await loss.item()}`);
  backward(loss);
  t.ok((await source.grad!.data()).every((g) => Math.abs(g) < 1e-6), 'a unit vector cannot become shorter');
  centers.table.release();
}));

t.test('center loss: against a loop over normalised centers', (t) => scope(async () => {
  const rows = [[3, 4], [0, 0], [-1, 0]];
  const centers = centersOf(rows);
  const f = features();
  const labels = [0, 1, 2];
  const expected = [[1, 0], [0, 1], [1, 1]].reduce((total, [x, y], b) => {
    const [cx, cy] = rows[labels[b]!] as [number, number];
    const norm = Math.max(Math.hypot(cx, cy), 1e-12);
    return total + ((x! - cx / norm) ** 2 + (y! - cy / norm) ** 2) / 3;
  }, 0);
  t.ok(Math.abs(await centers.loss(f, int32(labels)).item() - expected) < 1e-6, 'squared distance, summed over features, mean over the batch');
  centers.table.release();
}));

t.test('only a center’s direction counts: a constant feature moves it once', (t) => scope(async () => {
  const centers = centersOf([[0, 0], [0, 0]]);
  const [f, labels] = [tensor([[0.6, 0.8]]), int32([1])];
  for (let i = 0; i < 5; i++) {
    centers.update(f, labels);
    t.ok(nearly(await centers.table.data(), [0, 0, 0.03, 0.04], 1e-7), `update ${i + 1}: ${(await centers.table.data()).join(' ')}`);
  }
  t.ok(await centers.loss(f, labels).item() < 1e-12, 'and the loss is gone');
  centers.table.release();
}));

t.test('choice of maps: weight sqrt of the sum, two independent draws', (t) => scope(async () => {
  manualSeed(11);
  const batch = 10_000;
  const sums = [0, 1, 4, 9, 16];
  const maps = tensor(Float32Array.from({ length: batch * 2 * 5 }, (_, i) => sums[i % 5]! / 2), [batch, 1, 2, 5]);
  const { indices, cropMap, dropMap } = chooseAttentionMaps(maps);
  const drawn = await indices.data();
  const share = (which: number, map: number): number => drawn.filter((m, i) => i % 2 === which && m === map).length / batch;
  // A share p of n draws scatters by sqrt(p(1 − p)/n), at most .005; four of those are allowed.
  for (const which of [0, 1]) {
    sums.forEach((total, map) => t.ok(Math.abs(share(which, map) - Math.sqrt(total) / 10) < 0.02, `draw ${which}, map ${map}: ${share(which, map)}`));
  }
  const both = drawn.filter((m, i) => i % 2 === 0 && m === 4 && drawn[i + 1] === 3).length / batch;
  t.ok(Math.abs(both - 0.4 * 0.3) < 0.014, `independent: ${both} ≈ .12`);
  t.equal(share(0, 0), 0, 'a dead map is not drawn');
  const [cropped, dropped] = [await cropMap.data(), await dropMap.data()];
  t.ok(drawn.every((m, i) => (i % 2 ? dropped : cropped)[i - (i % 2)] === sums[m]! / 2), 'the first draw is the map to crop by, the second to drop by');
  manualSeed(11);
  // Tap compares tens of thousands of elements one by one, which takes minutes.
  const again = async (): Promise<string> => (await chooseAttentionMaps(maps).indices.data()).join('');
  t.ok(await again() === drawn.join(''), 'a function of the seed');
  t.ok(await again() !== drawn.join(''), 'and of the draw’s number');
}));

t.test('thresholds: one uniform draw per image', (t) => scope(async () => {
  const drawn = [...(await drawTheta(nextRandomKey(), wholeBatch(4000), [0.4, 0.6]).data())];
  t.ok(drawn.every((x) => x >= 0.4 && x < 0.6));
  const average = drawn.reduce((a, b) => a + b, 0) / 4000;
  t.ok(Math.abs(average - 0.5) < 4 * 0.2 / Math.sqrt(12 * 4000), `mean ${average}`);
  t.ok(new Set(drawn).size > 3900, 'not one for all');
}));

t.test('the momentum of batch norm is that of the attention head, too', (t) => scope(async () => {
  const images = tensor(portableSigned(4, 2 * 16 * 16 * 3), [2, 16, 16, 3]);
  const meanAfterOne = async (bnMomentum: number): Promise<Float32Array> => {
    const net = smallNet({ bnMomentum });
    net.train();
    net.call(images);
    const mean = await net.attentions.bn.running_mean.data() as Float32Array;
    releaseAll(net);
    return mean;
  };
  const [slow, fast] = [await meanAfterOne(0.1), await meanAfterOne(0.3)];
  t.ok(slow.some((v) => Math.abs(v) > 1e-4), 'it moved');
  // From 0 one step goes momentum times the batch's mean; a rounding each.
  t.ok(nearly(fast, [...slow].map((v) => 3 * v), 1e-7));
}));

/** exp(−d² / 2s²) around (row, column) on a square map. */
const blob = (side: number, row: number, column: number, s: number): number[] =>
  Array.from({ length: side * side }, (_, i) => Math.exp(-((Math.floor(i / side) - row) ** 2 + ((i % side) - column) ** 2) / (2 * s * s)));

t.test('conventions reach crop and drop', (t) => scope(async () => {
  const images = ones([1, 448, 448, 3]);
  const map = tensor(blob(26, 10, 17, 3), [1, 26, 26, 1]);
  const boxes = { GuYuc: [71, 196, 286, 411], wvinzh: [76, 196, 285, 406], listing: [72, 197, 286, 411] };
  for (const convention of ['GuYuc', 'wvinzh', 'listing'] as const) {
    t.same([...(await attentionCrop(images, map, 0.5, 0.1, { convention }).boxes.data())], boxes[convention], `crop, ${convention}`);
  }
  const kept = async (convention: WsdanOptions['convention']): Promise<string> =>
    (await mean(attentionDrop(images, map, 0.35, { convention, dropColour: [0, 0, 0] }).images).item()).toFixed(4);
  t.same([await kept('GuYuc'), await kept('wvinzh')], ['0.9054', '0.9120'], 'drop: share of pixels kept');
}));

t.test('dropped pixels are the mean colour, or a chosen one', (t) => scope(async () => {
  const images = tensor(Float32Array.from({ length: 48 }, (_, i) => i + 1), [1, 4, 4, 3]);
  const map = tensor([1, 0, 0, 0], [1, 2, 2, 1]);
  const dropWith = async (dropColour: [number, number, number]) =>
    (await attentionDrop(images, map, 0.9, { convention: 'GuYuc', dropColour }).images.data()).subarray(0, 6);
  t.same([...(await dropWith([0, 0, 0]))], [0, 0, 0, 4, 5, 6]);
  t.same([...(await dropWith([-2, 0, 0.5]))], [-2, 0, 0.5, 4, 5, 6]);
}));

t.test('unusable maps: the whole image is kept, and counted', (t) => scope(async () => {
  const images = tensor(portableSigned(5, 4 * 8 * 8 * 3), [4, 8, 8, 3]);
  const good = blob(3, 1, 1, 0.5);
  const maps = tensor([...new Array<number>(9).fill(0), ...new Array<number>(9).fill(0.7), ...good.map((v, i) => (i === 4 ? NaN : v)), ...good], [4, 3, 3, 1]);
  const whole = await images.data();
  const crop = attentionCrop(images, maps, 0.5, 0.1, { convention: 'GuYuc' });
  t.same([...(await crop.degenerate.data())], [1, 1, 1, 0], 'crop: zero, constant and NaN');
  t.same([...(await crop.boxes.data())].slice(0, 12), [0, 0, 8, 8, 0, 0, 8, 8, 0, 0, 8, 8]);
  const cropped = await crop.images.data();
  t.ok(nearly(cropped.subarray(0, 3 * 192), [...whole.subarray(0, 3 * 192)], 0), 'to the bit');
  t.notSame(cropped.subarray(3 * 192), whole.subarray(3 * 192), 'the good map crops');
  const drop = attentionDrop(images, maps, 0.5, defaultWsdan);
  t.same([...(await drop.degenerate.data())], [1, 1, 1, 0], 'drop');
  const dropped = await drop.images.data();
  t.same(dropped.subarray(0, 3 * 192), whole.subarray(0, 3 * 192));
  t.ok(dropped.subarray(3 * 192).some((v) => v === 0), 'the good map drops');
}));

t.test('model: sources of maps, scale, bias, errors', (t) => scope(async () => {
  const images = tensor(portableSigned(1, 2 * 16 * 16 * 3), [2, 16, 16, 3]);
  const model = smallNet().eval();
  const { logits, featureMatrix, maps } = model.call(images);
  t.same([logits.shape, featureMatrix.shape, maps.shape], [[2, 4], [2, 48], [2, 4, 4, 6]]);
  t.ok((await maps.data()).every((v) => v >= 0), 'maps are never negative');
  t.ok(nearly(await squares(featureMatrix), [1, 1], 1e-6), 'unit rows');
  const half = smallNet({ scale: 50 }).eval();
  const halved = await half.call(images).logits.data();
  t.ok(nearly(halved, [...(await logits.data())].map((v) => v / 2), 1e-5), 'the scale multiplies the classifier’s input');
  t.same(model.namedParameters().filter(([name]) => name.startsWith('fc')).map(([name]) => name), ['fc.weight']);
  const biased = smallNet({ classifierBias: true });
  t.same(biased.namedParameters().filter(([name]) => name.startsWith('fc')).map(([name]) => name), ['fc.weight', 'fc.bias']);
  const fromFeatures = smallNet({ attentionSource: 'features' }).eval();
  const out = fromFeatures.call(images);
  const first = await fromFeatures.features.call(images).data();
  t.same([...(await out.maps.data())], [...first].filter((_, i) => i % 8 < 6), 'the first six channels');
  const frozen = fromFeatures.namedParameters().filter(([, p]) => !p.requiresGrad).map(([name]) => name);
  t.same(frozen, ['attentions.conv.weight', 'attentions.bn.weight', 'attentions.bn.bias'], 'the head stays as it is, weight decay or not');
  const largest = smallNet({ pooling: 'GMP' }).eval();
  t.same(await largest.call(images).featureMatrix.data(), await bilinearAttentionPooling(model.features.call(images), maps, 'GMP').data(),
    'maxima where they are wanted');
  t.throws(() => smallNet({ attentionSource: 'features', attentions: 9 }),
    /9 attention maps cannot be taken from 8 feature channels; use fewer, or attention source "head"/);
  t.throws(() => smallNet({}, 1), /at least two classes are needed, got 1/);
  const plain = new PlainClassifier(model.features, 3);
  t.same([plain.call(images).shape, plain.namedParameters().slice(-2).map(([name]) => name)], [[2, 3], ['fc.weight', 'fc.bias']]);
  for (const m of [model, half, biased, fromFeatures, largest]) releaseAll(m);
}));

t.test('a rim of zeros around the maps', (t) => scope(async () => {
  const images = tensor(portableSigned(1, 2 * 32 * 32 * 3), [2, 32, 32, 3]);
  const [bare, rimmed] = [smallNet().eval(), smallNet({ attentionRim: 2 }).eval()];
  // A dry run computes nothing that could be kept.
  runtime.planMemory(() => scope(() => { rimmed.call(images); }));
  for (const [side, of] of [[8, images], [12, tensor(portableSigned(2, 32 * 48 * 3), [1, 32, 48, 3])]] as const) {
    const everywhere = await bare.call(of).maps.data();
    const middle = (i: number): boolean =>
      [[Math.floor(i / (6 * side)) % 8, 8], [Math.floor(i / 6) % side, side]].every(([at, size]) => at! >= 2 && at! < size! - 2);
    t.same([...(await rimmed.call(of).maps.data())], [...everywhere].map((v, i) => (middle(i) ? v : 0)), `8×${side}: the middle stays as it is`);
  }
  t.throws(() => rimmed.call(tensor(new Float32Array(768), [1, 16, 16, 3])),
    /a rim of 2 leaves nothing of 4×4 attention maps; use a smaller rim or larger images/);
  for (const m of [bare, rimmed]) releaseAll(m);
}));

const squares = async (x: Tensor): Promise<number[]> => {
  return rowsOf(await x.data(), x.shape[1]!).map((row) => row.reduce((total, v) => total + v * v, 0));
};

/** Bilinear with aligned corners from a box, one image at a time, as plainly as can be. */
const cropByHand = (images: ArrayLike<number>, size: number, boxes: ArrayLike<number>): Float32Array => {
  const out = new Float32Array(images.length);
  for (let i = 0; i < out.length; i++) {
    const [c, x, y, b] = [i % 3, Math.floor(i / 3) % size, Math.floor(i / (3 * size)) % size, Math.floor(i / (3 * size * size))];
    const [y0, x0, y1, x1] = [0, 1, 2, 3].map((k) => boxes[4 * b + k]!) as [number, number, number, number];
    const [fy, fx] = [(y * (y1 - 1 - y0)) / (size - 1), (x * (x1 - 1 - x0)) / (size - 1)];
    const [ty, tx] = [Math.min(Math.floor(fy), y1 - 1 - y0), Math.min(Math.floor(fx), x1 - 1 - x0)];
    for (const [dy, wy] of [[0, 1 - (fy - ty)], [1, fy - ty]] as const) {
      for (const [dx, wx] of [[0, 1 - (fx - tx)], [1, fx - tx]] as const) {
        if (wy * wx > 0) out[i]! += wy * wx * images[((b * size + y0 + ty + dy) * size + x0 + tx + dx) * 3 + c]!;
      }
    }
  }
  return out;
};

t.test('localise and refine equals its parts done by hand', (t) => scope(async () => {
  const model = smallNet().eval();
  const pixels = portableSigned(9, 3 * 24 * 24 * 3, 2);
  const images = tensor(pixels, [3, 24, 24, 3]);
  const options = { ...defaultWsdan, testTheta: 0.7 };
  const got = localiseAndRefine(model, images, options, true);
  const coarse = model.call(images);
  t.same(await got.meanMap.data(), await meanMap(coarse.maps).data());
  const boxes = await got.boxes.data();
  t.ok(rowsOf(boxes, 4).some(([y0, x0, y1, x1]) => (y1! - y0!) * (x1! - x0!) < 24 * 24), 'at least one box is smaller than the image');
  const byHand = cropByHand(pixels, 24, boxes);
  // Interpolation weights in float32 are off by 1e-6 of a pixel step, and pixels differ by up to 4.
  t.ok(nearly(await got.cropped.data(), [...byHand], 1e-5), 'the crops');
  const fine = model.call(tensor(byHand, images.shape));
  const [raw, crop] = [rowsOf(await coarse.logits.data(), 4), rowsOf(await fine.logits.data(), 4)];
  const expected = raw.flatMap((row, b) => softmaxRow(row).map((p, k) => (p + softmaxRow(crop[b]!)[k]!) / 2));
  // Logits of size 10 with a relative error of 1e-5 give probabilities good to 1e-4.
  t.ok(nearly(await got.refined.data(), expected, 1e-4), 'probabilities averaged');
  t.ok(nearly(await got.raw.data(), raw.flatMap(softmaxRow), 1e-6), 'raw');
  const byLogits = localiseAndRefine(model, images, { ...options, average: 'logits' });
  t.ok(nearly(await byLogits.refined.data(), raw.flatMap((row, b) => softmaxRow(row.map((v, k) => (v + crop[b]![k]!) / 2))), 1e-4), 'logits averaged');
  t.notOk(nearly(await byLogits.refined.data(), expected, 1e-3), 'which is something else');
  t.same([await got.refinedOtherAverage.data(), await byLogits.refinedOtherAverage.data()], [await byLogits.refined.data(), await got.refined.data()],
    'the other mean is there, too');
  t.equal(byLogits.drop, null);
  const dropped = await attentionDrop(images, got.meanMap, 0.35, options).images.data();
  t.same(await got.dropped!.data(), dropped, 'the attended region is gone, by the middle of the thresholds of training');
  t.ok(dropped.some((v) => v === 0));
  t.ok(nearly(await got.drop!.data(), rowsOf(await model.call(tensor(dropped, images.shape)).logits.data(), 4).flatMap(softmaxRow), 1e-6),
    'and the network is asked without it');
  t.equal(got.refined.requiresGrad, false);
  releaseAll(model);
}));

t.test('metric sums stay on the device and can be saved and restored', (t) => scope(async () => {
  const sums = new MetricSums(runtime, ['a', 'b']);
  const before = runtime.recorder.statistics.readBacks;
  for (let i = 1; i <= 4; i++) sums.add({ a: tensor([i]), b: tensor(0.5) });
  t.equal(runtime.recorder.statistics.readBacks, before);
  const read = await sums.read();
  t.same(read, { a: 10, b: 2 });
  sums.reset();
  t.same(await sums.read(), { a: 0, b: 0 });
  sums.restore(read);
  sums.add({ a: tensor([1]), b: tensor([1]) });
  t.same(await sums.read(), { a: 11, b: 3 });
  sums.release();
}));

t.teardown(() => runtime.device.close());
