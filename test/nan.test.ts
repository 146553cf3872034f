/** NaN must stay visible: it survives ops that could hide it, and the debug mode names where it came from. */
import t from 'tap';
import { backward } from '../src/autograd/backward.js';
import { NanTracer } from '../src/autograd/nan-tracer.js';
import { Linear, Sequential } from '../src/nn/layers.js';
import { Module } from '../src/nn/module.js';
import {
  add, argmax, attentionPool, batchNorm2d, clamp, conv2d, crossEntropy, einsum, eq, globalAvgPool2d, interpolate, l2Normalize, log, logSoftmax,
  matmul, max, maxPool2d, maximum, mean, min, minimum, ne, ones, pow, relu, softmax, sqrt, sum, zeros,
} from '../src/ops/index.js';
import { tensor } from '../src/tensor/create.js';
import { scope } from '../src/tensor/scope.js';
import type { Tensor } from '../src/tensor/tensor.js';
import { openRuntime } from './support/runtime.js';

const runtime = await openRuntime();
const broken = (length: number, at: number, value = NaN): Float32Array => Float32Array.from({ length }, (_, i) => (i === at ? value : (i % 7) - 3));
const nansIn = async (x: Tensor): Promise<number[]> => [...(await x.data())].flatMap((v, i) => (Number.isNaN(v) ? [i] : []));

t.test('element by element, in every lane', (t) => scope(async () => {
  const zero = zeros([9]);
  for (let at = 0; at < 9; at++) {
    const x = tensor(broken(9, at));
    const ops: Record<string, Tensor> = {
      relu: relu(x), clamp: clamp(x, -1, 1), 'maximum, left': maximum(x, zero), 'maximum, right': maximum(zero, x), 'minimum, left': minimum(x, zero),
      'minimum, right': minimum(zero, x),
    };
    for (const [name, y] of Object.entries(ops)) t.same(await nansIn(y), [at], `${name}: NaN at ${at} stays, and stays alone`);
  }
}));

t.test('reductions of rows, columns and everything', (t) => scope(async () => {
  const [rows, columns] = [5, 70];
  for (const [row, column] of [[0, 0], [2, 33], [4, 69], [3, 66]] as const) {
    const x = tensor(broken(rows * columns, row * columns + column), [rows, columns]);
    for (const [name, reduce] of Object.entries({ sum, mean, max, min })) {
      t.same(await nansIn(reduce(x, 1)), [row], `${name} over rows`);
      t.same(await nansIn(reduce(x, 0)), [column], `${name} over columns`);
      t.ok(Number.isNaN(await reduce(x).item()), `${name} of all`);
    }
    t.equal((await argmax(x, 1).data())[row], column, 'argmax finds the NaN, as PyTorch does');
  }
}));

t.test('a long reduction that runs in several parts', (t) => scope(async () => {
  for (const at of [0, 1, 20_001, 39_999]) {
    const x = tensor(broken(40_000, at), [10_000, 4]);
    t.same(await nansIn(max(x, 0)), [at % 4], `max, NaN at ${at}`);
    t.same(await nansIn(sum(x, 0)), [at % 4], `sum, NaN at ${at}`);
  }
}));

t.test('the maximum of map times feature', (t) => scope(async () => {
  const [pixels, channels, maps] = [9, 11, 6];
  const at = (pixel: number, channel: number): number => pixel * channels + channel;
  for (const [pixel, channel] of [[0, 0], [4, 7], [8, 10]] as const) {
    const features = tensor(broken(pixels * channels, at(pixel, channel)), [1, 3, 3, channels]);
    const pooled = attentionPool(features, ones([1, 3, 3, maps]), { pool: 'GMP' });
    t.same(await nansIn(pooled), Array.from({ length: maps }, (_, m) => m * channels + channel),
      `NaN in a feature of pixel ${pixel}: its channel, of every map`);
  }
  const attention = tensor(broken(pixels * maps, 4 * maps + 5), [1, 3, 3, maps]);
  t.same(await nansIn(attentionPool(ones([1, 3, 3, channels]), attention, { pool: 'GMP' })), Array.from({ length: channels }, (_, c) => 5 * channels + c),
    'NaN in a map');

  const values = broken(pixels * channels, at(4, 7), -Infinity);
  values[at(2, 3)] = Infinity;
  const weights = Float32Array.from({ length: pixels * maps }, (_, i) => (i % maps === 0 ? 0 : 1));
  const results = [...(await attentionPool(tensor(values, [1, 3, 3, channels]), tensor(weights, [1, 3, 3, maps]), { pool: 'GMP' }).data())];
  t.same(results.map((v, i) => (Number.isFinite(v) ? [] : [i, v])).flat(), [3, NaN, 7, NaN, ...[1, 2, 3, 4, 5].flatMap((m) => [m * channels + 3, Infinity])],
    '0 · ∞ is NaN, −∞ loses');
}));

