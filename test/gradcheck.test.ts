/** The public gradient check: it must pass right gradients and, above all, find wrong ones. */
import t from 'tap';
import { Faults, verdictText } from '../src/cli/verdict-text.js';
import { gradcheck } from '../src/autograd/gradcheck.js';
import { UserError } from '../src/errors.js';
import { Linear } from '../src/nn/layers.js';
import { CaseRandom } from '../src/ops/cases.js';
import { add, conv2d, manualSeed, matmul, mean, mul, rand, sigmoid, softmax, sum, tanh } from '../src/ops/index.js';
import { nd } from '../src/ops/nd.js';
import { bytesOf, type Op, run } from '../src/ops/op.js';
import { tensor } from '../src/tensor/create.js';
import { scope } from '../src/tensor/scope.js';
import { numel, type Shape } from '../src/tensor/shape.js';
import { memoryReport } from '../src/tensor/storage.js';
import type { Tensor } from '../src/tensor/tensor.js';
import { openRuntime } from './support/runtime.js';

const runtime = await openRuntime();

/** Numbers of ±0.3 … ±1: where a value is next to 0, a wrong derivative of x² is next to the right one. */
const leaf = (shape: Shape, seed: number, label = 'leaf'): Tensor => {
  const random = new CaseRandom(seed);
  const values = Float32Array.from({ length: numel(shape) }, () => (random.next() < 0.5 ? -1 : 1) * random.uniform(0.3, 1));
  return tensor(values, shape, { runtime, label }).requiresGrad_();
};

/** x², whose backward is made wrong on purpose by `slope` (2·x·grad would be right). */
const squareOp = (slope: (x: Tensor, grad: Tensor) => Tensor): Op<null> => ({
  name: 'square',
  group: 'Test',
  infer: ([shape]) => shape!,
  forward: ({ inputs: [x] }) => mul(x!, x!),
  keeps: { inputs: [0] },
  backward: ({ inputs: [x], grad }) => [slope(x!, grad)],
  reference: ([x]) => nd(x!.shape, x!.data.map((v) => v * v)),
  cost: ([shape]) => ({ flops: numel(shape!), bytes: 2 * bytesOf(shape!) }),
  cases: [],
});
const square = (slope: (x: Tensor, grad: Tensor) => Tensor) => (x: Tensor): Tensor => run(squareOp(slope), [x], null);
const right = square((x, grad) => mul(grad, add(x, x)));
const half = square((x, grad) => mul(grad, x));

/** Right except for the gradient of the last element, which has another factor. */
const lastTimes = (last: number) => square((x, grad) => {
  const factor = new Float32Array(x.size).fill(2);
  factor[x.size - 1] = last;
  return mul(mul(grad, x), tensor(factor, x.shape, { runtime }));
});
const lastWrong = lastTimes(4);

t.test('the verdict of the command: what was allowed stands where something was compared, and a fault is told in full once', async (t) => {
  const wrong = { op: 'o', case: 'c', error: 1, tolerance: 4e-6, passed: false, note: 'elements' };
  const threw = { ...wrong, error: Infinity, tolerance: 0, note: 'o: no shape' };
  const right = { ...wrong, passed: true };
  t.equal(verdictText(right, right), 'ok');
  t.equal(verdictText(right, wrong), 'FAILED: gradient: may err by 0.000004; elements');
  t.equal(verdictText(threw, null), 'FAILED: forward: o: no shape');
  const faults = new Faults();
  const fault = new Error('k does not compile:\n  k.wgsl:7:1 no');
  t.match(faults.describe(fault), /^Error: k does not compile:\n {2}k\.wgsl:7:1 no\n\s+at /);
  t.equal(faults.describe(fault), 'k does not compile: (as above)');
  t.equal(faults.describe(new UserError('a')) + faults.describe(new UserError('a')), 'aa');
});

t.test('right gradients pass', async (t) => {
  await scope(async () => {
    const composed = await gradcheck((x, w) => mean(mul(softmax(tanh(matmul(x, w))), sigmoid(matmul(x, w)))), [leaf([3, 5], 1), leaf([5, 4], 2)]);
    t.ok(composed.passed, 'a composed function');
    t.strictSame(composed.inputs.map((r) => [r.input, r.how, r.compared]), [[0, 'elements', 15], [1, 'elements', 20]]);
    const image = await gradcheck((x, w) => tanh(conv2d(x, w, null, { padding: 1, stride: 2 })), [leaf([2, 9, 8, 5], 3), leaf([3, 3, 5, 7], 4)]);
    t.strictSame(image.inputs.map((r) => [r.passed, r.how, r.compared]), [[true, 'directions', 4], [true, 'directions', 4]],
      'large inputs go along directions');
    t.ok((await gradcheck(right, [leaf([7], 5)])).passed, 'an op record of one\'s own');
    const { allowed, numeric } = (await gradcheck(right, [leaf([1], 5)])).inputs[0]!;
    t.equal(allowed, 1e-3 + 5e-3 * Math.abs(numeric), 'what is allowed beside the largest derivative');
    t.strictSame((await gradcheck((x, y) => mul(sum(x), sum(y)), [leaf([64], 5), leaf([65], 6)])).inputs.map((r) => r.how), ['elements', 'directions'],
      'up to 64 elements one by one');
    const labels = tensor(new Int32Array([1, 0]), [2], { runtime });
    const mixed = await gradcheck((x, _labels, scale) => mul(x, scale), [leaf([2, 3], 6), labels, tensor([2], [1], { runtime })]);
    t.strictSame(mixed.inputs.map((r) => r.input), [0], 'inputs that require no gradient are left alone');
  });
});

