/** What changes between two calls of captured work: it is run anew where a replay would give something else than a plain call. */
import t from 'tap';
import { backward } from '../src/autograd/backward.js';
import { Captured } from '../src/autograd/captured.js';
import { noGrad } from '../src/autograd/tape.js';
import { seedInit } from '../src/nn/init.js';
import { Linear } from '../src/nn/layers.js';
import { SGD } from '../src/nn/optimizer.js';
import { accumulate, autocast, fill_, full, matmul, mul, sum, zeros } from '../src/ops/index.js';
import { setDefaultRuntime, tensor } from '../src/tensor/create.js';
import { keep, scope } from '../src/tensor/scope.js';
import type { Tensor } from '../src/tensor/tensor.js';
import { openRuntime } from './support/runtime.js';

const runtime = await openRuntime();

/** Runs work as it is, and captured. */
const bothWays = async <T>(make: (call: (work: () => void) => () => void) => Promise<T>): Promise<{ plain: T; captured: T }> => ({
  plain: await make((work) => () => scope(work)),
  captured: await make((work) => {
    const captured = new Captured(work, runtime);
    return () => captured.run(() => []);
  }),
});

const numbers = async (x: Tensor | null): Promise<number[] | null> => (x ? [...(await x.data())] : null);

void t.test('a gradient that was taken away from an optimiser\'s parameter is there again after the next step', async (t) => {
  let calls = 0;
  const { plain, captured } = await bothWays(async (call) => {
    seedInit(1);
    const net = new Linear(2, 1, { bias: false });
    const optimizer = new SGD(net.parameters(), { lr: 0.1, momentum: 0.5 });
    const x = keep(tensor([[1, 2]], [1, 2], { runtime }));
    const step = call(() => {
      calls++;
      optimizer.zeroGrad();
      backward(sum(mul(net.call(x), net.call(x))));
      optimizer.step();
    });
    const seen = [];
    calls = 0;
    for (let i = 0; i < 6; i++) {
      if (i === 3) net.weight.grad = null;
      step();
      seen.push(await numbers(net.weight.grad));
    }
    return [...seen, await numbers(net.weight)];
  });
  t.same(captured, plain);
  t.equal(calls, 2, 'run anew once, then replayed');
});

void t.test('gradients of a leaf that were taken away, or put there', async (t) => {
  const { plain, captured } = await bothWays(async (call) => {
    const x = keep(tensor([1, 2], [2], { runtime }).requiresGrad_());
    const total = keep(zeros([2], { runtime }));
    const step = call(() => {
      backward(sum(mul(x, x)));
      accumulate(total, x.grad!);
    });
    for (let i = 0; i < 3; i++) step();
    x.grad = null;
    step();
    const afterNull = await numbers(x.grad);
    x.grad = full([2], 10, { runtime });
    step();
    return [afterNull, await numbers(x.grad), await numbers(total)];
  });
  t.same(plain, [[2, 4], [12, 14], [26, 42]]);
  t.same(captured, plain);
});

void t.test('parameters that a newer optimiser has taken over in part', (t) => {
  const net = new Linear(2, 1);
  const optimizer = new SGD(net.parameters(), { lr: 0.1 });
  const x = keep(tensor([[1, 2]], [1, 2], { runtime }));
  const step = new Captured(() => {
    optimizer.zeroGrad();
    backward(sum(net.call(x)));
    optimizer.step();
  }, runtime);
  // Memory for the newer one, so that it does not take what the work had borrowed.
  const spare = Array.from({ length: 20 }, () => keep(zeros([1], { runtime })));
  for (let i = 0; i < 2; i++) step.run(() => []);
  for (const tensor of spare) tensor.release();
  new SGD([net.weight], { lr: 0.1 });
  t.throws(() => step.run(() => []), /a newer optimiser has taken over some of the parameters/);
  t.end();
});

void t.test('autocast around one call and not around another', { skip: !runtime.device.report.half && 'the adapter has no float16' }, async (t) => {
  // 1 + 2⁻¹² is no float16 number.
  const { plain, captured } = await bothWays(async (call) => {
    const [a, b, out] = [tensor([[1 + 2 ** -12]], [1, 1], { runtime }), tensor([[1]], [1, 1], { runtime }), zeros([1, 1], { runtime })].map(keep);
    const work = call(() => {
      fill_(out!, 0);
      accumulate(out!, matmul(a!, b!));
    });
    const seen = [];
    for (const mixed of [false, false, true, true, false, true]) {
      autocast(work, { enabled: mixed });
      seen.push(await out!.item());
    }
    return seen;
  });
  t.same(plain, [1 + 2 ** -12, 1 + 2 ** -12, 1, 1, 1 + 2 ** -12, 1]);
  t.same(captured, plain);
});

