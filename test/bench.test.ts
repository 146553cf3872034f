/** The benchmark around its timings: options, files, tables, page, profile. */
import t from 'tap';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { barsOf, verdict } from '../bench/bars.js';
import type { Ceiling } from '../bench/ceiling.js';
import { relativeTimes, scriptTime } from '../bench/clock.js';
import { differences, missingRows, readBenchFile } from '../bench/earlier.js';
import { writeFiles } from '../bench/files.js';
import { benchPage } from '../bench/html.js';
import { benchMarkdown } from '../bench/markdown.js';
import { modeOf, spec, wants } from '../bench/options.js';
import { profileStep } from '../bench/profile.js';
import { profileMarkdown, profileText } from '../bench/profile-table.js';
import { type BenchFile, type Direction, type Result, sameWork, speedUp, toResult } from '../bench/results.js';
import { chosenSubjects, mixedSubjects, withDirection } from '../bench/subjects.js';
import { row } from '../bench/table.js';
import { axesFor, saveTuning, tune } from '../bench/tune.js';
import { timeStart } from '../bench/warm-up.js';
import { readTuning } from '../src/cli/kernel-options.js';
import { parseOptions } from '../src/cli/options.js';
import { checkOutputs } from '../src/io/output.js';
import { matmul, ones, relu } from '../src/ops/index.js';
import { keep, scope } from '../src/tensor/scope.js';
import { openRuntime } from './support/runtime.js';

