import { gradientMode, verifyForward, verifyGradient } from '../src/autograd/verify.js';
import { choice, int, parseOptions, text } from '../src/cli/options.js';
import { nearest } from '../src/cli/nearest.js';
import { openRuntime } from '../src/cli/open-runtime.js';
import { runCommand } from '../src/cli/run-command.js';
import { dawnVersion } from '../src/device/node.js';
import { fail, UserError } from '../src/errors.js';
import { writeFileAtomic } from '../src/io/atomic.js';
import type { Runtime } from '../src/kernels/runtime.js';
import type { OpCase } from '../src/ops/cases.js';
import type { Op } from '../src/ops/op.js';
import { ops } from '../src/ops/registry.js';
import { scope } from '../src/tensor/scope.js';
import { type Ceiling, measureCeiling } from './ceiling.js';
import { countsDriverTime, measure } from './clock.js';
import { type BenchFile, emptyRow, header, readBenchFile, type Result, row, sameWork, toResult } from './results.js';
import { prepareWork } from './work.js';

const spec = {
  name: 'bench',
  summary: 'Times every op on the layer shapes of real networks, after checking it, and says what share of this adapter\'s ceiling it reaches.',
  options: {
    ops: text({ help: 'only these ops, separated by commas', placeholder: 'NAME,...', defaultText: 'all that have bench cases' }),
    case: text({ help: 'only cases whose name holds this', placeholder: 'TEXT' }),
    direction: choice(['both', 'forward', 'backward'], { help: 'what is timed', default: 'both' }),
    repeats: int({ help: 'timed submits, each of many runs; the median counts', min: 5, max: 1000, default: 5 }),
    adapter: text({ help: 'lavapipe, swiftshader, or a part of the adapter’s name', defaultText: 'the best one' }),
    json: text({ help: 'write all figures to this file', placeholder: 'FILE' }),
    compare: text({ help: 'compare with a file that --json wrote earlier', placeholder: 'FILE' }),
  },
  examples: ['node dist/bench.js --ops conv2d,matmul --json before.json', 'node dist/bench.js --ops conv2d,matmul --compare before.json'],
};

type Checks = BenchFile['checks'][number];

const benchable = ops.filter((op) => op.cases.some((c) => c.bench));

const chosenOps = (list: string | undefined): readonly Op[] => {
  if (list === undefined) return benchable;
  const known = benchable.map(({ name }) => name);
  return list.split(',').map((name) => benchable[known.indexOf(name)] ?? fail(`--ops: there is no op "${name}" with bench cases. ${suggestion(name, known)}`));
};

const suggestion = (name: string, known: readonly string[]): string => {
  const near = nearest(name, known);
  return near ? `Did you mean ${near}?` : `Known: ${known.join(', ')}.`;
};

/** A fast wrong kernel is worth nothing: the op's small cases run first. Their float64 reference is too slow for real layers. */
const checkOp = async (runtime: Runtime, op: Op): Promise<Checks> => {
  let [checks, worst] = [0, 0];
  for (const opCase of op.cases.filter((c) => !c.bench)) {
    const verdicts = [await verifyForward(runtime, op, opCase)];
    if (gradientMode(op, opCase) !== 'none') verdicts.push(await verifyGradient(runtime, op, opCase));
    for (const verdict of verdicts) {
      if (!verdict.passed) fail(`${op.name}, ${verdict.case}: error ${verdict.error.toExponential(1)} (at most ${verdict.tolerance}), ${verdict.note}. It is not timed; see "node dist/gradcheck.js --ops ${op.name}".`);
      worst = Math.max(worst, verdict.error);
    }
    checks += verdicts.length;
  }
  return { op: op.name, checks, error: worst };
};

interface Settings {
  readonly direction: 'both' | 'forward' | 'backward';
  readonly repeats: number;
  readonly ceiling: Ceiling;
  readonly before: BenchFile | null;
}

