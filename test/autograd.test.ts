/** The tape: values against derivatives worked out by hand, misuse, and when memory is given back. */
import t from 'tap';
import { setTimeout as sleep } from 'node:timers/promises';
import { backward, retainGrad } from '../src/autograd/backward.js';
import { enableGrad, isGradEnabled, noGrad } from '../src/autograd/tape.js';
import { Linear } from '../src/nn/layers.js';
import { abs, add, affine, autocast, batchNorm2d, cast, div, exp, full, isAutocastEnabled, le, mul, mulOp, ones, relu, reshape, sigmoid, sign, slice, sub, sum, zeros } from '../src/ops/index.js';
import { run, type Runnable } from '../src/ops/op.js';
import { tensor } from '../src/tensor/create.js';
import { keep, scope } from '../src/tensor/scope.js';
import type { Tensor } from '../src/tensor/tensor.js';
import { openRuntime } from './support/runtime.js';

const runtime = await openRuntime();
const { pool } = runtime.device;
const live = (): number => pool.statistics().liveBytes;
const leaf = (values: number | number[] | number[][]): Tensor => tensor(values).requiresGrad_();
const gradOf = async (x: Tensor): Promise<number[]> => [...(await x.grad!.data())];

t.test('chain', (t) => scope(async () => {
  const x = leaf([1, -2, 3]);
  backward(sum(affine(mul(x, x), 0.5, 7)));
  t.same(await gradOf(x), [1, -2, 3]);
  t.same(x.grad!.shape, [3]);
  t.equal(x.grad!.label, 'tensor.grad');
}));

t.test('diamond: two paths to one leaf', (t) => scope(async () => {
  const x = leaf([1, 2, -1]);
  const [a, b] = [affine(x, 2), affine(x, 3)];
  backward(sum(mul(a, b)));
  t.same(await gradOf(x), [12, 24, -12], 'd 6x² = 12x');
}));

t.test('the same tensor on both sides', (t) => scope(async () => {
  const [x, y, z] = [leaf([3]), leaf([5]), leaf([4])];
  backward(mul(x, x));
  backward(sub(y, y));
  backward(div(z, z));
  t.same([await gradOf(x), await gradOf(y), await gradOf(z)], [[6], [0], [0]]);
}));

t.test('a deep and a shallow path meet', (t) => scope(async () => {
  const x = leaf([2]);
  let deep = x;
  for (let i = 0; i < 5; i++) deep = mul(deep, x);
  backward(add(add(deep, x), mul(deep, x)));
  t.same(await gradOf(x), [6 * 2 ** 5 + 1 + 7 * 2 ** 6], 'd (x⁶ + x + x⁷)');
}));

t.test('several leaves; leaves without a wish get none', (t) => scope(async () => {
  const [x, y, constant] = [leaf([2, 3]), leaf([5, 7]), tensor([1, -1])];
  backward(sum(mul(mul(x, y), constant)));
  t.same([await gradOf(x), await gradOf(y), constant.grad], [[5, -7], [2, -3], null]);
}));

t.test('gradients add up over several backwards', (t) => scope(async () => {
  const x = leaf([1, 2]);
  backward(sum(mul(x, x)));
  const first = x.grad!;
  backward(sum(affine(x, 10)));
  t.same(await gradOf(x), [12, 14]);
  t.equal(x.grad, first, 'in place, where nobody else looks on');
  x.grad = null;
  backward(sum(x));
  t.same(await gradOf(x), [1, 1], 'without the old one they begin anew');
}));

t.test('broadcasting: gradients are summed to the operand’s shape', (t) => scope(async () => {
  const [matrix, row, column, scalar] = [leaf([[1, 2, 3], [4, 5, 6]]), leaf([10, 20, 30]), leaf([[1], [2]]), leaf(2)];
  backward(sum(mul(mul(add(matrix, row), column), scalar)));
  t.same(await gradOf(matrix), [2, 2, 2, 4, 4, 4]);
  t.same(await gradOf(row), [6, 6, 6]);
  t.same(await gradOf(column), [132, 150]);
  t.same(await gradOf(scalar), [66 + 150]);
  t.same([matrix.grad!.shape, row.grad!.shape, column.grad!.shape, scalar.grad!.shape], [[2, 3], [3], [2, 1], []]);
}));