const folder = mkdtempSync(join(tmpdir(), 'pipit-bench-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const runtime = await openRuntime();
t.teardown(() => runtime.device.close());

const ceiling: Ceiling = { gflops: 100, arithmetic: 'fast', gbs: 10, copy: 'wide' };
const work = (op: string, name: string, direction: Direction) => ({ op, case: name, direction, check: { how: 'all elements', error: 1e-7, tolerance: 1e-6 } });
const timing = (ms: number, driverMs: number | null = ms) => ({ wallMs: 2 * ms, driverMs, repeats: 3, rounds: 5, noise: 1, possible: null });

/** Work of so many GFLOP and no bytes worth mentioning that took one second. */
const product = (name: string, direction: Direction, gflop: number): Result =>
  toResult(work('conv2d', name, direction), { flops: gflop * 1e9, bytes: 1e6 }, timing(1000), ceiling);
const results: Result[] = [
  product('Inception a', 'forward', 25), product('Inception b', 'forward', 36), product('Inception a', 'gradInput', 10), product('default <c>', 'forward', 1),
  toResult(work('relu', '2×2', 'forward'), { flops: 0, bytes: 7e9 }, timing(1000), ceiling),
];
const file: BenchFile = {
  machine: { command: 'node dist/bench.js', date: '2031-05-17', cpu: 'A processor', cores: 2, system: 'Linux', node: 'v20', webgpu: '1',
    driver: 'An adapter & driver' },
  adapter: 'An adapter', figure: 'driver', countsCopies: true, gemm: 'broadcast', precision: 'float32', ceiling, best: { gflops: 125, gbs: 14 }, after: ceiling, load: [0.5, 1],
  checks: [{ op: 'conv2d', checks: 3, error: 1e-7 }], wrong: [], results,
};

t.test('options that go together, and the ops and directions that they choose', async (t) => {
  const parse = (...args: string[]) => parseOptions(spec, args, () => undefined);
  t.equal(modeOf(parse()), 'kernels');
  t.equal(modeOf(parse('--profile')), 'profile');
  t.equal(modeOf(parse('--warm-up', '--preset', 'synthetic')), 'warm-up');
  t.throws(() => modeOf(parse('--profile', '--warm-up')), /one at a time/);
  t.throws(() => modeOf(parse('--profile', '--html', 'x')), /--html does not go with --profile, which has --adapter, --json, .* and --precision/);
  t.throws(() => modeOf(parse('--tune', '--json', 'x')), /--json does not go with --tune, which has --adapter and --repeats/);
  t.throws(() => modeOf(parse('--profile', '--ops', 'relu')), /--ops does not go with --profile/);
  t.throws(() => modeOf(parse('--tune', '--precision', 'float32')), /--precision does not go with --tune/, 'even as it is by default');
  t.throws(() => modeOf(parse('--ops', 'relu', '--image-size', '64')), /--image-size goes with --profile and --warm-up only; add one of these/);
  t.throws(() => parse('--repeats', '4'), /--repeats: "4" is not allowed/);
  t.throws(() => parse('--direction', 'gradinput'), /Did you mean gradInput/);
  t.throws(() => chosenSubjects('conv2'), /--ops: there is no op "conv2" with bench cases. Did you mean conv2d/);
  t.strictSame(chosenSubjects('relu,sgdStep').map((s) => s.name), ['relu', 'sgdStep']);
  t.strictSame(chosenSubjects('relu, add,relu ').map((s) => s.name), ['relu', 'add'], 'each once');
  t.throws(() => chosenSubjects('argmax'), /--ops: "argmax" has nothing that is timed; a case with bench: true is\. Known: abs, /,
    'an op that is there is not called missing');
  t.throws(() => chosenSubjects('relu', mixedSubjects), /--ops: "relu" has nothing that is timed with float16 operands\. Known: conv2d, matmul\./);
  t.throws(() => chosenSubjects('relu,'), /--ops: there is no op ""/);
  const timed = chosenSubjects('relu,conv2d,sgdStep');
  t.strictSame(withDirection(timed, 'gradWeight').map((s) => s.name), ['conv2d']);
  t.strictSame(withDirection(timed, 'backward').map((s) => s.name), ['relu', 'conv2d']);
  t.throws(() => withDirection(chosenSubjects('relu,sgdStep'), 'gradWeight'),
    /--direction: nothing of relu, sgdStep is timed as gradWeight, only forward, backward/);
  t.strictSame(mixedSubjects.map((s) => s.name).sort(), ['conv2d', 'matmul'], 'in float16 only what autocast stores so');
  const all: Direction[] = ['forward', 'gradInput', 'gradWeight', 'backward'];
  t.strictSame(all.filter(wants('all')), all);
  t.strictSame(all.filter(wants('gradWeight')), ['gradWeight']);
  t.strictSame(all.filter(wants('backward')), ['gradInput', 'gradWeight', 'backward']);
});

t.test('the nearer ceiling decides, and the driver\'s time where it is known', async (t) => {
  const cost = { flops: 1e9, bytes: 1e9 };
  const memory = toResult(work('x', 'y', 'forward'), cost, timing(500), ceiling);
  // 10⁹ operations need 10 ms at 100 GFLOP/s, 10⁹ bytes 100 ms at 10 GB/s; it took 500.
  t.match(memory, { bound: 'memory', gbs: 2, gflops: 2, share: 0.2 });
  const byClock = toResult(work('x', 'y', 'forward'), { flops: 1e9, bytes: 1e6 }, timing(50, null), ceiling);
  t.match(byClock, { bound: 'arithmetic', gflops: 10, share: 0.1 });
  // Beside it the ceilings' kernels did half of what they did at the beginning.
  const beside = toResult(work('x', 'y', 'forward'), cost, { ...timing(500), possible: { flops: 25e9, bytes: 2.5e9 } }, ceiling);
  t.match(beside, { bound: 'memory', gbs: 2, gflops: 2, share: 0.4, ofPeak: 0.04 });
});

t.test('--json and --compare', async (t) => {
  const path = join(folder, 'before.json');
  writeFileSync(path, JSON.stringify(file));
  const read = readBenchFile(path);
  t.strictSame(read, file);
  writeFileSync(path, JSON.stringify({ ...file, precision: undefined }));
  t.strictSame(readBenchFile(path), file, 'versions before did not tell the precision');
  const now = product('Inception a', 'forward', 50);
  const before = sameWork(read, now)!;
  t.strictSame(before, results[0]);
  t.equal(speedUp(now, { ...before, driverMs: 3000 }), 3);
  t.equal(speedUp({ ...now, driverMs: null }, { ...before, wallMs: 500 }), 0.25, 'times by the clock where one has no other');
  t.match(row(now, { ...before, driverMs: 3000 }), /3\.00 × faster$/);
  t.match(row(now, { ...before, driverMs: 250 }), /4\.00 × slower$/);
  t.equal(sameWork(read, product('Inception a', 'gradWeight', 1)), undefined);
  t.throws(() => readBenchFile(join(folder, 'none.json')), /--compare: .*none\.json cannot be read/);
  writeFileSync(path, '{"a": 1}');
  t.throws(() => readBenchFile(path), /it has no results/);
  writeFileSync(path, 'null');
  t.throws(() => readBenchFile(path), /it has no results/);
  const rowWith = (change: object) => ({ ...file, results: [results[0], { ...results[1], ...change }] });
  const wrongRow = /row 2 of its results lacks an op, a case, a direction or a time/;
  const wrong: [object, RegExp][] = [
    [{ ...file, results: [null] }, /is not a file that --json wrote: row 1 of its results lacks/], [rowWith({ wallMs: undefined }), wrongRow],
    [rowWith({ driverMs: '3' }), wrongRow],
    [rowWith({ direction: 'up' }), wrongRow], [{ ...file, adapter: undefined }, /it does not tell the adapter/],
    [{ ...file, figure: 'x' }, /the kind of its figures/],
    [{ ...file, ceiling: undefined }, /the ceilings/],
  ];
  for (const [content, message] of wrong) {
    writeFileSync(path, JSON.stringify(content));
    t.throws(() => readBenchFile(path), { name: 'UserError', message });
  }
});

t.test('a comparison says what it leaves out and how the runs differ', async (t) => {
  t.match(row(results[0]!, 'new'), / {2}new$/);
  t.equal(missingRows(file, file), 'All earlier rows were measured again.');
  t.equal(missingRows(file, { ...file, results: [results[0]!] }),
    '4 earlier rows were not measured now: conv2d Inception b forward; conv2d Inception a gradInput; conv2d default <c> forward; relu 2×2 forward.');
  const many = { ...file, results: [...results, product('d', 'forward', 1), product('e', 'forward', 1), product('f', 'forward', 1)] };
  t.match(missingRows(many, { ...file, results: [results[0]!] }), /^7 earlier rows .*relu 2×2 forward; conv2d d forward; and 2 more\.$/);
  t.equal(missingRows(file, { ...file, results: [] }), 'None of the earlier rows was measured.');
  t.strictSame(differences(file, { ...file, ceiling: { ...ceiling, gflops: 120 } }), ['Ceilings then and now: 100.0 and 120.0 GFLOP/s, 10.0 and 10.0 GB/s.']);
  t.strictSame(differences(file, { ...file, gemm: 'tile' }).slice(0, -1), ['Note: the earlier figures are of other kernels for products, broadcast.']);
  t.match(differences({ ...file, countsCopies: undefined }, file)[0], /^Note: the earlier figures leave out copies of operands/);
  t.equal(differences({ ...file, figure: 'wall', countsCopies: undefined }, { ...file, figure: 'wall' }).length, 1, 'the clock leaves nothing out');
  t.equal(differences(file, { ...file, adapter: 'B', figure: 'wall', precision: 'mixed' }).length, 4);
});

t.test('files are looked at before anything is measured', async (t) => {
  const [right, taken] = [join(folder, 'right.json'), join(folder, 'taken')];
  writeFileSync(taken, '');
  t.doesNotThrow(() => checkOutputs({ '--json': right, '--html': taken, '--markdown': undefined }));
  t.throws(() => checkOutputs({ '--json': join(folder, 'none', 'x.json') }),
    { name: 'UserError', message: /^--json: .*x\.json cannot be written: the folder .*none does not exist; create it first\.$/ });
  t.throws(() => checkOutputs({ '--html': folder }), /--html: .* it is a folder/);
  t.throws(() => checkOutputs({ '--html': `${right}/` }), /it is a folder/);
  t.throws(() => checkOutputs({ '--json': join(taken, 'x') }), /taken is a file, not a folder/);
  t.throws(() => checkOutputs({ '--json': '' }), /it has no name/);
  t.throws(() => checkOutputs({ '--json': '/dev/null' }), /no ordinary file/);
  t.throws(() => checkOutputs({ '--json': right, '--markdown': join(folder, '.', 'right.json') }), /--json and --markdown name the same file/);
  t.notOk(existsSync(right), 'looking writes nothing');
  t.throws(() => writeFiles([[join(folder, 'none', 'x'), () => '1'], [right, () => '2'], [folder, () => '3'], [undefined, () => '4']]),
    /none does not exist.*\n.*a folder of that name/);
  t.equal(readFileSync(right, 'utf8'), '2', 'one that cannot be written keeps none of the others');
});

t.test('what was interrupted says so', async (t) => {
  t.match(benchMarkdown({ ...file, interrupted: true }), /The run was interrupted: rows are missing/);
  t.notMatch(benchMarkdown({ ...file, interrupted: true }), /Ceilings before, after and at their best: 100\.0, 100\.0, 125\.0 GFLOP\/s; 10\.0, 10\.0, 14\.0 GB\/s/);
  t.match(benchPage({ ...file, interrupted: true }), /The run was interrupted: rows are missing/);
  t.match(benchPage(file), /Ceilings before, after and at their best: 100\.0, 100\.0, 125\.0 GFLOP\/s; 10\.0, 10\.0, 14\.0 GB\/s/);
});

t.test('bars: geometric means over the Inception layers alone', async (t) => {
  const bars = barsOf(results, file.best);
  const found = (what: string) => bars.find((b) => b.what.startsWith(what))!;
  // √(0.25 · 0.36)
  t.equal(found('conv forward').share.toFixed(6), '0.300000');
  t.equal(found('conv forward').ofBest.toFixed(6), '0.240000', 'and of the best that the peak\'s kernel reached in the run');
  t.equal(verdict(found('conv forward')), 'missed');
  t.equal(found('conv gradInput').share.toFixed(6), '0.100000');
  t.match(found('slowest'), { note: /Inception a gradInput/ });
  t.match(found('element-wise'), { share: 0.7, ofBest: 0.5 });
  t.match(found('slowest'), { ofBest: 0.08 });
  t.equal(verdict(found('element-wise')), 'met');
  t.notOk(bars.some((b) => b.what.startsWith('GEMM') || b.what.includes('gradWeight')), 'nothing is said of what was not measured');
});

t.test('the page shows every result and needs no network', async (t) => {
  const page = benchPage({ ...file, wrong: ['conv2d, bad, forward'] });
  const chart = JSON.parse(/window\.pipitRoofline = (.*?);\n/.exec(page)![1]!) as { points: { name: string; x: number; y: number }[]; gflops: number };
  t.equal(chart.points.length, results.length);
  t.match(chart.points[0], { name: 'conv2d Inception a', x: 25_000, y: 25 });
  t.ok(chart.points.every(({ x, y }) => x > 0 && y > 0), 'all have a place on logarithmic axes');
  t.equal(chart.gflops, 100);
  t.equal(page.match(/<td>conv2d<\/td>/g)!.length, 4);
  t.match(page, 'default &lt;c&gt;');
  t.match(page, 'An adapter &amp; driver');
  t.match(page, 'Wrong results, not timed: conv2d, bad, forward');
  t.notMatch(page, /<(script|link|img)[^>]+(src|href)=/, 'everything is inline');
});

t.test('JavaScript\'s processor time goes on between any two looks, not with the system\'s ticks', { skip: scriptTime() === null }, async (t) => {
  const looks = Array.from({ length: 20 }, scriptTime) as number[];
  t.ok(looks.every((look, i) => i === 0 || look > looks[i - 1]!), looks.join(', '));
});

t.test('Markdown tables', async (t) => {
  const text = benchMarkdown(file);
  t.match(text, '- Command: `node dist/bench.js`');
  t.match(text, '| conv2d Inception a | 25.0 (25 %) | 10.0 (10 %) | – |');
  t.match(text, '| relu 2×2 | forward | 1000.0 | – | 7.0 | 70 % of memory |');
  t.match(text, 'A processor, 2 cores');
  t.match(benchMarkdown({ ...file, results: [] }), /Ceilings before, after and at their best: 100\.0, 100\.0, 125\.0 GFLOP\/s; 10\.0, 10\.0, 14\.0 GB\/s/);
  for (const line of text.split('\n').filter((l) => l.startsWith('| conv2d'))) t.equal(line.split('|').length, 6);
});

for (const timestamps of [true, false]) {
  t.test(`profile of a step, ${timestamps ? 'by timestamps' : 'replayed'}`, async (t) => {
    const x = keep(ones([40, 24], { runtime }));
    const w = keep(ones([24, 20], { runtime }));
    let steps = 0;
    const profile = await profileStep(runtime, () => {
      steps++;
      scope(() => { relu(relu(matmul(x, w))); });
    }, timestamps);
    const { kernels, counts, wallMs, busy, script } = profile;
    t.ok(steps > 5);
    t.equal(counts.dispatches, 3);
    t.equal(counts.submits, 1);
    t.strictSame(kernels.map((k) => [k.dispatches, k.product]).sort(), [[1, true], [2, false]]);
    t.ok(kernels.every((k) => Number.isFinite(k.ms) && k.ms >= 0));
    t.ok(wallMs > 0 && script.encodeMs >= 0);
    t.ok(timestamps ? busy! > 0 && busy! <= 1 : busy === null);
    const written = { machine: file.machine, training: 'Training step: none', profile };
    t.match(profileText(written), /convolutions and matrix products +1 +\d/);
    t.match(profileText(written), timestamps
      ? /ms are by the adapter's timestamps.*sum may exceed the step/
      : /no timestamps.*ms are (by the clock|processor time).*sum may exceed the step/);
    t.match(profileText({ ...written, profile: { ...profile, method: 'replay', driverMs: null } }), /its ms are by the clock/);
    t.match(profileMarkdown(written), /\| unary\.forward \| 2 \|/);
    t.strictSame(JSON.parse(JSON.stringify(written)), written);
    x.release();
    w.release();
  });
}

t.test('tuning tries what applies, and keeps other adapters\' settings', async (t) => {
  const { report } = runtime.device;
  const axes = axesFor(report);
  t.ok(axes.find((axis) => axis.name === 'kernels')!.choices.some(({ kind }) => kind === 'plain'));
  t.equal(axesFor({ ...report, subgroupSize: 0 })[0]!.choices.some(({ kind }) => kind === 'broadcast'), false);
  const lines: string[] = [];
  const winograd = { name: 'Winograd', applies: () => true, choices: [{ winograd: 0 }, { winograd: 8 }] };
  const never = { ...winograd, name: 'never', applies: () => false };
  const trials = [{ op: 'conv2d', case: 'default 32→32 3×3 17²' }];
  const kept: object[] = [];
  const found = await tune({
    device: runtime.device, axes: [never, winograd], trials, rounds: 5,
    print: (line) => void lines.push(line), decided: (settings) => void kept.push(settings),
  });
  t.same(kept.at(-1) ?? {}, found, 'what was decided was told at once');
  // Which is the fastest is the machine's business.
  t.ok([undefined, 0, 8].includes(found.winograd));
  t.ok(lines.length >= 2 && lines.every((line) => /^Winograd +winograd \d+ +\d+\.\d+ of the time(, once more)?$/.test(line)), lines.join('\n'));
  t.match(lines[0], /1\.000 of the time/);

  lines.length = 0;
  const tiles = { name: 'tile', applies: () => true, choices: [{ kind: 'tile', tile: 'fit' }, { kind: 'tile', tile: '9×9×9' }] as const };
  const withTiles = await tune({ device: runtime.device, axes: [tiles], trials, rounds: 1, print: (line) => void lines.push(line) });
  t.match(lines[2], /^tile +kind tile, tile 9×9×9 +FAILS: the tuning asks for tiles "9×9×9", which do not exist/, 'and goes on after a candidate that fails');
  t.not(withTiles.tile, '9×9×9');

  const path = join(folder, 'tuning.json');
  saveTuning('gpu:a-b', { tile: '16×2×1' }, path);
  saveTuning('lavapipe', { rowsTurn: 192 }, path);
  t.strictSame(readTuning(path), { 'gpu:a-b': { tile: '16×2×1' }, 'lavapipe': { rowsTurn: 192 } });
  writeFileSync(path, '[]');
  t.throws(() => saveTuning('lavapipe', {}, path), /it holds no table/);
});

t.test('candidates are compared within rounds, so that a busy moment hits all of them', async (t) => {
  const load = [1, 5, 2, 1, 9];
  const taking = (ms: number): (() => Promise<number>) => {
    let round = 0;
    return () => Promise.resolve(ms * load[round++]!);
  };
  const ratios = await relativeTimes([null, taking(4), taking(3), taking(8)], load.length);
  t.same(ratios.map((ratio) => Math.round(ratio * 1e6) / 1e6), [Infinity, 1, 0.75, 2], 'the first whose result is right is the measure');
  t.same(await relativeTimes([null, null], 2), [Infinity, Infinity]);
});

t.test('a tuning file is checked before anything uses it', async (t) => {
  const path = join(folder, 'wrong-tuning.json');
  const read = (content: unknown) => () => {
    writeFileSync(path, JSON.stringify(content));
    return readTuning(path);
  };
  const right = { kind: 'tile', rowsTurn: 1, transposedTurn: 1, weightsTurn: 1, heldDepth: 0, images: 'none', tile: '16×2×1', matrices: true, winograd: 0, winogradWeights: 0 };
  t.strictSame(read({ 'lavapipe': right, 'gpu:a-b': {} })(), { 'lavapipe': right, 'gpu:a-b': {} });
  const wrong: [unknown, RegExp][] = [
    [5, /"lavapipe" is 5, but must be an object of settings/],
    [{ kind: 'nosuch' }, /wrong-tuning\.json cannot be read: "kind" of "lavapipe" is "nosuch", but must be one of broadcast, tile, plain\. Make it anew/],
    [{ rowsTurn: 0 }, /"rowsTurn" of "lavapipe" is 0, but must be a whole number of at least 1/],
    [{ weightsTurn: 'x' }, /"weightsTurn" of "lavapipe" is "x"/],
    [{ heldDepth: -1 }, /"heldDepth" of "lavapipe" is -1, but must be a whole number of at least 0/],
    [{ winograd: -5 }, /"winograd" of "lavapipe" is -5, but must be a number of at least 0/],
    [{ winogradWeights: 'x' }, /"winogradWeights" of "lavapipe" is "x", but must be a number of at least 0/],
    [{ images: 'on' }, /"images" of "lavapipe" is "on", but must be one of all, few, none/], [{ matrices: 'on' }, /"matrices" of "lavapipe" is "on", but must be true or false/],
    [{ tile: '3×3×3' }, /"tile" of "lavapipe" is "3×3×3", but must be one of fit, /],
    [{ bogus: 1 }, /"lavapipe" has "bogus" with the value 1, but there is no such setting: known are kind, rowsTurn/],
    [{ constructor: 1 }, /"lavapipe" has "constructor"/],
  ];
  for (const [settings, message] of wrong) t.throws(read({ 'gpu:a-b': {}, 'lavapipe': settings }), { name: 'UserError', message });
});

t.test('the time to the first step ends with its line', async (t) => {
  const script = join(folder, 'training.mjs');
  // Training goes on after its first step; one that fails ends.
  writeFileSync(script, 'console.log("Warm-up: 3 pipelines compiled, first step " + process.env.WORD); if (process.env.WORD === "done") setInterval(() => {}, 1e6);');
  const start = await timeStart([script], { ...process.env, WORD: 'done' });
  t.ok(start.wallSeconds > 0);
  t.ok(start.processorSeconds === null || start.processorSeconds >= 0);
  await t.rejects(timeStart([script], { ...process.env, WORD: 'missing' }), /ended before its first step:\nWarm-up: 3 pipelines compiled, first step missing/);
});

t.test('the command writes its files and compares with them', async (t) => {
  const path = (name: string) => join(folder, name);
  const bench = (...args: string[]) =>
    spawnSync(process.execPath, [fileURLToPath(new URL('../bench.js', import.meta.url)), '--ops', 'zeroGrad', '--case', 'default', ...args],
      { encoding: 'utf8' });
  const earlier = toResult(work('zeroGrad', 'default, 91,584 weights', 'forward'), { flops: 0, bytes: 1 }, timing(1e9), ceiling);
  writeFileSync(path('before.json'), JSON.stringify({ ...file, results: [earlier] }));
  const first = bench('--compare', path('before.json'), '--json', path('f.json'), '--html', path('f.html'), '--markdown', path('f.md'));
  t.equal(first.status, 0, first.stderr);
  t.match(first.stdout, /zeroGrad +default.*× faster/);
  t.match(first.stdout, /Note: the earlier figures are of another adapter, An adapter\./);
  t.match(first.stdout, /Ceiling of this adapter, measured now: \d/);
  const { results: rows, ceiling: measured } = readBenchFile(path('f.json'));
  t.match(rows, [{ op: 'zeroGrad', direction: 'forward', flops: 0, check: { how: 'all elements', error: 0 } }]);
  t.ok(measured.gflops > 0 && measured.gbs > 0);
  t.match(readFileSync(path('f.html'), 'utf8'), 'zeroGrad default');
  t.match(readFileSync(path('f.md'), 'utf8'), '| zeroGrad default, 91,584 weights | forward |');
  const none = bench('--case', 'no such case');
  t.equal(none.status, 1);
  t.match(none.stderr, /--case: no bench case of these ops has a name that holds "no such case"/);
});

/** Interrupts the command as soon as it is `time` for it, by what it has printed. */
const interrupt = (time: (out: string) => boolean, ...args: string[]): Promise<{ code: number | null; out: string }> => new Promise((resolve) => {
  const child = spawn(process.execPath, [fileURLToPath(new URL('../bench.js', import.meta.url)), ...args],
    { env: { ...process.env, TMPDIR: folder }, stdio: ['ignore', 'pipe', 'ignore'] });
  let out = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => { out += text; });
  const watch = setInterval(() => {
    if (!time(out)) return;
    clearInterval(watch);
    child.kill('SIGINT');
  }, 20);
  child.on('close', (code) => {
    clearInterval(watch);
    resolve({ code, out });
  });
});

t.test('Ctrl-C keeps the rows so far', async (t) => {
  const path = join(folder, 'interrupted.json');
  const { code, out } = await interrupt((printed) => /zeroGrad .*of memory/.test(printed), '--ops', 'zeroGrad,conv2d', '--json', path);
  t.equal(code, 130);
  t.match(out, /Ended early, after \d+ rows\./);
  const { results: rows, interrupted } = readBenchFile(path);
  t.match(rows[0], { op: 'zeroGrad' });
  t.equal(interrupted, true);
});

t.test('Ctrl-C leaves nothing of --warm-up', async (t) => {
  const folders = () => readdirSync(folder).filter((name) => name.startsWith('pipit-warm-up-'));
  const { code } = await interrupt(() => folders().length > 0, '--warm-up');
  t.equal(code, 130);
  t.strictSame(folders(), []);
});
