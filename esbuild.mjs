// Builds everything to dist/: the commands (src/cli), the library, the benchmark, the decode worker, and the tests.
// `.wgsl` files are imported as text, in the product and in the tests alike.
import { build } from 'esbuild';
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';

const list = (dir, ending) =>
  existsSync(dir) ? readdirSync(dir, { recursive: true }).map(String).filter((f) => f.endsWith(ending)).map((f) => `${dir}/${f}`) : [];

// A file that runs a command is one; the others beside it are their parts.
const commands = () => list('src/cli', '.ts').filter((file) => readFileSync(file, 'utf8').includes('await runCommand('));

const shared = {
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'esm',
  packages: 'external',
  loader: { '.wgsl': 'text' },
  sourcemap: 'linked',
  logLevel: 'warning',
};

rmSync('dist', { recursive: true, force: true });
// Split, so that what is imported on demand (image codecs, the report) is loaded on demand.
await build({ ...shared, splitting: true, entryPoints: [...commands(), 'src/index.ts', 'bench/bench.ts', 'src/data/decode-worker.ts'].filter((f) => existsSync(f)), outdir: 'dist', outbase: 'src', entryNames: '[name]' });
// For browsers everything comes in one file; a module of Node's in it would stop the build.
const page = { ...shared, platform: 'browser', target: 'es2022', packages: 'bundle' };
await build({ ...page, entryPoints: ['src/browser.ts'], outdir: 'dist' });
await build({ ...page, entryPoints: list('test/browser', '.ts'), outdir: 'dist/test/browser' });
await build({ ...shared, entryPoints: list('test', '.test.ts'), outdir: 'dist/test', outbase: 'test' });