t.test('a gradient handed to two inputs is not corrupted by adding to one', (t) => scope(async () => {
  const [a, b, c] = [leaf([1, 2]), leaf([3, 4]), leaf([5, 6])];
  const shared = add(a, b);
  backward(sum(add(add(shared, mul(a, c)), add(a, b))));
  t.same([await gradOf(a), await gradOf(b), await gradOf(c)], [[7, 8], [2, 2], [1, 2]]);
  backward(sum(add(a, b)));
  t.same([await gradOf(a), await gradOf(b)], [[8, 9], [3, 3]], 'nor by a second backward');
}));

t.test('two leaves that share one gradient stay apart afterwards', (t) => scope(async () => {
  const [a, b] = [leaf([1, 2]), leaf([3, 4])];
  backward(sum(add(a, b)));
  backward(sum(affine(a, 5)));
  t.same([await gradOf(a), await gradOf(b)], [[6, 6], [1, 1]]);
}));

t.test('a gradient passed in is left as it was', (t) => scope(async () => {
  const x = leaf([1, 2, 3]);
  const start = tensor([1, 10, 100]);
  backward(add(x, 0), start);
  backward(add(x, 0), start);
  t.same(await gradOf(x), [2, 20, 200]);
  t.same(await start.data(), [1, 10, 100]);
}));

t.test('views: slices and reshapes of one tensor', (t) => scope(async () => {
  const x = leaf([[1, 2, 3], [4, 5, 6]]);
  const flat = reshape(x, [6]);
  backward(sum(mul(slice(flat, [0], [2]), slice(flat, [4], [6]))));
  t.same(await gradOf(x), [5, 6, 0, 0, 1, 2]);
}));

t.test('a leaf is its own loss', (t) => scope(async () => {
  const x = leaf(3);
  backward(x);
  t.equal(await x.grad!.item(), 1);
}));

t.test('detach cuts the path and shares the memory', (t) => scope(async () => {
  const x = leaf([2, 3]);
  const y = affine(x, 4);
  const constant = y.detach();
  t.same([constant.requiresGrad, constant.range.buffer.id], [false, y.range.buffer.id]);
  backward(sum(mul(y, constant)));
  t.same(await gradOf(x), [32, 48], '4 · (4x), not 2 · 16x');
}));

t.test('retainGrad keeps the gradient of an intermediate tensor', (t) => scope(async () => {
  const x = leaf([1, 2]);
  const hidden = retainGrad(affine(x, 3));
  const other = affine(hidden, 2);
  backward(sum(mul(other, hidden)));
  t.same(await gradOf(hidden), [12, 24], 'd 2h² = 4h');
  t.same(await gradOf(x), [36, 72]);
  t.equal(other.grad, null);
}));

t.test('gradients end with their leaf', async (t) => {
  const base = live();
  const grad = scope(() => {
    const x = leaf([1, 2]);
    backward(sum(mul(x, x)));
    return x.grad!;
  });
  t.same(await grad.data(), [2, 4], 'unless they are returned');
  grad.release();
  const x = scope(() => {
    const inner = leaf([1, 2]);
    backward(sum(mul(inner, inner)));
    return inner;
  });
  t.same(await gradOf(x), [2, 4], 'or their leaf is');
  x.release();
  scope(() => {
    const y = leaf([1, 2]);
    const hidden = scope(() => retainGrad(affine(y, 3)));
    backward(sum(hidden));
  });
  const outside = keep(leaf([1]));
  scope(() => backward(sum(outside)));
  t.same(await gradOf(outside), [1], 'a kept leaf’s gradient outlives the scope of backward');
  outside.release();
  t.equal(live(), base);
});

t.test('noGrad and enableGrad, also async', (t) => scope(async () => {
  const x = leaf([2]);
  t.equal(noGrad(() => mul(x, x)).requiresGrad, false);
  t.equal(noGrad(() => enableGrad(() => mul(x, x))).requiresGrad, true);
  t.equal(isGradEnabled(), true);
  for (const [name, mode] of Object.entries({ noGrad, enableGrad })) t.throws(() => mode(undefined as never), { name: 'UserError', message: `${name}: the first argument must be a function, as in ${name}(() => …), got undefined` });
  const late = await noGrad(async () => {
    await sleep(1);
    return [mul(x, x), enableGrad(() => mul(x, x))];
  });
  t.same(late.map((y) => y.requiresGrad), [false, true]);
  t.throws(() => noGrad(() => { throw new Error('inside'); }), /inside/);
  await t.rejects(noGrad(async () => { await sleep(1); throw new Error('late'); }), /late/);
  t.equal(isGradEnabled(), true, 'recording goes on after errors');
  backward(late[1]!);
  t.same(await gradOf(x), [4]);
}));

