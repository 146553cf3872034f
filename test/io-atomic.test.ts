import t from 'tap';
import fs, { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, utimesSync, writeFileSync, appendFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { UserError } from '../src/errors.js';
import { copyFileAtomic, writeFileAtomic, writeStreamAtomic } from '../src/io/atomic.js';
import { FileReader } from '../src/io/file-reader.js';
import { appendJsonLine } from '../src/io/jsonl.js';
import { makeFolder } from '../src/io/output.js';
import { readJsonLines } from './support/json-lines.js';

t.test('writeFileAtomic replaces a file and leaves nothing beside it', async (t) => {
  const folder = t.testdir({ 'a.txt': 'old' });
  const path = join(folder, 'a.txt');
  writeFileAtomic(path, 'new');
  t.equal(readFileSync(path, 'utf8'), 'new');
  writeFileAtomic(path, [Uint8Array.of(1, 2), Uint8Array.of(3)]);
  t.same([...readFileSync(path)], [1, 2, 3], 'pieces are joined in order');
  t.same(readdirSync(folder), ['a.txt']);
});

t.test('writeFileAtomic keeps the old file when it cannot write', async (t) => {
  const folder = t.testdir({ file: 'x' });
  t.throws(() => writeFileAtomic(join(folder, 'missing', 'a.txt'), 'x'),
    new UserError(`${join(folder, 'missing', 'a.txt')} cannot be written: the folder ${join(folder, 'missing')} does not exist; create it first.`));
  mkdirSync(join(folder, 'taken'));
  t.throws(() => writeFileAtomic(join(folder, 'taken'), 'x'), UserError, 'a folder is not replaced');
  t.throws(() => writeFileAtomic(join(folder, 'file', 'a.txt'), 'x'), UserError);
  t.same(readdirSync(folder).sort(), ['file', 'taken'], 'no temporary file stays behind');
});

t.test('copyFileAtomic makes a file of its own, and none where it cannot', async (t) => {
  const folder = t.testdir({ 'a.txt': 'old', copy: 'before', taken: {} });
  const [path, copy] = [join(folder, 'a.txt'), join(folder, 'copy')];
  copyFileAtomic(path, copy);
  writeFileSync(path, 'changed in place');
  t.equal(readFileSync(copy, 'utf8'), 'old');
  t.throws(() => copyFileAtomic(path, join(folder, 'taken')), { name: 'UserError', message: /taken cannot be written: a folder of that name exists/ });
  t.throws(() => copyFileAtomic(path, join(folder, 'missing', 'a')),
    { name: 'UserError', message: /missing.a cannot be written: the folder .*missing does not exist/ });
  t.same(readdirSync(folder).sort(), ['a.txt', 'copy', 'taken'], 'no temporary file stays behind');
});

t.test('whatever the system refuses is said with the path', async (t) => {
  const folder = t.testdir();
  const refused = (action: () => void, message: RegExp) => t.throws(action, { name: 'UserError', message });
  refused(() => writeFileAtomic(join(folder, 'x'.repeat(300)), 'x'), /xxx cannot be written: the name is too long; choose a shorter one\.$/);
  refused(() => makeFolder(join(folder, 'x'.repeat(300))), /xxx cannot be made: the name is too long/);
  t.throws(() => writeFileAtomic(join(folder, 'a'),
    (function* (): Generator<Uint8Array> { throw Object.assign(new TypeError('ours'), { code: 'ERR_OURS' }); })()), TypeError, 'a fault of ours stays one');
  if (process.platform === 'win32') return;
  symlinkSync('loop', join(folder, 'loop'));
  refused(() => writeFileAtomic(join(folder, 'loop', 'a'), 'x'), /loop.a cannot be written: a symbolic link in its path leads back to itself/);
});

t.test('folders for results are made, or what stands in their way is named', async (t) => {
  const folder = t.testdir({ file: 'x' });
  const refused = (action: () => void, message: RegExp) => t.throws(action, { name: 'UserError', message });
  makeFolder(join(folder, 'a', 'b', 'c'));
  makeFolder(join(folder, 'a', 'b', 'c'));
  t.ok(existsSync(join(folder, 'a', 'b', 'c')));
  refused(() => makeFolder(join(folder, 'file')), /file cannot be made: a file of that name exists/);
  refused(() => makeFolder(join(folder, 'file', 'x')), /x cannot be made: a part of its path is a file/);
  if (process.platform === 'linux') refused(() => makeFolder('/proc/nope/x'), /\/proc\/nope\/x cannot be made: there is no place for it/);
});

t.test('JSON lines: append, read, torn last line', async (t) => {
  const path = join(t.testdir(), 'metrics.jsonl');
  appendJsonLine(path, { epoch: 1, text: 'with\nline end' });
  appendJsonLine(path, { epoch: 2, text: 'ü' });
  t.same(readJsonLines(path), [{ epoch: 1, text: 'with\nline end' }, { epoch: 2, text: 'ü' }]);
  appendFileSync(path, '{"epoch":3,"te');
  appendJsonLine(path, { epoch: 3 });
  t.same(readJsonLines(path).map((line) => line.epoch), [1, 2, 3], 'appending removed the torn line first');
  t.ok(readFileSync(path, 'utf8').endsWith('\n{"epoch":3}\n'), 'all of it, though it was longer');
});

t.test('JSON lines: what cannot be appended is said in a sentence', async (t) => {
  const folder = t.testdir({ file: 'x' });
  t.throws(() => appendJsonLine(join(folder, 'missing', 'm.jsonl'), {}),
    { name: 'UserError', message: /m\.jsonl cannot be written: the folder .*missing does not exist/ });
  t.throws(() => appendJsonLine(folder, {}), { name: 'UserError', message: /a folder of that name exists/ });
  // A device that is always full.
  if (existsSync('/dev/full')) t.throws(() => appendJsonLine('/dev/full', {}), { name: 'UserError', message: /the disk is full; free some space/ });
});

t.test('JSON lines: a torn line longer than one read block is cut off', async (t) => {
  const path = join(t.testdir(), 'm.jsonl');
  appendJsonLine(path, { i: 0 });
  appendFileSync(path, `{"x":"${'y'.repeat(200_000)}`);
  appendJsonLine(path, { i: 1 });
  t.same(readJsonLines(path), [{ i: 0 }, { i: 1 }]);
});

const inPieces = async function* (...texts: string[]): AsyncGenerator<Uint8Array> {
  for (const text of texts) yield Buffer.from(text);
};

t.test('no file stays open', { skip: !existsSync('/proc/self/fd') && 'this system does not list them' }, async (t) => {
  const folder = t.testdir({ 'a.txt': 'old', taken: {} });
  const path = join(folder, 'a.txt');
  const attempts: (() => unknown)[] = [
    () => writeFileAtomic(path, 'new'), () => writeFileAtomic(join(folder, 'taken'), 'x'), () => copyFileAtomic(path, join(folder, 'copy')),
    () => writeStreamAtomic(path, inPieces('a', 'b')), () => appendJsonLine(join(folder, 'm.jsonl'), {}),
    () => new FileReader(path).read(0, 1), () => new FileReader(path).read(0, 100),
  ];
  const open = (): string[] => readdirSync('/proc/self/fd').slice(0, -1);
  const before = open();
  for (const attempt of attempts) {
    try {
      await attempt();
    } catch {
      // Some fail, on purpose.
    }
    t.same(open(), before, String(attempt));
  }
});

t.test('two streams to one name: each comes whole, and one stays', async (t) => {
  const folder = t.testdir();
  const path = join(folder, 'a');
  await Promise.all([writeStreamAtomic(path, inPieces('1', '2', '3')), writeStreamAtomic(path, inPieces('a', 'b', 'c'))]);
  t.match(readFileSync(path, 'utf8'), /^(123|abc)$/);
  t.same(readdirSync(folder), ['a']);
});

t.test('a system that takes and gives less at once than it is asked to', async (t) => {
  const folder = t.testdir();
  const { writeSync, readSync } = fs;
  const restore = (): void => {
    Object.assign(fs, { writeSync, readSync });
    syncBuiltinESMExports();
  };
  t.teardown(restore);
  const little = (length: number, bytes: Uint8Array, from: number): number => {
    if (from + length > bytes.length) throw new RangeError('more than there is');
    return Math.min(3, length);
  };
  Object.assign(fs, {
    writeSync: (file: number, bytes: Uint8Array, from = 0, length = bytes.length, at?: number) => writeSync(file, bytes, from, little(length, bytes, from), at),
    readSync: (file: number, bytes: Uint8Array, from: number, length: number, at: number) => readSync(file, bytes, from, little(length, bytes, from), at),
  });
  syncBuiltinESMExports();
  const path = join(folder, 'a');
  writeFileAtomic(path, 'all of it, in order');
  appendJsonLine(join(folder, 'm.jsonl'), { text: 'a whole line' });
  const read = Buffer.from(new FileReader(path).read(4, 11)).toString();
  restore();
  t.equal(readFileSync(path, 'utf8'), 'all of it, in order');
  t.same(readJsonLines(join(folder, 'm.jsonl')), [{ text: 'a whole line' }]);
  t.equal(read, 'of it, in o');
});

t.test('a file that became longer is refused, although its time is the same', async (t) => {
  const path = join(t.testdir({ a: 'abc' }), 'a');
  utimesSync(path, 1, 1);
  const file = new FileReader(path);
  appendFileSync(path, 'd');
  utimesSync(path, 1, 1);
  t.throws(() => file.read(0, 3), { name: 'UserError', message: /a was changed while it was read/ });
});
