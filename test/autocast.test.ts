/** float16 tensors, and what `autocast` makes float16. Needs an adapter with shader-f16. */
import t from 'tap';
import { backward } from '../src/autograd/backward.js';
import { Captured } from '../src/autograd/captured.js';
import { checkpoint } from '../src/autograd/checkpoint.js';
import { noGrad } from '../src/autograd/tape.js';
import { gradientMode, verifyForward, verifyGradient, worstError } from '../src/autograd/verify.js';
import type { Runtime } from '../src/kernels/runtime.js';
import { SGD } from '../src/nn/optimizer.js';
import { CaseRandom, inHalf } from '../src/ops/cases.js';
import { accumulate } from '../src/ops/binary.js';
import {
  add, attentionPool, autocast, avgPool2d, batchNorm2d, cast, cat, clearAutocastCache, conv2d, convBatchNorm2d, crossEntropy, einsum, fill_, full, interpolate,
  isAutocastEnabled, l2Normalize, linear, matmul,
  maxPool2d, mean, mul, relu, reshape, signedSqrt, slice, softmax, sum, zerosLike,
} from '../src/ops/index.js';
import { inPrecision } from '../src/ops/autocast.js';
import { ops } from '../src/ops/registry.js';
import { tensor, write } from '../src/tensor/create.js';
import { fromHalf, roundToHalf, toHalf } from '../src/float16.js';
import { scope } from '../src/tensor/scope.js';
import { type DType, Tensor } from '../src/tensor/tensor.js';
import { dispatchesOf, openRuntime } from './support/runtime.js';

const runtime = await openRuntime();
const { half, name: adapter } = runtime.device.report;
const skip = half ? false : `${adapter} has no float16`;
t.teardown(() => runtime.device.close());

/** Numbers that float16 holds exactly, so that casts alone change nothing. */
const halves = (count: number, seed: number): Float32Array => {
  const random = new CaseRandom(seed);
  return Float32Array.from({ length: count }, () => roundToHalf(random.uniform(-1, 1)));
};
const size = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);
const made = (shape: readonly number[], seed: number, dtype: DType = 'float32'): Tensor => tensor(halves(size(shape), seed), shape, { dtype });

t.test('an adapter without float16 says so', async (t) => {
  const without = { device: { report: { half: false, name: 'old adapter' } } } as unknown as Runtime;
  t.throws(() => Tensor.allocate(without, [2, 3], 'float16', 'y'), /tensor "y" \[2, 3\]: the adapter "old adapter" has no float16 \(shader-f16\); use float32/);
  const x = { runtime: without, dtype: 'float32' } as Tensor;
  t.throws(() => autocast(() => inPrecision('half', [x])),
    { name: 'UserError', message: /^autocast: the adapter "old adapter" has no float16.*\{ enabled: runtime\.device\.report\.half \}/ });
});

t.test('autocast of what is no function says how it is called', async (t) => {
  const refused = /^autocast: the first argument must be a function, as in autocast\(\(\) => …, \{ enabled: true \}\), got /;
  for (const swapped of [{ enabled: true }, { enabled: false }]) {
    t.throws(() => (autocast as (...args: unknown[]) => unknown)(swapped, () => 1), { name: 'UserError', message: refused });
  }
  t.notOk(isAutocastEnabled());
});

t.test('float16 tensors hold what the host wrote', { skip }, (t) => scope(async () => {
  const values = halves(30, 1);
  const x = tensor(values, [2, 3, 5], { dtype: 'float16' });
  t.equal(x.range.bytes, 2 * 3 * 2 * 8, 'eight bytes for four elements, rows padded');
  t.same([...await x.data()], [...values]);
  const raw = new Uint16Array(await runtime.recorder.read(x.range));
  t.same([...raw.subarray(0, 8)], [...toHalf(values.subarray(0, 5)), 0, 0, 0], 'the padding is zero');
  write(x, values.map((v) => 2 * v));
  t.same([...await x.data()], [...values].map((v) => 2 * v));
  t.same([...await full([5], 0.1, { dtype: 'float16' }).data()], new Array(5).fill(roundToHalf(0.1)));
  t.equal(zerosLike(x).dtype, 'float16');
  t.same([...await tensor([1e5, -1e5, 1e-9], [3], { dtype: 'float16' }).data()], [Infinity, -Infinity, 0]);
}));

