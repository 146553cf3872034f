// Checks and measures Pipit on this machine's GPU and writes results.md and results.json. Started by run.sh.
import { spawn } from 'node:child_process';
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { driverChoices, nvidiaTraces } from './driver.mjs';
import { HELP, readOptions } from './options.mjs';
import { startRuns } from './runs.mjs';
import { markdown } from './report.mjs';

/** Images per step: the first that this adapter's memory and limits allow. */
const BATCHES = [12, 8, 6, 4, 2];
const TEST_SECONDS = 300;
/** Kernels that are forced in turn. Which exist depends on the adapter; a refusal is an answer. */
const VARIANTS = [
  { PIPIT_GEMM: 'tile' }, { PIPIT_GEMM: 'plain' }, { PIPIT_GEMM: 'broadcast' }, { PIPIT_WINOGRAD: 'on' }, { PIPIT_WINOGRAD: 'off' }, { PIPIT_MATRICES: 'off' },
  { PIPIT_ROBUSTNESS: 'on' },
];

const readCommandLine = () => {
  try {
    return readOptions(process.argv.slice(2));
  } catch (error) {
    console.error(error.message);
    return process.exit(1);
  }
};

const values = readCommandLine();
if (values.help) {
  console.log(HELP);
  process.exit(0);
}
const { out, small, quick } = values;
const temporary = mkdtempSync(join(tmpdir(), 'pipit-gpu-'));
/** What is running now; it ends with this process, before its folder goes. */
const children = new Set();
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL');
  rmSync(temporary, { recursive: true, force: true, maxRetries: 5 });
});
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(130));
const log = join(out, 'log.txt');
/** Whether float16 can be stored; known once the adapter is. */
let hasHalf = false;
const environment = { ...process.env, ...(values.adapter ? { PIPIT_ADAPTER: values.adapter } : {}) };

