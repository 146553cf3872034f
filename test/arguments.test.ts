/** What ops and layers refuse, in words instead of a fault of the adapter or a wrong result, and what types they read. */
import t from 'tap';
import { backward } from '../src/autograd/backward.js';
import { UserError } from '../src/errors.js';
import { BatchNorm2d, Conv2d, Linear, MaxPool2d, Sequential } from '../src/nn/layers.js';
import { GradScaler } from '../src/nn/grad-scaler.js';
import { ModelEma } from '../src/nn/model-ema.js';
import { parameter } from '../src/nn/module.js';
import { AdamW, SGD } from '../src/nn/optimizer.js';
import { learningRate } from '../src/nn/schedule.js';
import {
  adaptiveAvgPool2d, add, affine, argmax, attentionPool, avgPool2d, batchNorm2d, cast, cat, conv2d, convBatchNorm2d, cropResize, crossEntropy, div, dropout, eq,
  expand, fill_, full, gatherRows, gt, interpolate, lt, maskedFill, matmul, max, maxPool2d, mean, min, mul, ones, permute, pow, rand, randn,
  reshape, slice, sub, sum, topKCorrect, where, zeros,
} from '../src/ops/index.js';
import { tensor, write } from '../src/tensor/create.js';
import { keep, scope } from '../src/tensor/scope.js';
import type { Tensor } from '../src/tensor/tensor.js';
import { MetricSums } from '../src/wsdan/metric-sums.js';
import { openRuntime } from './support/runtime.js';

const runtime = await openRuntime();
t.teardown(() => runtime.device.close());

const refused = (t: { throws(fn: () => void, expected: { name: string; message: RegExp }): unknown }, fn: () => unknown, message: RegExp): void => {
  t.throws(() => { fn(); }, { name: new UserError('').name, message });
};
const integers = (...values: number[]): Tensor => tensor(Int32Array.from(values));

t.test('integers are compared as integers', (t) => scope(async () => {
  const labels = integers(0, 2, 1);
  const found = argmax(tensor([[3, 1, 2], [0, 1, 2], [2, 0, 1]]), 1);
  const right = eq(found, labels);
  t.same([...(await right.data())], [1, 1, 0]);
  t.equal(Math.round(3 * await mean(right).item()), 2, 'an accuracy as in PyTorch');
  t.same([...(await lt(integers(-2, 5, -1), integers(5, -2, -1)).data())], [1, 0, 0]);
  const all = argmax(tensor([[3, 1, 2], [0, 7, 2], [2, 7, 1]]));
  t.same([all.shape, await all.item()], [[], 4], 'among all elements, as PyTorch has it without an axis');
  const kept = argmax(tensor([[3, 1, 2], [0, 7, 2]]), undefined, true);
  t.same([kept.shape, [...(await kept.data())]], [[1, 1], [4]]);
  t.equal(await argmax(tensor(3)).item(), 0);
  refused(t, () => eq(labels, tensor([0, 1, 2])), /eq: all tensors must have one type/);
}));

t.test('an empty list of axes means all of them, as in PyTorch', (t) => scope(async () => {
  const x = tensor([[0, 1, 2], [3, 4, 5]]);
  // torch.sum(x, dim=[]), mean, amax, amin
  for (const [reduce, expected] of [[sum, 15], [mean, 2.5], [max, 5], [min, 0]] as const) {
    const [all, kept] = [reduce(x, []), reduce(x, [], true)];
    t.same([all.shape, kept.shape, await all.item(), await kept.item()], [[], [1, 1], expected, expected]);
  }
}));

t.test('what is no float is refused where floats are read, and the other way round', (t) => scope(async () => {
  const counts = integers(1, 2, 3);
  for (const fn of [() => add(counts, 1), () => mul(counts, counts), () => sum(counts), () => argmax(counts, 0)]) {
    refused(t, fn, /operand 1 must be float32, but .* is int32; cast\(x, 'float32'\)/);
  }
  refused(t, () => gatherRows(ones([3, 2]), tensor([0, 1])), /gatherRows: operand 2 must be int32/);
  refused(t, () => topKCorrect(ones([2, 3]), tensor([0, 1])), /topKCorrect: operand 2 must be int32/);
}));