t.test('the device rounds as the host does, and overflows to infinity', { skip }, (t) => scope(async () => {
  const random = new CaseRandom(5);
  const values = Float32Array.from({ length: 4000 }, () => random.uniform(-1, 1) * 2 ** Math.floor(random.uniform(-16, 16)));
  const rounded = await cast(tensor(values), 'float16').data();
  // WGSL leaves the choice between the two neighbours to the driver: a unit in the last place is 2^-10 of a normal number.
  t.ok(values.every((v, i) => Math.abs(rounded[i]! - v) <= Math.max(Math.abs(v) * 2 ** -10, 2 ** -24)));
  t.same([...await cast(tensor([65504, -65504, 65536, -1e9, 1e38, 0, 2 ** -14]), 'float16').data()],
    [65504, -65504, Infinity, -Infinity, Infinity, 0, 2 ** -14]);
  t.ok(Number.isNaN((await cast(tensor([NaN]), 'float16').data())[0]), 'NaN stays NaN');
  const x = tensor(halves(6, 2)).requiresGrad_();
  const seed = halves(6, 3);
  backward(cast(x, 'float16'), tensor(seed));
  t.equal(x.grad!.dtype, 'float32');
  t.same([...await x.grad!.data()], [...seed]);
  t.equal(cast(x, 'float32'), x, 'nothing to do');
  t.same([...(await cast(tensor([-1], [1], { dtype: 'int32' }), 'uint32').data())], [2 ** 32 - 1], 'integers keep their bits');
}));

/** Ragged and plain cases of ops with kernels of different kinds: element types, scalar loads, in-place sums, several stages. */
const CHECKED: Record<string, readonly string[]> = {
  conv2d: ['3×3 padded', '7×7 stride 2', 'several tiles', 'depthwise', 'groups, bias, residual, ReLU', '1×1, residual'], matmul: ['split reduction'],
  batchNorm2d: ['training, ragged blocks', 'training, residual, relu', 'eval, relu'],
  maxPool2d: ['3×3 stride 2 padding 1'], avgPool2d: ['overlapping, ceil'], cat: ['ragged channels'], where: ['mask of rows'], reshape: ['ragged rows'],
  permute: ['NHWC to NCHW'],
  slice: ['ragged channels'], mul: ['[3×1] with [1×6]'], mean: ['middle'], dropout: ['many'], convBatchNorm2d: ['3×3 with a bias, residual, ReLU'],
};

t.test('kernels on float16, against float64', { skip }, async (t) => {
  for (const [name, cases] of Object.entries(CHECKED)) {
    const op = ops.find((o) => o.name === name)!;
    t.ok(op.precision === 'any' || op.precision === 'half', name);
    for (const caseName of cases) {
      const plain = op.cases.find((c) => !c.bench && c.name === caseName);
      if (!plain) {
        t.fail(`${name} has no case "${caseName}"`);
        continue;
      }
      const opCase = inHalf(plain);
      const forward = await verifyForward(runtime, op, opCase);
      t.ok(forward.passed, `${name}, ${plain.name}: forward error ${forward.error.toExponential(1)} of ${forward.tolerance.toExponential(1)}, ${forward.note}`);
      if (gradientMode(op, opCase) === 'none') continue;
      const gradient = await verifyGradient(runtime, op, opCase);
      t.ok(gradient.passed, `${name}, ${plain.name}: gradient error ${gradient.error.toExponential(1)} of ${gradient.tolerance.toExponential(1)}`);
    }
  }
});

t.test('types of results', { skip }, (t) => scope(async () => {
  const image = made([2, 4, 4, 8], 1);
  const [weight, matrix, bias] = [made([3, 3, 8, 8], 2), made([8, 5], 3), made([8], 4)];
  const x = cast(image, 'float16');
  const norm = { mean: bias, variance: full([8], 1), weight: bias, bias, eps: 1e-3 };
  const within = (fn: () => Tensor): DType => autocast(fn).dtype;
  for (const [name, fn] of Object.entries<() => Tensor>({
    conv2d: () => conv2d(image, weight, bias, { padding: 1 }), matmul: () => matmul(image, matrix), linear: () => linear(image, matrix, made([5], 6)),
    convBatchNorm2d: () => convBatchNorm2d(image, weight, null, norm),
    grouped: () => conv2d(image, made([1, 1, 2, 8], 7), bias, { groups: 4, activation: 'relu' }),
  })) {
    t.equal(within(fn), 'float16', name);
    t.equal(fn().dtype, 'float32', `${name} outside`);
  }
  const follow: Record<string, (x: Tensor) => Tensor> = {
    relu, maxPool: (v) => maxPool2d(v, { kernelSize: 2 }), avgPool: (v) => avgPool2d(v, { kernelSize: 2 }),
    slice: (v) => slice(v, [0, 0, 0, 0], [1, 4, 4, 3]), add: (v) => add(v, v),
    batchNorm: (v) => batchNorm2d(v, bias, bias, full([8], 0), full([8], 1), { training: true }),
    cat: (v) => cat([v, v], 3), reshape: (v) => reshape(v, [4, 64]),
    interpolate: (v) => interpolate(v, { size: [8, 8], mode: 'bilinear' }), number: (v) => mul(v, 2),
  };
  for (const [name, fn] of Object.entries(follow)) for (const input of [x, image]) t.equal(within(() => fn(input)), input.dtype, `${name} of ${input.dtype}`);
  const wide: Record<string, (x: Tensor) => Tensor> = {
    softmax, crossEntropy: (v) => crossEntropy(reshape(v, [32, 8]), tensor(new Int32Array(32))), attentionPool: (v) => attentionPool(v, v),
    l2Normalize, signedSqrt, sum, mean,
    mixed: (v) => add(v, image), 'mixed cat': (v) => cat([v, image], 0), 'mixed rim': (v) => mul(v, full([1, 4, 4, 1], 1)),
  };
  for (const [name, fn] of Object.entries(wide)) t.equal(within(() => fn(x)), 'float32', name);
  t.equal(autocast(() => autocast(() => conv2d(image, weight), { enabled: false })).dtype, 'float32', 'a part that is excepted');
  t.notOk(isAutocastEnabled());
  t.equal(await autocast(async () => { await Promise.resolve(); return isAutocastEnabled(); }), true, 'over await');
  t.throws(() => autocast(() => { throw new Error('inside'); }), /inside/);
  t.notOk(isAutocastEnabled(), 'after an error');
}));

