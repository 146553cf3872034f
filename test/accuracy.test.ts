/** Digits: functions of one number from the smallest to the largest float32, and sums of very many numbers. */
import t from 'tap';
import { adaptiveAvgPool2d, exp, gelu, l2Normalize, log, matmul, mean, pow, sigmoid, signedSqrt, softmax, sqrt, sum, tanh } from '../src/ops/index.js';
import { tensor } from '../src/tensor/create.js';
import { scope } from '../src/tensor/scope.js';
import type { Tensor } from '../src/tensor/tensor.js';
import { openRuntime } from './support/runtime.js';

await openRuntime();

const ULP = 2 ** -23;
/** What lies between this and 0 may count as 0. */
const SMALLEST = 2 ** -126;

const magnitudes = Array.from({ length: 200 }, (_, i) => Math.fround(10 ** (-37 + i * 0.37)));
const around = (centre: number, step: number): number[] => Array.from({ length: 201 }, (_, i) => Math.fround(centre + (i - 100) * step));
const positive = [...magnitudes, ...around(1, 1e-5), ...around(8, 0.07)];
const everywhere = [...positive, ...magnitudes.map((x) => -x), ...around(0, 0.13)];

/** The complementary error function in float64: its series near 0, its continued fraction further out. */
const erfc = (x: number): number => {
  if (x < 0) return 2 - erfc(-x);
  if (x < 2.5) {
    let [term, total] = [x, x];
    for (let n = 1; n < 200; n++) {
      term *= -(x * x) / n;
      total += term / (2 * n + 1);
    }
    return 1 - (2 / Math.sqrt(Math.PI)) * total;
  }
  let fraction = 0;
  for (let k = 120; k > 0; k--) fraction = k / 2 / (x + fraction);
  return Math.exp(-x * x) / Math.sqrt(Math.PI) / (x + fraction);
};

interface Function {
  readonly run: (x: Tensor) => Tensor;
  readonly exact: (x: number) => number;
  readonly over?: readonly number[];
  /** Largest relative error at x. */
  readonly bound: (x: number) => number;
}

/** WGSL allows e^x, and 2^x, an error of 3 + 2|x| ulp. */
const expBound = (x: number): number => (3 + 2 * Math.abs(x)) * ULP;
/** WGSL allows logarithms 3 ulp, but near 1 an absolute error of 2^-21. */
const logBound = (x: number, log: number): number => (x >= 0.5 && x <= 2 ? 2 ** -21 : 3 * ULP * Math.abs(log));
/** pow is 2^(y log2 x): what the exponent is wrong by is a relative error of the result. */
const powBound = (y: number) => (x: number): number => expBound(y * Math.log2(x)) + Math.abs(y) * logBound(x, Math.log2(x)) + 2 * ULP;

const functions: Record<string, Function> = {
  exp: { run: exp, exact: Math.exp, bound: expBound },
  // A quotient (2.5 ulp) of a sum.
  sigmoid: { run: sigmoid, exact: (x) => 1 / (1 + Math.exp(-x)), bound: (x) => expBound(x) + 4 * ULP },
  // The fit's 4e-7, a quotient (2.5 ulp), and the rounding of two polynomials.
  tanh: { run: tanh, exact: Math.tanh, bound: () => 4e-7 + 5 * ULP },
  // e to the power of −x² / 2 counts where x is negative; the fit of erfc has 1.2e-7.
  gelu: { run: gelu, exact: (x) => x * 0.5 * erfc(-x / Math.SQRT2), bound: (x) => 2 * expBound((x * x) / 2) + 1.2e-7 + 6 * ULP },
  // sqrt is 1 / inverseSqrt: 2 ulp and a division.
  sqrt: { run: sqrt, exact: Math.sqrt, over: positive, bound: () => 5 * ULP },
  signedSqrt: { run: signedSqrt, exact: (x) => Math.sign(x) * Math.sqrt(Math.abs(x) + 1e-12), bound: () => 5 * ULP },
  log: { run: log, exact: Math.log, over: positive, bound: (x) => logBound(x, Math.log(x)) / Math.abs(Math.log(x)) + ULP },
  ...Object.fromEntries([-2, -1, 0.5, 1.7, 3, 10].map((y) =>
    [`pow ${y}`, { run: (x: Tensor) => pow(x, y), exact: (x: number) => x ** y, over: positive, bound: powBound(y) }])),
};

for (const [name, { run, exact, over = everywhere, bound }] of Object.entries(functions)) {
  t.test(`${name} of small and large numbers`, (t) => scope(async () => {
    const results = await run(tensor(over)).data();
    const wrong = over.map((x, i) => ({ x, got: results[i]!, wanted: exact(x) })).filter(({ x, got, wanted }) => {
      const nearest = Math.fround(wanted);
      if (!Number.isFinite(nearest)) return got !== nearest;
      return Math.abs(wanted) < SMALLEST ? Math.abs(got) > SMALLEST : !(Math.abs(got - wanted) <= bound(x) * Math.abs(wanted));
    });
    t.same(wrong, [], `${over.length} numbers`);
  }));
}

/** The numbers are equal, so that every rounding errs to the same side. */
const VALUE = Math.fround(0.1);
const full = (...shape: number[]): Tensor => tensor(new Float32Array(shape.reduce((a, b) => a * b)).fill(VALUE), shape);

/** Nowhere do more than some 256 additions follow one another, each wrong by at most half an ulp. */
const SUMS = 256 * (ULP / 2);

const sums: Record<string, readonly [run: () => Tensor, exact: number]> = {
  'sum of a vector': [() => sum(full(4_000_000)), VALUE * 4e6],
  'mean of a vector': [() => mean(full(4_000_000)), VALUE],
  'sum of few long rows': [() => sum(full(3, 1_000_000), 1), VALUE * 1e6],
  'sum of few long columns': [() => sum(full(1_000_000, 3), 0), VALUE * 1e6],
  'sum of many columns': [() => sum(full(2000, 1000), 0), VALUE * 2000],
  'sum of a tensor': [() => sum(full(20, 100, 100, 5)), VALUE * 1e6],
  'mean of an image': [() => adaptiveAvgPool2d(full(1, 448, 448, 3), 1), VALUE],
  'means of parts of an image': [() => adaptiveAvgPool2d(full(1, 448, 448, 3), 2), VALUE],
  'softmax of a long row': [() => softmax(full(1, 500_000)), 1 / 500_000],
  'l2Normalize of a long row': [() => l2Normalize(full(1, 200_000)), 1 / Math.sqrt(200_000)],
  'product with a deep sum': [() => matmul(full(24_576, 4), full(24_576, 4), { transposeA: true }), VALUE * VALUE * 24_576],
};

for (const [name, [run, exact]] of Object.entries(sums)) {
  t.test(name, (t) => scope(async () => {
    // Where there are many results they are all the same.
    const worst = Math.max(...[...(await run().data())].slice(0, 1000).map((value) => Math.abs(value / exact - 1)));
    t.ok(worst <= SUMS, `relative error ${worst.toExponential(1)}`);
  }));
}