t.test('what is no tensor or no number, and a window without a size', (t) => scope(async () => {
  const x = ones([1, 4, 4, 3]);
  refused(t, () => mul(x, undefined as unknown as Tensor), /mul: operand 2 must be a tensor, got undefined/);
  refused(t, () => matmul(x, [1, 2] as unknown as Tensor), /matmul: operand 2 must be a tensor, got object; tensor\(\.\.\.\) makes one of numbers/);
  refused(t, () => eq(x, undefined as unknown as Tensor), /eq: operand 2 must be a tensor, got undefined/);
  refused(t, () => pow(x, undefined as unknown as number), /pow: a number is wanted, got undefined/);
  refused(t, () => avgPool2d(x, { kernel: 3 } as unknown as { kernelSize: number }), /pooling: the options must say kernelSize, as in \{ kernelSize: … \}/);
}));

t.test('what JavaScript lets out or puts in the wrong place', (t) => scope(async () => {
  const [x, w] = [ones([1, 4, 4, 3]), ones([1, 1, 3, 2])];
  const missing = undefined as never;
  refused(t, () => interpolate(x, missing), /interpolate: the options must say size/);
  refused(t, () => cropResize(x, ones([1, 4]), missing), /cropResize: the options must say size/);
  refused(t, () => maxPool2d(x, missing), /pooling: the options must say kernelSize/);
  refused(t, () => adaptiveAvgPool2d(x, missing), /adaptiveAvgPool2d: output size undefined must hold integers of at least 1/);
  refused(t, () => batchNorm2d(x, ones([3]), ones([3]), ones([3]), zeros([3]), missing), /batchNorm2d: the options must say training/);
  refused(t, () => new SGD([ones([2]).requiresGrad_()], { learningRate: 1 } as never), /SGD: the options must say lr/);
  refused(t, () => new AdamW([ones([2]).requiresGrad_()], missing), /AdamW: the options must say lr/);
  refused(t, () => conv2d(x, missing), /conv2d: operand 2 must be a tensor, got undefined/);
  refused(t, () => conv2d(x, w, { stride: 2 } as never), /conv2d: operand 3 must be a tensor, got object/);
  refused(t, () => reshape(x, missing), /reshape: the shape must be a list, as in \[a, b\], got undefined/);
  refused(t, () => reshape(x, 48 as never), /reshape: the shape must be a list, as in \[a, b\], got 48/);
  refused(t, () => expand(x, 4 as never), /expand: the shape must be a list/);
  refused(t, () => permute(x, missing), /permute: the axes must be a list/);
  refused(t, () => slice(x, 1 as never), /slice: the starts must be a list/);
  refused(t, () => zeros(3 as never), /zeros: the shape must be a list, as in \[a, b\], got 3/);
  refused(t, () => sum(x, { dim: 1 } as never), /sum: axes must be a list, as in \[a, b\], got object/);
  refused(t, () => cat(x as never), /cat: the tensors must be a list/);
  refused(t, () => new Sequential(new BatchNorm2d(3) as never), /Sequential: the layers must be a list, as in \[a, b\], got object/);
  refused(t, () => new Linear(3, missing), /Linear: features \[3, \] must hold integers of at least 1/);
  refused(t, () => new Conv2d(3, 4, missing), /Conv2d: kernelSize undefined must hold integers of at least 1/);
  refused(t, () => new BatchNorm2d(2.5), /BatchNorm2d: channels \[2.5\] must hold integers of at least 1/);
}));

