/** Random numbers: the generator to the bit, its state, and the distributions of what is drawn. */
import t from 'tap';
import { backward } from '../src/autograd/backward.js';
import { numberOf } from '../src/kernels/params.js';
import { dropout, getRandomState, manualSeed, multinomial, nextRandomKey, rand, randn, setRandomState, setRandomStep } from '../src/ops/random.js';
import { tensor } from '../src/tensor/create.js';
import { scope } from '../src/tensor/scope.js';
import type { Shape } from '../src/tensor/shape.js';
import { openRuntime } from './support/runtime.js';

const runtime = await openRuntime();
t.teardown(() => runtime.device.close());

/** The mixer once more, in big integers modulo 2^32, from the description of MurmurHash3's finaliser. */
const WORD = 1n << 32n;
const finaliser = (value: bigint): bigint => {
  let h = value % WORD;
  h = ((h ^ (h >> 16n)) * 0x85ebca6bn) % WORD;
  h = ((h ^ (h >> 13n)) * 0xc2b2ae35n) % WORD;
  return h ^ (h >> 16n);
};
const uniformOf = (key: number, counter: number): number => {
  const [k, c] = [BigInt(key), BigInt(counter)];
  return Number(finaliser(finaliser(c ^ k) + (c + 1n) * 0x9e3779b9n + k) >> 8n) / 2 ** 24;
};

const uniforms = (shape: Shape, key: number): Promise<ArrayLike<number>> => scope(async () => rand(shape, { key }).data());
const N = 60_000;
const sameNumbers = (a: ArrayLike<number>, b: ArrayLike<number>): boolean => a.length === b.length && Array.from(a).every((v, i) => v === b[i]);
const mean = (x: ArrayLike<number>): number => Array.from(x).reduce((a, b) => a + b, 0) / x.length;
const moment = (x: ArrayLike<number>, power: number, around = 0): number => mean(Array.from(x, (v) => (v - around) ** power));

t.test('the mixer is the finaliser of MurmurHash3', async (t) => {
  t.equal(finaliser(1n), 0x514e28b7n, 'known value for 1');
  t.equal(finaliser(0n), 0n);
});

t.test('uniform numbers agree with the host to the bit, whatever the shape', async (t) => {
  for (const key of [0, 1, 0xfedcba98]) {
    const expected = Float32Array.from({ length: 105 }, (_, i) => uniformOf(key, i));
    t.same(Array.from(await uniforms([105], key)), Array.from(expected), `key ${key}`);
    t.same(Array.from(await uniforms([3, 7, 5], key)), Array.from(expected), `key ${key} in ragged rows`);
  }
});

t.test('keys depend on seed, step and order alone, and the state can be set again', async (t) => {
  const nextKey = (): number => numberOf(nextRandomKey());
  manualSeed(7);
  const first = [nextKey(), nextKey()];
  setRandomStep(3);
  const third = nextKey();
  const saved = getRandomState();
  const next = nextKey();
  manualSeed(7);
  t.same([nextKey(), nextKey()], first);
  setRandomStep(3);
  t.equal(nextKey(), third, 'a step begins anew, whatever was drawn before');
  setRandomState(saved);
  t.equal(nextKey(), next);
  manualSeed(8);
  t.not(nextKey(), first[0]);
  const keys = new Set<unknown>();
  for (let step = 0; step < 300; step++) {
    setRandomStep(step);
    for (let i = 0; i < 30; i++) keys.add(nextKey());
  }
  // 9,000 draws of 2^32 meet 0.01 times on average.
  t.equal(keys.size, 9000, 'no key twice');
  t.throws(() => manualSeed(-1), /manualSeed: -1 must be an integer of at least 0/);
});

t.test('uniform numbers are uniform and independent of their neighbours', async (t) => {
  const x = await uniforms([N], 5);
  // Deviation of the mean: sqrt(1/12/N) = 0.0012; of the second central moment: sqrt(1/180/N) = 0.0003. Four of them.
  t.ok(Math.abs(mean(x) - 0.5) < 0.0048, `mean ${mean(x)}`);
  t.ok(Math.abs(moment(x, 2, 0.5) - 1 / 12) < 0.0012, `variance ${moment(x, 2, 0.5)}`);
  const cells = new Float64Array(256);
  const pairs = new Float64Array(256);
  for (let i = 0; i < N; i++) {
    cells[Math.floor(x[i]! * 256)]!++;
    if (i % 2) pairs[Math.floor(x[i - 1]! * 16) * 16 + Math.floor(x[i]! * 16)]!++;
  }
  const chiSquare = (counts: Float64Array, total: number): number => counts.reduce((sum, n) => sum + (n - total / 256) ** 2 / (total / 256), 0);
  // 255 degrees of freedom: mean 255, deviation sqrt(510) = 22.6; four deviations above are 345.
  t.ok(chiSquare(cells, N) < 345, `chi-square of values ${chiSquare(cells, N)}`);
  t.ok(chiSquare(pairs, N / 2) < 345, `chi-square of neighbouring pairs ${chiSquare(pairs, N / 2)}`);
  const y = await uniforms([N], 6);
  const correlation = 12 * mean(Array.from(x, (v, i) => (v - 0.5) * (y[i]! - 0.5)));
  // Deviation 1/sqrt(N) = 0.0041.
  t.ok(Math.abs(correlation) < 0.0164, `correlation of keys 5 and 6: ${correlation}`);
  const scaled = await scope(async () => rand([1000], { key: 1, low: -3, high: -1 }).data());
  t.ok(Math.min(...scaled) >= -3 && Math.max(...scaled) <= -1 && mean(scaled) > -2.1 && mean(scaled) < -1.9);
});

