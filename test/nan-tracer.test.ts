/** The debug mode: counting non-finite numbers, and naming the op that first produced one. */
import t from 'tap';
import { backward } from '../src/autograd/backward.js';
import { NanTracer } from '../src/autograd/nan-tracer.js';
import { countNonFinite } from '../src/ops/finite.js';
import { add, div, log, mul, relu, sqrt, sum, zeros } from '../src/ops/index.js';
import { popModule, pushModule } from '../src/tensor/module-path.js';
import { tensor } from '../src/tensor/create.js';
import { scope } from '../src/tensor/scope.js';
import { openRuntime } from './support/runtime.js';

const runtime = await openRuntime();

await t.test('counts by slot, over several workgroups and row padding', (t) => scope(async () => {
  const counters = zeros([5], { dtype: 'uint32' });
  const values = Float32Array.from({ length: 3 * 4099 }, (_, i) => (i % 100 === 3 ? [NaN, Infinity, -Infinity][i % 3]! : i));
  countNonFinite(tensor(values, [3, 4099]), counters, 1);
  countNonFinite(tensor([1, NaN], [2]), counters, 4);
  countNonFinite(tensor([3e38, -3e38, 0], [3]), counters, 2);
  t.same([...await counters.data()], [0, values.filter((v) => !Number.isFinite(v)).length, 0, 0, 1]);
  t.throws(() => countNonFinite(tensor([1]), counters, 5), /slot 5 is outside 0 … 4/);
  t.throws(() => countNonFinite(tensor([1]), tensor([1]), 0), /must be uint32/);
}));

await t.test('names op, module and step of the first', (t) => scope(async () => {
  const tracer = new NanTracer(runtime);
  tracer.start();
  const x = tensor([1, -1, 2]);
  pushModule('ResNet');
  pushModule('layer2.0');
  const roots = sqrt(add(x, x));
  popModule();
  relu(mul(roots, roots));
  popModule();
  await t.rejects(tracer.check(17), /Step 17: 1 NaN .*output \[3\] of op "sqrt", in module ResNet\.layer2\.0/);
  await tracer.check(18);
  relu(tensor([NaN]));
  await t.rejects(tracer.check(19), /op "relu".* what is not watched are uploaded data/, 'its input need not have been finite');
  tracer.stop();
}));

await t.test('sees gradients, and infinities, beyond one buffer of counters', (t) => scope(async () => {
  const tracer = new NanTracer(runtime);
  tracer.start();
  const x = tensor([0, 1], [2]).requiresGrad_();
  let y = x;
  for (let i = 0; i < 1100; i++) y = relu(y);
  await tracer.check(0);
  pushModule('head');
  const root = sqrt(x);
  popModule();
  backward(sum(root));
  // The slope of the root at 0.
  await t.rejects(tracer.check(1), /Step 1: 1 NaN or infinite .*op "sqrt \(backward\)", in module head,/);
  x.grad!.release();
  for (let i = 0; i < 1100; i++) relu(y);
  div(x, tensor([0, 1]));
  await t.rejects(tracer.check(2), /Step 2: 1 NaN or infinite.* op "div", outside of modules/);
  tracer.stop();
  log(tensor([-1]));
  await tracer.check(3);
}));

runtime.device.close();