t.test('options that would be passed over in silence', (t) => scope(async () => {
  const [x, w, c] = [ones([2, 4, 4, 3]), ones([1, 1, 3, 2]), ones([3])];
  const [logits, labels] = [ones([2, 3]), integers(0, 1)];
  const only = (option: string, value: unknown): never => ({ [option]: value }) as never;
  refused(t, () => maxPool2d(x, { kernelSize: 2, dilation: 2 } as never),
    /maxPool2d: there is no option "dilation"; there are kernelSize, stride, padding, ceilMode$/);
  refused(t, () => avgPool2d(x, { kernelSize: 2, divisorOverride: 1 } as never), /avgPool2d: there is no option "divisorOverride"/);
  refused(t, () => crossEntropy(logits, labels, only('ignoreIndex', 0)),
    /crossEntropy: there is no option "ignoreIndex"; there are weight, labelSmoothing, reduction$/);
  refused(t, () => conv2d(x, w, null, only('paddingMode', 'reflect')), /conv2d: there is no option "paddingMode"/);
  refused(t, () => matmul(logits, logits, only('transpose', true)), /matmul: there is no option "transpose"/);
  refused(t, () => batchNorm2d(x, c, c, zeros([3]), ones([3]), { training: true, epsilon: 1 } as never), /batchNorm2d: there is no option "epsilon"/);
  refused(t, () => interpolate(x, { size: 2, scaleFactor: 2 } as never), /interpolate: there is no option "scaleFactor"/);
  refused(t, () => cropResize(x, ones([2, 4]), { size: 2, mode: 'nearest' } as never), /cropResize: there is no option "mode"/);
  refused(t, () => attentionPool(x, x, only('mode', 'GMP')), /attentionPool: there is no option "mode"/);
  refused(t, () => new Conv2d(3, 4, 3, only('paddingMode', 'circular')), /Conv2d: there is no option "paddingMode"/);
  refused(t, () => new BatchNorm2d(3, only('affine', false)), /BatchNorm2d: there is no option "affine"/);
  refused(t, () => new Linear(3, 4, false as never), /Linear: the options must be an object, as in \{ bias: … \}, got false/);
  refused(t, () => dropout(x, 0.5, false as never), /dropout: the options must be an object, as in \{ training: … \}, got false/);
  refused(t, () => new MaxPool2d(2, only('dilation', 2)).call(x), /maxPool2d: there is no option "dilation"/);
  t.same(conv2d(x, w, null, { stride: 2, padding: 1, dilation: 1, groups: 1, activation: 'relu', residual: null }).shape, [2, 3, 3, 2]);
  t.same(new Conv2d(3, 4, 3, { bias: false, padding: 1, init: (shape) => new Float32Array(shape.reduce((a, b) => a * b)) }).call(x).shape, [2, 4, 4, 4]);
}));