t.test('extents that overlap leave nothing behind', (t) => scope(async () => {
  let endFirst = (): void => {};
  const first = noGrad(() => new Promise<void>((resolve) => { endFirst = resolve; }));
  const second = noGrad(() => sleep(5));
  const third = enableGrad(() => sleep(1));
  t.equal(isGradEnabled(), true, 'the one begun last decides');
  await third;
  t.equal(isGradEnabled(), false);
  endFirst();
  await first;
  t.equal(isGradEnabled(), false, 'until it has ended');
  await second;
  t.equal(isGradEnabled(), true);
  const outer = noGrad(() => sleep(1));
  const later = enableGrad(() => sleep(5));
  await outer;
  t.equal(isGradEnabled(), true, 'nor does one that ends first decide again');
  await later;
  t.equal(isAutocastEnabled(), false);
  await Promise.all([autocast(() => sleep(1)), autocast(() => sleep(3), { enabled: true })]);
  const slow = autocast(() => sleep(1));
  const inner = autocast(() => sleep(4), { enabled: false });
  await slow;
  await inner;
  t.equal(isAutocastEnabled(), false);
}));

t.test('errors say what to do', (t) => scope(async () => {
  const x = leaf([1, 2]);
  t.throws(() => backward(mul(x, x)), { name: 'UserError',
    message: /tensor "mul" has shape \[2\]; only a scalar has an implicit gradient\. Reduce it with sum\(\) or mean\(\), or pass a gradient/ });
  t.throws(() => backward(mul(x, x), ones([3])), /the gradient's shape \[3\] differs from the loss's \[2\]/);
  t.throws(() => affine(leaf([1]), 2).requiresGrad_(false),
    { name: 'UserError', message: /requiresGrad_\(false\) is for leaves; tensor "affine" is the result of affine: use its detach\(\)/ });
  t.throws(() => backward(sum(tensor([1]))), /tensor "sum" does not depend on anything that requires a gradient; call requiresGrad_\(\) on a leaf/);
  t.throws(() => backward(noGrad(() => sum(x))), /do not run the forward under noGrad/);
}));

t.test('backward twice through one graph', (t) => scope(async () => {
  const x = leaf([1, 2]);
  const trunk = exp(x);
  const loss = sum(mul(trunk, trunk));
  backward(loss);
  t.throws(() => backward(loss), /the graph through "sum" \[\] was already used by an earlier backward, which released it\. Run the forward again, or add the losses/);
  t.throws(() => backward(sum(affine(trunk, 2))), /the graph through "exp" \[2\] was already used/, 'a shared trunk counts');
}));

t.test('a graph ends with its outermost scope', async (t) => {
  const x = keep(leaf([1, 2]));
  let loss!: Tensor;
  scope(() => {
    scope(() => { loss = keep(sum(mul(x, x))); });
    backward(loss);
  });
  t.same(await gradOf(x), [2, 4], 'inner scopes do not matter');
  loss.release();
  scope(() => { loss = keep(sum(mul(x, x))); });
  const text = (op: string): RegExp =>
    new RegExp(`the graph through "${op}" \\[.*\\] was released when its scope ended, as a module's call does where there is no scope around it; run forward and backward inside one, scope`);
  t.throws(() => backward(loss), text('sum'));
  const net = new Linear(2, 1);
  const alone = sum(net.call(reshape(x, [1, 2])));
  t.throws(() => backward(alone), text('add'), 'where nobody opened one');
  for (const tensor of [loss, x.grad!, x, alone]) tensor.release();
  net.release();
});

const SIDE = 128;
const BYTES = SIDE * SIDE * 4;
/** A chain of ops that each keep one tensor of BYTES for backward. */
const chain = (x: Tensor, length: number): Tensor => scope(() => {
  let y = x;
  for (let i = 0; i < length; i++) y = sigmoid(y);
  return sum(y);
});

