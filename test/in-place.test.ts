/** What is changed in place and who sees it: gradients of leaves, values that a graph needs, buffers that kernels read and write. */
import t from 'tap';
import { backward } from '../src/autograd/backward.js';
import { Captured } from '../src/autograd/captured.js';
import { checkpoint } from '../src/autograd/checkpoint.js';
import { BatchNorm2d, Linear } from '../src/nn/layers.js';
import { SGD } from '../src/nn/optimizer.js';
import {
  accumulate, adamWStep, add, affine, clipScale, conv2d, countNonFinite, exchange_, exp, fill_, globalNorm, lerp_, linear, matmul, mul, ones,
  onesLike, reluGradient, reshape, sgdStep, sum,
  updateCenters_, zeros, zerosLike,
} from '../src/ops/index.js';
import { tensor, write } from '../src/tensor/create.js';
import { keep, scope } from '../src/tensor/scope.js';
import type { Tensor } from '../src/tensor/tensor.js';
import { openRuntime } from './support/runtime.js';

const runtime = await openRuntime();
t.teardown(() => runtime.device.close());

const leaf = (values: number[] | number[][]): Tensor => tensor(values).requiresGrad_();
const values = async (x: Tensor): Promise<number[]> => [...(await x.data())];

t.test('a gradient is memory of its own: changing one leaves the others alone', (t) => scope(async () => {
  const [x, y] = [leaf([1, 2]), leaf([3, 4])];
  const seed = tensor([5, 6]);
  backward(add(x, y), seed);
  fill_(x.grad!, 0);
  t.same([await values(y.grad!), await values(seed)], [[5, 6], [5, 6]]);
  const alone = leaf([1, 2]);
  backward(alone, seed);
  backward(alone, seed);
  t.same([await values(alone.grad!), await values(seed)], [[10, 12], [5, 6]], 'nor is the start value changed');
}));

t.test('a view of a gradient sees it grow', (t) => scope(async () => {
  const x = leaf([1, 2]);
  backward(sum(x));
  const [view, row] = [x.grad!.detach(), reshape(x.grad!, [1, 2])];
  backward(sum(mul(x, x)));
  t.same([await values(x.grad!), await values(view), await values(row)], [[3, 5], [3, 5], [3, 5]]);
}));

t.test('a gradient that is put there is added to; one of another shape or type is refused', (t) => scope(async () => {
  const x = leaf([1, 2]);
  x.grad = tensor([10, 20]);
  backward(sum(x));
  t.same(await values(x.grad), [11, 21]);
  t.throws(() => { x.grad = tensor([1, 2, 3]); },
    /the gradient of Tensor\(tensor \[2\] float32\) must be a tensor of its shape and type, on its runtime, got Tensor\(tensor \[3\] float32\)/);
  t.throws(() => { x.grad = tensor([1, 2], [2], { dtype: 'int32' }); }, /of its shape and type/);
}));

t.test('a gradient lives with its leaf, and one that is taken away ends with the scope', async (t) => {
  const x = keep(leaf([1, 2]));
  const { liveBytes } = runtime.device.pool.statistics();
  for (let i = 0; i < 3; i++) {
    scope(() => {
      x.grad = tensor([1, 1]);
    });
    t.same(await values(x.grad!), [1, 1], 'it outlives the scope that made it');
    scope(() => { x.grad = null; });
    t.equal(runtime.device.pool.statistics().liveBytes, liveBytes);
  }
  x.release();
  const late: Tensor[] = [];
  scope(() => {
    const y = leaf([1, 2]);
    backward(sum(y));
    late.push(keep(y));
  });
  t.same(await values(late[0]!.grad!), [1, 1], 'also where the leaf is kept later');
  late[0]!.release();
});

