/** Interrupted runs through the built command: what is resumed ends like what was never interrupted, to the bit. */
import t from 'tap';
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { inCommand } from '../src/errors.js';
import { openSafetensors, readSafetensors, writeSafetensors } from '../src/io/safetensors.js';
import type { EpochRecord } from '../src/train/history.js';
import { readJsonLines } from './support/json-lines.js';

const TRAIN = join(dirname(fileURLToPath(import.meta.url)), '..', 'train.js');
/** Seven steps an epoch, each in two micro-batches. */
const SMALL = [
  '--train-images', '28', '--test-images', '16', '--image-size', '32', '--batch-size', '4', '--micro-batch', '3', '--attentions', '8',
  '--optimizer', 'adamw', '--lr', '0.002',
  '--epochs', '4', '--eval-every', '2', '--report-images', '0', '--seed', '5',
];

interface Ended {
  readonly code: number | null;
  readonly signal: string | null;
  readonly output: string;
}

/** Starts the command; `watch` sees the process and its output so far after each piece. */
const train = (args: readonly string[], watch: (child: ChildProcess, output: string) => void = () => {}): Promise<Ended> =>
  new Promise((resolve) => {
    const child = spawn(process.execPath, [TRAIN, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    const onData = (chunk: Buffer): void => {
      output += chunk.toString();
      watch(child, output);
    };
    child.stdout.on('data', onData);
    child.stderr.on('data', onData);
    child.on('close', (code, signal) => resolve({ code, signal, output }));
  });

const hashOf = (out: string): string => (JSON.parse(readFileSync(join(out, 'summary.json'), 'utf8')) as { weightsHash: string }).weightsHash;
const positionOf = (out: string): { epoch: number; batch: number; step: number } => {
  // The header alone, in one go: the run that is watched may replace the file at any time.
  const meta =
    JSON.parse(openSafetensors(join(out, 'last.safetensors')).facts.get('pipit') as string) as { position: { epoch: number; batch: number; step: number } };
  return meta.position;
};
/** Whether a running training's checkpoint is of this epoch; not yet, where it is being replaced at this moment. */
const hasReached = (out: string, epoch: number): boolean => {
  try {
    return positionOf(out).epoch >= epoch;
  } catch {
    return false;
  }
};
/** What an epoch's record says apart from durations. */
const numbersOf = (out: string): unknown[] =>
  (readJsonLines(join(out, 'metrics.jsonl')) as EpochRecord[]).map(({ epoch, step, lr, train, eval: evaluation }) => ({ epoch, step, lr, train, evaluation }));

const root = t.testdir({ odd: {} });
const whole = join(root, 'whole');
const reference = await train([...SMALL, '--out', whole, '--workers', '0']);

t.test('an uninterrupted run', async (t) => {
  t.equal(reference.code, 0, reference.output);
  t.equal(numbersOf(whole).length, 4);
  t.match(hashOf(whole), /^[0-9a-f]{16}$/);
  const summary = JSON.parse(readFileSync(join(whole, 'summary.json'), 'utf8')) as Record<string, unknown>;
  for (const key of ['raw', 'refined', 'crop', 'drop', 'localisation', 'imagesPerSecond', 'seconds', 'steps', 'adapter']) t.ok(key in summary, key);
  t.equal(summary.steps, 28);
  for (const file of ['config.json', 'best.safetensors', 'last.safetensors', 'report.html']) t.ok(existsSync(join(whole, file)), file);
});

t.test('kill −9 in the third epoch, then --resume', async (t) => {
  const out = join(root, 'killed');
  let hunting = false;
  const hunt = async (child: ChildProcess): Promise<void> => {
    // The line of an epoch comes before its checkpoint.
    while (!hasReached(out, 2)) await sleep(5);
    child.kill('SIGKILL');
  };
  const killed = await train([...SMALL, '--out', out], (child, output) => {
    if (hunting || !output.includes('Epoch 2/4')) return;
    hunting = true;
    void hunt(child);
  });
  t.same([killed.code, killed.signal], [null, 'SIGKILL']);
  t.notOk(existsSync(join(out, 'summary.json')), 'it did not come to the end');
  t.ok(positionOf(out).epoch >= 2, `the last checkpoint is of epoch ${positionOf(out).epoch}`);
  const resumed = await train(['--out', out, '--resume', '--checkpointing']);
  t.equal(resumed.code, 0, resumed.output);
  t.match(resumed.output, /step of 4 images in 2 micro-batches of 2, checkpointing on:/);
  t.notMatch(resumed.output, /Epoch [12]\/4/, 'epochs that were saved are not repeated');
  t.equal(hashOf(out), hashOf(whole), 'the same weights, also with another number of decoding threads, and with checkpointing');
  t.same(numbersOf(out), numbersOf(whole), 'the same history');
  t.same(readSafetensors(join(out, 'last.safetensors')).tensors, readSafetensors(join(whole, 'last.safetensors')).tensors, 'optimiser and centers too');
});

t.test('SIGINT finishes the step, saves, and says how to go on', async (t) => {
  const out = join(root, 'interrupted run');
  let asked = false;
  const stopped = await train([...SMALL, '--out', out], (child, output) => {
    // The line that ends the epoch: where a step takes long, lines with an ETA come before it.
    if (asked || !/Epoch 1\/4 {2}7\/7 \[[\d:]+, \d/.test(output)) return;
    asked = true;
    child.kill('SIGINT');
  });
  t.same([stopped.code, stopped.signal], [130, null], stopped.output);
  t.match(stopped.output, /Stopping after this step/);
  t.match(stopped.output, `Go on with: node dist/train.js --out "${out}" --resume`, 'as a shell takes it');
  t.same(['runs/größe-1', 'C:\\runs\\a', 'a $b', 'a "b"'].map(inCommand), ['runs/größe-1', 'C:\\runs\\a', '"a \\$b"', '"a \\"b\\""']);
  const { epoch, batch, step } = positionOf(out);
  t.equal(step, 7 * epoch + batch, `saved after step ${step}, ${batch} of 7 batches into epoch ${epoch + 1}`);
  t.ok(epoch >= 1 && step < 28);
  const resumed = await train(['--out', out, '--resume']);
  t.equal(resumed.code, 0, resumed.output);
  t.equal(hashOf(out), hashOf(whole));
  t.same(numbersOf(out), numbersOf(whole), 'the epoch that was cut in two has the same means');
});

interface Asserts {
  equal(a: unknown, b: unknown, text: string): boolean;
  match(a: string, b: RegExp): boolean;
  notMatch(a: string, b: RegExp): boolean;
}

const refused = async (t: Asserts, args: string[], message: RegExp): Promise<void> => {
  const { code, output } = await train(args);
  t.equal(code, 1, args.join(' '));
  t.match(output, message);
  t.notMatch(output, /\n\s+at /);
};

t.test('what cannot be meant is refused in a sentence', async (t) => {
  const before = readFileSync(join(whole, 'last.safetensors'));
  await refused(t, [...SMALL, '--out', whole], /already holds a run\. Add --resume to go on with it, or choose another folder with --out/);
  await refused(t, ['--out', whole, '--resume', '--beta', '0.5'],
    /the run was started with --beta 0\.05, not 0\.5; leave the option out, or start a new run with another --out/);
  await refused(t, ['--out', whole, '--resume', '--attentions', '4'], /--attentions 8, not 4/);
  await refused(t, ['--out', whole, '--resume', '--micro-batch', '4'], /--micro-batch 3, not 4/);
  await refused(t, ['--resume'], /--resume needs the folder of the run: add --out DIR/);
  await refused(t, ['--out', whole, '--resume', '--epochs', '3'], /--epochs 3: 4 epochs are done already; leave the option out, or ask for 4 or more/);
  await refused(t, ['--out', whole, '--resume', '--data', root],
    /--data .*: the data set synthetic is made by Pipit itself and reads no folder; add --dataset folder/);
  await refused(t, ['--out', join(root, 'nothing'), '--resume'], /nothing.*there is no such checkpoint; train first/);
  t.ok(before.equals(readFileSync(join(whole, 'last.safetensors'))), 'the run is untouched');
  const { tensors, metadata } = readSafetensors(join(whole, 'last.safetensors'));
  const meta = JSON.parse(metadata.pipit!) as { options: Record<string, unknown> };
  writeSafetensors(join(root, 'odd', 'last.safetensors'), tensors, { pipit: JSON.stringify({ ...meta, options: { ...meta.options, imageSize: -5 } }) });
  await refused(t, ['--out', join(root, 'odd'), '--resume'], /odd.last\.safetensors: "imageSize": -5 is not allowed/);
  const broken = join(root, 'broken');
  writeFileSync(broken, 'a file');
  await refused(t, [...SMALL, '--out', broken], /broken cannot be made|broken.*choose another/);
});

const DIVERGING = ['--train-images', '16', '--test-images', '16', '--image-size', '32', '--batch-size', '8', '--attentions', '4', '--workers', '0',
  '--report-images', '0'];

t.test('a run that diverges keeps its last good checkpoint, and says how to go on', async (t) => {
  const out = join(root, 'diverged');
  const [last, best] = [join(out, 'last.safetensors'), join(out, 'best.safetensors')];
  await refused(t, [...DIVERGING, '--out', out, '--epochs', '1', '--lr', '1e30'],
    /Training has diverged: .* at step 2\. No checkpoint was written before; start again with a lower --lr/);
  t.notOk(existsSync(last) || existsSync(best), 'nothing is written that cannot be used');
  t.equal((await train([...DIVERGING, '--out', out, '--epochs', '1', '--schedule', 'cosine'])).code, 0);
  const before = readFileSync(last);
  const second = ['--out', out, '--resume', '--workers', '0', '--epochs', '2'];
  await refused(t, [...second, '--lr', '1e30', '--log-every', '1'],
    /Training has diverged: .* at step 4\. The last good checkpoint is .*last\.safetensors; go on from it with: node dist\/train\.js --out .* --resume, and a lower --lr/);
  t.ok(before.equals(readFileSync(last)), 'the old checkpoint stands');
  const { code, output } = await train([...second, '--lr', '1e-4', '--clip-grad-norm', '1']);
  t.equal(code, 0, output);
  t.match(output, /Note: from here on the learning rate that the schedule starts from is 0\.0001 instead of /);
  t.match(output, /Note: from here on the bound of --clip-grad-norm is 1 instead of 0/);
  t.match(output, /Note: the cosine schedule falls to 0 at the last epoch: over 2 epochs instead of 1/);
  const [, { lr }] = readJsonLines(join(out, 'metrics.jsonl')) as unknown as EpochRecord[] as [EpochRecord, EpochRecord];
  t.ok(lr > 0 && lr < 1e-4, `the schedule took the new rate: ${lr}`);
});

t.test('a finished run resumes to its end at once', async (t) => {
  const config = readFileSync(join(whole, 'config.json'), 'utf8');
  const again = await train(['--out', whole, '--resume', '--lr', '0.5']);
  t.equal(again.code, 0, again.output);
  t.match(again.output, /Note: no step is left to train, so --lr changes nothing\n/);
  t.equal(readFileSync(join(whole, 'config.json'), 'utf8'), config, 'which still says what was trained with');
  const { code, output } = await train(['--out', whole, '--resume', '--patience', '1', '--keep-every', '4']);
  t.equal(code, 0, output);
  t.notMatch(output, /Epoch \d\/4|Training ended after/);
  t.equal(hashOf(whole), hashOf(join(root, 'killed')));
});