t.test('activations are released as backward passes them', async (t) => {
  await runtime.idle();
  const base = live();
  await scope(async () => {
    const x = ones([SIDE, SIDE]).requiresGrad_();
    const loss = chain(x, 10);
    const forward = live() - base;
    t.ok(forward >= 11 * BYTES && forward < 12 * BYTES, `after the forward: ${forward / BYTES} tensors`);
    const acquire = pool.acquire.bind(pool);
    const trace: number[] = [];
    pool.acquire = (bytes, label) => {
      const buffer = acquire(bytes, label);
      if (bytes === BYTES) trace.push((live() - base) / BYTES);
      return buffer;
    };
    backward(loss);
    pool.acquire = acquire;
    t.ok(Math.max(...trace) < 14, `never more than two gradients beside the activations: ${Math.max(...trace).toFixed(1)}`);
    t.ok(trace[trace.length - 1]! < 5, `before the last op most have gone: ${trace.map((n) => n.toFixed(0)).join(' ')}`);
    t.ok(live() - base < 2.1 * BYTES, 'afterwards the leaf and its gradient are left');
  });
  t.equal(live(), base);
});

t.test('without gradients nothing is kept', async (t) => {
  const base = live();
  scope(() => {
    const x = ones([SIDE, SIDE]);
    const before = live();
    chain(x, 10);
    t.equal(live() - before, 256, 'only the result, where no leaf wants a gradient');
    noGrad(() => chain(ones([SIDE, SIDE]).requiresGrad_(), 10));
    t.equal(live() - before, BYTES + 2 * 256, 'nor under noGrad');
    t.equal(cast(leaf([1.5]), 'int32').requiresGrad, false, 'nor behind integers');
  });
  t.equal(live(), base);
});

t.test('a graph that is never used is released by its scope', async (t) => {
  const base = live();
  scope(() => { chain(ones([SIDE, SIDE]).requiresGrad_(), 3); });
  t.equal(live(), base);
});

t.test('a function with a gradient of its own needs no more than both', (t) => scope(async () => {
  const roundSign: Runnable<{ width: number }> = {
    name: 'roundSign', infer: ([shape]) => shape!, forward: ({ inputs: [x] }) => sign(x!), keeps: { inputs: [0] },
    backward: ({ grad, inputs: [x], attrs: { width } }) => [mul(grad, le(abs(x!), full(x!.shape, width)))],
  };
  const x = leaf([-3, -0.5, 0.25, 2]);
  const y = run(roundSign, [x], { width: 1 });
  t.same(await y.data(), [-1, -1, 1, 1]);
  backward(sum(mul(y, tensor([1, 2, 3, 4]))));
  t.same(await gradOf(x), [0, 2, 3, 0]);
}));

t.test('a function may pass its input on, or save it, and leaves it to its owner', async (t) => {
  const reversed: Runnable = { name: 'reversed', infer: ([shape]) => shape!, forward: ({ inputs: [x] }) => x!, backward: ({ grad }) => [affine(grad, -1)] };
  const squared: Runnable = {
    name: 'squared', infer: ([shape]) => shape!, forward: ({ inputs: [x] }) => ({ output: mul(x!, x!), saved: { x: x! } }),
    backward: ({ grad, saved }) => [mul(grad, affine(saved.x!, 2))],
  };
  const power: Runnable = {
    name: 'power', infer: ([shape]) => shape!, forward: ({ inputs: [x] }) => { const output = exp(x!); return { output, saved: { output } }; },
    backward: ({ grad, saved }) => [mul(grad, saved.output!)],
  };
  const base = live();
  await scope(async () => {
    const x = leaf([1, 2]);
    const shared = affine(x, 2);
    backward(add(sum(run(reversed, [shared], {})), affine(sum(shared), 10)));
    t.same([x.label, await gradOf(x)], ['tensor', [18, 18]], 'who reads the input besides does not see what was done to the output');
    for (const fn of [reversed, squared, power]) {
      const plain = run(fn, [tensor([0, 0])], {});
      const y = leaf([0, 3]);
      for (let time = 0; time < 2; time++) scope(() => { backward(sum(run(fn, [y], {}))); });
      const once = { reversed: [-1, -1], squared: [0, 6], power: [1, Math.exp(3)] }[fn.name]!;
      (await gradOf(y)).forEach((value, i) => t.ok(Math.abs(value - 2 * once[i]!) < 1e-4, `${fn.name}: ${value} is twice ${once[i]}`));
      t.same([[...(await y.data())], (await plain.data()).length], [[0, 3], 2], `${fn.name}: input and output are there afterwards`);
    }
    const half = tensor([1, 2], [2], { dtype: runtime.device.report.half ? 'float16' : 'float32' });
    t.same(await run({ ...reversed, precision: 'float32' }, [half], {}).data(), [1, 2], 'one that was brought to float32 for it, too');
  });
  t.equal(live(), base);
});

