import t from 'tap';
import {
  boxToOutput,
  boxToSource,
  checkAugment,
  drawTrainTransform,
  evalTransform,
  JITTER_ORDERS,
  resizedSide,
  type ImageTransform,
} from '../src/data/augment.js';
import { hash, permutation, uniform, uniformInt } from '../src/data/random.js';
import { mix32 } from '../src/mix32.js';
import { defaultAugment, userMessage } from './data-helpers.js';
import { referenceTransform } from './reference-image.js';
import { pilCases, pilPicture } from './support/pil.js';

t.test('mix32 is the published 32-bit finaliser', async (t) => {
  // Portable-weights generator of the specification: element k of tensor 0 is mix(k + 0x9E3779B9) / 2^32.
  const expected = [0.5733975800685585, 0.5883937727194279, 0.7041337329428643];
  for (const [k, value] of expected.entries()) t.equal(mix32((k + 0x9e3779b9) >>> 0) / 2 ** 32, value);
});

t.test('uniform draws are flat, uncorrelated and depend on every key', async (t) => {
  const n = 20000;
  const bins = new Array<number>(10).fill(0);
  let product = 0;
  for (let i = 0; i < n; i++) {
    const u = uniform(1, 2, i);
    bins[Math.floor(u * 10)]!++;
    product += (u - 0.5) * (uniform(1, 2, i + 1) - 0.5);
  }
  // Five standard deviations of a binomial count with p = 0.1.
  for (const count of bins) t.ok(Math.abs(count - n / 10) < 5 * Math.sqrt(n * 0.09), `bin count ${count}`);
  // The sum of n products of independent uniforms has standard deviation sqrt(n)/12.
  t.ok(Math.abs(product) < (5 * Math.sqrt(n)) / 12, `correlation sum ${product}`);
  const draws = [uniform(1, 2, 3), uniform(2, 2, 3), uniform(1, 3, 3), uniform(1, 2, 4), uniform(1, 2), uniform(1 + 2 ** 32, 2, 3)];
  t.equal(new Set(draws).size, draws.length);
  t.not(hash(1, 2), hash(2, 1));
  t.ok(Array.from({ length: 500 }, (_, i) => uniformInt(3, 9, i)).every((v) => v === 0 || v === 1 || v === 2));
});

