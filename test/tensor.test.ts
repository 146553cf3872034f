/** Tensors on the device: making, reading, layout in storage, and when their memory goes. */
import t from 'tap';
import { setTimeout as sleep } from 'node:timers/promises';
import { add, affine, cat, gt, ones, reshape, sum, zeros } from '../src/ops/index.js';
import { setDefaultRuntime, tensor, write } from '../src/tensor/create.js';
import { keep, scope } from '../src/tensor/scope.js';
import { broadcastShapes, normalizeAxes } from '../src/tensor/shape.js';
import { memoryReport, withOwner } from '../src/tensor/storage.js';
import type { Tensor } from '../src/tensor/tensor.js';
import { openRuntime } from './support/runtime.js';

const runtime = await openRuntime();
const live = (): number => runtime.device.pool.statistics().liveBytes;
const stored = async (x: Tensor): Promise<number[]> => [...new Float32Array(await runtime.recorder.read(x.range))];

t.test('creation from nested and typed arrays, numbers and shapes', (t) => scope(async () => {
  const nested = tensor([[[1, 2, 3], [4, 5, 6]]]);
  t.same([nested.shape, nested.dtype, nested.size, nested.rank], [[1, 2, 3], 'float32', 6, 3]);
  t.same(await nested.data(), [1, 2, 3, 4, 5, 6]);
  t.same(await tensor(Float32Array.of(1, 2, 3, 4, 5, 6), [3, 2]).data(), [1, 2, 3, 4, 5, 6]);
  t.same(tensor([1, 2, 3]).shape, [3]);
  const scalar = tensor(4.5);
  t.same([scalar.shape, await scalar.item()], [[], 4.5]);
  t.equal(await tensor([[7]]).item(), 7, 'one element is enough');
}));

t.test('dtypes: integers stay exact, bools are 0 and 1, only floats have gradients', (t) => scope(async () => {
  const signed = tensor([-2147483648, -1, 2147483647], [3], { dtype: 'int32' });
  t.ok((await signed.data()) instanceof Int32Array);
  t.same(await signed.data(), [-2147483648, -1, 2147483647], 'not through float32');
  t.equal(tensor(Int32Array.of(1)).dtype, 'int32', 'a typed array decides');
  const unsigned = tensor(Uint32Array.of(4294967295, 16777217));
  t.same([unsigned.dtype, ...(await unsigned.data())], ['uint32', 4294967295, 16777217]);
  const bool = tensor([0, 2, -1, NaN], [4], { dtype: 'bool' });
  t.same(await bool.data(), [0, 1, 1, 1], 'anything but 0 is true');
  t.equal(gt(tensor([1, 3]), tensor([2, 2])).dtype, 'bool');
  t.same(await zeros([2], { dtype: 'int32' }).data(), Int32Array.of(0, 0));
  t.throws(() => signed.requiresGrad_(), /only float32 and float16 tensors have gradients, this one is int32/);
}));

t.test('special values and rounding pass unchanged', (t) => scope(async () => {
  const values = Float32Array.of(NaN, Infinity, -Infinity, -0, 1e-45, 3.4028235e38, 0.1);
  const back = new Uint32Array((await tensor(values).data()).buffer);
  t.same(back, new Uint32Array(values.buffer), 'bit by bit');
}));

t.test('bad input is refused with a reason', async (t) => {
  t.throws(() => tensor([[1, 2], [3]]), { name: 'UserError', message: /nested arrays are ragged: expected 2 entries at depth 1, got 1/ });
  t.throws(() => tensor([[1, 2], 3]), /ragged: a number stands at depth 1, where others hold 2 entries/);
  t.throws(() => tensor([1, [2, 3]]), /ragged/);
  t.throws(() => tensor([1, 2, 3], [2, 2]), /3 numbers do not fill shape \[2, 2\], which has 4/);
  t.throws(() => tensor([], [0]), /must hold integers of at least 1/);
  t.throws(() => zeros([2, -1]), /shape \[2, -1\] must hold integers of at least 1/);
  t.throws(() => zeros([1.5]), /\[1\.5\] must hold integers/);
  await scope(async () => {
    await t.rejects(tensor([1, 2]).item(), /item\(\): tensor "tensor" has shape \[2\]; only tensors with one element/);
    t.throws(() => write(tensor([1, 2]), Float32Array.of(1)), /1 numbers for tensor "tensor" \[2\] of 2/);
  });
  setDefaultRuntime(null);
  t.throws(() => tensor([1]), /no device is open; call "await open\(\)" first/);
  setDefaultRuntime(runtime);
});