t.test('what a function gives is held against its shapes', (t) => scope(async () => {
  const twice: Runnable = { name: 'twice', infer: ([shape]) => shape!, forward: ({ inputs: [x] }) => affine(x!, 2), backward: ({ grad }) => [affine(grad, 2)] };
  t.throws(() => run({ ...twice, forward: ({ inputs: [x] }) => sum(x!) }, [leaf([1, 2])], {}),
    { name: 'UserError', message: 'twice: its forward gave [] where its infer says [2]' });
  t.throws(() => run({ ...twice, forward: (async () => {}) as never }, [leaf([1, 2])], {}),
    { name: 'UserError', message: /^twice: its forward must return a tensor or/ });
  const wrong: [Runnable['backward'], RegExp][] = [
    [({ grad }) => grad as never, /"twice" must return a list: for each input its gradient, or null/],
    [({ grad }) => [sum(grad), null], /"twice" must return for input 0 a gradient of its shape \[2\], or null, but returned \[\]/],
    [({ grad }) => [grad], /"twice" must return for input 1 a gradient of its shape \[2\], or null, but returned nothing/],
  ];
  for (const [backwardOf, message] of wrong) {
    const y = run({ ...twice, backward: backwardOf }, [affine(leaf([1, 2]), 3), leaf([3, 4])], {});
    t.throws(() => { backward(sum(y)); }, { name: 'UserError', message });
  }
  const [x, unread] = [leaf([1, 2]), leaf([3, 4])];
  backward(sum(run({ ...twice, backward: ({ grad }) => [affine(grad, 2), null] }, [x, unread], {})));
  t.same([await gradOf(x), unread.grad], [[2, 2], null]);
}));

t.test('ops inside an op’s forward are not on the tape, and kinks have PyTorch’s gradient', (t) => scope(async () => {
  const x = leaf([-1, 0, 2]);
  const y = relu(x);
  t.equal(y.gradNode!.op, 'relu');
  backward(sum(y));
  t.same(await gradOf(x), [0, 0, 1]);
  const [constant, bias] = [leaf([[1, 2], [1, 3]]), zeros([2]).requiresGrad_()];
  backward(sum(batchNorm2d(constant, ones([2]), bias, zeros([2]), ones([2]), { training: true, activation: 'relu' })));
  t.same(await gradOf(bias), [0, 1], 'a channel that is nothing but 0 behind the norm');
}));

t.test('an op whose backward reads what its record does not keep says so', (t) => scope(async () => {
  const { keeps: _, ...forgetful } = mulOp;
  const records: Record<string, typeof mulOp> = {
    'a kernel is given it': forgetful,
    'an op is given it': { ...forgetful, keeps: { inputs: [1] }, backward: ({ grad, inputs: [x, y] }) => [mul(grad, y!), mul(grad, x!)] },
  };
  for (const [name, record] of Object.entries(records)) {
    const product = run(record, [leaf([1, 2]), leaf([3, 4])], {});
    t.throws(() => { backward(sum(product)); },
      { message: /^the backward of "mul" met null where it may have read input 0 .*, which its record does not keep; name what it reads in keeps \(.*null/ },
      name);
  }
  const root = run({ ...mulOp, backward: ({ grad, output }) => [mul(grad, output!), null] }, [leaf([1, 2]), leaf([3, 4])], {});
  t.throws(() => { backward(sum(root)); }, { message: /^the backward of "mul" met null where it may have read the output, which/ });
  const wrong = run({ ...mulOp, backward: () => { throw new Error('mine'); } }, [leaf([1, 2]), leaf([3, 4])], {});
  t.throws(() => { backward(sum(wrong)); }, /^Error: mine|^mine/, 'other errors are passed on');
}));

t.teardown(() => runtime.device.close());