t.test('backward refuses what was changed since the forward', (t) => scope(async () => {
  const changes: Record<string, (w: Tensor) => void> = {
    write: (w) => { write(w, Float32Array.of(5, 6)); },
    fill_: (w) => { fill_(w, 3); },
    accumulate: (w) => { accumulate(w, tensor([1, 1])); },
    'through a view': (w) => { fill_(reshape(w, [1, 2]), 3); },
    'an optimiser': (w) => {
      const optimizer = new SGD([w], { lr: 1 });
      const late = sum(mul(leaf([1, 1]), w));
      optimizer.step();
      backward(late);
    },
  };
  for (const [name, change] of Object.entries(changes)) {
    const [x, w] = [leaf([1, 2]), leaf([3, 4])];
    w.label = 'w';
    const loss = sum(mul(x, w));
    t.throws(() => { change(w); backward(loss); }, { name: 'UserError',
      message: /backward: "mul" \[2\] needs tensor "w" \[2\] as it was in the forward.*change it after backward, or run the forward again/ }, name);
  }
  const spared = (w: Tensor): Tensor => sum(checkpoint((v) => add(checkpoint((u) => add(exp(u), w), v), v), leaf([1, 2])));
  for (const change of [changes.write!, changes.fill_!, changes['through a view']!]) {
    const w = leaf([3, 4]);
    w.label = 'w';
    const loss = spared(w);
    change(w);
    t.throws(() => { backward(loss); },
      { name: 'UserError', message: /backward: "checkpoint" \[2\] needs tensor "w" \[2\] as it was in the forward.*run the forward again/ },
      'computing again would read other values');
  }
  const w = leaf([3, 4]);
  fill_(w, 1);
  t.doesNotThrow(() => { backward(spared(w)); });
  const net = new Linear(2, 2);
  const loss = sum(net.call(leaf([[1, 2]])));
  net.loadStateDict(await net.stateDict());
  t.throws(() => { backward(loss); }, /needs tensor "parameters" \[2, 2\] as it was in the forward/);
  const b = leaf([[1, 2], [3, 4]]);
  const step = (): void => { backward(sum(matmul(tensor([[1, 1]]), b))); };
  step();
  const ofGradient = sum(mul(leaf([[1, 1], [1, 1]]), b.grad!));
  step();
  t.throws(() => { backward(ofGradient); }, /"mul" \[2, 2\] needs tensor "tensor\.grad" \[2, 2\]/, 'a gradient to which a kernel has added');
  const x = leaf([1, 2]);
  const y = exp(x);
  fill_(y, 0);
  t.throws(() => { backward(sum(y)); }, /"exp" \[2\] needs tensor "exp" \[2\]/, 'a result that backward reads');
}));

t.test('backward accepts changes of what it does not read', (t) => scope(async () => {
  const [x, w] = [leaf([1, 2]), leaf([3, 4])];
  const loss = sum(add(x, w));
  fill_(w, 7);
  backward(loss);
  t.same(await values(x.grad!), [1, 1], 'a sum needs no operand');
  const optimizer = new SGD([w], { lr: 1 });
  for (let i = 0; i < 2; i++) {
    backward(sum(checkpoint((v) => mul(v, w), x)));
    backward(sum(mul(x, w)));
    optimizer.step();
    optimizer.zeroGrad();
  }
  t.same(await values(w), [7 - 2 - 2 - 1, 7 - 4 - 4 - 1], 'steps between graphs, with the gradient from before in the first');
  const norm = new BatchNorm2d(2);
  const first = norm.call(leaf([[1, 2], [3, 5]]));
  norm.call(tensor([[1, 2], [3, 5]]));
  t.doesNotThrow(() => { backward(sum(first)); }, 'running statistics');
  const captured = new Captured((input) => {
    optimizer.zeroGrad();
    backward(sum(mul(input, w)));
    optimizer.step();
  });
  for (let i = 0; i < 4; i++) captured.run(() => [tensor([1, 1])]);
  t.same(await values(w), [2 - 4, -2 - 4]);
  captured.release();
}));

t.test('a kernel that would read what it writes is refused, and what follows goes on', (t) => scope(async () => {
  const [p, q] = [leaf([1, 2]), leaf([3, 4])];
  t.throws(() => { accumulate(p, p); }, { name: 'UserError', message: /^accumulate: ".*" is changed in place and lies in the buffer of .*, which is read; pass a copy/ });
  const optimizer = new SGD([p, q], { lr: 1 });
  t.throws(() => { accumulate(p, q); }, /lies in the buffer of/);
  accumulate(p, affine(q, 1));
  t.throws(() => { accumulate(p, tensor([1, 2, 3])); }, /accumulate: shapes \[2\] and \[3\] must be equal/);
  t.same(await values(p), [4, 6]);
  backward(mul(p, tensor([1, 1])), q.grad!);
  optimizer.step();
  t.same(await values(p), [4, 6], 'a gradient of the optimiser’s as start value');
  const [image, other] = [ones([1, 1, 1, 4]).requiresGrad_(), ones([1, 1, 1, 4]).requiresGrad_()];
  const both = new SGD([image, other], { lr: 1 });
  fill_(other.grad!, 5);
  backward(conv2d(image, ones([1, 1, 4, 4])), other.grad!);
  t.same(await values(image.grad!), [20, 20, 20, 20], 'also where a kernel adds to a gradient beside it');
  both.release();
}));

