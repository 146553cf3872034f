/** Runs with averages of the weights (--ema-decay): what is evaluated and saved, and what a resumed run goes on from. */
import t from 'tap';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readSafetensors } from '../src/io/safetensors.js';
import type { EpochRecord } from '../src/train/history.js';
import { loadFile } from '../src/train/state-file.js';
import { call } from './support/command.js';
import { readJsonLines } from './support/json-lines.js';

/** Three steps an epoch. */
const SMALL = ['--train-images', '16', '--test-images', '16', '--image-size', '32', '--batch-size', '6', '--attentions', '4', '--optimizer', 'adamw',
  '--lr', '0.01', '--epochs', '2', '--eval-every', '1', '--report-images', '1', '--workers', '0'];

const root = t.testdir({});
const folder = (name: string): string => join(root, name);
const last = (name: string): string => join(folder(name), 'last.safetensors');
/** A digest of each tensor: two lists of numbers that differ would take minutes to print. */
const digestsIn = (path: string): Map<string, string> => new Map([...readSafetensors(path).tensors].map(([name, { shape, data }]) =>
  [name, `[${shape.join()}] ${createHash('sha256').update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength)).digest('hex').slice(0, 16)}`]));
const tensorsOf = (name: string): Map<string, string> => digestsIn(last(name));
const recordsOf = (name: string): EpochRecord[] => readJsonLines(join(folder(name), 'metrics.jsonl')) as EpochRecord[];
const hashesOf = (name: string): [string, string | undefined] => {
  const { weightsHash: averages, trainedWeightsHash: trained } =
    JSON.parse(readFileSync(join(folder(name), 'summary.json'), 'utf8')) as { weightsHash: string; trainedWeightsHash?: string };
  return [averages, trained];
};
const train = async (name: string, ...args: string[]): Promise<string> => {
  const { code, out, errors } = await call('train', '--out', folder(name), ...args);
  t.equal(code, 0, errors || name);
  return out;
};

await train('plain', ...SMALL);
const output = await train('averaged', ...SMALL, '--ema-decay', '0.8');

t.test('averages change what is evaluated, and nothing of what is trained', async (t) => {
  t.match(output, /Averages of the weights over about 5 steps \(--ema-decay 0\.8\) are evaluated, and are the weights of the run’s checkpoints/);
  // 6 steps: 0.8⁶ = 0.262; 0.01^(1/6) = 0.464…
  t.match(output, /Note: after all 6 steps the averages still hold 26 % of the weights at the start; so few steps ask for --ema-decay 0\.46 or less\n/);
  t.match(output, /kept: averages [\d.]+ [KM]iB, buffers/);
  const [averages, trained] = hashesOf('averaged');
  t.match(output, `weights hash ${averages} of the averages, ${trained!} of the trained weights`);
  t.same(hashesOf('plain'), [trained, undefined]);
  t.not(averages, trained);
  const [with_, without] = [recordsOf('averaged'), recordsOf('plain')];
  t.same(with_.map(({ train }) => train), without.map(({ train }) => train));
  with_.forEach(({ eval: evaluation }, i) => t.not(evaluation!.loss, without[i]!.eval!.loss));
  t.match(readFileSync(join(folder('averaged'), 'report.html'), 'utf8'), /Averages of the weights over about 5 steps/);
});

t.test('a checkpoint’s weights are the averages; those that training goes on from lie beside them', async (t) => {
  const [tensors, plain] = [tensorsOf('averaged'), tensorsOf('plain')];
  const own = [...plain.keys()];
  const weights = own.filter((name) => !name.startsWith('optimizer.') && name !== 'feature_center');
  t.same([...tensors.keys()].sort(), [...own, ...weights.map((name) => `trained.${name}`)].sort());
  for (const name of weights) t.equal(tensors.get(`trained.${name}`), plain.get(name), name);
  t.same([...(await loadFile(last('averaged'))).keys()], weights, 'who reads the file as weights finds the averages alone');
});

t.test('eval measures what the run measured', async (t) => {
  const json = join(root, 'figures.json');
  const { code, out, errors } = await call('eval', '--checkpoint', last('averaged'), '--json', json, '--workers', '0');
  t.equal(code, 0, errors);
  t.match(out, /after 2 epochs \(6 steps\), averages of the weights/);
  const figures = JSON.parse(readFileSync(json, 'utf8')) as Record<string, unknown>;
  t.equal(figures.loss, recordsOf('averaged')[1]!.eval!.loss);
  const summary = JSON.parse(readFileSync(join(folder('averaged'), 'summary.json'), 'utf8')) as Record<string, unknown>;
  for (const name of ['raw', 'crop', 'drop', 'refined', 'localisation']) t.same(figures[name], summary[name], name);
});

t.test('convert takes the averages', async (t) => {
  const to = join(root, 'converted.safetensors');
  const { code, out, errors } = await call('convert', last('averaged'), to);
  t.equal(code, 0, errors);
  t.match(out, /Left out, having no place there: the optimiser's state, the trained weights, whose averages were taken/);
  const converted = digestsIn(to);
  t.notOk([...converted.keys()].some((name) => name.startsWith('trained.')));
  const averages = tensorsOf('averaged');
  for (const [name, tensor] of converted) t.equal(tensor, averages.get(name), name);
});

t.test('one epoch and --resume are two epochs, to the bit', async (t) => {
  await train('resumed', ...SMALL, '--ema-decay', '0.8', '--epochs', '1');
  await train('resumed', '--resume', '--epochs', '2');
  t.same(hashesOf('resumed'), hashesOf('averaged'));
  t.same(tensorsOf('resumed'), tensorsOf('averaged'));
  t.same(recordsOf('resumed').map(({ train, eval: evaluation }) => [train, evaluation]),
    recordsOf('averaged').map(({ train, eval: evaluation }) => [train, evaluation]));
  const { code, errors } = await call('train', '--out', folder('resumed'), '--resume', '--epochs', '3', '--ema-decay', '0.9');
  t.equal(code, 1);
  t.match(errors, /the run was started with --ema-decay 0\.8, not 0\.9/);
});

t.test('a run that starts from its weights starts its averages there', async (t) => {
  await train('next', ...SMALL, '--epochs', '1', '--lr', '1e-30', '--weight-decay', '0', '--ema-decay', '0.8', '--freeze-bn', '--weights', last('averaged'));
  t.same(hashesOf('next'), [hashesOf('averaged')[0], hashesOf('averaged')[0]]);
});
