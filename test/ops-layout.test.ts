/** Public functions around the op records: defaults, negative axes and limits, numbers as operands, and errors. */
import t from 'tap';
import { backward } from '../src/autograd/backward.js';
import { UserError } from '../src/errors.js';
import { batchNorm2d } from '../src/ops/batch-norm.js';
import { eq, ge, gt, le, lt, mul, ne } from '../src/ops/binary.js';
import { cast } from '../src/ops/cast.js';
import { ones, zeros } from '../src/ops/fill.js';
import { maskedFill, where } from '../src/ops/choose.js';
import { cat, stack } from '../src/ops/join.js';
import { expand, flatten, flip, narrow, permute, slice, squeeze, transpose, unsqueeze } from '../src/ops/layout.js';
import { adaptiveAvgPool2d, avgPool2d, globalAvgPool2d, maxPool2d } from '../src/ops/pool2d.js';
import { sum } from '../src/ops/reduce.js';
import { manualSeed, rand, setRandomStep } from '../src/ops/random.js';
import { crossEntropy, softmax } from '../src/ops/softmax.js';
import { labelRank, takeAlongLast, topk, topKCorrect } from '../src/ops/topk.js';
import { tensor } from '../src/tensor/create.js';
import { scope } from '../src/tensor/scope.js';
import type { Tensor } from '../src/tensor/tensor.js';
import { openRuntime } from './support/runtime.js';

const runtime = await openRuntime();
t.teardown(() => runtime.device.close());

const range = (...shape: number[]): Tensor => tensor(Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => i), shape);
const list = async (x: Tensor): Promise<number[]> => Array.from(await x.data());
const refused = (t: { throws(fn: () => void, expected: RegExp): unknown; ok(value: boolean): unknown }, fn: () => Tensor, message: RegExp): void => {
  t.throws(fn, message);
  try {
    fn();
  } catch (error) {
    t.ok(error instanceof UserError);
  }
};

t.test('slice, narrow and flip count from the end', async (t) => scope(async () => {
  const x = range(3, 5);
  t.same(await list(slice(x, [-2, 1], [3, -1])), [6, 7, 8, 11, 12, 13]);
  t.same(await list(slice(x, [2])), [10, 11, 12, 13, 14]);
  t.same(await list(narrow(x, -1, -2, 2)), [3, 4, 8, 9, 13, 14]);
  t.same(await list(flip(narrow(x, 0, 0, 1), -1)), [4, 3, 2, 1, 0]);
  refused(t, () => slice(x, [2], [2]), /slice: 2 … 2 selects nothing, or more than there is, of axis 0 with size 3/);
  refused(t, () => narrow(x, 1, 3, 4), /slice: 3 … 7/);
  refused(t, () => slice(x, [0, 0, 0]), /3 starts/);
}));

t.test('permute, transpose, squeeze, unsqueeze and flatten', async (t) => scope(async () => {
  const x = range(2, 1, 3);
  t.same(permute(x, [-1, 0, 1]).shape, [3, 2, 1]);
  t.same(await list(transpose(x, 0, -1)), [0, 3, 1, 4, 2, 5]);
  t.ok(transpose(x, 1, 1) === x);
  t.same(squeeze(x).shape, [2, 3]);
  t.same(squeeze(x, 1).shape, [2, 3]);
  t.same(unsqueeze(x, -1).shape, [2, 1, 3, 1]);
  t.same(flatten(x).shape, [6]);
  t.same(flatten(range(2, 2, 3, 2), 1, 2).shape, [2, 6, 2]);
  refused(t, () => squeeze(x, 2), /squeeze: axis 2 of \[2, 1, 3\] has size 3/);
  refused(t, () => permute(x, [0, 1]), /permute: 2 axes/);
  refused(t, () => permute(x, [0, 1, 1]), /name one axis twice/);
  refused(t, () => permute(range(1, 1, 1, 1, 1, 1, 2), [6, 5, 4, 3, 2, 1, 0]), /at most 6/);
}));

