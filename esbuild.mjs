// Builds everything to dist/: the commands (src/cli), the decode worker, and the tests.
// `.wgsl` files are imported as text, in the product and in the tests alike.
import { build } from 'esbuild';
import { readdirSync, existsSync, rmSync } from 'node:fs';

const list = (dir, ending) =>
  existsSync(dir) ? readdirSync(dir, { recursive: true }).map(String).filter((f) => f.endsWith(ending)).map((f) => `${dir}/${f}`) : [];

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
await build({ ...shared, entryPoints: [...list('src/cli', '.ts'), 'src/data/decode-worker.ts'].filter((f) => existsSync(f)), outdir: 'dist', outbase: 'src', entryNames: '[name]' });
await build({ ...shared, entryPoints: list('test', '.test.ts'), outdir: 'dist/test', outbase: 'test' });