t.test('storage: rows padded with zeros to whole vec4f', (t) => scope(async () => {
  t.same(await stored(tensor([[1, 2, 3], [4, 5, 6]])), [1, 2, 3, 0, 4, 5, 6, 0]);
  t.same(await stored(tensor([[1, 2, 3, 4, 5]])), [1, 2, 3, 4, 5, 0, 0, 0]);
  t.same(await stored(tensor(3)), [3, 0, 0, 0]);
  t.same(await stored(ones([2, 1])), [1, 0, 0, 0, 1, 0, 0, 0], 'also from a kernel');
  t.same(await stored(add(tensor([[1], [2]]), 5)), [6, 0, 0, 0, 7, 0, 0, 0], 'and after adding to everything');
}));

t.test('write replaces the elements after what was recorded before', (t) => scope(async () => {
  const x = tensor([1, 2, 3]);
  const before = affine(x, 10);
  write(x, Float32Array.of(7, 8, 9));
  t.same(await before.data(), [10, 20, 30]);
  t.same(await x.data(), [7, 8, 9]);
}));

t.test('numbers may come in any typed array but one of BigInts, and as booleans', (t) => scope(async () => {
  for (const type of [Int8Array, Uint8Array, Uint8ClampedArray, Int16Array, Uint16Array, Int32Array, Uint32Array, Float32Array, Float64Array]) {
    const data = type.of(1, 2, 3);
    const x = tensor(data);
    t.same([x.dtype, [...await x.data()]], [type === Int32Array ? 'int32' : type === Uint32Array ? 'uint32' : 'float32', [1, 2, 3]], type.name);
    write(x, type.of(4, 5, 6));
    t.same([...await x.data()], [4, 5, 6]);
    t.same([...await tensor([data, [4, 5, 6]], [6]).data()], [1, 2, 3, 4, 5, 6], 'as a row, too');
  }
  const x = tensor([[true], [false]]);
  t.same([x.dtype, x.shape, [...await x.data()]], ['float32', [2, 1], [1, 0]]);
  write(x, [false, true]);
  t.same([...await x.data()], [0, 1]);
}));

t.test('reshape: −1, shared and copied rows, errors', (t) => scope(async () => {
  const x = tensor([[1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12]]);
  for (const shape of [[12], [3, 4], [4, 3], [2, 2, 3], [1, 12], [12, 1]]) {
    t.same(await reshape(x, shape).data(), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], `[${shape.join(', ')}]`);
  }
  t.same(reshape(x, [3, -1]).shape, [3, 4]);
  t.same(reshape(x, [-1]).shape, [12]);
  t.equal(reshape(x, [2, 1, 6]).range.buffer.id, x.range.buffer.id, 'rows of one width share memory');
  t.throws(() => reshape(x, [5, 2]), /\[2, 6\] has 12 elements, \[5, 2\] would have 10/);
  t.throws(() => reshape(x, [5, -1]), /12 elements of \[2, 6\] do not divide into \[5, -1\]/);
  t.throws(() => reshape(x, [-1, -1]), /leaves 2 sizes open; only one can be inferred/);
}));

t.test('shape rules explain themselves', async (t) => {
  t.same(broadcastShapes('add', [2, 1, 4], [3, 1]), [2, 3, 4]);
  t.throws(() => broadcastShapes('add', [2, 3], [4, 3]), /add: shapes \[2, 3\] and \[4, 3\] do not broadcast: axis -2 has sizes 2 and 4/);
  t.same(normalizeAxes('sum', [-1, 0], 3), [0, 2]);
  t.throws(() => normalizeAxes('sum', 3, 3), /axis 3 is out of range for a tensor of 3 dimensions \(-3 … 2\)/);
  t.throws(() => normalizeAxes('sum', 0.5, 3), /axis 0\.5 is out of range/);
  t.throws(() => normalizeAxes('sum', [0, -3], 3), /name one axis twice/);
});

t.test('scopes release what they do not return', async (t) => {
  const base = live();
  const kept = scope(() => {
    const [a, b] = [ones([64, 64]), ones([64, 64])];
    return add(a, b);
  });
  t.equal(live() - base, 64 * 64 * 4, 'only the result lives');
  scope(() => { add(kept, kept); });
  t.equal(live() - base, 64 * 64 * 4);
  kept.release();
  t.equal(live(), base);
  t.throws(() => scope(() => { ones([64, 64]); throw new Error('inside'); }), /inside/);
  t.equal(live(), base, 'also after an error');
});

