/** Weights that the library's users save and load: as bytes, in files, and those of other programs. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { load, save } from '../src/browser.js';
import { UserError } from '../src/errors.js';
import { BatchNorm2d, Conv2d, GlobalAvgPool2d, Linear, Sequential } from '../src/nn/layers.js';
import { seedInit } from '../src/nn/init.js';
import { randn } from '../src/ops/index.js';
import { readSafetensors, writeSafetensors } from '../src/io/safetensors.js';
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

t.test('what are no weights is refused', async (t) => {
  const refusal = { name: new UserError('').name };
  t.throws(() => load(new Uint8Array(3)), { ...refusal, message: /^what was given is not a safetensors file or is damaged: it has only 3 bytes/ });
  const bytes = save(await network(1).stateDict());
  t.throws(() => load(bytes.subarray(0, bytes.length - 4)), { ...refusal, message: /only \d+ bytes are there: the file is cut off/ });
  const path = join(t.testdir(), 'page.safetensors');
  writeFileSync(path, '<!doctype html>');
  await t.rejects(loadFile(path), { ...refusal, message: /is a web page, not weights/ });
  await t.rejects(loadFile(`${path}.missing`), { ...refusal, message: /there is no such file/ });
});