t.test('expand, where and maskedFill broadcast', async (t) => scope(async () => {
  const row = tensor([[1, 2, 3]]).requiresGrad_();
  const x = expand(row, [2, -1]);
  t.same(await list(x), [1, 2, 3, 1, 2, 3]);
  backward(x, tensor([[1, 2, 3], [10, 20, 30]]));
  t.same(await list(row.grad!), [11, 22, 33]);
  row.grad!.release();
  const mask = tensor([[1], [0]]);
  t.same(await list(where(mask, x, 9)), [1, 2, 3, 9, 9, 9]);
  t.same(await list(where(mask, 5, x)), [5, 5, 5, 1, 2, 3]);
  t.same(await list(where(tensor([0, -0, NaN]), 1, 2)), [2, 2, 1]);
  t.same(await list(maskedFill(x, mask, -Infinity)), [-Infinity, -Infinity, -Infinity, 1, 2, 3]);
  t.same(await list(maskedFill(tensor([1, NaN]), tensor([1, 0]), 0)), [0, NaN], 'NaN outside the mask stays');
  refused(t, () => expand(row, [4]), /expand: \[1, 3\] cannot be shown as \[4\]/);
  refused(t, () => maskedFill(mask, x, 0), /mask \[2, 3\] is larger than the input \[2, 1\]/);
  refused(t, () => where(mask, x, tensor(Int32Array.of(1))), /all tensors must have one type/);
}));

t.test('cat and stack', async (t) => scope(async () => {
  const [a, b] = [tensor([1, 2, 3]).requiresGrad_(), tensor([4, 5, 6]).requiresGrad_()];
  t.same(await list(stack([a, b])), [1, 2, 3, 4, 5, 6]);
  const columns = stack([a, b], -1);
  t.same(columns.shape, [3, 2]);
  t.same(await list(columns), [1, 4, 2, 5, 3, 6]);
  backward(columns, range(3, 2));
  t.same([await list(a.grad!), await list(b.grad!)], [[0, 2, 4], [1, 3, 5]]);
  for (const x of [a, b]) x.grad!.release();
  const long = cat(Array.from({ length: 40 }, (_, i) => tensor([i])));
  t.same(await list(long), Array.from({ length: 40 }, (_, i) => i));
  refused(t, () => cat([]), /cat: the list of tensors is empty/);
  refused(t, () => cat([range(2, 3), range(3, 3)], 1), /must agree in all axes but 1/);
  refused(t, () => stack([range(2), range(3)]), /shapes \[2\] and \[3\] differ/);
}));

t.test('pooling: defaults and errors', async (t) => scope(async () => {
  const x = range(1, 4, 4, 1);
  t.same(await list(maxPool2d(x, { kernelSize: 2 })), [5, 7, 13, 15], 'the stride defaults to the kernel size');
  t.same(await list(avgPool2d(x, { kernelSize: [4, 1] })), [6, 7, 8, 9]);
  t.same(await list(globalAvgPool2d(range(2, 2, 1, 3))), [1.5, 2.5, 3.5, 7.5, 8.5, 9.5]);
  t.same(adaptiveAvgPool2d(x, 2).shape, [1, 2, 2, 1]);
  refused(t, () => maxPool2d(x, { kernelSize: 5 }), /kernelSize 5 is larger than the padded height 4/);
  refused(t, () => maxPool2d(x, { kernelSize: 3, padding: 2 }), /padding 2 must be between 0 and half of kernelSize 3/);
  refused(t, () => avgPool2d(range(4, 4), { kernelSize: 2 }), /expects images \[n, height, width, channels\]/);
}));

