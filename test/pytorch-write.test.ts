/** Files for torch.load. */
import t from 'tap';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { openTensorFile } from '../src/io/open-tensor-file.js';
import { checkTorchDtypes, type Picklable, PicklableTensor, writeTorch } from '../src/io/pytorch/write.js';
import { entryOf, type StoredTensor } from '../src/io/tensor-file.js';
import { runTorch, torchMissing } from './support/torch.js';

const folder = t.testdir();
const tensors: Record<string, StoredTensor> = {
  'fc.weight': { dtype: 'F32', shape: [2, 3], data: Float32Array.of(1, -2, 0.5, 1e-30, 3, 4) },
  'half': { dtype: 'F16', shape: [2], data: Uint16Array.of(0x3c00, 0xc000) },
  'bn.num_batches_tracked': { dtype: 'I64', shape: [], data: BigInt64Array.of(2n ** 40n) },
  'empty': { dtype: 'F32', shape: [0, 4], data: new Float32Array(0) },
  'flags': { dtype: 'BOOL', shape: [2], data: Uint8Array.of(1, 0) },
};
const value: Picklable = {
  logs: { epoch: 7, lr: 0.001, seen: 2 ** 40, loss: -1, info: 'Verlust ä', val_topk_accuracy: [88.5, 97], best: null, done: true, large: -(2 ** 31) - 1 },
  state_dict: new Map(Object.entries(tensors).map(([name, tensor]) => [name, new PicklableTensor(entryOf(tensor))])),
};
const path = join(folder, 'model.ckpt');
await writeTorch(path, value);

t.test('what was written is read again, to the bit', async (t) => {
  const file = await openTensorFile(path);
  t.same(Object.fromEntries(file.facts), {
    'logs.epoch': 7, 'logs.lr': 0.001, 'logs.seen': 2 ** 40, 'logs.loss': -1, 'logs.info': 'Verlust ä', 'logs.val_topk_accuracy.0': 88.5,
    'logs.val_topk_accuracy.1': 97,
    'logs.best': null, 'logs.done': true, 'logs.large': -(2 ** 31) - 1,
  });
  for (const [name, { dtype, shape, data }] of Object.entries(tensors)) {
    const entry = file.tensors.get(`state_dict.${name}`)!;
    t.strictSame([entry.dtype, entry.shape, entry.read()], [dtype, shape, data], name);
  }
});

t.test('equal content gives equal bytes; a failure leaves nothing', async (t) => {
  const again = join(folder, 'again.ckpt');
  await writeTorch(again, value);
  t.ok(readFileSync(again).equals(readFileSync(path)));
  const before = readdirSync(folder);
  const wrong = new PicklableTensor({ dtype: 'F32', shape: [3], read: () => Float32Array.of(1, 2) });
  await t.rejects(writeTorch(join(folder, 'wrong.ckpt'), { wrong }), { name: 'UserError', message: /shape \[3\] = 3 elements but 2 values/ });
  await t.rejects(writeTorch(join(folder, 'none', 'x.ckpt'), value), { name: 'UserError', message: /none does not exist; create it first/ });
  t.same(readdirSync(folder), before);
  const unknown = new Map([['x', entryOf({ dtype: 'U32', shape: [1], data: Uint32Array.of(1) })]]);
  t.throws(() => checkTorchDtypes('y.pth', unknown), { name: 'UserError', message: /y\.pth: tensor "x" has dtype U32, which PyTorch's files do not know/ });
});

t.test('torch.load opens it, and a state dictionary also when restricted to weights', { skip: torchMissing() }, async (t) => {
  type Described = { type: string; items: Record<string, unknown> };
  const { items } = runTorch('open_checkpoint.py', path) as { items: { logs: Described; state_dict: Described } };
  t.same(items.logs.items, (value as { logs: object }).logs);
  t.equal(items.state_dict.type, 'OrderedDict');
  const bare = join(folder, 'weights.pth');
  await writeTorch(bare, (value as { state_dict: Picklable }).state_dict);
  t.same(runTorch('open_checkpoint.py', bare, '--weights-only'), items.state_dict);
  const expected = { 'fc.weight': [...tensors['fc.weight']!.data as Float32Array], half: [1, -2], 'bn.num_batches_tracked': [2 ** 40], empty: [],
    flags: [1, 0] };
  const kinds = { 'fc.weight': 'float32', half: 'float16', 'bn.num_batches_tracked': 'int64', empty: 'float32', flags: 'bool' };
  for (const [name, values] of Object.entries(expected)) {
    t.same(items.state_dict.items[name], { dtype: `torch.${kinds[name as keyof typeof kinds]}`, shape: tensors[name]!.shape, values, contiguous: true }, name);
  }
});
