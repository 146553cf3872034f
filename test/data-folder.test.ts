import { mkdirSync, rmdirSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { DatasetOptions } from '../src/data/dataset.js';
import { ids, labels, open, refusal, scratch, write, writePng } from './data-helpers.js';

t.test('folder: train and test, val, or one folder per class alone', async (t) => {
  const dir = scratch(t);
  const fill = (root: string, counts: Record<string, number>) => {
    for (const [name, count] of Object.entries(counts)) for (let i = 0; i < count; i++) writePng(join(root, name, `${i}.PNG`), i);
  };
  fill(join(dir, 'a', 'train'), { wren: 3, robin: 3 });
  t.match(await refusal('folder', join(dir, 'a')), /has a train folder but neither test nor val/);
  fill(join(dir, 'a', 'val'), { wren: 1, robin: 2 });
  writePng(join(dir, 'a', 'train', 'wren', 'deeper', 'x.jpg'), 9);
  write(join(dir, 'a', 'train', 'wren', 'notes.txt'), 'not a picture');
  for (const name of ['x.webp', 'y.webp', 'z.HEIC']) write(join(dir, 'a', 'train', 'wren', name), 'RIFF');
  const set = await open('folder', join(dir, 'a'));
  t.same([set.classes, set.train.samples.length, labels(set.test), set.val], [['robin', 'wren'], 7, [0, 0, 1], undefined]);
  t.ok(ids(set.train).includes('train/wren/deeper/x.jpg'));
  t.match(set.notes.join(), /3 pictures in .*wren left out, \.webp and \.heic cannot be decoded; convert/);
  fill(join(dir, 'a', 'test'), { wren: 2, robin: 2 });
  const three = await open('folder', join(dir, 'a'));
  t.same([three.test.samples.length, three.val!.samples.length], [4, 3]);
  t.equal((await open('folder', join(dir, 'a'), { valFraction: 0.2 })).val!.samples.length, 2, 'a validation fraction replaces the val folder');
  fill(join(dir, 'a', 'test'), { crow: 1 });
  t.match(await refusal('folder', join(dir, 'a')), /class folder "crow", which the train folder lacks/);

  fill(join(dir, 'b'), { x: 10, y: 5, z: 1 });
  const chance = await open('folder', join(dir, 'b'));
  t.same([labels(chance.test), chance.train.samples.length], [[0, 0, 1], 13], 'a fifth of each class, never the only picture');
  t.same(ids((await open('folder', join(dir, 'b'))).test), ids(chance.test), 'the same split each time');
  t.match(chance.notes.join(), /3 of 16 pictures were set aside.*1 of 3 classes has no test image: z$/);
  fill(join(dir, 'c'), { only: 3 });
  t.match(await refusal('folder', join(dir, 'c')), /one class only \("only"\)/);
  mkdirSync(join(dir, 'd'));
  t.match(await refusal('folder', join(dir, 'd')), /has no class folders; expected .*<class>/);
  mkdirSync(join(dir, 'e', 'one'), { recursive: true });
  mkdirSync(join(dir, 'e', 'two'));
  t.match(await refusal('folder', join(dir, 'e')), /no folder in .*e holds a picture; expected .*<class>/);
  fill(join(dir, 'e'), { two: 5 });
  t.match(await refusal('folder', join(dir, 'e')), /one class only \("two"\)/, 'an empty folder is none');
  fill(join(dir, 'e', 'train'), { two: 5, six: 2 });
  fill(join(dir, 'e', 'test'), { two: 5 });
  fill(join(dir, 'e', 'val'), { two: 5, six: 1 });
  mkdirSync(join(dir, 'e', 'train', 'ten'));
  mkdirSync(join(dir, 'e', 'test', 'one'));
  const set2 = await open('folder', join(dir, 'e'));
  t.same([set2.classes, labels(set2.val!)], [['six', 'two'], [0, 1, 1, 1, 1, 1]]);
  t.match(set2.notes.join(), /2 folders without pictures below .* left out: .*ten, .*one/);
});

t.test('folder: parts in capitals, and classes that are called like parts', async (t) => {
  const dir = scratch(t);
  const fill = (...folders: string[]) => folders.forEach((folder) => [1, 2].forEach((i) => writePng(join(dir, folder, `${i}.png`), i)));
  fill('a/Train/crow', 'a/Train/wren');
  t.match(await refusal('folder', join(dir, 'a')), /has a Train folder but neither test nor val; add one/);
  fill('a/TEST/wren', 'a/TEST/crow');
  const set = await open('folder', join(dir, 'a'));
  t.same([set.classes, ids(set.test)[0]], [['crow', 'wren'], 'TEST/crow/1.png']);
  fill('a/training/crow');
  t.match(await refusal('folder', join(dir, 'a')), /a has both Train and training; keep one of them/);
  fill('b/test/crow', 'b/wren');
  t.match(await refusal('folder', join(dir, 'b')), /has a test folder but no train folder/);
  fill('c/bus', 'c/train');
  t.same((await open('folder', join(dir, 'c'))).classes, ['bus', 'train'], 'railways');
});

t.test('folder: what is no class and no picture is left out, and told', async (t) => {
  const dir = scratch(t);
  const fill = (...files: string[]) => files.forEach((file, i) => writePng(join(dir, file), i));
  for (const name of ['crow', 'wren']) fill(`${name}/1.jfif`, `${name}/2.png`);
  fill('crow/.ipynb_checkpoints/1-checkpoint.jpg', 'wren/.thumbnails/deep/1.jpg', 'crow/3', 'wren/4');
  fill('runs/folder-1/pictures/1.png', 'out/deep/test/1.png', ...['box', 'crop', 'heat', 'maps'].map((kind) => `looked/heron-${kind}.png`));
  write(join(dir, 'out', 'deep', 'config.json'), '{}');
  write(join(dir, 'out', 'deep', 'last.safetensors'), '');
  mkdirSync(join(dir, 'empty'));
  const { classes, train, test, notes } = await open('folder', dir);
  t.same([classes, [...ids(train), ...ids(test)].sort()], [['crow', 'wren'], ['crow/1.jfif', 'crow/2.png', 'wren/1.jfif', 'wren/2.png']]);
  t.match(notes[0], /what Pipit wrote is no class and was left out: .*looked, .*out, .*runs$/);
  t.match(notes[1], /2 files left out for lack of an ending such as pictures have .*: .*crow.3, .*wren.4$/);
  t.match(notes[2], /1 folder without pictures below .* left out: .*empty$/);
  fill('runs/1.png', 'looked/heron.png');
  t.same((await open('folder', dir)).classes, ['crow', 'looked', 'runs', 'wren'], 'pictures of other names make a class of them');
});

t.test('folder: links to folders are followed, each folder once', { skip: process.platform === 'win32' && 'links need special rights there' }, async (t) => {
  const dir = scratch(t);
  for (const file of ['a/crow/1.png', 'a/crow/x/2.png', 'a/wren/1.png', 'a/wren/2.png', 'elsewhere/3.png']) writePng(join(dir, file), file.length);
  symlinkSync(join('..', '..', 'elsewhere'), join(dir, 'a', 'crow', 'more'));
  symlinkSync('..', join(dir, 'a', 'crow', 'x', 'back'));
  symlinkSync('x', join(dir, 'a', 'crow', 'again'));
  symlinkSync('nowhere.png', join(dir, 'a', 'wren', 'gone.png'));
  const { train, test } = await open('folder', join(dir, 'a'));
  t.same([...ids(train), ...ids(test)].sort(), ['crow/1.png', 'crow/more/3.png', 'crow/x/2.png', 'wren/1.png', 'wren/2.png', 'wren/gone.png'],
    'a picture that is gone is told of when it is read');
});

t.test('folder: names that are no UTF-8', { skip: process.platform !== 'linux' && 'other systems have none' }, async (t) => {
  const dir = scratch(t);
  for (const name of ['crow', 'wren']) for (let i = 0; i < 3; i++) writePng(join(dir, name, `${i}.png`), i);
  const bad = (...parts: string[]) => Buffer.concat([Buffer.from(`${join(dir, ...parts)}/caf`), Buffer.from([0xe9])]);
  mkdirSync(bad());
  t.match(await refusal('folder', dir), /holds "caf\\xe9", whose name is not UTF-8; rename it/);
  rmdirSync(bad());
  writeFileSync(bad('wren'), '');
  t.match(await refusal('folder', dir), /wren holds "caf\\xe9", whose name/);
  unlinkSync(bad('wren'));
  writePng(join(dir, 'wren', 'caf\ufffd.png'), 9);
  t.equal((await open('folder', dir)).notes.length, 1, 'the sign that stands for such bytes is a name as any other');
});

t.test('folder: what may not be looked at is named', { skip: process.platform === 'win32' && 'links need special rights there' }, async (t) => {
  const dir = scratch(t);
  for (const name of ['crow', 'wren']) for (let i = 0; i < 3; i++) writePng(join(dir, name, `${i}.png`), i);
  symlinkSync('loop', join(dir, 'loop'));
  t.match(await refusal('folder', dir), /loop is a symbolic link that leads back to itself; remove it or give access to it/);
  rmSync(join(dir, 'loop'));
  if (process.getuid?.() === 0) return; // Root may look at everything.
  mkdirSync(join(dir, 'wren', 'closed'), { mode: 0 });
  t.match(await refusal('folder', dir), /closed may not be read \(permission denied\); give access to it or remove it/);
});

t.test('folder: one picture more or less hardly changes which are tested on', async (t) => {
  const dir = scratch(t);
  for (const name of ['crow', 'wren']) for (let i = 0; i < 20; i++) writePng(join(dir, name, `${i}.png`), i);
  const tested = async (options: Partial<DatasetOptions> = {}) => {
    const { test, val } = await open('folder', dir, options);
    return new Set(ids(val ?? test));
  };
  for (const options of [{}, { valFraction: 0.25 }]) {
    const before = await tested(options);
    for (const added of ['crow/00.png', 'wren/zz.png']) {
      writePng(join(dir, added), 99);
      const after = await tested(options);
      const came = [...after].filter((id) => !before.has(id));
      t.ok(came.length <= 1 && before.size - [...before].filter((id) => after.has(id)).length <= 1, `${added} moved ${came.join()}`);
      rmSync(join(dir, added));
    }
    for (let i = 0; i < 20; i++) writePng(join(dir, 'auk', `${i}.png`), i);
    const more = await tested(options);
    t.same([...more].filter((id) => !id.startsWith('auk')), [...before], 'a new class moves none of the others');
    rmSync(join(dir, 'auk'), { recursive: true });
    t.notSame(await tested({ ...options, seed: 2 }), before, 'another seed, another draw');
  }
});
