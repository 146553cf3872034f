/** The commands beside the benchmark that start without a build of their own: the folder for a GPU, and the comparison with other libraries. */
import t from 'tap';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const folder = mkdtempSync(join(tmpdir(), 'pipit-folders-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const root = fileURLToPath(new URL('../..', import.meta.url));
const start = (script: string, ...args: string[]) =>
  spawnSync(process.execPath, [join(root, script), ...args], { cwd: root, encoding: 'utf8', env: { ...process.env, TMPDIR: folder } });

t.test('the GPU folder refuses wrong options in words, and leaves nothing', async (t) => {
  const out = join(folder, 'results');
  const suite = (...args: string[]) => start('bench/gpu/app/suite.mjs', '--out', out, ...args);
  const wrong: [string[], RegExp][] = [
    [['--bogus'], /^Unknown option '--bogus'/], [['--limit', 'abc'], /^--limit must be a number of seconds above 0 .*"abc"/],
    [['--limit', '0'], /^--limit must be/],
    [['--only', 'kernels,'], /^--only: there is no part ""/], [['--only', ''], /^--only: there is no part ""/],
    [['--only', 'constructor'], /^--only: there is no part "constructor"/],
  ];
  for (const [args, message] of wrong) {
    const { status, stderr } = suite(...args);
    t.equal(status, 1, args.join(' '));
    t.match(stderr, message);
    t.notMatch(stderr, /^ +at /m, 'no stack trace');
  }
  const help = suite('--help');
  t.equal(help.status, 0);
  t.match(help.stdout, /--limit SECONDS/);
  t.notOk(existsSync(out));
  t.strictSame(readdirSync(folder), []);
});

t.test('the GPU folder says when the adapter that was asked for is not there', async (t) => {
  const { status, stderr } = start('bench/gpu/app/suite.mjs', '--out', join(folder, 'results'), '--small', '--only', 'kernels', '--adapter', 'nosuch');
  t.equal(status, 1);
  t.match(stderr, /^--adapter: The adapter "nosuch" was asked for/);
});

t.test('the comparison with other libraries refuses what it cannot do before it starts any', async (t) => {
  const wrong: [string[], RegExp][] = [
    [['--peers', ','], /^--peers: there is no peer ""/], [['--peers', ''], /^--peers: there is no peer ""/],
    [['--peers', 'constructor'], /^--peers: there is no peer "constructor"/],
    [['--rounds', '2.5'], /^--rounds must be a whole number, got "2\.5"/],
    [['--json', join(folder, 'none', 'x')], /^--json: .*the folder .*none does not exist/],
    [['--json', join(folder, 'x'), '--markdown', join(folder, 'x')], /name the same file/],
  ];
  for (const [args, message] of wrong) {
    const { status, stderr, stdout } = start('bench/peers/compare.mjs', ...args);
    t.strictSame([status, stdout], [1, ''], args.join(' '));
    t.match(stderr, message);
  }
});

t.test('a comparison without any library fails', async (t) => {
  const { status, stderr, stdout } = spawnSync(process.execPath, [join(root, 'bench/peers/compare.mjs'), '--quick', '--peers', 'torch'],
    { encoding: 'utf8', env: { ...process.env, PYTHON: join(folder, 'no-python'), TMPDIR: folder } });
  t.equal(status, 1);
  t.match(stdout, /PyTorch CPU: left out/);
  t.match(stderr, /^No peer could be started/);
});
