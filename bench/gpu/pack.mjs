// Makes a folder that measures Pipit on a bare x86-64 Linux machine with a GPU: no network, nothing to install.
//   node bench/gpu/pack.mjs OUTDIR
// The folder carries Node, Dawn's binary, the Vulkan loader and everything built; see folder/README.md.
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const LIMIT_MIB = 60;
const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const HERE = fileURLToPath(new URL('.', import.meta.url));
const DAWN = 'dist/linux-x64/dawn.node';
/** Packages of which the built commands read files: those that stay packages, and those that are only read. */
const KEPT_PACKAGES = ['@cwasm/jpeg-turbo', '@canvas/image-data'];
const WHOLE_PACKAGES = ['uplot', ...KEPT_PACKAGES];
/** Part of every Linux system with glibc, and bound to the system's own version of it. */
const SYSTEM_LIBRARIES = /^(lib(c|m|dl|rt|pthread|resolv)\.so|ld-linux)/;

const output = (command, args) => execFileSync(command, args, { cwd: ROOT, encoding: 'utf8', maxBuffer: 2 ** 26 });

/** Tests that open the adapter: those of files, data and commands prove nothing about a GPU. What they need besides must be in the folder. */
const isAdapterTest = (text) => text.includes('support/runtime.js') && !['onnxruntime-node', 'support/command.js'].some((absent) => text.includes(absent));
const adapterTests = () => readdirSync(join(ROOT, 'test')).filter((name) => name.endsWith('.test.ts') && isAdapterTest(readFileSync(join(ROOT, 'test', name), 'utf8')));

/** An optional part of the test library that is looked for at run time, and would be missed in a bundle. */
const withoutReact = {
  name: 'without-react',
  setup: ({ onLoad }) => onLoad({ filter: /tcompare\/dist\/esm\/react-element-to-jsx-string\.js$/ }, () => ({ contents: 'export default String;' })),
};

/** Bundled with all packages but `webgpu`, whose binary must be a file of its own, and those that look for files beside them. */
const bundle = (entryPoints, to) => build({
  absWorkingDir: ROOT, bundle: true, splitting: true, platform: 'node', target: 'node20', format: 'esm', external: ['webgpu', ...KEPT_PACKAGES], loader: { '.wgsl': 'text' }, logLevel: 'warning',
  plugins: [withoutReact], entryPoints, outdir: to, entryNames: '[name]',
  // Bundled packages that are not ES modules still ask for Node's own through require.
  banner: { js: "import { createRequire as requireFrom } from 'node:module'; const require = requireFrom(import.meta.url);" },
});

/** In the folders where they also lie here: both look for files beside them. */
const bundleAll = async (dist) => {
  await bundle(['src/index.ts', 'src/cli/info.ts', 'src/cli/gradcheck.ts', 'src/cli/train.ts', 'src/data/decode-worker.ts', 'bench/bench.ts'], dist);
  await bundle(adapterTests().map((name) => `test/${name}`), join(dist, 'test'));
};

const copy = (from, to) => {
  mkdirSync(dirname(to), { recursive: true });
  cpSync(realpathSync(from), to, { recursive: true });
};

/** Shared libraries that a binary needs beyond the system's own, by name. */
const libraries = (binary) => Object.fromEntries([...output('ldd', [binary]).matchAll(/^\s*(\S+) => (\/\S+)/gm)]
  .map(([, name, path]) => [name, path]).filter(([name]) => !SYSTEM_LIBRARIES.test(name)));

const vulkanLoader = () => {
  const path = /libvulkan\.so\.1 .*x86-64.* => (\S+)/.exec(output('/sbin/ldconfig', ['-p']))?.[1];
  if (!path) throw new Error('There is no Vulkan loader here to carry; on Debian: apt-get install -y libvulkan1');
  return path;
};

const copyBinaries = (payload) => {
  const webgpu = join(ROOT, 'node_modules/webgpu');
  copy(process.execPath, join(payload, 'node'));
  for (const file of ['package.json', 'index.js', DAWN]) copy(join(webgpu, file), join(payload, 'app/node_modules/webgpu', file));
  for (const name of WHOLE_PACKAGES) copy(join(ROOT, 'node_modules', name), join(payload, 'app/node_modules', name));
  const carried = { ...libraries(process.execPath), ...libraries(join(webgpu, DAWN)) };
  for (const [name, path] of Object.entries(carried)) copy(path, join(payload, 'lib', name));
  copy(vulkanLoader(), join(payload, 'vulkan/libvulkan.so.1'));
};

const commit = () => {
  try {
    return output('git', ['describe', '--always', '--dirty']).trim();
  } catch {
    return 'unknown';
  }
};

const copyApp = (app) => {
  cpSync(join(HERE, 'app'), app, { recursive: true });
  for (const file of ['wsdan_torch.py', 'pictures.py']) copy(join(ROOT, 'test/reference', file), join(app, file));
  for (const folder of ['test/fixtures', 'shaders']) copy(join(ROOT, folder), join(app, folder));
  copy(join(ROOT, 'package.json'), join(app, 'package.json'));
  writeFileSync(join(app, 'pack.json'), `${JSON.stringify({ commit: commit(), date: new Date().toISOString().slice(0, 10) })}\n`);
};

const mebibytes = (folder) => readdirSync(folder).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0) / 2 ** 20;

const pack = async (folder) => {
  if (process.platform !== 'linux' || process.arch !== 'x64') throw new Error('This machine\'s Node and Dawn are not those of x86-64 Linux; pack on such a machine.');
  if (existsSync(folder) && readdirSync(folder).length) throw new Error(`${folder} is not empty; name a new folder.`);
  const payload = mkdtempSync(join(tmpdir(), 'pipit-pack-'));
  try {
    copyBinaries(payload);
    copyApp(join(payload, 'app'));
    await bundleAll(join(payload, 'app/dist'));
    mkdirSync(folder, { recursive: true });
    cpSync(join(HERE, 'folder'), folder, { recursive: true });
    // gzip is part of the smallest systems, xz is not.
    execFileSync('tar', ['-C', payload, '-I', 'gzip -9', '-cf', join(folder, 'payload.tar.gz'), ...readdirSync(payload)]);
  } finally {
    rmSync(payload, { recursive: true, force: true });
  }
  const size = mebibytes(folder);
  console.log(`${folder}: ${size.toFixed(1)} MiB; on the other machine: sh run.sh`);
  if (size >= LIMIT_MIB) throw new Error(`${folder} is larger than ${LIMIT_MIB} MiB.`);
};

const [target] = process.argv.slice(2);
if (!target || target.startsWith('-')) {
  console.error('Usage: node bench/gpu/pack.mjs OUTDIR');
  process.exitCode = 1;
} else {
  await pack(resolve(target)).catch((error) => {
    console.error(error.message);
    process.exitCode = 1;
  });
}
