/** Weights that the library's users save and load: as bytes, in files, and those of other programs. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { backward } from '../src/autograd/backward.js';
import { load, save } from '../src/browser.js';
import { UserError } from '../src/errors.js';
import { PicklableTensor, writeTorch } from '../src/io/pytorch/write.js';
import { entryOf } from '../src/io/tensor-file.js';
import { BatchNorm2d, Conv2d, GlobalAvgPool2d, Linear, Sequential } from '../src/nn/layers.js';
import { seedInit } from '../src/nn/init.js';
import { buffer, Module, parameter } from '../src/nn/module.js';
import { AdamW } from '../src/nn/optimizer.js';
import { add, mul, randn, sum } from '../src/ops/index.js';
import { readSafetensors, writeSafetensors } from '../src/io/safetensors.js';
import { write } from '../src/tensor/create.js';
import { scope } from '../src/tensor/scope.js';
import type { Tensor } from '../src/tensor/tensor.js';
import { loadFile, saveFile } from '../src/train/state-file.js';
import { openRuntime } from './support/runtime.js';

await openRuntime();

const network = (seed: number): Sequential => {
  seedInit(seed);
  return new Sequential([new Conv2d(3, 5, [3, 2]), new BatchNorm2d(5), new GlobalAvgPool2d(), new Linear(5, 4)]).eval();
};

t.test('another network computes the same with saved weights', (t) => scope(async () => {
  const [one, other, third] = [network(1), network(2), network(3)];
  const x = randn([2, 6, 6, 3]);
  const outputs = async (net: Sequential): Promise<number[]> => [...(await (net.call(x) as Tensor).data())];
  const expected = await outputs(one);
  t.notSame(await outputs(other), expected);

  const bytes = save(await one.stateDict());
  t.same(save(await one.stateDict()), bytes, 'equal weights give equal bytes');
  other.loadStateDict(load(bytes));
  t.same(await outputs(other), expected, 'through bytes');

  const path = join(t.testdir(), 'net.safetensors');
  saveFile(await one.stateDict(), path);
  third.loadStateDict(await loadFile(path));
  t.same(await outputs(third), expected, 'through a file');

  const { tensors } = readSafetensors(path);
  t.same(tensors.get('0.weight')!.shape, [5, 3, 3, 2], 'a convolution in PyTorch\'s layout');
  t.same(tensors.get('3.weight')!.shape, [4, 5], 'a linear layer likewise');
}));

t.test('files of PyTorch: its counters of batches are left out', (t) => scope(async () => {
  const path = join(t.testdir(), 'torch.safetensors');
  saveFile(await network(1).stateDict(), path);
  const { tensors } = readSafetensors(path);
  writeSafetensors(path, new Map([...tensors, ['1.num_batches_tracked', { dtype: 'I64', shape: [], data: BigInt64Array.of(7n) }]]));
  network(2).loadStateDict(await loadFile(path));
  t.notOk((await loadFile(path)).has('1.num_batches_tracked'));
}));

/** Its parts have names that checkpoints use for what they hold. */
class Named extends Module {
  net = new Linear(2, 3);
  model = new Linear(3, 2);
  optimizer = new Linear(2, 2);
  trained = new Linear(2, 2);
  center = buffer([2], Float32Array.of(3, 4));
  feature_center = buffer([2], Float32Array.of(5, 6));

  protected override forward(x: Tensor): Tensor {
    return this.model.call(this.net.call(x));
  }
}

t.test('a module keeps its names, those too that checkpoints have for their parts', async (t) => {
  const state = await new Named().stateDict();
  const path = join(t.testdir(), 'named.safetensors');
  saveFile(state, path);
  t.same(await loadFile(path), state, 'in a file');
  t.same(load(save(state)), state, 'as bytes');
  const whole = new Map([...state].filter(([name]) => name.startsWith('model.')));
  t.same(load(save(whole)), whole, 'where all names begin so');
});

t.test('files of PyTorch: a dictionary in a checkpoint is told from a module of that name', async (t) => {
  const tensor = (...data: number[]) => new PicklableTensor(entryOf({ dtype: 'F32', shape: [data.length], data: Float32Array.from(data) }));
  const weights = new Map([['net.bias', tensor(1, 2)], ['fc.bias', tensor(3)], ['center', tensor(4)]]);
  const [bare, checkpoint] = ['bare.pth', 'checkpoint.pth'].map((name) => join(t.testdir({}), name)) as [string, string];
  await writeTorch(bare, weights);
  await writeTorch(checkpoint, { epoch: 3, optimizer: new Map([['fc.bias', tensor(9)]]), model: weights });
  for (const path of [bare, checkpoint]) {
    t.same([...await loadFile(path)].map(([name, { data }]) => [name, ...data]), [['net.bias', 1, 2], ['fc.bias', 3], ['center', 4]], path);
  }
});