t.test('returned tensors survive in arrays and objects, nested', async (t) => {
  const base = live();
  await scope(async () => {
    const { list, pair: { x }, other } = scope(() =>
      ({ list: [ones([4]), zeros([4])], pair: { x: ones([4]) }, other: [1, null, 'text', Float32Array.of(1)], lost: null }));
    t.same(await list[0]!.data(), [1, 1, 1, 1]);
    t.same(await list[1]!.data(), [0, 0, 0, 0]);
    t.same(await x.data(), [1, 1, 1, 1]);
    t.equal(other.length, 4);
    t.equal(live() - base, 3 * 256);
  });
  t.equal(live(), base, 'the outer scope takes them over');
});

t.test('use after the scope is refused with the tensor’s name and the remedy', async (t) => {
  let leaked!: Tensor;
  scope(() => { leaked = tensor([[1, 2]], undefined, { label: 'leaked' }); });
  const text = /tensor "leaked" \[1, 2\] was released when its scope ended; return it from the scope, or mark it with keep\(\)/;
  t.throws(() => affine(leaked, 2), { name: 'UserError', message: text });
  await t.rejects(leaked.data(), text);
  t.throws(() => leaked.alias(), text);
  t.doesNotThrow(() => leaked.release(), 'releasing twice is harmless');
  t.throws(() => leaked.alias(), text, 'and does not change the story');
  const given = tensor([1], [1], { label: 'given back' });
  given.release();
  t.throws(() => given.alias(), /tensor "given back" \[1\] was released by release\(\), its own or that of the module or optimiser that it belongs to/);
});

t.test('a handle keeps shared memory alive, whoever goes first', async (t) => {
  const base = live();
  const view = scope(() => reshape(scope(() => tensor([1, 2, 3, 4])), [2, 2]));
  t.same(await view.data(), [1, 2, 3, 4]);
  t.equal(live() - base, 256);
  view.release();
  t.equal(live(), base);
});

t.test('keep outlives all scopes', async (t) => {
  const base = live();
  let kept!: Tensor;
  scope(() => scope(() => { kept = keep(tensor([1, 2, 3])); }));
  t.same(await kept.data(), [1, 2, 3]);
  kept.release();
  t.equal(live(), base);
});

t.test('scopes work across await', async (t) => {
  const base = live();
  const result = await scope(async () => {
    const a = ones([8]);
    await sleep(1);
    const b = add(a, 1);
    const inner = await scope(async () => {
      const c = add(b, 1);
      await sleep(1);
      return add(c, b);
    });
    t.same(await inner.data(), new Float32Array(8).fill(5));
    return sum(inner);
  });
  t.equal(await result.item(), 40);
  t.equal(live() - base, 256);
  result.release();
  await t.rejects(scope(async () => { ones([8]); await sleep(1); throw new Error('late'); }), /late/);
  t.equal(live(), base);
});

t.test('overlapping async scopes are refused, and nothing leaks afterwards', async (t) => {
  const base = live();
  let finish!: () => void;
  const gate = new Promise<void>((resolve) => { finish = resolve; });
  const outer = scope(async () => { ones([8]); await sleep(1); });
  const inner = scope(async () => { ones([8]); await gate; return ones([8]); });
  await t.rejects(outer, { name: 'UserError', message: /two async scopes overlap.*await the inner scope before the outer one ends/ });
  finish();
  (await inner).release();
  scope(() => { ones([8]); });
  t.equal(live(), base);
});

t.test('memoryReport books live bytes by owner', async (t) => {
  const before = memoryReport(runtime);
  const state = withOwner('optimiser', () => keep(zeros([256])));
  await scope(async () => {
    const x = cat([ones([64]), ones([64])], 0);
    const report = memoryReport(runtime);
    t.same(report.owners.optimiser, { bytes: 1024, tensors: 1 });
    t.equal(report.owners.activations!.bytes - (before.owners.activations?.bytes ?? 0), 512 + 2 * 256);
    t.equal(report.liveBytes, Object.values(report.owners).reduce((total, { bytes }) => total + bytes, 0), 'owners add up to the total');
    await x.data();
  });
  state.release();
  t.same(memoryReport(runtime).owners, before.owners);
});

t.test('two runtimes live side by side', async (t) => {
  const second = await openRuntime();
  const x = scope(() => affine(tensor([1, 2], undefined, { runtime: second }), 3));
  const y = scope(() => affine(tensor([1, 2], undefined, { runtime }), 5));
  t.same([await x.data(), await y.data()], [Float32Array.of(3, 6), Float32Array.of(5, 10)]);
  second.device.close();
  setDefaultRuntime(runtime);
  y.release();
});

t.teardown(() => runtime.device.close());