const timeCase = (runtime: Runtime, op: Op, opCase: OpCase, { direction, repeats, ceiling, before }: Settings): Promise<Result[]> => scope(async () => {
  const results: Result[] = [];
  for (const work of prepareWork(runtime, op, opCase, direction !== 'forward')) {
    if (direction !== 'both' && direction !== work.direction) continue;
    const timing = await measure(runtime, work.record, repeats);
    if (!timing) {
      console.log(emptyRow(op.name, opCase.name, work.direction));
      continue;
    }
    const result = toResult(op.name, opCase.name, work.direction, work.cost, timing, ceiling);
    console.log(row(result, sameWork(before, result)));
    results.push(result);
  }
  return results;
});

/** Figures for one op; what fails is said, and the others go on. */
const benchOp = async (runtime: Runtime, op: Op, part: string, settings: Settings): Promise<{ checks: Checks | null; results: Result[]; failed: boolean }> => {
  const results: Result[] = [];
  try {
    const checks = await checkOp(runtime, op);
    for (const opCase of op.cases.filter((c) => c.bench && c.name.includes(part))) results.push(...await timeCase(runtime, op, opCase, settings));
    runtime.device.pool.trim();
    return { checks, results, failed: false };
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    console.log(`${op.name}: ${error.message}`);
    return { checks: null, results, failed: true };
  }
};

const introduce = (ceiling: Ceiling, figure: BenchFile['figure'], repeats: number): string => [
  `Ceiling of this adapter, measured now: ${ceiling.gflops.toFixed(1)} GFLOP/s of multiply-adds (${ceiling.arithmetic}), ${ceiling.gbs.toFixed(1)} GB/s read and written by a copy (${ceiling.copy}).`,
  figure === 'driver'
    ? `"driver ms" is the processor time of the driver's threads divided by their number, which other work on this machine does not change; rates and shares follow from it. "wall ms" is the time by the clock.`
    : '"ms" is the time by the clock.',
  `Each figure is the median of ${repeats} submits of many runs, after a warm-up, waited for to the end. Correctness was checked on each op's small cases before, not on the timed shapes.`,
  'Shares above 100 % of memory mean that data stayed in a cache, or that more is read than written: a copy does as much of both.',
].join('\n');

const warnAbout = (before: BenchFile | null, adapter: string, figure: BenchFile['figure']): void => {
  if (before && before.adapter !== adapter) console.log(`Note: the earlier figures are of another adapter, ${before.adapter}.`);
  if (before && before.figure !== figure) console.log('Note: the earlier figures are of another kind; times by the clock are compared.');
};

const bench = async (): Promise<number> => {
  const { values } = parseOptions(spec, process.argv.slice(2));
  const part = values.case ?? '';
  const chosen = chosenOps(values.ops).filter((op) => op.cases.some((c) => c.bench && c.name.includes(part)));
  if (chosen.length === 0) fail(`--case: no bench case of these ops has a name that holds "${part}"`);
  const before = values.compare ? readBenchFile(values.compare) : null;
  const runtime = await openRuntime(values.adapter);
  const figure = countsDriverTime(runtime) ? 'driver' : 'wall';
  const ceiling = await measureCeiling(runtime, values.repeats);
  const adapter = runtime.device.report.name;
  console.log(introduce(ceiling, figure, values.repeats));
  warnAbout(before, adapter, figure);
  console.log(`\n${header(figure, before !== null)}`);
  const settings: Settings = { direction: values.direction, repeats: values.repeats, ceiling, before };
  const checks: Checks[] = [];
  const results: Result[] = [];
  let failed = false;
  for (const op of chosen) {
    const found = await benchOp(runtime, op, part, settings);
    results.push(...found.results);
    if (found.checks) checks.push(found.checks);
    failed ||= found.failed;
  }
  console.log(`\nChecked before: ${checks.reduce((sum, c) => sum + c.checks, 0)} small cases, largest relative error ${Math.max(0, ...checks.map((c) => c.error)).toExponential(1)}`);
  const file: BenchFile = { adapter, figure, gemm: runtime.gemm.kind, webgpu: dawnVersion(), ceiling, checks, results };
  if (values.json) writeFileAtomic(values.json, `${JSON.stringify(file, null, 2)}\n`);
  runtime.device.close();
  return failed ? 1 : 0;
};

await runCommand(bench);