t.test('behind the rows of a product of several axes stay zeros', (t) => scope(async () => {
  const product = einsum('ij,jkl->ikl', tensor([1, Infinity], [1, 2]), ones([2, 2, 3]));
  t.same([...await product.alias([1, 2, 4]).data()], [Infinity, Infinity, Infinity, 0, Infinity, Infinity, Infinity, 0], 'an infinity times the zeros there is NaN');
}));

t.test('infinities keep their sign', (t) => scope(async () => {
  const [up, down] = [tensor(broken(6, 3, Infinity)), tensor(broken(6, 3, -Infinity))];
  t.same([await max(up).item(), await min(down).item(), await sum(up).item(), await max(down).item()], [Infinity, -Infinity, Infinity, 2]);
  t.same([...(await relu(down).data())], [0, 0, 0, 0, 1, 2]);
  t.ok(Number.isNaN(await sum(add(up, down)).item()), '∞ − ∞');
  const nearest = interpolate(tensor([1, Infinity, 2, -Infinity], [1, 2, 2, 1]), { size: [2, 3], mode: 'nearest' });
  t.same([...(await nearest.data())], [1, 1, Infinity, 2, 2, -Infinity], 'the nearest pixel alone, whatever stands beside it');
  const row = tensor([1, 3, 8, Infinity], [1, 1, 4, 1]).requiresGrad_();
  const halved = interpolate(row, { size: [1, 2], mode: 'bilinear', antialias: true });
  t.same([...(await halved.data())], [Math.fround((0.75 * 1 + 0.75 * 3 + 0.25 * 8) / 1.75), Infinity], 'pixels under the triangle alone');
  backward(halved, tensor([0, Infinity], [1, 1, 2, 1]));
  t.same((await row.grad!.data()).map((v) => Number(Number.isFinite(v))), [1, 0, 0, 0], 'and in the gradient');
}));

t.test('rows and columns of nothing but infinities', (t) => scope(async () => {
  for (const [reduce, value] of [[max, -Infinity], [min, Infinity]] as const) {
    for (const axis of [0, 1]) {
      const x = tensor(new Float32Array(12).fill(value), [3, 4]).requiresGrad_();
      const y = reduce(x, axis);
      t.ok([...(await y.data())].every((v) => v === value), `the extremum over axis ${axis} is ${value}`);
      backward(sum(y));
      t.ok([...(await x.grad!.data())].every((g) => g === Math.fround(1 / x.shape[axis]!)), 'its gradient is shared');
    }
  }
}));