t.test('an optimiser goes on from its state in a file as if it had never stopped', (t) => scope(async () => {
  const make = () => new AdamW([
    { params: [parameter([3, 5], Float32Array.from({ length: 15 }, (_, i) => i - 7))] }, { params: [parameter([2], Float32Array.of(1, -2))], lr: 0.2 },
  ], { lr: 0.1 });
  const go = (optimizer: AdamW): void => {
    optimizer.zeroGrad();
    backward(optimizer.paramGroups.flatMap(({ params }) => params.map((p) => sum(mul(p, p)))).reduce((a, b) => add(a, b)));
    optimizer.step();
  };
  const weightsOf = (optimizer: AdamW) => Promise.all(optimizer.paramGroups.flatMap(({ params }) => params.map((p) => p.data())));
  const [one, other] = [make(), make()];
  go(one);
  const path = join(t.testdir(), 'optimizer.safetensors');
  const { vectors, ...counts } = await one.stateDict();
  saveFile(new Map([...vectors].map(([name, data]) => [name, { shape: [data.length], data }])), path);
  for (const [i, data] of (await weightsOf(one)).entries()) write(other.paramGroups[i]!.params[0]!, data);
  const written = JSON.parse(JSON.stringify(counts)) as typeof counts;
  other.loadStateDict({ ...written, vectors: new Map([...await loadFile(path)].map(([name, { data }]) => [name, data])) });
  go(one);
  go(other);
  t.same(await weightsOf(other), await weightsOf(one));
}));

t.test('bytes wherever they lie', async (t) => {
  const bytes = save(await network(1).stateDict());
  const expected = load(bytes);
  t.same(load(bytes.buffer), expected, 'an ArrayBuffer');
  for (const shift of [1, 3]) {
    t.same(load(Buffer.concat([Buffer.alloc(shift), bytes]).subarray(shift)), expected, `a Buffer at ${shift}`);
    const shifted = new Uint8Array(bytes.length + shift);
    shifted.set(bytes, shift);
    t.same(load(shifted.subarray(shift)), expected, `an array at ${shift}`);
  }
});

t.test('tensors of other modules come back as they were; only what is called a weight changes its layout', async (t) => {
  const values = (shape: number[]) => ({ shape, data: Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => i) });
  const state = new Map([['tokens.weight', values([4, 3])], ['table', values([4, 3])], ['position', values([1, 2, 3, 4])],
    ['kernel.weight', values([1, 2, 3, 4])]]);
  const path = join(t.testdir(), 'state.safetensors');
  saveFile(state, path);
  t.same(await loadFile(path), state);
  const shapes = Object.fromEntries([...readSafetensors(path).tensors].map(([name, { shape }]) => [name, shape]));
  t.same(shapes, { 'tokens.weight': [3, 4], table: [4, 3], position: [1, 2, 3, 4], 'kernel.weight': [4, 3, 1, 2] });
});

t.test('what are no weights is refused', async (t) => {
  const refusal = { name: new UserError('').name };
  t.throws(() => load(new Uint8Array(3)), { ...refusal, message: /^what was given is not a safetensors file or is damaged: it has only 3 bytes/ });
  for (const wrong of ['a path', 7, null, undefined, []]) {
    t.throws(() => load(wrong as never),
      { ...refusal, message: /^what was given must be the bytes of a safetensors file, a Uint8Array or an ArrayBuffer, got/ });
  }
  const state = await network(1).stateDict();
  t.throws(() => saveFile('net.safetensors' as never, state as never), { ...refusal, message: /^saveFile: the weights must be a state, as `await module\.stateDict\(\)` gives it, got string/ });
  t.throws(() => saveFile(new Map([['momentum.0', new Float32Array(3)]]) as never, 'net.safetensors'), { ...refusal, message: /^saveFile: "momentum\.0" must be \{ shape, data \} with a Float32Array/ });
  t.throws(() => saveFile(state, undefined as never), { ...refusal, message: /^saveFile: the path of a file must be a text, got undefined/ });
  t.throws(() => save(network(1).stateDict() as never), { ...refusal, message: /^save: the weights must be a state/ });
  await t.rejects(loadFile(7 as never), { ...refusal, message: /^loadFile: the path of a file must be a text, got number/ });
  const bytes = save(state);
  t.throws(() => load(bytes.subarray(0, bytes.length - 4)), { ...refusal, message: /only \d+ bytes are there: the file is cut off/ });
  const path = join(t.testdir(), 'page.safetensors');
  writeFileSync(path, '<!doctype html>');
  await t.rejects(loadFile(path), { ...refusal, message: /is a web page, not weights/ });
  await t.rejects(loadFile(`${path}.missing`), { ...refusal, message: /there is no such file/ });
});