t.test('tensors of two devices do not meet', async (t) => {
  const other = await openRuntime();
  const [here, there] = [tensor([[1, 2]], undefined, { runtime, label: 'here' }), tensor([[3, 4], [5, 6]], undefined, { runtime: other, label: 'there' })];
  for (const fn of [() => add(here, there), () => linear(here, there), () => { accumulate(here, tensor([[1, 2]], undefined, { runtime: other })); }]) {
    t.throws(fn, { name: 'UserError',
      message: /tensor "(there|tensor)" \[\d, 2\] is on another device \(.*\) than the others \(.*\); tensor\(await x\.data\(\), x\.shape, \{ runtime \}\) brings it over/ });
  }
  t.same(await values(add(here, 1)), [2, 3], 'and nothing was recorded');
  other.device.close();
});

t.test('what is refused is told in the name of the function that was called', async (t) => {
  const other = await openRuntime();
  t.teardown(() => other.device.close());
  const of = (dtype: 'float32' | 'int32' | 'uint32' = 'float32', on = runtime): Tensor => ones([4], { dtype, runtime: on });
  scope(() => {
    const [x, foreign] = [of(), of('float32', other)];
    const table = ones([3, 4], { runtime });
    const calls: Record<string, (y: Tensor) => unknown> = {
      accumulate: (y) => accumulate(x, y), lerp_: (y) => lerp_(x, y, 0.5), exchange_: (y) => exchange_(x, y),
      sgdStep: (y) => sgdStep(x, y, null, { lr: 1, step: 1 }),
      adamWStep: (y) => adamWStep(x, y, of(), of(), { lr: 1, step: 1 }), globalNorm: (y) => globalNorm([x, y]), countNonFinite: (y) => countNonFinite(x, y, 0),
      updateCenters_: (y) => updateCenters_(table, table, y, { beta: 0.1 }), reluGradient: (y) => reluGradient(x, y),
    };
    for (const [name, call] of Object.entries(calls)) {
      t.throws(() => call(foreign), { name: 'UserError', message: new RegExp(`^${name}: tensor "ones" \\[4\\] is on another device`) });
      t.throws(() => call(4 as never), { name: 'UserError', message: new RegExp(`^${name}: operand \\d must be a tensor, got number`) });
    }
    const same = x.alias();
    const read = 'lies in the buffer of "ones", which is read';
    const written = 'lies in the memory of "ones", which is changed, too';
    for (const [name, how, call] of [
      ['accumulate', read, () => accumulate(x, same)], ['lerp_', read, () => lerp_(x, same, 0.5)], ['sgdStep', read, () => sgdStep(x, same, null, { lr: 1, step: 1 })],
      ['adamWStep', read, () => adamWStep(x, same, of(), of(), { lr: 1, step: 1 })], ['exchange_', written, () => exchange_(x, same)],
      ['sgdStep', written, () => sgdStep(x, of(), same, { lr: 1, momentum: 0.9, step: 1 })], ['adamWStep', written, () => adamWStep(x, of(), same, of(), { lr: 1, step: 1 })],
    ] as const) t.throws(call, { name: 'UserError', message: new RegExp(`^${name}: "ones" is changed in place and ${how}`) });
    for (const [name, call] of [['fill_', () => fill_(4 as never, 1)], ['zerosLike', () => zerosLike(4 as never)], ['onesLike', () => onesLike(4 as never)], ['clipScale', () => clipScale(4 as never, 1)]] as const) {
      t.throws(call, { name: 'UserError', message: new RegExp(`^${name}: operand 1 must be a tensor, got number`) });
    }
    for (const [name, make] of Object.entries({ zeros, ones })) t.throws(() => make([0]), { name: 'UserError', message: new RegExp(`^${name}: shape \\[0\\]`) });
    t.throws(() => write(4 as never, [1]), { name: 'UserError', message: 'write: the target must be a tensor, got number' });
    t.throws(() => accumulate(x, of('int32')), { name: 'UserError', message: /^accumulate: operand 2 must be float32, but "ones" \[4\] is int32/ }, 'not read as if it were floats');
  });
});