t.test('weights of classes that cannot be', (t) => scope(async () => {
  const [logits, labels] = [ones([2, 3]), integers(0, 1)];
  const weigh = (weight: Tensor) => () => crossEntropy(logits, labels, { weight });
  for (const shape of [[2], [1, 3], [4], []]) refused(t, weigh(ones(shape)), /crossEntropy: weight must be \[3\], a number for each class of the logits \[2, 3\], got \[/);
  refused(t, weigh(integers(1, 2, 3)), /crossEntropy: operand 3 must be float32, but .* is int32; cast\(x, 'float32'\)/);
  refused(t, weigh([1, 2, 3] as never), /crossEntropy: operand 3 must be a tensor, got object; tensor\(\.\.\.\) makes one of numbers/);
  const learned = ones([3]).requiresGrad_();
  refused(t, weigh(learned), /crossEntropy: weight has no gradient, but "ones" \[3\] requires one; pass weight\.detach\(\)/);
  t.equal(await crossEntropy(logits, labels, { weight: learned.detach() }).item(), await crossEntropy(logits, labels, { weight: null }).item());
}));

t.test('resizing takes the nearest pixel unless told otherwise, as in PyTorch', (t) => scope(async () => {
  const x = tensor([1, 5], [1, 1, 2, 1]);
  t.same([...(await interpolate(x, { size: [1, 4] }).data())], [1, 1, 5, 5]);
  t.same([...(await interpolate(x, { size: [1, 4], mode: 'bilinear' }).data())], [1, 2, 4, 5]);
  refused(t, () => interpolate(x, { size: [1, 4], alignCorners: true }), /alignCorners and antialias belong to mode: "bilinear"; name it, or leave them out/);
}));

t.test('one number for both sides of an image', (t) => scope(async () => {
  const x = ones([1, 4, 4, 3]);
  t.same(interpolate(x, { size: 7 }).shape, [1, 7, 7, 3]);
  t.same(cropResize(x, tensor([[0, 0, 2, 3]]), { size: 5 }).shape, [1, 5, 5, 3]);
}));

t.test('casts to and from bool', (t) => scope(async () => {
  const mask = cast(tensor([0, -0, 0.5, NaN, -3]), 'bool');
  t.equal(mask.dtype, 'bool');
  t.same([...(await mask.data())], [0, 0, 1, 1, 1]);
  const floats = cast(mask, 'float32').detach();
  t.equal(floats.dtype, 'float32');
  t.same([...(await cast(integers(0, -1, 7), 'bool').data())], [0, 1, 1]);
}));

t.test('convolutions refuse numbers and operands that they would misread', (t) => scope(async () => {
  const [x, w] = [ones([1, 3, 3, 2]), ones([1, 1, 2, 4])];
  const one = [ones([4]), ones([4]), ones([4]), zeros([4])] as const;
  for (const [options, message] of [
    [{ stride: 0 }, /stride \[0, 0\] must hold integers of at least 1/], [{ stride: NaN }, /stride/], [{ padding: 0.5 }, /padding/],
    [{ padding: -1 }, /padding/],
    [{ dilation: 0 }, /dilation/], [{ groups: 1.5 }, /groups/], [{ activation: 'gelu' as 'relu' }, /activation must be "none" or "relu", got "gelu"/],
  ] as const) refused(t, () => conv2d(x, w, null, options), message);
  refused(t, () => conv2d(x, w, ones([1, 4])), /conv2d: bias \[1, 4\] must have one dimension/);
  refused(t, () => conv2d(x, w, null, { residual: ones([4]) }), /conv2d: the residual \[4\] must have the shape of the result/);
  const norm = { mean: one[0], variance: one[1], weight: one[2], bias: one[3], eps: 1e-5 };
  refused(t, () => convBatchNorm2d(x, w, ones([1, 4]), norm), /convBatchNorm2d: bias \[1, 4\] must have one dimension/);
  refused(t, () => new Conv2d(6, 8, 3, { groups: 4 }), /6 input and 8 output channels must both be multiples of 4 groups/);
}));

t.test('shapes, sizes, limits and words', (t) => scope(async () => {
  const x = ones([1, 4, 4, 2]);
  refused(t, () => reshape(ones([4]), [-2, -2]), /reshape: shape \[-2, -2\] must hold integers of at least 1/);
  refused(t, () => reshape(ones([4]), [2.5, 1.6]), /reshape: shape/);
  refused(t, () => slice(x, [0, 0.5], [1, 2]), /slice: the limits 0.5 … 2 of axis 1 must be integers/);
  refused(t, () => cropResize(x, zeros([1, 4]), { size: [2.5, 3] }), /cropResize: size \[2.5, 3\] must hold integers/);
  refused(t, () => interpolate(x, { size: [2, 2], mode: 'bicubic' as 'bilinear' }), /mode must be "bilinear" or "nearest", got "bicubic"/);
  refused(t, () => attentionPool(x, ones([1, 4, 4, 3]), { pool: 'MAX' as 'GAP' }), /pool must be "GAP" or "GMP", got "MAX"/);
}));

t.test('batch norm with one tensor in two places', (t) => scope(async () => {
  const [x, w] = [tensor([1, 2, 3, 4], [4, 1]), ones([1]).requiresGrad_()];
  const [m, v] = [zeros([1]), ones([1])];
  refused(t, () => batchNorm2d(x, w, w, m, m, { training: true }), /running mean and the running variance are one tensor/);
  for (let i = 1; i <= 2; i++) {
    backward(sum(batchNorm2d(x, w, w, m, v, { training: true })));
    // Normalised values add up to 0, and the bias counts once for each of the four.
    t.ok(Math.abs(await w.grad!.item() - 4 * i) < 1e-5, 'its gradients are added');
  }
}));

t.test('optimisers leave frozen parameters alone, and one that lost its parameters says so', (t) => scope(async () => {
  const net = new Linear(2, 2);
  net.bias!.requiresGrad_(false);
  const before = [...(await net.bias!.data())];
  const first = new SGD(net.parameters(), { lr: 0.5, weightDecay: 0.5 });
  first.step();
  t.same([...(await net.bias!.data())], before, 'no decay');
  const second = new SGD(net.parameters(), { lr: 0.5 });
  refused(t, () => first.step(), /a newer optimiser has taken over some of the parameters/);
  second.step();
  net.weight.requiresGrad_(false);
  refused(t, () => new SGD(net.parameters(), { lr: 0.5 }), /all parameters are frozen/);
}));

t.test('tensors of what is no number, of no type, or with misplaced options', (t) => scope(async () => {
  const no = undefined as never;
  refused(t, () => tensor(no), /tensor: the data must be a number, got undefined/);
  refused(t, () => tensor([1, no]), /tensor: element 1 must be a number, got undefined/);
  refused(t, () => tensor([[1, 2], [3, 'x' as never]]), /tensor: element 3 must be a number, got x/);
  refused(t, () => tensor(BigInt64Array.of(1n) as never), /tensor: an array of BigInts/);
  refused(t, () => tensor(new DataView(new ArrayBuffer(8)) as never, [2]), /tensor: the data must be a number, got \[object DataView\]/);
  const x = tensor([1, 2]);
  refused(t, () => write(x, no), /write: the data must be a typed array or a list of numbers, got undefined/);
  refused(t, () => write(x, 'ab' as never), /write: .* got string/);
  refused(t, () => write(x, [1, 'x' as never]), /write: element 1 must be a number, got x/);
  refused(t, () => write(x, BigInt64Array.of(1n, 2n) as never), /write: an array of BigInts/);
  refused(t, () => write(x, [1, 2, 3]), /write: 3 numbers for tensor "tensor" \[2\] of 2/);
  refused(t, () => tensor([1], [1], { dtype: 'float64' as 'float32' }), /there is no type "float64"; there are float32, float16, int32, uint32, bool/);
  refused(t, () => zeros([1], 'int32' as never), /the options must be an object, as in \{ dtype: 'int32' \}, got "int32"/);
  refused(t, () => tensor([1], [1], 'int32' as never), /tensor: the options must be an object/);
  refused(t, () => zeros([1], { runtime: Promise.resolve(runtime) as never }), /zeros: the runtime is a promise; await it, as in \{ runtime: await open\(\) \}/);
  refused(t, () => add(Promise.resolve(ones([1])) as never, 1), /add: operand 1 must be a tensor, got a promise; await it/);
  for (const [name, op] of Object.entries({ add, sub, mul, div })) {
    refused(t, () => op(integers(1), 2), new RegExp(`${name}: operand 1 must be float32, but "tensor" \\[1\\] is int32`));
  }
  refused(t, () => parameter(2 as never, Float32Array.of(1, 2)), /parameters: the shape must be a list, as in \[a, b\], got 2/);
  refused(t, () => tensor([1], [1], { requires_grad: true } as never), /tensor: there is no option "requires_grad"; there are dtype, runtime, label, and the method requiresGrad_\(\)/);
  refused(t, () => zeros([1], { device: 'gpu' } as never), /zeros: there is no option "device"; there are dtype, runtime, label$/);
  refused(t, () => rand([1], { dtype: 'int32' } as never), /rand: there is no option "dtype"; there are low, high, key, runtime, label/);
  refused(t, () => randn([1], { sigma: 2 } as never), /randn: there is no option "sigma"; there are mean, std, key/);
  refused(t, () => full([1], no), /full: a number is wanted, got undefined/);
  refused(t, () => fill_(ones([1]), '3' as never), /fill_: a number is wanted, got string/);
  refused(t, () => keep([ones([1])] as never), /keep: a tensor is wanted, got a list; keep each of its tensors/);
  const sums = new MetricSums(runtime, ['loss', 'right']);
  refused(t, () => sums.add({ loss: tensor(1) } as never), /MetricSums: "right" must be a tensor of one element, or .*, got nothing/);
  refused(t, () => sums.add({ loss: tensor(1), right: 2 } as never), /MetricSums: "right" must be .*, got 2/);
  refused(t, () => sums.add({ loss: tensor(1), right: integers(2) }), /addScalars_: operand 3 must be float32, but "tensor" \[1\] is int32/);
  t.same(await sums.read(), { loss: 0, right: 0 }, 'nothing was added');
  refused(t, () => argmax(tensor(3), 0), /argmax: the tensor is a scalar, which has no axes/);
  const rows = tensor([Float32Array.of(1, 2), Float32Array.of(3, 4)]);
  t.same([rows.shape, [...(await rows.data())]], [[2, 2], [1, 2, 3, 4]], 'rows may be typed arrays');
  t.same([...(await tensor([true, false]).data())], [1, 0]);
}));

t.test('bools hold 0 and 1, and integers whole numbers', (t) => scope(async () => {
  const mask = tensor([1, 0, 1], [3], { dtype: 'bool' });
  const [counts, bools] = [integers(1, 2, 3), tensor([0, 1, 0], [3], { dtype: 'bool' })];
  t.equal(await sum(full([3], 2, { dtype: 'bool' })).item(), 3);
  t.equal(await sum(maskedFill(bools, mask, 5)).item(), 3);
  const halves = where(mask, bools, 0.5);
  t.same([halves.dtype, [...(await halves.data())]], ['float32', [0, 0.5, 0]], 'a number that is none makes floats');
  t.equal(where(mask, bools, 1).dtype, 'bool');
  t.equal(where(mask, bools, ones([3])).dtype, 'float32');
  t.equal(cat([bools, affine(ones([2]), 0.5)], 0).dtype, 'float32');
  refused(t, () => gt(counts, 0.5), /gt: 0.5 does not fit "tensor", which is int32; cast\(x, 'float32'\)/);
  refused(t, () => gt(1 as never, 0.5), /gt: operand 1 must be a tensor, got number/);
  refused(t, () => where(mask, counts, 0.5), /where: 0.5 does not fit "tensor", which is int32; cast\(x, 'float32'\)/);
  refused(t, () => maskedFill(counts, mask, NaN), /maskedFill: NaN does not fit/);
  refused(t, () => maskedFill(cast(counts, 'uint32'), mask, -1), /maskedFill: -1 does not fit/);
  t.same([...(await where(mask, counts, -1).data())], [1, -1, 3]);
}));

t.test('division by numbers without a reciprocal in float32', (t) => scope(async () => {
  const x = tensor([0, 1e-10, -3e38]).requiresGrad_();
  t.same((await div(tensor([0, 1, -1]), 1e-39).data()).map((v) => v), Float32Array.of(0, Infinity, -Infinity));
  const close = async (y: Tensor, expected: number[]): Promise<boolean> =>
    (await y.data()).every((v, i) => Math.abs(v - expected[i]!) <= 1e-6 * Math.abs(expected[i]!));
  t.ok(await close(div(tensor([0, 1e-10]), 1e-39), [0, 1e29]));
  const y = div(x, 2e38);
  t.ok(await close(div(tensor([-3e38]), 2e38), [-1.5]));
  backward(sum(div(y, 2 ** -127)));
  t.ok(await close(x.grad!, new Array<number>(3).fill(2 ** 127 / 2e38)));
}));

t.test('options of optimisers and schedules', (t) => scope(async () => {
  const [net, w] = [new Linear(2, 2), ones([2]).requiresGrad_()];
  refused(t, () => new SGD(net as never, { lr: 1 }), /the parameters must be a list of tensors, as of module\.parameters\(\), got a Linear/);
  refused(t, () => new SGD(new Set([w]) as never, { lr: 1 }), /must be a list of tensors, as of module\.parameters\(\), got a Set/);
  refused(t, () => new SGD(net.namedParameters() as never, { lr: 1 }), /must be tensors, as of module\.parameters\(\); number 1 is a Array/);
  refused(t, () => new SGD([w], { lr: '0.1' as never }), /lr must be a number of at least 0, got 0\.1/);
  refused(t, () => new SGD([w], { lr: NaN }), /lr must be a number of at least 0, got NaN/);
  refused(t, () => new SGD([w], { lr: 1, momentum: -0.9 }), /momentum must be a number of at least 0/);
  refused(t, () => new SGD([w], { lr: 1, nesterov: true }), /Nesterov needs momentum above 0/);
  refused(t, () => new SGD([w], { lr: 1, nesterov: true, momentum: 0.9, dampening: 0.1 }),
    /Nesterov needs momentum above 0 and dampening 0, got 0\.9 and 0\.1/);
  refused(t, () => new SGD([w], { lr: 1, weight_decay: 1 } as never),
    /SGD: there is no option "weight_decay"; there are lr, momentum, dampening, nesterov, weightDecay, clipGradNorm/);
  refused(t, () => new AdamW([w], { lr: 1, betas: [0.9, 1] }), /AdamW: betas must be two numbers from 0 to below 1.*got \[0\.9,1\]/);
  refused(t, () => new AdamW([w], { lr: 1, betas: 0.9 as never }), /betas must be two numbers/);
  refused(t, () => new AdamW([w], { lr: 1, eps: -1 }), /eps must be a number of at least 0/);
  refused(t, () => new AdamW([w], { lr: 1, weightDecay: -1 }), /weightDecay must be a number of at least 0/);
  refused(t, () => new AdamW([w], { lr: 1, clipGradNorm: -1 }), /clipGradNorm must be a number of at least 0/);
  const optimizer = new AdamW([w], { lr: 0 });
  optimizer.step();
  t.same([...(await w.data())], [1, 1], 'lr 0 is allowed');
  for (const rate of [NaN, -1, undefined, '0.1']) {
    optimizer.lr = rate as number;
    refused(t, () => optimizer.step(), new RegExp(`optimizer: lr must be a number of at least 0, got ${String(rate)}`));
  }
  t.equal((await optimizer.stateDict()).step, 1, 'a refused step is none');
  const groups = new SGD([{ params: [net.weight] }, { params: [net.bias!] }], { lr: 1 });
  groups.paramGroups[1]!.lr = NaN;
  refused(t, () => groups.step(), /optimizer: lr of group 1 must be a number of at least 0, got NaN/);
  refused(t, () => new SGD([ones([1])], { lr: 1 }), /all parameters are frozen, or tensors that never asked for gradients with requiresGrad_\(\)/);
  refused(t, () => new GradScaler({ init_scale: 4 } as never), /GradScaler: there is no option "init_scale"; there are initScale, growthFactor/);
  refused(t, () => new ModelEma(net, 0.9 as never), /ModelEma: the options must be an object, as in \{ decay: … \}, got 0\.9/);
  for (const [options, message] of [[{ momentum: null }, /momentum must be a number from 0 to 1, got null/], [{ momentum: 2 }, /momentum must be .* got 2/],
    [{ eps: NaN }, /eps must be a number of at least 0, got NaN/]] as const) {
    refused(t, () => new BatchNorm2d(2, options as never).call(ones([3, 2])), message);
  }
  refused(t, () => learningRate(1, 0, { kind: 'linear' as 'step' }), /kind must be "step" or "cosine" or "constant", got "linear"/);
  refused(t, () => learningRate(1, 0, { kind: 'step' }), /schedule: the options must say stepSize/);
  refused(t, () => learningRate(1, 0, { kind: 'cosine', stepSize: 2 }), /schedule: the options must say epochs/);
  refused(t, () => learningRate(1, 0, { kind: 'constant', warmup: 1 } as never), /schedule: there is no option "warmup"/);
  refused(t, () => { backward(undefined as never); }, /backward: operand 1 must be a tensor, got undefined/);
  refused(t, () => { backward(sum(w), 1 as never); }, /backward: operand 2 must be a tensor, got number/);
}));
