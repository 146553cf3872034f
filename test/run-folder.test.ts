/** The folder of a run: found, kept for one process, and left clean. */
import t from 'tap';
import { spawnSync } from 'node:child_process';
import fs, { closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { beginOf, type Place, thisPlace } from '../src/io/has-ended.js';
import { lock } from '../src/io/lock.js';
import { claimRunFolder } from '../src/train/run-folder.js';
import { call } from './support/command.js';

/** Numbers of a process that runs, and of one that has ended. */
const ALIVE = process.ppid;
const { pid: ENDED } = spawnSync(process.execPath, ['--version']);

t.test('each start without --out gets a folder of its own', async (t) => {
  const before = process.cwd();
  t.teardown(() => process.chdir(before));
  process.chdir(t.testdir({ runs: { 'birds-2': {} } }));
  const [first, second] = [claimRunFolder(undefined, 'birds', false), claimRunFolder(undefined, 'birds', false)];
  t.same([first.path, second.path], [join('runs', 'birds-1'), join('runs', 'birds-3')]);
  writeFileSync(join(second.path, 'config.json'), '{}');
  first.release();
  second.release();
  t.same(readdirSync('runs').sort(), ['birds-2', 'birds-3'], 'one in which nothing was written disappears');
  t.same(readdirSync(second.path), ['config.json']);
});

t.test('a folder in use is refused, one whose process has ended is taken over', async (t) => {
  const out = join(t.testdir({}), 'a', 'b');
  const held = join(out, 'running.pid');
  claimRunFolder(out, '', false).release();
  t.notOk(existsSync(join(out, '..')), 'nor one above it that was made for it');
  mkdirSync(out, { recursive: true });
  for (const left of [`${ENDED}\n`, `${process.pid}\n`, '']) {
    writeFileSync(held, left);
    const { release } = claimRunFolder(out, '', false);
    t.match(readFileSync(held, 'utf8'), new RegExp(`^${process.pid}\n`));
    release();
    t.notOk(existsSync(held));
  }
  t.ok(existsSync(out), 'a folder that was there before stays');
  writeFileSync(held, `${ALIVE}\n`);
  t.throws(() => claimRunFolder(out, '', true),
    { name: 'UserError', message: new RegExp(`the folder .* is in use by process ${ALIVE}\\. Wait until it has ended; if that process is another program, delete .*running\\.pid`) });
  t.ok(existsSync(held), 'and left to it');
  writeFileSync(join(out, 'last.safetensors'), '');
  t.throws(() => claimRunFolder(out, '', false), /already holds a run/);
});

t.test('the number of a process means something only where it was given', async (t) => {
  const out = t.testdir({});
  const held = join(out, 'running.pid');
  const here = thisPlace();
  const left = (pid: number, place: Partial<Place>, begin = beginOf(pid)): void =>
    writeFileSync(held, `${pid}\n${JSON.stringify({ ...here, ...place, begin })}\n`);
  const elsewhere = { name: 'UserError',
    message: /the folder .* is in use by process \d+ of another machine or container \(.*\), whose end cannot be seen from here\. Wait until it has ended; if it surely has, delete .*running\.pid/ };
  for (const pid of [process.pid, ENDED]) {
    left(pid, { container: 'pid:[1]' });
    t.throws(() => claimRunFolder(out, '', true), elsewhere, 'another container may have the same numbers');
    left(pid, { host: 'another' });
    t.throws(() => claimRunFolder(out, '', true), elsewhere);
    left(pid, { container: 'pid:[1]', boot: 'before' });
    t.throws(() => claimRunFolder(out, '', true), elsewhere);
  }
  // The first namespace of a machine is no container; of another start of a container its name may be another's.
  left(ALIVE, { boot: 'before' });
  if (here.container === 'pid:[4026531836]') claimRunFolder(out, '', true).release();
  else t.throws(() => claimRunFolder(out, '', true), elsewhere);
  const refused = { name: 'UserError', message: new RegExp(`is in use by process ${ALIVE}\\. `) };
  left(ALIVE, {});
  t.throws(() => claimRunFolder(out, '', true), refused);
  left(ENDED, {});
  claimRunFolder(out, '', true).release();
  // Elsewhere the system does not tell when a process began.
  if (beginOf(process.pid)) {
    left(ALIVE, {}, '1');
    claimRunFolder(out, '', true).release();
    const { release } = claimRunFolder(out, '', true);
    t.throws(() => claimRunFolder(out, '', true), { message: new RegExp(`is in use by process ${process.pid}`) }, 'our own lock is one too');
    release();
  }
  t.notOk(existsSync(held));
});

const noFlock = thisPlace().boot === '' || spawnSync('flock', ['--version']).error ? 'needs Linux and the command flock' : false;

t.test('the end of a process in another container of this machine is seen', { skip: noFlock }, async (t) => {
  const out = t.testdir({});
  const held = join(out, 'running.pid');
  const { release } = claimRunFolder(out, '', true);
  const own = readFileSync(held, 'utf8');
  const inContainer = own.replace(JSON.stringify(thisPlace().container), '"pid:[1]"');
  t.not(inContainer, own);
  writeFileSync(held, inContainer);
  t.throws(() => claimRunFolder(out, '', true),
    { name: 'UserError', message: /in use by process \d+ of another machine or container \(.*\)\. Wait until it has ended\.$/ }, 'while it runs');
  t.equal(readFileSync(held, 'utf8'), inContainer);
  release();
  writeFileSync(held, inContainer.replace(thisPlace().boot, 'before'));
  t.throws(() => claimRunFolder(out, '', true), { message: /cannot be seen from here.* delete/ }, 'another machine may not tell');
  writeFileSync(held, inContainer);
  claimRunFolder(out, '', true).release();
  t.notOk(existsSync(held), 'what a killed one left is taken over');
});

t.test('of two that take over a folder at the same moment one is refused', { skip: noFlock }, async (t) => {
  const held = join(t.testdir({ held: `${ENDED}\n` }), 'held');
  const file = openSync(held, 'r+');
  spawnSync('flock', ['-n', '3'], { stdio: ['ignore', 'ignore', 'ignore', file] });
  t.throws(() => lock(held, 'x'), { name: 'UserError', message: 'x was taken by another process at this moment. Wait until it has ended.' });
  t.equal(readFileSync(held, 'utf8'), `${ENDED}\n`, 'the other one may take it away');
  closeSync(file);
  lock(held, 'x')();
});

t.test('what keeps a folder appears with its text', async (t) => {
  const folder = t.testdir({});
  const held = join(folder, 'held');
  const links = t.capture(fs, 'linkSync', (own: string) => {
    t.match(readFileSync(own, 'utf8'), /^\d+\n\{.*\}\n/);
    throw new Error('this file system knows no links');
  });
  syncBuiltinESMExports();
  const release = lock(held, 'x');
  links.restore();
  syncBuiltinESMExports();
  t.match(readFileSync(held, 'utf8'), /^\d+\n\{.*\}\n/, 'as a copy, too');
  t.same(readdirSync(folder), ['held'], 'and nothing else');
  release();
  t.same(readdirSync(folder), []);
});

t.test('when a process began is told by its 22nd number, whatever its name', { skip: process.platform !== 'linux' && 'other systems do not tell' },
  async (t) => {
  const before = beginOf(process.pid);
  t.equal(before, readFileSync(`/proc/${process.pid}/stat`, 'utf8').replace(/\(.*\)/s, 'name').split(' ')[21]);
  const { title } = process;
  process.title = 'a) (b c';
  t.equal(beginOf(process.pid), before);
  process.title = title;
});

t.test('what stands in the way of a run is named', async (t) => {
  const out = t.testdir({ 'running.pid': {}, kept: { 'best.safetensors': '' } });
  t.throws(() => claimRunFolder(out, '', false),
    { name: 'UserError', message: /running\.pid is a folder, where a file shall tell which process uses the folder/ });
  t.throws(() => claimRunFolder(join(out, 'kept'), '', false),
    { name: 'UserError', message: /kept holds the best\.safetensors of a run, which would be replaced\. Choose another folder with --out/ });
  t.notOk(existsSync(join(out, 'kept', 'running.pid')));
  writeFileSync(join(out, 'epoch-010.safetensors'), '');
  t.throws(() => claimRunFolder(out, '', false), { name: 'UserError', message: /holds the epoch-010\.safetensors of a run/ });
});

t.test('temporary files of processes that were killed are removed', async (t) => {
  const stay = [`.last.safetensors.${ALIVE}-0.tmp`, '.own.tmp', 'last.safetensors'];
  const files = [`.last.safetensors.${ENDED}-3.tmp`, `.metrics.jsonl.${ENDED}-12.tmp`, ...stay];
  const out = t.testdir(Object.fromEntries(files.map((name) => [name, ''])));
  claimRunFolder(out, '', true).release();
  t.same(readdirSync(out).sort(), [...stay].sort());
});

t.test('a start that fails on its data leaves no folder', async (t) => {
  const folder = t.testdir({});
  const out = join(folder, 'run');
  const { code, errors } = await call('train', '--dataset', 'folder', '--data', join(folder, 'nothing'), '--out', out);
  t.equal(code, 1, errors);
  t.notOk(existsSync(out));
});
