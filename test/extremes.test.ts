/** Sizes and numbers at the ends of what can be computed: right, or refused in words. */
import t from 'tap';
import { backward } from '../src/autograd/backward.js';
import { adaptiveAvgPool2d, adaptiveMaxPool2d, affine, conv2d, cropResize, interpolate, matmul, maxPool2d, multinomial, ones, rand, sum, zeros } from '../src/ops/index.js';
import { tensor } from '../src/tensor/create.js';
import { scope } from '../src/tensor/scope.js';
import { openRuntime } from './support/runtime.js';

const runtime = await openRuntime();
t.teardown(() => runtime.device.close());

t.test('axes whose positions would not fit into 31 bits are refused', (t) => scope(async () => {
  const refused = (fn: () => unknown, message: RegExp): void => { t.throws(() => { fn(); }, { name: 'UserError', message }); };
  const [wide, tall] = [zeros([1, 1, 40_000, 1]), zeros([1, 70_000, 1, 1])];
  for (const options of [{}, { mode: 'bilinear' }, { mode: 'bilinear', alignCorners: true }, { mode: 'bilinear', antialias: true }] as const) {
    refused(() => interpolate(wide, { size: [1, 39_999], ...options }),
      /interpolate: the width of 40000 and its new size 39999 are too long together: their product must stay below 2\^30\. Resize in parts/);
  }
  refused(() => interpolate(wide, { size: [2, 40_000] }), /the width of 40000 and its new size 40000/);
  refused(() => cropResize(wide, tensor([[0, 0, 1, 40_000]]), { size: [1, 40_000] }), /cropResize: the width of 40000/);
  refused(() => adaptiveAvgPool2d(tall, [69_999, 1]), /adaptiveAvgPool2d: the height of 70000 and its new size 69999/);
  refused(() => adaptiveMaxPool2d(tall, [69_999, 1]), /adaptiveMaxPool2d: the height/);
}));

t.test('as long as may be, every output is right', (t) => scope(async () => {
  const [from, to] = [32_765, 32_762];
  const line = tensor(Float32Array.from({ length: from }, (_, i) => i), [1, 1, from, 1]);
  const resized = await interpolate(line, { size: [1, to], mode: 'bilinear' }).data();
  const worst = Math.max(...resized.map((value, o) => Math.abs(value - Math.min(Math.max(((o + 0.5) * from) / to - 0.5, 0), from - 1))));
  t.ok(worst < 0.005, `an ulp of 32,768 is 0.004; off by ${worst}`);
  const means = await adaptiveAvgPool2d(line, [1, to]).data();
  t.ok(means.every((value, o) => value === (Math.floor((o * from) / to) + Math.ceil(((o + 1) * from) / to) - 1) / 2), 'means of one or two neighbours');
}));

t.test('more lines, or more columns, than a grid has room for', (t) => scope(async () => {
  const x = ones([1, 70_000, 1, 4]).requiresGrad_();
  backward(sum(conv2d(x, ones([3, 1, 4, 8]), null, { padding: [1, 0] })));
  const gradient = await x.grad!.data();
  t.ok(gradient.every((value, i) => value === (i < 4 || i >= gradient.length - 4 ? 16 : 24)), 'two or three taps of eight filters');
  const columns = 5_000_000;
  const row = await matmul(tensor([[2, 3]]), tensor(Float32Array.from({ length: 2 * columns }, (_, i) => i % columns % 1000), [2, columns])).data();
  t.ok(row.every((value, i) => value === 5 * (i % 1000)));
  const matrices = Array.from({ length: 70_000 }, (_, i) => i);
  const a = tensor(Float32Array.from(matrices), [70_000, 1, 1]);
  t.ok((await matmul(a, affine(a, 1, 1)).data()).every((value, i) => value === Math.fround(i * (i + 1))), 'as many matrices');
  const tall = tensor(Float32Array.from({ length: 600_000 }, (_, i) => i), [600_000, 1]);
  t.ok((await matmul(tall, tensor([[3]])).data()).every((value, i) => value === 3 * i), 'as many rows, eight at a time');
}));

t.test('infinities stay infinite, whatever the depth', (t) => scope(async () => {
  for (let depth = 1; depth <= 9; depth++) {
    const column = tensor(Float32Array.from({ length: depth }, (_, i) => (i === depth - 1 ? Infinity : 1)), [depth, 1]);
    t.equal((await matmul(ones([1, depth]), column).data())[0], Infinity, `${depth} deep`);
    t.notOk(Number.isFinite((await matmul(ones([depth, 1]), column, { transposeA: true }).data())[0]),
      `${depth} deep, both as columns: infinite or, as documented, NaN`);
    const pixels = conv2d(ones([1, 2, 2, depth]), tensor(Float32Array.from({ length: depth }, (_, i) => (i === depth - 1 ? Infinity : 1)), [1, 1, depth, 1]));
    t.ok((await pixels.data()).every((value) => value === Infinity), `${depth} channels`);
  }
}));

t.test('lists are as long as there are axes', (t) => scope(async () => {
  const x = ones([1, 6, 6, 2]);
  const refused = (fn: () => unknown, message: RegExp): void => { t.throws(() => { fn(); }, { name: 'UserError', message }); };
  const short = [3] as unknown as [number, number];
  refused(() => adaptiveAvgPool2d(x, short), /adaptiveAvgPool2d: the output size must be a number for both axes, or \[vertical, horizontal\]; got \[3\]/);
  refused(() => adaptiveMaxPool2d(x, [3, 2, 1] as unknown as [number, number]), /adaptiveMaxPool2d: .* got \[3, 2, 1\]/);
  for (const option of ['stride', 'padding', 'dilation']) {
    refused(() => conv2d(x, ones([1, 1, 2, 2]), null, { [option]: [1] }), new RegExp(`conv2d: ${option} must be a number for both axes`));
  }
  refused(() => maxPool2d(x, { kernelSize: short }), /pooling: kernelSize must be/);
  refused(() => interpolate(x, { size: short }), /interpolate: size must be/);
}));

t.test('random numbers keep below the upper end, and large weights their proportions', (t) => scope(async () => {
  for (const [low, high] of [[100, 101], [1, 2], [-2, -1], [-1, 0]] as const) {
    const drawn = await rand([1 << 20], { low, high, key: 5 }).data();
    t.ok(drawn.every((value) => value >= low && value < high), `${low} to ${high}`);
  }
  t.ok((await rand([8], { low: 3, high: 3 }).data()).every((value) => value === 3));
  const counts = [0, 0, 0];
  for (const option of await multinomial(tensor([[3e38, 3e38, 3e38]]), 3000, 7).data()) counts[option]!++;
  // A third of 3,000 scatters by 26; four of those are allowed.
  t.ok(counts.every((count) => Math.abs(count - 1000) < 104), counts.join(', '));
}));
