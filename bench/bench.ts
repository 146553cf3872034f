import { existsSync } from 'node:fs';
import { readTuning, tuningFile } from '../src/cli/kernel-options.js';
import { openRuntime, usable } from '../src/cli/open-runtime.js';
import { parseOptions } from '../src/cli/options.js';
import { INTERRUPTED, onInterrupt, runCommand } from '../src/cli/run-command.js';
import { openDevice } from '../src/device/node.js';
import { fail } from '../src/errors.js';
import { checkOutputs } from '../src/io/output.js';
import { kernelsOf } from '../src/kernels/gemm-family.js';
import type { Runtime } from '../src/kernels/runtime.js';
import { checkPrecision } from '../src/train/method.js';
import { barLines, barsOf } from './bars.js';
import { Beside } from './beside.js';
import { better, measureCeiling } from './ceiling.js';
import { countsDriverTime, type Rates } from './clock.js';
import { differences, missingRows, readBenchFile } from './earlier.js';
import { asJson, writeFiles } from './files.js';
import { benchPage } from './html.js';
import { benchSubject, casesOf, nothingFound, type Settings } from './kernels.js';
import { describeMachine, loadPerCore, machineLines } from './machine.js';
import { benchMarkdown, disturbance } from './markdown.js';
import { type BenchOptions, modeOf, spec, wants } from './options.js';
import { exactTimestamps } from './pass-timer.js';
import { profileMarkdown, profileText, type ProfileFile } from './profile-table.js';
import { profileStep } from './profile.js';
import type { BenchFile } from './results.js';
import { chosenSubjects, mixedSubjects, type Subject, withDirection } from './subjects.js';
import { DRIVER_TIME, header, NOISE } from './table.js';
import { prepareTraining, trainArguments } from './training.js';
import { tuneToFile } from './tune.js';
import { measureWarmUp, warmUpLines } from './warm-up.js';

const introduce = ({ machine, ceiling, figure }: BenchFile, repeats: number): string => [
  ...machineLines(machine),
  `Ceiling of this adapter, measured now: ${ceiling.gflops.toFixed(1)} GFLOP/s of multiply-adds (${ceiling.arithmetic}), ${ceiling.gbs.toFixed(1)} GB/s read and written by a copy (${ceiling.copy}).`,
  figure === 'driver'
    ? `"driver ms" is ${DRIVER_TIME}; rates and shares follow from it. "wall ms" is the time by the clock.`
    : '"ms" is the time by the clock.',
  `Each figure is the median of ${repeats} submits of many runs, after a warm-up, waited for to the end.${figure === 'driver' ? ` ${NOISE}` : ''} Every result is compared with a float64 reference before it is timed, GFLOP/s of a convolution count the direct algorithm's operations.`,
  'Shares above 100 % of memory mean that data stayed in a cache, or that more is read than written: a copy does as much of both.',
].join('\n');

const summarise = (file: BenchFile): void => {
  const large = file.results.filter((r) => r.check).length;
  const worst = Math.max(0, ...file.checks.map((c) => c.error), ...file.results.map((r) => r.check?.error ?? 0));
  console.log(`\nChecked before: ${file.checks.reduce((sum, c) => sum + c.checks, 0)} small cases, and ${large} of ${file.results.length} timed results at their real size; largest relative error ${worst.toExponential(1)}`);
  // They are asked of float32.
  const bars = file.precision === 'float32' ? barsOf(file.results, file.best) : [];
  if (bars.length) console.log(`\nShares of the ceilings beside them, and of the best ceilings of this run\n${barLines(bars).join('\n')}`);
  console.log(`\n${disturbance(file)}`);
  if (file.wrong.length) console.log(`\nWRONG, and not timed: ${file.wrong.join('; ')}`);
};

const writeBench = ({ json, html, markdown }: BenchOptions, file: BenchFile): void =>
  writeFiles([[json, () => asJson(file)], [html, () => benchPage(file)], [markdown, () => benchMarkdown(file)]]);

/** Times the subjects one by one; where that ends early, the files hold the rows so far. */
const timeAll = async (
  opened: Runtime, options: BenchOptions, subjects: readonly Subject[], start: BenchFile, before: BenchFile | null,
): Promise<BenchFile> => {
  const found = nothingFound();
  let runtime = opened;
  let watch = await Beside.open(runtime, start.ceiling);
  const settings: Omit<Settings, 'watch'> = {
    parts: options.case ?? [], wanted: wants(options.direction), repeats: options.repeats, ceiling: start.ceiling, before, print: console.log,
  };
  const bestSoFar = (): Rates => better(start.ceiling, watch?.best ?? start.ceiling);
  const saveRows = (): void => {
    console.log(`\nEnded early, after ${found.results.length} rows.`);
    if (found.results.length) writeBench(options, { ...start, ...found, best: bestSoFar(), interrupted: true });
  };
  const forget = onInterrupt(() => {
    saveRows();
    process.exit(INTERRUPTED);
  });
  try {
    for (const subject of subjects) {
      await benchSubject(runtime, subject, { ...settings, watch }, found);
      const next = await usable(runtime);
      if (next !== runtime) watch = await Beside.open(next, start.ceiling, watch?.best);
      runtime = next;
    }
  } catch (error) {
    saveRows();
    throw error;
  }
  // Before the ceilings, which are load themselves.
  const load = loadPerCore();
  const after = await measureCeiling(runtime, options.repeats);
  forget();
  if (runtime !== opened) runtime.device.close();
  return { ...start, ...found, load: [start.load[0], load], best: better(bestSoFar(), after), after };
};