/** Runs a command to its end or to its time limit; all it prints goes to the log, too. */
const run = (command, args, { env = {}, seconds = values.limit } = {}) => new Promise((resolve) => {
  const start = performance.now();
  let [output, late] = ['', false];
  const child = spawn(command, args, { env: { ...environment, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  children.add(child);
  const alarm = setTimeout(() => { late = true; child.kill('SIGKILL'); }, seconds * 1000);
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => { output += text; });
  const end = (status) => {
    clearTimeout(alarm);
    children.delete(child);
    const took = (performance.now() - start) / 1000;
    appendFileSync(log, `\n$ ${Object.entries(env).map(([name, value]) => `${name}=${value} `).join('')}${[command, ...args].join(' ')}\n${output}\n[${late ? `ended after ${seconds} s` : `exit code ${status}`}, ${took.toFixed(1)} s]\n`);
    resolve({ ok: status === 0 && !late, status, output, problem: late ? `ended after ${seconds} s` : output.trim().split('\n').at(-1) });
  };
  child.on('error', (error) => { output += error.message; end(-1); });
  child.on('close', end);
});

/** Layers at batch 12 are checked on the host, in float64: that takes more than Node's usual heap. */
const HEAP = '--max-old-space-size=8192';
const node = (script, args, options) => run(process.execPath, [HEAP, join('dist', script), ...args], options);
const readJson = (file) => (existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : null);

/** Drivers print lines of their own around the facts; a command that was ended printed none. */
const factsIn = (output) => {
  try {
    return JSON.parse(output.slice(output.indexOf('{'), output.lastIndexOf('}') + 1));
  } catch {
    return null;
  }
};

/** The first choice of driver that offers a GPU, else what the system offers by itself; throws where there is nothing to measure on. */
const findAdapter = async () => {
  const tried = [];
  for (const { title, env } of driverChoices(temporary)) {
    const { output } = await node('info.js', ['--json'], { env, seconds: 120 });
    const facts = factsIn(output);
    tried.push({ title, env, facts });
    if (facts?.adapter && (values.adapter || !facts.adapter.software)) break;
  }
  const found = tried.find(({ facts }) => facts?.adapter && !facts.adapter.software) ?? tried.find(({ facts }) => facts?.adapter);
  if (!found && values.adapter) throw new Error(`--adapter: ${tried.find(({ facts }) => facts?.remedy)?.facts.remedy ?? `"${values.adapter}" cannot be opened, see log.txt`}`);
  if (!found || (found.facts.adapter.software && !small && !values.adapter)) throw new Error(explainAbsence());
  return found;
};

const gradcheck = async () => {
  const file = join(out, 'gradcheck.json');
  const { output, problem } = await node('gradcheck.js', ['--json', file, ...(small ? ['--ops', 'conv2d,matmul,maxPool2d'] : [])]);
  const verdicts = readJson(file)?.ops.flatMap(({ forward, gradient }) => [...forward, ...gradient]);
  if (!verdicts) return { ok: false, problem };
  const failed = verdicts.filter(({ passed }) => !passed);
  return {
    ok: failed.length === 0, checks: verdicts.length, failed: failed.map((v) => `${v.op}, ${v.case}: ${v.note}`),
    summary: output.trim().split('\n').findLast((line) => line.includes('checks')),
  };
};

const PRODUCTS = ['--ops', 'conv2d,matmul', '--case', 'batch 12,4096'];
const FEW = ['--ops', 'conv2d', '--case', 'default 64'];

const kernels = async () => {
  const file = join(out, 'kernels.json');
  const chosen = small ? FEW : quick ? PRODUCTS : [];
  const { ok, problem } = await node('bench.js', ['--json', file, '--html', join(out, 'kernels.html'), ...chosen]);
  const bench = readJson(file);
  return bench ? { ok, ...bench } : { ok: false, problem };
};

/** What is trained: the first of the published backbones that is there, and ResNet-50. */
const stepModels = async () => {
  if (small) return [{ preset: 'synthetic', model: 'resnet18', size: 97, batches: [2] }];
  const { backboneNames } = await import('./dist/index.js');
  const published = ['inception_mixed_6e', 'resnet50'].filter((name) => backboneNames.includes(name)).map((model) => ({ preset: 'cub', model, size: 448, batches: BATCHES }));
  return hasHalf ? [...published, { ...published[0], precision: 'mixed' }] : published;
};

const stepOf = async ({ preset, model, size, batches, precision = 'float32' }) => {
  const tried = [];
  for (const batch of batches) {
    const file = join(temporary, `${model}-${precision}-${batch}.json`);
    const { problem } = await node('bench.js', ['--profile', '--preset', preset, '--model', model, '--image-size', String(size), '--batch-size', String(batch), '--precision', precision, '--json', file]);
    const profile = readJson(file)?.profile;
    if (profile) return { model, size, batch, precision, tried, imagesPerSecond: (1000 * batch) / profile.wallMs, ...profile };
    tried.push({ batch, problem });
  }
  return { model, size, precision, tried, problem: tried.at(-1).problem };
};

const step = async () => {
  const models = [];
  for (const model of await stepModels()) models.push(await stepOf(model));
  return { ok: models.every(({ batch }) => batch), models };
};

/** Training by the command, at the batch size that the profiled step found to fit. */
const trainingRuns = async ({ step: profiled }) => {
  const fitting = profiled?.models.find(({ model, batch }) => model === 'inception_mixed_6e' && batch)?.batch;
  return startRuns({ node, temporary, small, batch: fitting ?? BATCHES[0] });
};

/** The same work for PyTorch: the layers come from the op records. */
const pytorchWork = async (results) => {
  const { ops } = await import('./dist/index.js');
  const timed = ops.find(({ name }) => name === 'conv2d').cases.filter(({ name, bench }) => (small ? bench && name.startsWith('default 64') : bench === 'gpu'));
  const steps = (results.step?.models ?? await stepModels()).filter(({ precision }) => precision !== 'mixed')
    .map(({ model, size, batch }) => ({ model, size, batch: batch ?? BATCHES[0] }));
  const convolutions = timed.map(({ name, shapes: [x, w], attrs }) => ({ name, x, w, stride: attrs.stride, padding: attrs.padding }));
  return { gemm: small ? 256 : 4096, steps, convolutions };
};

const pytorch = async (results) => {
  const python = process.env.PYTHON ?? 'python3';
  const wanted = small ? 'import torch' : 'import torch; assert torch.cuda.is_available()';
  const there = await run(python, ['-c', wanted], { seconds: 120 });
  if (!there.ok) return { ok: true, skipped: `${python} has no torch${small ? '' : ' with CUDA'}` };
  const [work, file] = [join(temporary, 'work.json'), join(temporary, 'pytorch.json')];
  writeFileSync(work, JSON.stringify(await pytorchWork(results)));
  const { problem } = await run(python, ['torch_gpu.py', work, file, small ? 'cpu' : 'cuda']);
  const figures = readJson(file);
  return figures ? { ok: true, ...figures } : { ok: false, problem };
};

/** Products of float16 operands, by matrix units where the adapter has them. */
const halves = async () => {
  if (!hasHalf) return { ok: true, skipped: 'the adapter has no float16' };
  const file = join(temporary, 'halves.json');
  const { ok, problem } = await node('bench.js', ['--precision', 'mixed', '--json', file, ...(small ? FEW : PRODUCTS)]);
  const bench = readJson(file);
  return bench ? { ok, ...bench } : { ok: false, problem };
};

const variants = async () => {
  const outcomes = [];
  for (const env of VARIANTS) {
    const { ok, output, problem } = await node('gradcheck.js', ['--ops', small ? 'matmul' : 'conv2d,matmul', '--failures'], { env });
    outcomes.push({ variant: Object.entries(env).map((pair) => pair.join('=')).join(' '), refused: /need subgroups/.test(output), ok, summary: problem });
  }
  return { ok: outcomes.every(({ ok, refused }) => ok || refused), outcomes };
};

const tests = async () => {
  const files = readdirSync('dist/test').filter((name) => name.endsWith('.test.js') && (!small || /^(einsum|gradcheck|wsdan-step)\./.test(name)));
  const outcomes = [];
  for (const name of files) {
    const { ok, output, problem } = await node(join('test', name), [], { seconds: TEST_SECONDS, env: { TAP_TIMEOUT: String(TEST_SECONDS) } });
    const [, assertions = 0] = /# \{ total: (\d+)/.exec(output.slice(output.lastIndexOf('# {'))) ?? [];
    outcomes.push({ name, ok, assertions: Number(assertions), ...(ok ? {} : { problem: output.split('\n').find((line) => /^\s*not ok/.test(line))?.trim() ?? problem }) });
  }
  return { ok: outcomes.every(({ ok }) => ok), outcomes };
};

const parts = { gradcheck, kernels, halves, step, run: trainingRuns, pytorch, variants, tests };

const explainAbsence = () => {
  const { devices, card } = nvidiaTraces();
  if (!card && devices.length === 0) return 'No GPU was found. `--small --adapter lavapipe` tries everything on a software adapter.';
  return `There is an NVIDIA GPU (${card || devices.join(', ')}), but no Vulkan driver for it: the driver's graphics libraries (libEGL_nvidia.so.0 or libGLX_nvidia.so.0) are missing. ` +
    'In a container, start it with NVIDIA_DRIVER_CAPABILITIES=all.';
};

const main = async () => {
  mkdirSync(out, { recursive: true });
  writeFileSync(log, '');
  const found = await findAdapter();
  Object.assign(environment, found.env);
  const { facts } = found;
  hasHalf = facts.adapter.features.used.includes('shader-f16');
  console.log(`${facts.adapter.name}, through ${found.title}${facts.adapter.software ? ' (a software adapter)' : ''}`);
  const report = { pack: readJson('pack.json'), small, found: found.title, card: nvidiaTraces().card, machine: facts, results: {} };
  for (const name of values.parts) {
    const start = performance.now();
    report.results[name] = await parts[name](report.results);
    const { ok, skipped } = report.results[name];
    console.log(`${name.padEnd(10)} ${skipped ? `skipped: ${skipped}` : ok ? 'ok' : 'FAILED, see log.txt'}  ${((performance.now() - start) / 1000).toFixed(1)} s`);
    writeFileSync(join(out, 'results.json'), `${JSON.stringify(report, null, 1)}\n`);
    writeFileSync(join(out, 'results.md'), markdown(report));
  }
  console.log(`Written: ${join(out, 'results.md')}`);
  return Object.values(report.results).every(({ ok }) => ok) ? 0 : 1;
};

try {
  process.exitCode = await main();
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
