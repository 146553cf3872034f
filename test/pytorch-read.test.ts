/** Files of torch.save: those PyTorch itself wrote, and those that mean harm. */
import t from 'tap';
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openTensorFile } from '../src/io/open-tensor-file.js';
import { type TensorEntry, toFloat32 } from '../src/io/tensor-file.js';

const FIXTURES = 'test/fixtures/pytorch';
const fixture = (name: string): string => join(FIXTURES, name);
const numbers = ({ dtype, read }: TensorEntry): number[] => [...toFloat32(dtype, read())];
const expected = JSON.parse(readFileSync(fixture('expected.json'), 'utf8')) as Record<string, { shape: number[]; values: (number | string)[] }>;

for (const [name, format] of [['kinds.pth', 'PyTorch'], ['kinds-legacy.pth', 'PyTorch before 1.6']] as const) {
  t.test(`${name}: every number type, views and shared storages`, async (t) => {
    const file = await openTensorFile(fixture(name));
    t.equal(file.format, format);
    t.same([...file.tensors.keys()], Object.keys(expected), 'in the order of the file');
    for (const [key, { shape, values }] of Object.entries(expected)) {
      const entry = file.tensors.get(key)!;
      t.same(entry.shape, shape, `${key}: shape`);
      t.strictSame(numbers(entry), values.map((v) => Math.fround(v === 'inf' ? Infinity : Number(v))), `${key}: values`);
    }
    t.equal(file.tensors.get('half')!.dtype, 'F16');
    t.equal(file.tensors.get('transposed')!.read().length, 24);
  });
}

t.test('a checkpoint of the reference, NumPy objects included', async (t) => {
  const { tensors, facts } = await openTensorFile(fixture('reference.ckpt'));
  t.same([...tensors.keys()].sort(), [
    'feature_center', 'logs.train_crop_topk_accuracy', 'logs.train_drop_topk_accuracy', 'logs.train_raw_topk_accuracy', 'logs.val_topk_accuracy',
    'state_dict.attentions.bn.num_batches_tracked', 'state_dict.fc.weight',
  ]);
  t.same(Object.fromEntries(facts), { 'logs.epoch': 7, 'logs.lr': 0.001, 'logs.train_loss': 1.25, 'logs.train_info': 'Loss 1.25, Raw Acc (81.50, 95.25)',
    'logs.val_loss': 0.75, 'logs.seen': 12 });
  t.same([...tensors.get('logs.train_raw_topk_accuracy')!.read()], [81.5, 95.25]);
  t.same([...tensors.get('logs.val_topk_accuracy')!.read()], [88.28, 97.5], 'float64');
  t.same([...tensors.get('logs.train_drop_topk_accuracy')!.read()], [70, 1, 90, 2], 'stored column by column');
  t.same(numbers(tensors.get('state_dict.fc.weight')!), [0, 1, 2, 3, 4, 5]);
});

t.test('a checkpoint of wvinzh’s program, optimiser included', async (t) => {
  const { tensors, facts, format } = await openTensorFile(fixture('wvinzh.pth.tar'));
  t.equal(format, 'PyTorch before 1.6');
  t.same(numbers(tensors.get('state_dict.module.0.weight')!), [-0.1, 0.9].map(Math.fround), 'after one step with gradient 1');
  t.same(numbers(tensors.get('optimizer.state.1.momentum_buffer')!), [1, 1]);
  t.equal(facts.get('optimizer.param_groups.0.momentum'), 0.9);
  t.same(numbers(tensors.get('center')!), [1, 0, 0, 1]);
});

t.test('what would run code is refused by its name', async (t) => {
  await t.rejects(openTensorFile(fixture('evil.pth')),
    { name: 'UserError', message: /evil\.pth asks for "posix\.system", which is not among the names.*Nothing of it was executed/ });
});

t.test('other files are told by what they are', async (t) => {
  const folder = t.testdir();
  const cases: [string, string | Buffer, RegExp][] = [
    ['empty.pth', '', /is empty\. Copy or download it again/],
    ['lfs.pth', 'version https://git-lfs.github.com/spec/v1\noid sha256:1\n', /only a pointer of Git LFS/],
    ['page.pth', '<!DOCTYPE html><html>404</html>', /is a web page/],
    ['packed.pth', Buffer.from('1f8b0800', 'hex'), /compressed with gzip/],
    ['old.tar', Buffer.concat([Buffer.alloc(257), Buffer.from('ustar')]), /is a tar archive/],
    ['array.npy', Buffer.from('\x93NUMPY\x01', 'latin1'), /is a NumPy array/],
    ['notes.txt', 'these are my weights', /is neither a safetensors file nor one of torch\.save/],
    ['plain.pkl', Buffer.from('\x80\x02}q\x00.', 'latin1'), /is a Python pickle, but torch\.save did not write it/],
  ];
  for (const [name, content, message] of cases) {
    writeFileSync(join(folder, name), content);
    await t.rejects(openTensorFile(join(folder, name)), { name: 'UserError', message }, name);
  }
  copyFileSync(fixture('kinds.pth'), join(folder, 'renamed.safetensors'));
  t.equal((await openTensorFile(join(folder, 'renamed.safetensors'))).format, 'PyTorch', 'the content counts, not the name');
  await t.rejects(openTensorFile(join(folder, 'none.pth')), { name: 'UserError', message: /none\.pth cannot be read: there is no such file/ });
});