t.test('wrong gradients are found', async (t) => {
  await scope(async () => {
    const x = leaf([3, 4], 7, 'x');
    await t.rejects(gradcheck(half, [x]),
      /gradcheck: the gradient is wrong for 1 of 1 inputs:\n {2}input 0 \("x" \[3, 4\]\), element \[\d, \d\]: backward gives .*central differences/);
    await t.rejects(gradcheck(half, [x]), UserError);
    const report = await gradcheck(lastWrong, [x], { raise: false });
    t.equal(report.passed, false);
    t.equal(report.inputs[0]!.where, 'element [2, 3]', 'one wrong element among many is named');
    t.ok(Math.abs(report.inputs[0]!.analytic - 2 * report.inputs[0]!.numeric) < 1e-3, 'it is twice what it should be');
    const broken = await gradcheck(lastTimes(NaN), [x], { raise: false });
    t.strictSame([broken.passed, broken.inputs[0]!.where], [false, 'element [2, 3]'], 'NaN, too');
    const large = await gradcheck(half, [leaf([40, 50], 8)], { raise: false });
    t.strictSame([large.passed, large.inputs[0]!.how], [false, 'directions'], 'a wrong factor in a large input');
    const signFlipped = square((v, grad) => mul(grad, mul(v, tensor([-2], [1], { runtime }))));
    t.notOk((await gradcheck((v) => sum(signFlipped(v)), [leaf([300], 9)], { raise: false })).passed, 'a wrong sign, behind a reduction');
    const second = await gradcheck((a, b) => add(right(a), half(b)), [leaf([4], 10), leaf([4], 11)], { raise: false });
    t.strictSame(second.inputs.map((r) => r.passed), [true, false], 'only the wrong input is blamed');
    const forgotten = await gradcheck((a, b) => mul(a, b.detach()), [leaf([4], 12), leaf([4], 13)], { raise: false });
    t.strictSame(forgotten.inputs.map((r) => r.passed), [true, false], 'a gradient that is missing counts as zero');
  });
});

t.test('it leaves everything as it was', async (t) => {
  await scope(async () => {
    const layer = new Linear(4, 3);
    const x = leaf([2, 4], 14);
    const values = await layer.weight.data();
    const held = tensor([1, 2, 3, 4, 5, 6, 7, 8], [2, 4], { runtime });
    x.grad = held;
    const live = memoryReport(runtime).liveBuffers;
    const report = await gradcheck((input) => tanh(layer.call(input)), [x, layer.weight, layer.bias!]);
    t.equal(report.inputs.length, 3, 'parameters that the function reads by itself are checked too');
    t.strictSame(await layer.weight.data(), values, 'values are put back to the bit');
    t.equal(x.grad, held, 'a gradient that was there stays');
    t.equal(layer.weight.grad, null);
    t.equal(memoryReport(runtime).liveBuffers, live, 'no buffer is left over');
  });
});

t.test('what cannot be checked is said', async (t) => {
  await scope(async () => {
    const x = leaf([3], 15, 'x');
    await t.rejects(gradcheck(tanh, [tensor([1, 2], [2], { runtime })]), /no input requires a gradient; call requiresGrad_\(\)/);
    await t.rejects(gradcheck(tanh, [tanh(x)]), /input 0 \("tanh" \[3\]\) is the result of tanh; give leaves/);
    await t.rejects(gradcheck((v) => tanh(v.detach()), [x]), /does not depend on the inputs by differentiable ops/);
    await t.rejects(gradcheck(tanh, [tensor([NaN, 2], [2], { runtime }).requiresGrad_()]), /the function gives NaN \(element 0 of its result \[2\]\)/);
    await t.rejects(gradcheck(tanh, [x], { eps: 0 }), /eps must be above 0/);
    await t.rejects(gradcheck(tanh, [x], { epsilon: 1e-3 } as never), /gradcheck: there is no option "epsilon"; there are eps, atol/);
    await t.rejects(gradcheck(tanh, x as never), /gradcheck: the inputs must be a list of tensors, as of \[x\], got a tensor/);
    const noise = (v: Tensor): Tensor => mul(v, rand([3], { low: 0.5, high: 1 }));
    await t.rejects(gradcheck(noise, [x]), /not repeatable: element \d of its result/);
    const seeded = (v: Tensor): Tensor => {
      manualSeed(1);
      return noise(v);
    };
    t.ok((await gradcheck(seeded, [x])).passed, 'seeded noise is repeatable');
    const unreadable = leaf([3], 16);
    unreadable.data = () => Promise.reject(new Error('cannot be read'));
    await t.rejects(gradcheck(() => { throw new Error('cannot be computed'); }, [unreadable]), /cannot be read/,
      'the first failure, and no second one that nobody awaits');
  });
});

t.teardown(() => runtime.device.close());