const benchKernels = async (runtime: Runtime, options: BenchOptions, chosen: readonly Subject[], before: BenchFile | null): Promise<number> => {
  const parts = options.case ?? [];
  const subjects = chosen.filter((subject) => casesOf(runtime, subject, parts).length > 0);
  if (subjects.length === 0) fail(`--case: no bench case of these ops has a name that holds "${parts.join('" or "')}"`);
  const ceiling = await measureCeiling(runtime, options.repeats);
  const start: BenchFile = {
    machine: describeMachine(runtime), adapter: runtime.device.report.name, figure: countsDriverTime(runtime) ? 'driver' : 'wall', countsCopies: true,
    gemm: kernelsOf(runtime.gemm), precision: options.precision, ceiling, best: ceiling, after: ceiling,
    load: [loadPerCore(), 0], ...nothingFound(),
  };
  console.log(introduce(start, options.repeats));
  if (before) console.log(differences(before, start).join('\n'));
  console.log(`\n${header(start.figure, before !== null)}`);
  const file = await timeAll(runtime, options, subjects, start, before);
  if (before) console.log(`\n${missingRows(before, file)}`);
  summarise(file);
  writeBench(options, file);
  return file.wrong.length ? 1 : 0;
};

const profile = async (runtime: Runtime, options: BenchOptions): Promise<void> => {
  const { config, step } = prepareTraining(runtime, trainArguments(options));
  const training = `Training step: WS-DAN, preset ${config.dataset}, ${config.model}, ${config.augment.imageSize} px, batch ${config.batchSize}${config.precision === 'mixed' ? ', mixed precision' : ''}`;
  const file: ProfileFile = { machine: describeMachine(runtime), training, profile: await profileStep(runtime, step) };
  console.log(profileText(file));
  writeFiles([[options.json, () => asJson(file)], [options.markdown, () => profileMarkdown(file)]]);
};

/** The adapter is opened only to be described: the trainings are processes of their own. */
const warmUp = async (runtime: Runtime, options: BenchOptions): Promise<void> => {
  const adapter = options.adapter ? ['--adapter', options.adapter] : [];
  const training = trainArguments(options);
  console.log([...machineLines(describeMachine(runtime)), `Training: node dist/train.js ${training.join(' ')}`].join('\n'));
  const measured = await measureWarmUp([...training, ...adapter]);
  console.log(warmUpLines(measured).join('\n'));
  writeFiles([[options.json, () => asJson({ machine: describeMachine(runtime), training, ...measured })]]);
};

/** Starts from the defaults, whatever an earlier tuning left behind. */
const tuneKernels = async ({ adapter, repeats }: BenchOptions): Promise<void> => {
  checkOutputs({ 'The tuning file': tuningFile() });
  // Its other adapters' settings stay; if they cannot be read, tuning would be for nothing.
  if (existsSync(tuningFile())) readTuning();
  const device = await openDevice({ adapter });
  console.log(`Adapter: ${device.report.name}. Each setting is checked, then timed over the same layers; the first of a group is what it is compared with.`);
  const file = await tuneToFile(device, repeats, console.log);
  console.log(`Written to ${file}, which training reads in this folder.`);
  device.close();
};

const bench = async (): Promise<number> => {
  const parsed = parseOptions(spec, process.argv.slice(2));
  const { values } = parsed;
  const mode = modeOf(parsed);
  if (mode === 'tune') return tuneKernels(values).then(() => 0);
  const mixed = mode === 'kernels' && values.precision === 'mixed';
  const chosen = withDirection(chosenSubjects(values.ops, mixed ? mixedSubjects : undefined), values.direction);
  checkOutputs({ '--json': values.json, '--html': values.html, '--markdown': values.markdown });
  const before = values.compare === undefined ? null : readBenchFile(values.compare);
  if (mode === 'profile') exactTimestamps();
  const runtime = await openRuntime(values.adapter);
  checkPrecision(runtime, values);
  let code = 0;
  if (mode === 'profile') await profile(runtime, values);
  else if (mode === 'warm-up') await warmUp(runtime, values);
  else code = await benchKernels(runtime, values, chosen, before);
  runtime.device.close();
  return code;
};

await runCommand(bench);