t.test('comparisons, powers and softmax at their limits, as PyTorch has them', (t) => scope(async () => {
  const [x, y] = [tensor([NaN, NaN, 1, 2]), tensor([NaN, 1, NaN, 2])];
  t.same([...(await ne(x, y).data())], [1, 1, 1, 0]);
  t.same([...(await eq(x, y).data())], [0, 0, 0, 1]);
  const powers = async (exponent: number): Promise<number[]> => [...(await pow(tensor([0, 1]), exponent).data())].map(Math.round);
  t.same([await powers(-1), await powers(-2), await powers(0.5), await powers(0)], [[Infinity, 1], [Infinity, 1], [0, 1], [1, 1]]);
  const base = tensor([0, 2]).requiresGrad_();
  backward(sum(pow(base, 0)));
  t.same([...(await base.grad!.data())], [0, 0], 'a constant has no slope');
  for (const values of [[Infinity, 1, 2], [-Infinity, -Infinity, -Infinity], [NaN, 1, 2]]) {
    const logits = tensor(values, [1, 3]).requiresGrad_();
    t.same(await nansIn(softmax(logits)), [0, 1, 2], `softmax of ${values.join(', ')}`);
    t.same(await nansIn(logSoftmax(logits)), [0, 1, 2], `logSoftmax of ${values.join(', ')}`);
    const loss = crossEntropy(logits, tensor([1], [1], { dtype: 'int32' }));
    t.ok(Number.isNaN(await loss.item()), `cross-entropy of ${values.join(', ')}`);
    backward(loss);
    t.same(await nansIn(logits.grad!), [0, 1, 2], `and its gradient`);
  }
}));

t.test('beside NaN both operands of maximum and minimum have the gradient', (t) => scope(async () => {
  for (const larger of [maximum, minimum]) {
    const [x, y] = [tensor([NaN, 1, 3]).requiresGrad_(), tensor([1, NaN, 3]).requiresGrad_()];
    backward(sum(larger(x, y)));
    t.same([[...(await x.grad!.data())], [...(await y.grad!.data())]], [[1, 1, 0.5], [1, 1, 0.5]]);
  }
}));

t.test('pooling, convolution, matmul, normalisation, loss', (t) => scope(async () => {
  const image = tensor(broken(1 * 4 * 4 * 5, (1 * 4 + 2) * 5 + 3), [1, 4, 4, 5]);
  t.same(await nansIn(maxPool2d(image, { kernelSize: 2, stride: 2 })), [5 + 3], 'max pool: one window of one channel');
  t.same(await nansIn(maxPool2d(image, { kernelSize: 3, stride: 2, padding: 1 })), [5 + 3, 15 + 3], 'max pool: both windows that share the row');
  t.same(await nansIn(maxPool2d(image, { kernelSize: 4 })), [3], 'max pool: a large window');
  t.same(await nansIn(globalAvgPool2d(image)), [3]);
  const conv = await nansIn(conv2d(image, ones([3, 3, 5, 2]), null, { padding: 1 }));
  t.same(conv.length, 9 * 2, 'convolution: the nine pixels that see it');
  t.same(await nansIn(conv2d(tensor(broken(25, 22), [1, 5, 5, 1]), ones([3, 3, 1, 1]))), [6, 7, 8],
    'of few channels: none above, whose taps end a line before it');
  t.same(await nansIn(matmul(tensor(broken(6, 4), [2, 3]), ones([3, 2]))), [2, 3]);
  t.same(await nansIn(softmax(tensor(broken(6, 4), [2, 3]))), [3, 4, 5]);
  t.same(await nansIn(l2Normalize(tensor(broken(6, 4), [2, 3]))), [3, 4, 5]);
  t.ok(Number.isNaN(await crossEntropy(tensor(broken(6, 4), [2, 3]), tensor([0, 1], [2], { dtype: 'int32' })).item()));
  const [one, nought] = [ones([5]), zeros([5])];
  const [runningMean, runningVar] = [zeros([5]), ones([5])];
  const normalised = await nansIn(batchNorm2d(image, one, nought, runningMean, runningVar, { training: true, activation: 'relu' }));
  t.ok(normalised.length === 16 && normalised.every((i) => i % 5 === 3), 'batch norm with ReLU: the whole channel, and no other');
  t.same([await nansIn(runningMean), await nansIn(runningVar)], [[3], [3]], 'and its running statistics');
}));

t.test('of several NaN in a window the last one has the gradient, as in PyTorch', (t) => scope(async () => {
  const image = tensor([0, 1, NaN, 3, NaN, 5, 6, 7, 8, NaN, 10, 11, 12, 13, 14, 15], [1, 4, 4, 1]).requiresGrad_();
  backward(sum(maxPool2d(image, { kernelSize: 4 })));
  t.same([...(await image.grad!.data())].flatMap((v, i) => (v === 0 ? [] : [[i, v]])), [[9, 1]]);
}));