t.test('NaN comes through pooling and the fused ReLU', async (t) => scope(async () => {
  const x = tensor([NaN, 1, 2, 3, -1, -2, 0, 5], [1, 2, 4, 1]);
  t.same(await list(maxPool2d(x, { kernelSize: 2 })), [NaN, 5]);
  const [one, zero] = [ones([1]), zeros([1])];
  const y = await list(batchNorm2d(x, one, zero, zeros([1]), ones([1]), { training: false, eps: 0, activation: 'relu' }));
  t.same(y, [NaN, 1, 2, 3, 0, 0, 0, 5]);
}));

t.test('softmax along another axis; crossEntropy wants int32 labels', async (t) => scope(async () => {
  const x = tensor([[0, Math.log(3)], [0, 0]]);
  const y = await list(softmax(x, 0));
  [0.5, 0.75, 0.5, 0.25].forEach((p, i) => t.ok(Math.abs(y[i]! - p) < 1e-6, `${y[i]} is ${p}`));
  refused(t, () => crossEntropy(x, tensor([0, 1])), /crossEntropy: operand 2 must be int32, but .* is float32; cast/);
  refused(t, () => crossEntropy(x, tensor(Int32Array.of(0))), /expects logits \[batch, classes\] and labels \[batch\], got \[2, 2\] and \[1\]/);
}));

t.test('comparisons with numbers', async (t) => scope(async () => {
  const x = tensor([[-1, 0, 0.5], [2, NaN, 0.1]]);
  t.same(await list(gt(x, 0)), [0, 0, 1, 1, 0, 1]);
  t.same(await list(le(x, 0.1)), [1, 1, 0, 0, 0, 1], 'a number is rounded as the elements are');
  t.same(await list(ne(tensor(Int32Array.of(3, -3)), -3)), [1, 0]);
  t.same(await list(mul(x, lt(x, 0))), [-1, 0, 0, 0, NaN, 0]);
  t.same(await list(eq(gt(x, 0), 1)), [0, 0, 1, 1, 0, 1], 'of a mask');
  if (runtime.device.report.half) t.same(await list(ge(cast(tensor([0.1]), 'float16'), 0.1)), [0], '0.1 is less as float16');
}));

t.test('topk, ranks and counts', async (t) => scope(async () => {
  const x = tensor([[1, 7, 7, -Infinity, NaN, 3], [0, -0, 0, 0, 0, 0]]);
  const { values, indices } = topk(x, 4);
  t.same(await list(values), [NaN, 7, 7, 3, 0, -0, 0, 0]);
  t.same(await list(indices), [4, 1, 2, 5, 0, 1, 2, 3]);
  const labels = tensor(Int32Array.of(2, 0));
  t.same(await list(labelRank(x, labels)), [2, 0]);
  t.same(await list(topKCorrect(x, labels)), [1, 2]);
  refused(t, () => topk(x, 7).values, /k = 7 must be 1 … 16 and at most the row length 6/);
}));

t.test('gradients go to what was taken', async (t) => scope(async () => {
  const x = tensor([[1, 7, 5, -2, 3], [4, 0, 9, 8, 6]]).requiresGrad_();
  backward(sum(mul(topk(x, 2).values, tensor([[1, 10], [100, 1000]]))));
  t.same(await list(x.grad!), [0, 1, 10, 0, 0, 0, 0, 100, 1000, 0]);
  const row = tensor([[1, 2, 3]]).requiresGrad_();
  backward(takeAlongLast(row, tensor(Int32Array.of(2, 3, -1, 2), [1, 4])), tensor([[1, 10, 100, 1000]]));
  t.same(await list(row.grad!), [0, 0, 1001], 'positions outside take nothing');
  t.same([...new Float32Array(await runtime.recorder.read(row.grad!.range))], [0, 0, 1001, 0], 'nor do they leave anything behind a row');
}));

t.test('the same seed and step give the same numbers', async (t) => scope(async () => {
  const draw = async (): Promise<number[]> => {
    manualSeed(3);
    setRandomStep(5);
    return [...await list(rand([5])), ...await list(rand([5]))];
  };
  const first = await draw();
  t.same(await draw(), first);
  t.not(first[0], first[5], 'two ops of a step draw different numbers');
}));
