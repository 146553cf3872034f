import t from 'tap';
import { gemmFamily, type GemmOptions, loopsOf, tuningKey } from '../src/kernels/gemm-family.js';
import type { Runtime } from '../src/kernels/runtime.js';
import { tilingOf } from '../src/ops/gemm-tiling.js';
import { openRuntime } from './support/runtime.js';

const runtime = await openRuntime();

t.test('the GEMM family follows the adapter, or a choice that fits it', async (t) => {
  const report = { ...runtime.device.report, software: true, subgroupSize: 8 };
  t.equal(gemmFamily(report).kind, 'broadcast');
  t.equal(gemmFamily({ ...report, driverClass: 'gpu', software: false }).kind, 'tile');
  t.equal(gemmFamily({ ...report, driverClass: 'gpu' }).kind, 'broadcast', 'an unknown software adapter');
  t.equal(gemmFamily({ ...report, subgroupSize: 0 }).kind, 'plain');
  t.equal(gemmFamily(report, { gemm: 'tile' }).kind, 'tile');
  t.throws(() => gemmFamily({ ...report, subgroupSize: 0 }, { gemm: 'broadcast' }), /need subgroups of one fixed size.*use tile or plain/);
  t.throws(() => gemmFamily(report, { gemm: 'cube' }), /unknown kind of GEMM kernels "cube"; use broadcast, tile, plain/);
  const bare = { ...report, imageOperands: false, matrixSide: 0 };
  for (const name of ['held', 'winograd', 'matrices']) {
    t.throws(() => gemmFamily(bare, { [name]: 'yes' }), new RegExp(`${name} must be "on" or "off", not "yes"`), 'also where the adapter has no such thing');
  }
  t.equal(gemmFamily({ ...report, imageOperands: false }, { images: 'on' }).images, 'none', 'never without the language feature');
  const imagesOf = (quickBuffers: boolean, images?: string): string => gemmFamily({ ...report, driverClass: 'lavapipe', imageOperands: true, quickBuffers }, { images }).images;
  t.same([imagesOf(false), imagesOf(true), imagesOf(true, 'on'), imagesOf(false, 'few'), imagesOf(true, 'off')], ['all', 'few', 'all', 'few', 'none']);
  t.equal(gemmFamily({ ...report, driverClass: 'swiftshader', imageOperands: true, quickBuffers: true }).images, 'none');
  t.throws(() => gemmFamily(bare, { images: 'yes' }), /images must be "on" or "few" or "off", not "yes"/);
  const withUnits = { ...report, driverClass: 'gpu' as const, software: false, matrixSide: 16 };
  t.equal(gemmFamily(withUnits).matrices, true);
  t.equal(gemmFamily(withUnits, { matrices: 'off' }).matrices, false);
  t.equal(gemmFamily({ ...withUnits, matrixSide: 0 }, { matrices: 'on' }).matrices, false, 'never without matrix units');
  const tuning = { [tuningKey(report)]: { rowsTurn: 48, winograd: 0 } };
  t.match(gemmFamily(report, { tuning }), { kind: 'broadcast', rowsTurn: 48, winograd: 0 });
  t.match(gemmFamily(report, { tuning, winograd: 'on' }), { winograd: 1, winogradWeights: 1 }, 'what is forced goes before the table');
});

t.test('loops are long where the processor keeps them decoded, or as the caller says', async (t) => {
  const turnOf = (longLoops: boolean, { driverClass = 'lavapipe' as const, ...options }: { driverClass?: 'lavapipe' | 'swiftshader' } & GemmOptions = {}): number =>
    gemmFamily({ ...runtime.device.report, driverClass, longLoops }, options).weightsTurn;
  t.ok(turnOf(true) > turnOf(false));
  t.equal(turnOf(true, { driverClass: 'swiftshader' }), turnOf(false, { driverClass: 'swiftshader' }));
  t.same([turnOf(false, { loops: 'long' }), turnOf(true, { loops: 'short' })], [turnOf(true), turnOf(false)]);
  const tuning = { lavapipe: { weightsTurn: 7 } };
  t.same([turnOf(true, { tuning }), turnOf(true, { tuning, loops: 'short' })], [7, turnOf(false)]);
  const nameOf = (options: GemmOptions): string => loopsOf(gemmFamily(runtime.device.report, options));
  t.same([nameOf({ loops: 'long' }), nameOf({ loops: 'short' })], ['long', 'short']);
  t.equal(nameOf({ tuning: { [tuningKey(runtime.device.report)]: { weightsTurn: 7 } } }), 'tuned');
  t.throws(() => turnOf(true, { loops: 'on' }), { name: 'UserError', message: 'loops must be "long" or "short", not "on"' });
});

t.test('tiles of broadcast hold what a turn of the loop may', async (t) => {
  const tiling = (form: 'rows' | 'weights', height: number, options: GemmOptions, transposed = false, [width, depth] = [48, 48]) => {
    const gemm = gemmFamily({ ...runtime.device.report, driverClass: 'lavapipe', software: true, subgroupSize: 8 }, options);
    return tilingOf({ gemm } as Runtime, form, { height, width: width!, depth: depth!, copies: 1, halves: false, transposed });
  };
  const rowsOf = (height: number, options: GemmOptions, transposed = false): number => tiling('rows', height, options, transposed).rows;
  t.ok(rowsOf(1000, { loops: 'long' }) > rowsOf(1000, { loops: 'short' }));
  t.ok(rowsOf(1000, { loops: 'short' }, true) > rowsOf(1000, { loops: 'short' }), 'loads of a transposed matrix cost more');
  t.equal(32 % rowsOf(8, { loops: 'short' }, true), 0, 'few rows are shared out evenly');
  const wideOf = (width: number, depth: number): number => tiling('weights', 1000, { loops: 'long' }, false, [width, depth]).constants.WIDE!;
  t.same([wideOf(192, 192), wideOf(12, 72), wideOf(192, 8)], [3, 3, 1], 'lanes of wide tiles have several vec4f, unless one tile has all rows, as in attention pooling');
  const sparesX = (width: number, images: string): boolean => tiling('weights', 1000, { loops: 'long', images }, false, [width, 48]).sparesX!;
  t.same([8, 12, 16, 48].map((width) => sparesX(width, 'on')), [false, true, false, true], 'of x in weight gradients');
  t.same([8, 12, 16, 48, 64].map((width) => sparesX(width, 'few')), [true, true, true, true, false], 'few: where one tile has all columns');
  for (const form of ['rows', 'weights'] as const) {
    const least = tiling(form, 1000, { tuning: { lavapipe: { rowsTurn: 1, transposedTurn: 1, weightsTurn: 1 } } });
    t.ok(least.rows > 0 && least.columns > 0, 'however short the loop must be');
  }
});
