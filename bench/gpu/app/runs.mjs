// Whole runs of the training command: pictures are drawn, decoded, uploaded and augmented as it goes, and nothing is left out.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Steps that count, besides the first, which compiles all kernels. */
const STEPS = 100;
const FEWER = 20;

/** The published network at its published size, on drawn pictures; a few of them are evaluated at the end. */
const published = ['--model', 'inception_mixed_6e', '--image-size', '448', '--optimizer', 'sgd', '--lr', '0.001', '--scale', '10', '--attention-rim', '0'];
const tiny = ['--model', 'resnet_small', '--image-size', '33', '--attentions', '4'];

const runsOf = (small, batch) => (small ? [{ name: 'tiny', steps: 3, args: ['--micro-batch', '2', '--checkpointing'] }] : [
  { name: 'whole batches', steps: STEPS, args: [] },
  { name: 'mixed precision', steps: STEPS, args: ['--precision', 'mixed'] },
  { name: 'checkpointing', steps: FEWER, args: ['--checkpointing'] },
  { name: 'micro-batches of half the batch', steps: FEWER, args: ['--micro-batch', String(Math.ceil(batch / 2))] },
]);

/** Megabytes in use on the card, or null where nobody can tell. */
const usedMegabytes = () => {
  try {
    return Number(execFileSync('nvidia-smi', ['--query-gpu=memory.used', '--format=csv,noheader,nounits'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).split('\n')[0]);
  } catch {
    return null;
  }
};

/** Watches the card's memory while `work` runs. */
const watching = async (work) => {
  const before = usedMegabytes();
  let most = before;
  const timer = before === null ? null : setInterval(() => { most = Math.max(most, usedMegabytes() ?? 0); }, 1000);
  const result = await work();
  clearInterval(timer);
  return { ...result, cardMegabytes: before === null ? null : most - before };
};

const lastLine = (file) => JSON.parse(readFileSync(file, 'utf8').trim().split('\n').at(-1));

const oneRun = async ({ node, temporary, small }, batch, { name, steps, args }) => {
  const out = join(temporary, `run-${name.replaceAll(' ', '-')}`);
  const { ok, output, problem, cardMegabytes } = await watching(() => node('train.js', [
    '--dataset', 'synthetic', '--train-images', String((steps + 1) * batch), '--test-images', '16', '--batch-size', String(batch), '--eval-batch-size', String(Math.min(batch, 12)), '--epochs', '1',
    '--report-images', '0', '--out', out, ...(small ? tiny : published), ...args,
  ]));
  if (!ok || !existsSync(join(out, 'summary.json'))) return { name, problem };
  const { imagesPerSecond } = JSON.parse(readFileSync(join(out, 'summary.json'), 'utf8'));
  return { name, steps, batch, imagesPerSecond, plan: /^Memory: (.*)$/m.exec(output)?.[1] ?? null, cardMegabytes, loss: lastLine(join(out, 'metrics.jsonl')).train.loss };
};

/** @returns figures of every run, or why it ended */
export const startRuns = async (setting) => {
  const batch = setting.small ? 4 : setting.batch;
  const runs = [];
  for (const run of runsOf(setting.small, batch)) runs.push(await oneRun(setting, batch, run));
  return { ok: runs.every(({ problem }) => problem === undefined), runs };
};