void t.test('a call inside autocast that failed leaves no list for the next one there', { skip: !runtime.device.report.half && 'the adapter has no float16' },
  async (t) => {
  const [a, b, out] = [tensor([[1 + 2 ** -12]], [1, 1], { runtime }), tensor([[1]], [1, 1], { runtime }), zeros([1, 1], { runtime })].map(keep);
  let fails = false;
  const step = new Captured(() => {
    if (fails) throw new Error('on purpose');
    fill_(out!, 0);
    accumulate(out!, matmul(a!, b!));
  }, runtime);
  step.run(() => []);
  fails = true;
  t.throws(() => autocast(() => step.run(() => [])), /on purpose/);
  fails = false;
  autocast(() => step.run(() => []));
  t.equal(await out!.item(), 1);
});

void t.test('noGrad around one call and not around another', async (t) => {
  const { plain, captured } = await bothWays(async (call) => {
    const x = keep(tensor([1, 2], [2], { runtime }).requiresGrad_());
    const work = call(() => {
      const loss = sum(mul(x, x));
      if (loss.requiresGrad) backward(loss);
    });
    for (let i = 0; i < 3; i++) work();
    noGrad(work);
    work();
    return numbers(x.grad);
  });
  t.same(plain, [8, 16]);
  t.same(captured, plain);
});

void t.test('work on another runtime', async (t) => {
  const other = await openRuntime();
  setDefaultRuntime(runtime);
  const [here, there] = [runtime, other].map((on) => keep(zeros([1], { runtime: on })));
  let calls = 0;
  const step = new Captured(() => {
    calls++;
    accumulate(here!, full([1], 1, { runtime }));
    accumulate(there!, full([1], 1, { runtime: other }));
  }, runtime);
  for (let i = 0; i < 3; i++) step.run(() => []);
  t.same([calls, await here!.item(), await there!.item()], [3, 3, 3], 'is done each time');
  const inner = new Captured(() => accumulate(there!, full([1], 1, { runtime: other })), other);
  const outer = new Captured(() => inner.run(() => []), runtime);
  for (let i = 0; i < 3; i++) outer.run(() => []);
  t.equal(await there!.item(), 6, 'captured by itself, too');
  const elsewhere = new Captured((_x: Tensor) => {}, runtime);
  t.throws(() => { here!.grad = zeros([1], { runtime: other }); }, /the gradient of .* must be a tensor of its shape and type, on its runtime/);
  t.throws(() => elsewhere.run(() => [there!]), /tensor "zeros" \[1\] is on another runtime than the work; name it, as in new Captured\(step, runtime\)/);
});

void t.test('gradients of inputs begin anew with each call', async (t) => {
  const total = keep(zeros([2], { runtime }));
  let calls = 0;
  const step = new Captured((x: Tensor) => {
    calls++;
    x.requiresGrad_();
    backward(sum(mul(x, x)));
    accumulate(total, x.grad!);
  }, runtime);
  for (let i = 1; i <= 4; i++) step.run(() => [tensor([i, 2 * i], [2], { runtime })]);
  t.same(await numbers(total), [20, 40]);
  t.equal(calls, 1);
});

void t.test('arguments that are none', (t) => {
  t.throws(() => new Captured(undefined as never, runtime), /Captured: the first argument must be a function/);
  const step = new Captured((_x: Tensor) => {}, runtime);
  t.throws(() => step.run([] as never), /Captured: run: the first argument must be a function, as in step\.run\(\(\) => \[images, labels\]\)/);
  t.throws(() => step.run(() => zeros([1], { runtime }) as never), /the inputs must be a list of tensors, as of .*, got a tensor/);
  t.throws(() => step.run(() => Promise.resolve([]) as never), /the inputs must be a list of tensors, as of .*, got a Promise/);
  t.throws(() => step.run(() => [1] as never), /the inputs must be tensors, as of .*; number 1 is 1/);
  t.end();
});