/** Gradients of two layers and what follows them. */
const layers = (x: Tensor, w: Tensor, v: Tensor): Tensor => sum(mul(conv2d(conv2d(x, w, null, { padding: 1, activation: 'relu' }), v), 0.25));

t.test('gradients of float32 weights are not rounded to float16', { skip }, (t) => scope(async () => {
  const gradientsOf = async (mixed: boolean): Promise<Float32Array[]> => {
    const leaves = [made([1, 5, 5, 8], 11), made([3, 3, 8, 8], 12), made([1, 1, 8, 4], 13)].map((leaf) => leaf.requiresGrad_());
    if (mixed) backward(autocast(() => layers(leaves[0]!, leaves[1]!, leaves[2]!)));
    else backward(layers(leaves[0]!, leaves[1]!, leaves[2]!));
    t.same(leaves.map((leaf) => leaf.grad!.dtype), ['float32', 'float32', 'float32']);
    return Promise.all(leaves.map(async (leaf) => (await leaf.grad!.data()) as Float32Array));
  };
  const [exact, mixed] = [await gradientsOf(false), await gradientsOf(true)];
  // The gradient of the hidden layer and its activations are float16: two roundings of 2^-11 and sums of either sign.
  for (let i = 0; i < 3; i++) t.ok(worstError(mixed[i]!, exact[i]!).error < 3 * 2 ** -11, `leaf ${i}`);
  t.notSame([...mixed[1]!], [...mixed[1]!].map(roundToHalf), 'digits that float16 does not have');
  const [x, w] = [made([1, 6, 6, 4], 21), made([3, 3, 4, 4], 22)].map((leaf) => leaf.requiresGrad_()) as [Tensor, Tensor];
  const seed = made([1, 4, 4, 4], 23);
  const product = async (fn: () => Tensor): Promise<Float32Array> => {
    for (const leaf of [x, w]) { leaf.grad?.release(); leaf.grad = null; }
    backward(fn(), seed);
    return (await w.grad!.data()) as Float32Array;
  };
  const plain = await product(() => conv2d(x, w));
  const half = await product(() => autocast(() => conv2d(x, w)));
  t.ok(worstError(half, plain).error < 1e-6, 'operands that float16 holds give the gradient of float32');
}));

t.test('backward within a region computes as it does outside', { skip }, (t) => scope(async () => {
  const gradients = async (within: boolean): Promise<number[][]> => {
    const leaves = [made([3, 4], 11), made([4, 5], 12)].map((leaf) => leaf.requiresGrad_());
    // The gradient of einsum is a matrix product of its own, which a region would bring to float16.
    const [product, seed] = [einsum('ij,jk->ik', leaves[0]!, leaves[1]!), full([3, 5], 0.1)];
    if (within) autocast(() => backward(product, seed));
    else backward(product, seed);
    t.same(leaves.map((leaf) => leaf.grad!.dtype), ['float32', 'float32']);
    return Promise.all(leaves.map(async (leaf) => [...await leaf.grad!.data()]));
  };
  const outside = await gradients(false);
  t.notSame(outside, outside.map((values) => values.map(roundToHalf)), 'digits that float16 does not have');
  t.same(await gradients(true), outside);
}));