t.test('normal numbers have the moments of the normal distribution', async (t) => {
  const x = await scope(async () => randn([N / 3, 3], { key: 9 }).data());
  // Deviations of the first four moments' estimates: sqrt(1, 2, 15, 96) / sqrt(N). Four of them.
  const bound = (variance: number): number => 4 * Math.sqrt(variance / N);
  t.ok(Math.abs(mean(x)) < bound(1), `mean ${mean(x)}`);
  t.ok(Math.abs(moment(x, 2) - 1) < bound(2), `variance ${moment(x, 2)}`);
  t.ok(Math.abs(moment(x, 3)) < bound(15), `third moment ${moment(x, 3)}`);
  t.ok(Math.abs(moment(x, 4) - 3) < bound(96), `fourth moment ${moment(x, 4)}`);
  // The product of the two numbers of one pair has mean 0 and variance 1.
  const products = Array.from({ length: N / 2 }, (_, i) => x[2 * i]! * x[2 * i + 1]!);
  t.ok(Math.abs(mean(products)) < 4 / Math.sqrt(N / 2), `correlation within pairs ${mean(products)}`);
  t.ok(x.every(Number.isFinite), 'no infinite numbers');
  const shifted = await scope(async () => randn([N], { key: 9, mean: 10, std: 2 }).data());
  t.ok(Math.abs(mean(shifted) - 10) < 2 * bound(1));
});

t.test('dropout keeps the mean, repeats with the key, and drops the same elements of the gradient', async (t) => {
  await scope(async () => {
    const x = tensor(new Float32Array(N).fill(1), [N / 10, 10]).requiresGrad_();
    const y = dropout(x, 0.3, { key: 4 });
    backward(y, tensor(new Float32Array(N).fill(1), [N / 10, 10]));
    const values = await y.data();
    const kept = values.filter((v) => v !== 0).length / N;
    // Deviation sqrt(0.3 · 0.7 / N) = 0.0019.
    t.ok(Math.abs(kept - 0.7) < 0.0076, `share kept ${kept}`);
    t.same(new Set(values), new Set([0, Math.fround(1 / 0.7)]));
    t.ok(sameNumbers(await x.grad!.data(), values), 'gradient of ones is the mask itself');
    t.ok(sameNumbers(await dropout(x, 0.3, { key: 4 }).data(), values), 'the same key drops the same');
    t.notOk(sameNumbers(await dropout(x, 0.3, { key: 5 }).data(), values), 'another key drops others');
    t.ok(dropout(x, 0.3, { training: false }) === x, 'nothing happens outside training');
    x.grad?.release();
  });
  t.ok(Number.isNaN(await scope(async () => dropout(tensor([NaN]), 1, { key: 1 }).item())), 'NaN is not hidden by dropping it');
});

t.test('weighted sampling draws in proportion to the weights', async (t) => {
  const weights = [1, 0, 3, 2, NaN, 4];
  const draws = await scope(async () => multinomial(tensor([weights]), N, 12).data());
  const counts = new Float64Array(6);
  for (const at of draws) counts[at]!++;
  t.equal(counts[1]! + counts[4]!, 0, 'options without weight are never drawn');
  const expected = [0.1, 0, 0.3, 0.2, 0, 0.4].map((p) => p * N);
  const chiSquare = expected.reduce((sum, e, i) => sum + (e ? (counts[i]! - e) ** 2 / e : 0), 0);
  // 3 degrees of freedom: 21.1 is passed once in 10,000 times.
  t.ok(chiSquare < 21.1, `chi-square ${chiSquare}`);
  const empty = await scope(async () => multinomial(tensor([[0, 0, 0, 0]]), N, 13).data());
  const even = new Float64Array(4);
  for (const at of empty) even[at]!++;
  t.ok(even.reduce((sum, n) => sum + (n - N / 4) ** 2 / (N / 4), 0) < 21.1, 'a row without weights draws uniformly');
});