t.test('permutation visits everything once and is unbiased', async (t) => {
  t.same([...permutation(100, 5, 1)].sort((a, b) => a - b), Array.from({ length: 100 }, (_, i) => i));
  t.same(permutation(100, 5, 1), permutation(100, 5, 1));
  t.not(permutation(100, 5, 1).join(), permutation(100, 5, 2).join());
  const counts = new Map<string, number>();
  for (let epoch = 0; epoch < 6000; epoch++) {
    const key = permutation(3, 7, epoch).join('');
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  t.equal(counts.size, 6);
  // Five standard deviations of a binomial count with n = 6000, p = 1/6.
  for (const count of counts.values()) t.ok(Math.abs(count - 1000) < 145, `count ${count}`);
});

t.test('the grid of the published recipe', async (t) => {
  t.equal(resizedSide({ imageSize: 448, resizeRatio: 0.875 }), 512);
  t.equal(resizedSide({ imageSize: 96, resizeRatio: 0.875 }), 109);
  const at448 = evalTransform(defaultAugment(448), 1024, 512);
  t.same(at448, { x0: 64, y0: 32, scaleX: 2, scaleY: 1, flip: false, brightness: 1, contrast: 1, saturation: 1, order: 0 });
  // 109 − 96 = 13 free pixels: torchvision rounds 6.5 to the even 6; 3 free pixels: 1.5 → 2.
  t.equal(evalTransform(defaultAugment(96), 109, 109).x0, 6);
  t.equal(evalTransform({ ...defaultAugment(24), resizeRatio: 24 / 27 }, 27, 27).x0, 2);
  t.equal(evalTransform({ ...defaultAugment(24), resizeRatio: 0.8 }, 30, 30).x0, 3, 'half of 6 needs no rounding');
});

t.test('training draws stay in their ranges, reach their ends and depend on (seed, epoch, index) alone', async (t) => {
  const options = { ...defaultAugment(448), contrast: 0.2 };
  const draws = Array.from({ length: 2000 }, (_, i) => drawTrainTransform(options, 3, 1, i, 512, 512));
  const range = (read: (d: ImageTransform) => number) => [Math.min(...draws.map(read)), Math.max(...draws.map(read))];
  t.same(range((d) => d.x0), [0, 64], 'crop offsets 0…64 inclusive');
  t.same(range((d) => d.y0), [0, 64]);
  t.ok(draws.every((d) => Number.isInteger(d.x0)));
  for (const [key, spread] of [['brightness', 0.126], ['contrast', 0.2], ['saturation', 0.5]] as const) {
    const [low, high] = range((d) => d[key]);
    t.ok(low! >= 1 - spread && low! < 1 - 0.98 * spread && high! <= 1 + spread && high! > 1 + 0.98 * spread, `${key} ${low}…${high}`);
  }
  const flips = draws.filter((d) => d.flip).length;
  t.ok(Math.abs(flips - 1000) < 112, `five standard deviations: ${flips} flips`);
  t.equal(new Set(draws.map((d) => d.order)).size, JITTER_ORDERS.length);
  t.same(drawTrainTransform(options, 3, 1, 77, 512, 512), draws[77]);
  t.notSame(drawTrainTransform(options, 4, 1, 77, 512, 512), draws[77]);
  t.notSame(drawTrainTransform(options, 3, 2, 77, 512, 512), draws[77]);
  const plain = drawTrainTransform({ ...options, flip: 0, brightness: 0, contrast: 0, saturation: 0 }, 3, 1, 5, 512, 512);
  t.match(plain, { flip: false, brightness: 1, contrast: 1, saturation: 1 });
  const wild = Array.from({ length: 300 }, (_, i) => drawTrainTransform({ ...options, saturation: 3 }, 3, 1, i, 512, 512).saturation);
  t.ok(Math.min(...wild) >= 0 && Math.min(...wild) < 0.1 && Math.max(...wild) > 3.9, 'no factor is below 0');
});

t.test('random resized crop: whole-pixel windows of allowed area and ratio', async (t) => {
  const options = { ...defaultAugment(64), randomResizedCrop: { scaleMin: 0.2, scaleMax: 1, ratioMin: 3 / 4, ratioMax: 4 / 3 } };
  for (let i = 0; i < 300; i++) {
    const d = drawTrainTransform(options, 1, 0, i, 200, 120);
    const [w, h] = [d.scaleX * 64, d.scaleY * 64];
    t.ok(d.x0 >= 0 && d.y0 >= 0 && d.x0 + w <= 200 && d.y0 + h <= 120);
    // Rounding both sides to whole pixels moves area and ratio by up to about 2 %.
    t.ok((w * h) / 24000 > 0.19 && w / h > 0.73 && w / h < 1.37, `${w}×${h}`);
  }
  const narrow = drawTrainTransform(options, 1, 0, 0, 1000, 10);
  t.same([narrow.scaleX * 64, narrow.scaleY * 64, narrow.x0], [13, 10, 493], 'falls back to the centred window of ratio 4/3');
  const tall = drawTrainTransform(options, 1, 0, 0, 10, 1000);
  t.same([tall.scaleX * 64, tall.scaleY * 64, tall.y0], [10, 13, 493], 'or 3/4');
  const small = { ...options, randomResizedCrop: { scaleMin: 9 / 16, scaleMax: 9 / 16, ratioMin: 1, ratioMax: 1 } };
  const places = new Set(Array.from({ length: 100 }, (_, i) => drawTrainTransform(small, 1, 0, i, 4, 4)).map(({ x0, y0 }) => `${x0},${y0}`));
  t.same([...places].sort(), ['0,0', '0,1', '1,0', '1,1'], '3×3 of 4×4 pixels lie in four places');
});

t.test('random resized crop: area, ratio and place of a window are drawn independently', async (t) => {
  // In a large square picture every window of these fits at once.
  const options = { ...defaultAugment(64), randomResizedCrop: { scaleMin: 0.2, scaleMax: 0.5, ratioMin: 3 / 4, ratioMax: 4 / 3 } };
  const side = 10_000;
  const draws = Array.from({ length: 400 }, (_, i) => {
    const { x0, y0, scaleX, scaleY } = drawTrainTransform(options, 2, 0, i, side, side);
    const [w, h] = [scaleX * 64, scaleY * 64];
    return { area: ((w * h) / side ** 2 - 0.2) / 0.3, ratio: Math.log((w / h) / (3 / 4)) / Math.log(16 / 9), x: x0 / (side - w), y: y0 / (side - h) };
  });
  const names = ['area', 'ratio', 'x', 'y'] as const;
  for (const [i, one] of names.entries()) {
    const values = draws.map((draw) => draw[one]);
    t.ok(Math.min(...values) > -0.01 && Math.max(...values) < 1.01 && Math.max(...values) - Math.min(...values) > 0.95, `${one} takes its whole range`);
    // The sum of n products of independent uniforms has standard deviation sqrt(n)/12.
    for (const other of names.slice(i + 1)) t.ok(Math.abs(draws.reduce((sum, draw) => sum + (draw[one] - 0.5) * (draw[other] - 0.5), 0)) < (4 * Math.sqrt(400)) / 12, `${one} and ${other}`);
  }
});

t.test('the reference agrees with PIL', async (t) => {
  for (const { size, side, transform, check } of pilCases) {
    const options = { ...defaultAugment(size), mean: [0, 0, 0] as [number, number, number], std: [1, 1, 1] as [number, number, number] };
    t.equal(resizedSide(options), side);
    check(t, referenceTransform(pilPicture, transform, options));
  }
});

t.test('normalisation and box mapping', async (t) => {
  const options = defaultAugment(4);
  const grey = { rgba: new Uint8Array(4 * 64).fill(128), width: 8, height: 8 };
  const values = referenceTransform(grey, evalTransform(options, 8, 8), options);
  for (let c = 0; c < 3; c++) t.ok(Math.abs(values[c]! - (128 / 255 - options.mean[c]!) / options.std[c]!) < 1e-12, 'float64 rounding only');
  const box = { x0: 20, y0: 30, x1: 60, y1: 50 };
  const transform = { ...evalTransform(defaultAugment(448), 1024, 512), flip: true };
  t.same(boxToOutput(box, transform, 448), { x0: 450, x1: 470, y0: -2, y1: 18 }, 'window starts at (64, 32), scales (2, 1)');
  t.same(boxToSource(boxToOutput(box, transform, 448), transform, 448), box);
});

t.test('impossible options are refused', async (t) => {
  const options = defaultAugment(96);
  t.doesNotThrow(() => checkAugment(options));
  t.match(await userMessage(() => checkAugment({ ...options, imageSize: 0 })), /image size/);
  t.match(await userMessage(() => checkAugment({ ...options, resizeRatio: 1.2 })), /smaller than the 96-pixel crop/);
  t.match(await userMessage(() => checkAugment({ ...options, flip: 2 })), /probability/);
  t.match(await userMessage(() => checkAugment({ ...options, saturation: -1 })), /saturation must be 0 or more/);
  t.match(await userMessage(() => checkAugment({ ...options, std: [1, 0, 1] })), /std/);
  t.match(await userMessage(() => checkAugment({ ...options, randomResizedCrop: { scaleMin: 0.5, scaleMax: 0.2, ratioMin: 1, ratioMax: 1 } })), /scaleMin/);
});
