// Checks the direction of imports: a file may import its own layer or a lower one.
// The command is check-layers.mjs.
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { dirname, join, relative, resolve, sep } from 'node:path';
import ts from 'typescript';

/** From the bottom to the top. */
export const LAYERS = ['device', 'kernels', 'tensor', 'ops', 'autograd', 'nn', 'wsdan', 'train', 'cli'];

/** Layers beside the ladder: what they may import, and who may import them. */
const SIDE_LAYERS = {
  io: { imports: [], importedBy: ['train', 'cli'] },
  data: { imports: [], importedBy: ['train', 'cli'] },
};

/** The files that may name the package `webgpu`, and those that may use Node's own modules. */
const WEBGPU_FILES = ['src/device/node.ts'];
const NODE_PLACES = ['src/device/node.ts', 'src/device/processor.ts', 'src/device/vulkan-env.mjs', 'src/io/', 'src/data/', 'src/train/', 'src/cli/'];
const NODE_MODULES = new Set(builtinModules);

/** Files right under src/ that every layer may import; the others there (index) may import everything. */
const SHARED_FILES = ['errors', 'float16', 'mix32'];

const listFiles = (folder, pattern) =>
  !existsSync(folder) ? [] : readdirSync(folder, { recursive: true }).map((name) => join(folder, String(name)))
    .filter((path) => pattern.test(path) && statSync(path).isFile()).sort();

/** The module names a source text imports: static, re-exported, dynamic, side-effect and type-only; TypeScript itself finds them. */
export const importedModules = (text) => ts.preProcessFile(text, true, true).importedFiles.map(({ fileName }) => fileName);

/** `src/ops/conv.ts` lies in `ops`; `src/errors.ts` in `errors`. */
const layerOf = (path) => {
  const parts = path.split(sep).slice(1);
  return parts.length > 1 ? parts[0] : parts[0].replace(/\.(d\.)?m?ts$|\.m?js$/, '');
};

const mayImport = (from, to) => {
  if (from === to || SHARED_FILES.includes(to)) return true;
  if (SHARED_FILES.includes(from)) return false;
  if (SIDE_LAYERS[to]) return from === 'index' || SIDE_LAYERS[to].importedBy.includes(from);
  if (SIDE_LAYERS[from]) return SIDE_LAYERS[from].imports.includes(to);
  if (!LAYERS.includes(from)) return true;
  return LAYERS.includes(to) && LAYERS.indexOf(to) < LAYERS.indexOf(from);
};

const isNodeModule = (name) => name.startsWith('node:') || NODE_MODULES.has(name);
const isAllowed = (file, places) => places.some((place) => (place.endsWith('/') ? file.startsWith(place) : file === place));

/** The complaint about one import, or '' when it is in order. */
const judge = (file, name, root) => {
  if (name === 'webgpu' || name.startsWith('webgpu/')) {
    return isAllowed(file, WEBGPU_FILES) ? '' : `only ${WEBGPU_FILES.join(', ')} may import the package webgpu`;
  }
  if (isNodeModule(name)) return isAllowed(file, NODE_PLACES) ? '' : `must not import ${name}: this layer also runs in a browser`;
  if (!name.startsWith('.')) return '';
  const target = relative(root, resolve(root, dirname(file), name));
  if (target.split(sep)[0] !== 'src') {
    return target.split(sep)[0] === 'shaders' ? '' : `must not import ${name}: it lies outside src`;
  }
  const [from, to] = [layerOf(file), layerOf(target)];
  return mayImport(from, to) ? '' : `layer ${from} must not import layer ${to} (${name})`;
};

const unknownLayers = (files) =>
  files.filter((file) => file.split(sep).length > 2 && !LAYERS.includes(layerOf(file)) && !SIDE_LAYERS[layerOf(file)])
    .map((file) => `${file}: layer ${layerOf(file)} is unknown; its place belongs into scripts/layers.mjs`);

/** Shaders that no source imports (a shader including another by a comment line counts as an import). */
const orphanShaders = (root, used) =>
  listFiles(join(root, 'shaders'), /\.wgsl$/).filter((shader) => !used.has(resolve(shader))).map((shader) => `${relative(root, shader)}: no file below src imports this shader`);

/** Files of ops that no source imports: what lacks its line in the index is tested and timed by nobody. */
const orphanOps = (root, used) => {
  const index = join(root, 'src', 'ops', 'index.ts');
  if (!existsSync(index)) return [];
  return listFiles(dirname(index), /\.ts$/).filter((source) => source !== index && !used.has(resolve(source)))
    .map((source) => `${relative(root, source)}: no file below src imports it; an op needs its line in src/ops/index.ts`);
};

/**
 * Checks a source tree.
 *
 * @param {string} root folder that holds `src` and `shaders`
 * @returns {string[]} complaints, each `file: what is wrong`; empty when all is in order
 */
export function checkLayers(root) {
  const sources = listFiles(join(root, 'src'), /\.m?ts$|\.m?js$/).map((path) => ({ path, file: relative(root, path), imports: importedModules(readFileSync(path, 'utf8')) }));
  const complaints = sources.flatMap(({ file, imports }) => imports.map((name) => judge(file, name, root)).filter(Boolean).map((text) => `${file}: ${text}`));
  // A source is imported by the name that it is compiled to.
  const used = new Set(sources.flatMap(({ path, imports }) => imports.map((name) => resolve(dirname(path), name.replace(/\.js$/, '.ts')))));
  return [...complaints, ...unknownLayers(sources.map(({ file }) => file)), ...orphanShaders(root, used), ...orphanOps(root, used)];
}
