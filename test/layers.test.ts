import t from 'tap';
import { spawnSync } from 'node:child_process';
import { checkLayers, importedModules, LAYERS } from '../scripts/layers.mjs';

type Tree = { [name: string]: string | Tree };

const complaints = (t: { testdir(tree: Tree): string }, src: Tree, shaders: Tree = {}): string[] =>
  checkLayers(t.testdir({ src: { 'errors.ts': 'export class UserError extends Error {}', ...src }, shaders }));

t.test('finds imports in all their forms and none in comments', async (t) => {
  const found = importedModules(`
    import a from './a.js';
    import { b,
      c } from "./b.js";
    import type { D } from './d.js';
    export * from './e.js';
    export { f } from './f.js';
    import './g.js';
    const h = await import('./h.js');
    type I = import('./i.js').I;
    const j = require('./j.js');
    // import k from './k.js';
    /* import l from './l.js'; */
    const m = "from './m.js'";
    const n = '/*'; import o from './o.js';
    const p = 1; export { q } from './q.js'; // '*/'
  `);
  t.same(found.sort(), ['a', 'b', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'o', 'q'].map((name) => `./${name}.js`));
});

t.test('downward imports pass', async (t) => {
  const src: Tree = {
    device: { 'node.ts': "import 'webgpu'; import { x } from 'node:fs'; import { y } from '../errors.js'; import './device.js';", 'device.ts': '' },
    ops: { 'add.ts': "import shader from '../../shaders/add.wgsl'; import { T } from '../tensor/tensor.js'; import 'uplot';" },
    tensor: { 'tensor.ts': "import { D } from '../device/device.js';" },
    io: { 'file.ts': "import { readFileSync } from 'fs'; import { fail } from '../errors.js';" },
    'mix32.ts': '',
    data: { 'set.ts': "import '../mix32.js';" },
    train: { 'loop.ts': "import '../io/file.js'; import '../data/set.js'; import '../wsdan/step.js'; import { x } from 'node:path';" },
    wsdan: { 'step.ts': "import '../ops/add.js';" },
    cli: { 'train.ts': "import '../train/loop.js';" },
  };
  t.same(complaints(t, src, { 'add.wgsl': 'fn main() {}' }), []);
});

t.test('every upward arrow between the layers of the ladder is caught', async (t) => {
  for (const [low, from] of LAYERS.entries()) {
    for (const to of LAYERS.slice(low + 1)) {
      const src: Tree = { [from]: { 'a.ts': `import { x } from '../${to}/b.js';` }, [to]: { 'b.ts': 'export const x = 1;' } };
      t.same(complaints(t, src), [`src/${from}/a.ts: layer ${from} must not import layer ${to} (../${to}/b.js)`], `${from} -> ${to}`);
    }
  }
});

const wrong: [string, Tree, RegExp][] = [
  ['io by nn', { nn: { 'a.ts': "import '../io/b.js';" }, io: { 'b.ts': '' } }, /layer nn must not import layer io/],
  ['data by wsdan', { wsdan: { 'a.ts': "import '../data/b.js';" }, data: { 'b.ts': '' } }, /layer wsdan must not import layer data/],
  ['nn by data', { data: { 'a.ts': "import type { M } from '../nn/b.js';" }, nn: { 'b.ts': '' } }, /layer data must not import layer nn/],
  ['tensor by io', { io: { 'a.ts': "import type { T } from '../tensor/b.js';" }, tensor: { 'b.ts': '' } }, /layer io must not import layer tensor/],
  ['ops by data', { data: { 'a.ts': "import '../ops/b.js';" }, ops: { 'b.ts': '' } }, /layer data must not import layer ops/],
  ['data by io', { io: { 'a.ts': "import '../data/b.js';" }, data: { 'b.ts': '' } }, /layer io must not import layer data/],
  ['errors importing', { 'errors.ts': "import './ops/a.js';", ops: { 'a.ts': '' } }, /layer errors must not import layer ops/],
  ['a dynamic import', { ops: { 'a.ts': "const m = await import('../nn/b.js');" }, nn: { 'b.ts': '' } }, /layer ops must not import layer nn/],
  ['a re-export', { ops: { 'a.ts': "export { m } from '../nn/b.js';" }, nn: { 'b.ts': '' } }, /layer ops must not import layer nn/],
  ['webgpu elsewhere', { device: { 'device.ts': "import { create } from 'webgpu';" } }, /only src\/device\/node\.ts may import the package webgpu/],
  ['fs in ops', { ops: { 'a.ts': "import { readFileSync } from 'node:fs';" } }, /must not import node:fs: this layer also runs in a browser/],
  ['path without prefix in nn', { nn: { 'a.ts': "import path from 'path';" } }, /must not import path/],
  ['an unknown folder', { misc: { 'a.ts': '' } }, /layer misc is unknown/],
  ['outside src', { ops: { 'a.ts': "import '../../scripts/x.mjs';" } }, /it lies outside src/],
];

for (const [what, src, message] of wrong) {
  t.test(`caught: ${what}`, async (t) => {
    const found = complaints(t, src);
    t.equal(found.length, 1, found.join('; '));
    t.match(found[0], message);
  });
}

t.test('a shader nobody imports is caught', async (t) => {
  const shaders = { 'used.wgsl': '', common: { 'left.wgsl': '' } };
  t.same(complaints(t, { ops: { 'a.ts': "import s from '../../shaders/used.wgsl';" } }, shaders),
    ['shaders/common/left.wgsl: no file below src imports this shader']);
});

t.test('an op without its line in the index is caught', async (t) => {
  const ops = { 'index.ts': "export * from './a.js';", 'a.ts': "import './b.js';", 'b.ts': '', 'forgotten.ts': '' };
  t.same(complaints(t, { ops }), ['src/ops/forgotten.ts: no file below src imports it; an op needs its line in src/ops/index.ts']);
});

t.test('the command prints the arrow and exits with 1', async (t) => {
  const root = t.testdir({ src: { ops: { 'a.ts': "import '../nn/b.js';" }, nn: { 'b.ts': '' } } });
  const run = spawnSync(process.execPath, ['scripts/check-layers.mjs', root], { encoding: 'utf8' });
  t.equal(run.status, 1);
  t.match(run.stderr, /src\/ops\/a\.ts: layer ops must not import layer nn/);
  const clean = spawnSync(process.execPath, ['scripts/check-layers.mjs', t.testdir({ src: {} })], { encoding: 'utf8' });
  t.equal(clean.status, 0);
});