t.test('NaN in a gradient', (t) => scope(async () => {
  const x = tensor([-1, 2, 3]).requiresGrad_();
  backward(relu(x), tensor([NaN, NaN, 1]));
  t.same([...(await x.grad!.data())], [NaN, NaN, 1], 'passes even where ReLU blocks finite gradients');
}));

t.test('an infinite gradient ends where none passes, as in PyTorch', (t) => scope(async () => {
  const gradients = async (fn: (...inputs: Tensor[]) => Tensor, inputs: readonly number[][], gradient?: readonly number[]): Promise<number[][]> => {
    const leaves = inputs.map((values) => tensor(values).requiresGrad_());
    backward(gradient ? fn(...leaves) : sum(fn(...leaves)), gradient && tensor(gradient));
    return Promise.all(leaves.map(async ({ grad }) => [...(await grad!.data())]));
  };
  const infinite = [Infinity, -Infinity, 3];
  t.same(await gradients((x) => relu(x!), [[-1, 0, 2]], infinite), [[0, 0, 3]], 'relu');
  t.same(await gradients((x) => clamp(x!, -1, 1), [[-2, 2, 0]], infinite), [[0, 0, 3]], 'clamp');
  t.same(await gradients((x, y) => maximum(x!, y!), [[1, 2, 5], [0, 3, 5]], infinite), [[Infinity, 0, 1.5], [0, -Infinity, 1.5]], 'maximum');
  t.same(await gradients((x, y) => minimum(x!, y!), [[1, 2, 5], [0, 3, 5]], infinite), [[0, -Infinity, 1.5], [Infinity, 0, 1.5]], 'minimum');
  t.same(await gradients((x) => sqrt(relu(x!)), [[-1, 0, 4]]), [[0, 0, 0.25]], 'a square root at 0 has an infinite slope');
}));

class Logarithm extends Module {
  protected override forward(x: Tensor): Tensor {
    return relu(log(x));
  }
}

class Net extends Module {
  readonly first = new Linear(2, 3);
  readonly block = new Sequential([new Logarithm()]);
  readonly last = new Linear(3, 1);

  protected override forward(x: Tensor): Tensor {
    return this.last.call(this.block.call(this.first.call(x)));
  }
}

t.test('the tracer names the first op, its module and the step', async (t) => {
  const net = new Net().nameAll();
  const tracer = new NanTracer(runtime);
  const step = (weight: number): void => scope(() => {
    net.loadStateDict(new Map([
      ['first.weight', { shape: [2, 3], data: new Float32Array(6).fill(weight) }], ['first.bias', { shape: [3], data: new Float32Array(3).fill(weight) }],
      ['last.weight', { shape: [3, 1], data: new Float32Array(3).fill(1) }], ['last.bias', { shape: [1], data: new Float32Array(1) }],
    ]));
    // As an optimiser's zeroGrad does: what an earlier step left would be found in sums that are added to.
    for (const p of net.parameters()) p.grad = null;
    backward(sum(net.call(tensor([[1, 2], [3, 4]]))));
  });
  tracer.start();
  step(1);
  await tracer.check(6);
  step(-1);
  await t.rejects(tracer.check(7),
    /^Step 7: 6 NaN or infinite numbers in the output \[2, 3\] of op "log", in module Net\.block\.0, the first of the step's ops/);
  step(1);
  await tracer.check(8);
  tracer.stop();
  step(-1);
  await tracer.check(9);
  t.pass('after stop nothing is watched');
});

t.test('the tracer sees what backward produces', (t) => scope(async () => {
  const tracer = new NanTracer(runtime);
  const x = tensor([0.5, 2]).requiresGrad_();
  tracer.start();
  const y = relu(x);
  backward(y, tensor([1, Infinity]));
  await t.rejects(tracer.check(3), /^Step 3: 1 NaN or infinite numbers in the output \[2\] of op "relu \(backward\)"/);
  tracer.stop();
}));

t.teardown(() => runtime.device.close());
