// The steps that make a fresh clone ready: packages, adapter, build. Plain Node, since nothing is installed yet.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ensureAdapter } from './adapter.mjs';
import { isInstalled } from './lockfile.mjs';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const STAMP = 'dist/.built';
const SOURCES = ['src', 'shaders', 'test', 'bench', 'esbuild.mjs', 'tsconfig.json', 'package-lock.json'];
/** The first with zlib's crc32, which PyTorch's archives need. */
const OLDEST_NODE = '20.15.0';

const say = (line) => console.log(`[setup] ${line}`);
const run = (command, args, options = {}) =>
  spawnSync(command, args, { cwd: ROOT, stdio: 'inherit', ...options }).status === 0;

const packagesAreReady = () => {
  const hidden = join(ROOT, 'node_modules/.package-lock.json');
  return existsSync(hidden) && isInstalled(readFileSync(join(ROOT, 'package-lock.json'), 'utf8'), readFileSync(hidden, 'utf8'));
};

/** No package here needs its install script, and that of onnxruntime-node may fetch CUDA libraries from elsewhere. */
const installPackages = () => {
  if (packagesAreReady()) return;
  say('Installing the npm packages ...');
  const npm = process.env.npm_execpath;
  const args = ['ci', '--include=dev', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
  const done = npm ? run(process.execPath, [npm, ...args]) : run('npm', args, { shell: process.platform === 'win32' });
  if (!done || !packagesAreReady()) throw new Error('"npm ci" did not succeed; its message is above. Check the network and the registry that npm is set to.');
};

/** Newest change below a path; folders count too, so that a deleted file is noticed. */
const newest = (path) => {
  if (!existsSync(path)) return 0;
  const info = statSync(path);
  const inside = info.isDirectory() ? readdirSync(path).map((name) => newest(join(path, name))) : [];
  return Math.max(info.mtimeMs, ...inside);
};

const build = (always) => {
  const stamp = join(ROOT, STAMP);
  const builtAt = existsSync(stamp) ? statSync(stamp).mtimeMs : 0;
  if (!always && Math.max(...SOURCES.map((path) => newest(join(ROOT, path)))) < builtAt) return;
  if (!run(process.execPath, ['esbuild.mjs'])) throw new Error('The build failed; esbuild\'s message is above.');
  mkdirSync(join(ROOT, 'dist'), { recursive: true });
  writeFileSync(stamp, '');
};

const checkNode = () => {
  const isOlder = process.versions.node.localeCompare(OLDEST_NODE, 'en', { numeric: true }) < 0;
  if (isOlder) throw new Error(`Node ${OLDEST_NODE} or newer is needed; this is ${process.version}.`);
};

/** Runs the whole set-up; throws an Error whose message is the remedy. */
export function setUp({ alwaysBuild = false } = {}) {
  checkNode();
  installPackages();
  const adapter = ensureAdapter((process.env.PIPIT_ADAPTER ?? '').trim(), say);
  say(`Adapter: ${adapter.name}${adapter.isSoftware ? ' (software, no GPU)' : ''}`);
  build(alwaysBuild);
}