t.test('attention pooling adds to gradients that are float16', { skip }, (t) => scope(async () => {
  for (const pool of ['GAP', 'GMP'] as const) {
    const [features, maps] = [made([1, 3, 3, 8], 21, 'float16').requiresGrad_(), made([1, 3, 3, 4], 22, 'float16').requiresGrad_()];
    const gradients = async (): Promise<number[][]> => {
      backward(sum(attentionPool(features, maps, { pool })));
      return [[...(await features.grad!.data())], [...(await maps.grad!.data())]];
    };
    const once = await gradients();
    const twice = await gradients();
    t.ok(once.every((values) => values.some((v) => v !== 0)), `${pool}: there are gradients`);
    // Twice a float16 is one, but a sum of unrounded numbers may be rounded to its neighbour.
    once.forEach((values, i) => t.ok(worstError(twice[i]!, values.map((v) => 2 * v)).error < 2 ** -10, `${pool}: input ${i} has twice the gradient`));
  }
}));

t.test('a weight is converted once per region, and again when it was changed', { skip }, (t) => scope(async () => {
  const [x, w] = [made([4, 8], 31, 'float16'), made([8, 8], 32).requiresGrad_()];
  const counted = (fn: () => void): number => dispatchesOf(runtime, fn);
  await autocast(async () => {
    const [first, second] = [counted(() => matmul(x, w)), counted(() => matmul(x, w))];
    t.equal(first - second, 1);
    clearAutocastCache();
    t.equal(counted(() => matmul(x, w)), first, 'what was given back is made again');
    const others = halves(64, 33);
    // Twice: the place that the optimiser gives it counts its changes anew, and has seen as many after the update.
    for (let i = 0; i < 2; i++) write(w, others);
    const written = await matmul(x, cast(tensor(others, [8, 8]), 'float16')).data();
    t.same(await matmul(x, w).data(), written, 'other numbers');
    const optimizer = new SGD([w], { lr: 1, weightDecay: 0.5 });
    const halved = (times: number): Float32Array => (written as Float32Array).map((value) => value / 2 ** times);
    t.same(await matmul(x, w).data(), written, 'another place');
    optimizer.step();
    t.same(await matmul(x, w).data(), halved(1), 'an update');
    const update = new Captured(() => autocast(() => optimizer.step(), { enabled: false }), runtime);
    for (let times = 2; times < 5; times++) {
      update.run(() => []);
      t.same(await matmul(x, w).data(), halved(times), 'an update in a part that is excepted, and its replays');
    }
    update.release();
    optimizer.release();
  });
  const [again, other] = [counted(() => autocast(() => matmul(x, w))), counted(() => autocast(() => matmul(x, w)))];
  t.equal(again, other, 'not beyond the region');
}));

t.test('replays make copies of weights anew, whoever began the region', { skip }, (t) => scope(() => autocast(async () => {
  const [x, w, total] = [made([4, 8], 34), made([8, 8], 35).requiresGrad_(), full([4, 8], 0)];
  let calls = 0;
  const product = new Captured(() => {
    calls++;
    fill_(total, 0);
    accumulate(total, noGrad(() => cast(matmul(x, w), 'float32')));
  }, runtime);
  for (let i = 0; i < 3; i++) product.run(() => []);
  const before = await total.data();
  write(w, halves(64, 35).map((value) => 2 * value));
  product.run(() => []);
  t.same(await total.data(), before.map((value) => 2 * value));
  t.equal(calls, 1);
  product.release();
})));

t.test('checkpoint computes again as it computed first', { skip }, (t) => scope(async () => {
  const step = async (checkpointed: boolean, inside: boolean): Promise<number[][]> => {
    const [x, w, v] = [made([1, 5, 5, 8], 41), made([3, 3, 8, 8], 42).requiresGrad_(), made([1, 1, 8, 4], 43).requiresGrad_()];
    const stage = (input: Tensor): Tensor => { t.ok(isAutocastEnabled()); return layers(input, w, v); };
    const forward = (): Tensor => (checkpointed ? checkpoint(stage, x) : stage(x));
    if (inside) autocast(() => backward(forward()));
    else backward(autocast(forward));
    return [[...await w.grad!.data()], [...await v.grad!.data()]];
  };
  const plain = await step(false, false);
  t.same(await step(true, false), plain, 'backward behind the region');
  t.same(await step(true, true), plain, 'backward inside');
}));

t.test('float16 activations through a checkpoint', { skip }, (t) => scope(async () => {
  const x = tensor(halves(12, 51), [3, 4], { dtype: 'float16' }).requiresGrad_();
  backward(sum(checkpoint((input) => mul(input, input), x)));
  t.equal(x.grad!.dtype, 'float16');
  t.same(await x.grad!.data(), fromHalf(toHalf(halves(12, 51).map((v) => 2 * v))));
}));
