/** The parts of a training run that need no data: file layout, checkpoints, scores, presets. */
import t from 'tap';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { presetLines, presets } from '../src/train/presets.js';
import { trainOptions } from '../src/train/options/train-options.js';
import type { Dataset, Split } from '../src/data/dataset.js';
import { writeSafetensors } from '../src/io/safetensors.js';
import { readCheckpoint, restore, saveCheckpoint } from '../src/train/checkpoint.js';
import { bestEpoch, type EpochRecord, isOutOfPatience, trainMetrics, selectionScore } from '../src/train/history.js';
import { checkBatchSize } from '../src/train/session.js';
import { checkData, checkEpochs, configNotes, dataNotes, keptOptions, resumeNotes } from '../src/train/resume.js';
import { intersectionOverUnion, LocalisationScore } from '../src/train/localisation.js';
import { fromFileLayout, toFileLayout } from '../src/train/state-layout.js';
import { START } from '../src/train/trainer.js';
import { warmUpNotes } from '../src/train/run.js';
import { scratchNotes, startFrom } from '../src/train/start-weights.js';
import { weightsHash } from '../src/train/weights-hash.js';
import { write } from '../src/tensor/create.js';
import { configOf, fixedTraining } from './support/default-training.js';
import { openRuntime } from './support/runtime.js';

const runtime = await openRuntime();
const folder = t.testdir({});
const TINY = ['--batch-size', '4', '--image-size', '32', '--attentions', '4'];

t.test('files hold PyTorch’s layout', async (t) => {
  const conv = { shape: [1, 2, 3, 2], data: Float32Array.from({ length: 12 }, (_, i) => i) };
  const stored = toFileLayout('conv.weight', conv);
  t.same(stored.shape, [2, 3, 1, 2], '[kh, kw, in, out] becomes [out, in, kh, kw]');
  // Element (o, i, 0, x) stands at (0, x, i, o): 6x + 2i + o.
  t.same([...stored.data], [0, 6, 2, 8, 4, 10, 1, 7, 3, 9, 5, 11]);
  t.same(fromFileLayout('conv.weight', stored), conv, 'and back');
  const linear = { shape: [2, 3], data: Float32Array.of(1, 2, 3, 4, 5, 6) };
  t.same(toFileLayout('fc.weight', linear), { shape: [3, 2], data: Float32Array.of(1, 4, 2, 5, 3, 6) });
  t.same(toFileLayout('bn.weight', { shape: [3], data: Float32Array.of(1, 2, 3) }).shape, [3]);
});

for (const optimizer of ['sgd', 'adamw']) {
  t.test(`checkpoint: ${optimizer} goes on to the bit in another process’s model`, async (t) => {
    const path = join(folder, `${optimizer}.safetensors`);
    const config = configOf(...TINY, '--optimizer', optimizer, '--lr', '0.003');
    const first = fixedTraining(runtime, config, 5);
    for (let step = 0; step < 3; step++) await first.step(step);
    const sums = await first.session.method.metrics.read();
    const options = { seed: 1, scale: config.wsdan.scale };
    await saveCheckpoint(path, first.session, options, ['a', 'b', 'c', 'd', 'e'], { ...START, epoch: 1, step: 3, sums });
    for (let step = 3; step < 6; step++) await first.step(step);

    const checkpoint = readCheckpoint(path);
    t.same([checkpoint.classes, checkpoint.options, checkpoint.position.step], [['a', 'b', 'c', 'd', 'e'], { ...options, dropLast: true }, 3]);
    const second = fixedTraining(runtime, { ...config, seed: 99 }, 5);
    t.not(await weightsHash(second.session.method.module), await weightsHash(first.session.method.module), 'it begins with other weights');
    restore(second.session, checkpoint);
    t.same(await second.session.method.metrics.read(), sums);
    // The seed belongs to the run, not to the checkpoint's tensors; both draw with the one set last.
    for (let step = 3; step < 6; step++) await second.step(step);
    const again = fixedTraining(runtime, config, 5);
    restore(again.session, checkpoint);
    for (let step = 3; step < 6; step++) await again.step(step);
    t.equal(await weightsHash(again.session.method.module), await weightsHash(first.session.method.module));
    t.same(await again.session.method.centers!.table.data().then((d) => d.slice(0, 50)),
      await first.session.method.centers!.table.data().then((d) => d.slice(0, 50)), 'centers');
    t.not(await weightsHash(second.session.method.module), await weightsHash(first.session.method.module), 'another seed draws other maps');
  });
}

t.test('checkpoints: names as PyTorch has them, and clear refusals', async (t) => {
  const path = join(folder, 'named.safetensors');
  const { session } = fixedTraining(runtime, configOf(...TINY), 5);
  await saveCheckpoint(path, session, { seed: 2, convention: 'seed' }, [], START);
  const { file: { tensors }, options } = readCheckpoint(path);
  t.same(options, { seed: 2, convention: 'listing', dropLast: true }, 'the present name of what an earlier version called seed, and what it always did');
  t.same(tensors.get('features.conv1.weight')!.shape.slice(1), [3, 3, 3], '[out, in, kh, kw]');
  t.same(tensors.get('fc.weight')!.shape[0], 5);
  t.same(tensors.get('feature_center')!.shape[0], 5);
  const other = fixedTraining(runtime, configOf(...TINY), 6);
  t.throws(() => restore(other.session, readCheckpoint(path)),
    /named\.safetensors \(names of Pipit\) does not fit resnet_small:\n {2}2 of another shape:\n {4}fc\.weight: expected \[6, 256\], found \[5, 256\]\n {4}feature_center: expected \[6, 256\], found \[5, 256\]\nThe file's network tells 5 classes apart, this one 6\./);

  t.throws(() => readCheckpoint(join(folder, 'none.safetensors')), /none\.safetensors: there is no such checkpoint; train first/);
  const foreign = join(folder, 'foreign.safetensors');
  writeSafetensors(foreign, new Map());
  t.throws(() => readCheckpoint(foreign), /foreign\.safetensors: this safetensors file was not written by Pipit's training/);
  writeSafetensors(foreign, new Map(), { pipit: '{' });
  t.throws(() => readCheckpoint(foreign), /the metadata is damaged; use another checkpoint/);
  const meta = (history: unknown[], more: object = {}): string =>
    JSON.stringify({ format: 1, options: {}, classes: [], position: { ...START, history, ...more }, optimizerStep: 0 });
  const raw = { top1: 1, top5: 2 };
  const good = { epoch: 1, step: 1, lr: 0.1, train: { loss: 1, terms: {}, raw, degenerate: 0 } };
  for (const odd of [
    meta([{ epoch: 1 }]), meta([{ ...good, eval: {} }]), meta([{ ...good, train: { ...good.train, crop: 3 } }]), meta([], { unevaluated: { epoch: 1 } }),
    meta([], { bad: [1] }),
  ]) {
    writeSafetensors(foreign, new Map(), { pipit: odd });
    t.throws(() => readCheckpoint(foreign), { name: 'UserError', message: /the metadata is damaged, "position" is not what training writes/ });
  }
  writeSafetensors(foreign, new Map(), { pipit: meta([good, { ...good, eval: { loss: 1, raw, refined: null } }], { unevaluated: good }) });
  t.doesNotThrow(() => readCheckpoint(foreign));
  for (const [part, odd] of [['options', []], ['classes', [1]], ['optimizerStep', -1], ['scaler', 5]] as const) {
    writeSafetensors(foreign, new Map(), { pipit: JSON.stringify({ ...JSON.parse(meta([])) as object, [part]: odd }) });
    t.throws(() => readCheckpoint(foreign), { name: 'UserError', message: new RegExp(`the metadata is damaged, "${part}" is not what training writes`) });
  }
  writeSafetensors(foreign, new Map(), { pipit: '{"format": 99}' });
  t.throws(() => readCheckpoint(foreign), /checkpoint format 99 is not the one of this version/);
  writeFileSync(foreign, 'PK');
  t.throws(() => readCheckpoint(foreign), { name: 'UserError' });
});

t.test('a checkpoint that nothing could go on from is not written', async (t) => {
  const out = t.testdir({});
  const path = join(out, 'last.safetensors');
  const { session } = fixedTraining(runtime, configOf(...TINY), 5);
  const [name, statistic] = session.method.module.namedBuffers()[0]!;
  write(statistic, new Float32Array(statistic.size).fill(Infinity));
  await t.rejects(saveCheckpoint(path, session, {}, [], { ...START, step: 7 }),
    { message: new RegExp(`Training has diverged: ${name} holds Infinity at step 7\\. No checkpoint was written before`) });
  writeFileSync(path, 'an earlier one');
  await t.rejects(saveCheckpoint(path, session, {}, [], START), { name: 'UserError', message: /The last good checkpoint is .*last\.safetensors/ });
  write(statistic, new Float32Array(statistic.size).fill(1e25));
  await t.rejects(saveCheckpoint(path, session, {}, [], START), { message: new RegExp(`${name} holds 9\\.99\\d+e\\+24`) },
    'nor a finite one whose square overflows');
  t.equal(readFileSync(path, 'utf8'), 'an earlier one');
  write(statistic, new Float32Array(statistic.size).fill(1));
  const { step, vectors } = await session.optimizer.stateDict();
  session.optimizer.loadStateDict({ step, vectors: new Map([...vectors].map(([vector, data]) => [vector, data.map(() => 1e25)])) });
  await t.resolves(saveCheckpoint(path, session, {}, [], START), 'moments are squares themselves: of them only infinite ones are of no use');
});

t.test('what a resumed run must agree on with its checkpoint', async (t) => {
  const path = join(folder, 'agree.safetensors');
  const { session } = fixedTraining(runtime, configOf(...TINY), 2);
  await saveCheckpoint(path, session, { epochs: 9, lr: 0.1, clipGradNorm: 0 }, ['a', 'b'], { ...START, epoch: 3, batch: 5 });
  const checkpoint = readCheckpoint(path);
  const config = (...args: string[]) => configOf(...TINY, '--lr', '0.1', ...args);
  t.throws(() => checkEpochs(checkpoint, config('--epochs', '3')),
    { name: 'UserError', message: /--epochs 3: 3 epochs and 5 batches of the next are done already; leave the option out, or ask for 4 or more/ });
  t.doesNotThrow(() => checkEpochs(checkpoint, config('--epochs', '4')));
  const between = { ...checkpoint, position: { ...checkpoint.position, batch: 0 } };
  t.throws(() => checkEpochs(between, config('--epochs', '3')), /none was evaluated \(--eval-every\); ask for 4 or more/);
  t.throws(() => checkEpochs(between, config('--epochs', '2')), /3 epochs are done already/);
  const at = (epoch: number, batch: number) => ({ ...checkpoint, position: { ...checkpoint.position, epoch, batch } });
  t.throws(() => checkEpochs(at(1, 0), config('--epochs', '1')), /--epochs 1: 1 epoch is done, but none was evaluated/);
  t.throws(() => checkEpochs(at(1, 1), config('--epochs', '1')), /--epochs 1: 1 epoch and 1 batch of the next are done already/);
  const unevaluated = { ...between, position: { ...between.position, unevaluated: {} as EpochRecord } };
  t.doesNotThrow(() => checkEpochs(unevaluated, config('--epochs', '3')), 'its evaluation is what is left');

  const data = (classes: string[], images: number) => ({ classes, train: { samples: new Array(images) } }) as unknown as Dataset;
  t.doesNotThrow(() => checkData(checkpoint, config(), data(['a', 'b'], 24)));
  t.throws(() => checkData(checkpoint, config(), data(['a', '\u001b[31mb'], 24)), { message: /class 1 is "\\u001b\[31mb" instead of "b"/ });
  t.throws(() => checkData(checkpoint, config(), data(['a', 'c'], 24)), { name: 'UserError', message: /class 1 is "c" instead of "b"/ });
  t.doesNotThrow(() => checkData(checkpoint, config(), data(['a', 'b'], 23)), 'five full batches and a rest');
  t.throws(() => checkData(checkpoint, config('--drop-last'), data(['a', 'b'], 23)),
    { name: 'UserError', message: /after 5 batches of an epoch, and the 23 training images fill only 5/ });

  const images = (train: number, test: number, val?: number) =>
    ({ ...data(['a', 'b'], train), test: { samples: new Array(test) }, ...(val ? { val: { samples: new Array(val) } } : {}) }) as unknown as Dataset;
  const ran = (split: 'test' | 'val') => ({ ...between,
    position: { ...between.position, history: [{ epoch: 1, step: 6, eval: { split, images: 9 } }, { epoch: 2, step: 12 }] as unknown as EpochRecord[] } });
  t.doesNotThrow(() => checkData(ran('test'), config(), images(24, 9)));
  t.doesNotThrow(() => checkData(ran('val'), config(), images(24, 5, 9)));
  t.throws(() => checkData(ran('test'), config(), images(24, 10)),
    { name: 'UserError', message: /the run had 9 test images, now there are 10; .*new run with another --out \(--weights / });
  t.throws(() => checkData(ran('val'), config(), images(24, 9)), { name: 'UserError', message: /the run had 9 held-out images, now there are 0/ });
  t.throws(() => checkData(ran('test'), config(), images(25, 9)),
    { name: 'UserError', message: /the run had 6 batches of training images an epoch, now there are 7/ });
  t.doesNotThrow(() => checkData(ran('test'), config('--skip-bad-images'), images(24, 10)), 'some of the ten may have been passed over');

  const of = (dataImages?: number) => ({ ...checkpoint, position: { ...checkpoint.position, ...(dataImages === undefined ? {} : { dataImages }) } });
  t.same([dataNotes(of(24), data(['a', 'b'], 24)), dataNotes(of(), data(['a', 'b'], 24))], [[], []]);
  t.match(dataNotes(of(24), data(['a', 'b'], 23)), [/the run had 24 training images, now there are 23: from here on it trains on others than before/]);

  const written = (options: object): string => t.testdir({ 'config.json': JSON.stringify(options) });
  t.same(configNotes(checkpoint, written({ epochs: 9, lr: 0.1, clipGradNorm: 0 })), []);
  t.same(configNotes(checkpoint, t.testdir({})), []);
  t.same(configNotes({ ...checkpoint, options: { convention: 'listing', dropLast: true } }, written({ convention: 'seed' })), [],
    'an earlier version\'s name of the same');
  t.match(configNotes(checkpoint, written({ epochs: 9, lr: 0.2, clipGradNorm: 0, beta: 1 })),
    [/config\.json says other than the checkpoint: lr, beta\. A resumed run takes the checkpoint's options/]);
  t.throws(() => checkBatchSize({ samples: new Array(1) } as Split, config('--batch-size', '2', '--drop-last')),
    { message: /1 image, fewer than one batch of 2; leave the option out, or take more data$/ });
  t.throws(() => checkBatchSize({ samples: new Array(3) } as Split, config('--drop-last')),
    { message: /3 images, fewer than one batch of 4; leave the option out, use --batch-size 3 or less, or take more data$/ });

  t.same(resumeNotes(checkpoint, config('--epochs', '9', '--schedule', 'cosine')), []);
  t.same(resumeNotes(checkpoint, config('--epochs', '12', '--schedule', 'step')), [], 'the same run, only longer');
  t.match(resumeNotes(checkpoint, config('--epochs', '9', '--skip-bad-images')), [/from here on unreadable images are counted and passed over/]);
  t.match(resumeNotes(checkpoint, config('--epochs', '12', '--schedule', 'cosine')), [/over 12 epochs instead of 9/]);

});

t.test('a run with no step left keeps the rates that it was trained with', async (t) => {
  const path = join(folder, 'ended.safetensors');
  const { session } = fixedTraining(runtime, configOf(...TINY), 2);
  await saveCheckpoint(path, session, { epochs: 9, lr: 0.1, clipGradNorm: 0 }, ['a', 'b'], { ...START, epoch: 3, batch: 5 });
  const checkpoint = readCheckpoint(path);
  const config = (...args: string[]) => configOf(...TINY, ...args);
  const between = { ...checkpoint, position: { ...checkpoint.position, batch: 0 } };
  const unevaluated = { ...between, position: { ...between.position, unevaluated: {} as EpochRecord } };
  const other = ['--lr', '0.2', '--clip-grad-norm', '1'];
  const asked = { lr: 0.2, clipGradNorm: 1, epochs: 3 };
  const evaluated = (epoch: number, top1: number) => ({ epoch, eval: { raw: { top1 }, refined: null } }) as unknown as EpochRecord;
  const stale = { ...between, position: { ...between.position, history: [evaluated(1, 30), evaluated(2, 20), evaluated(3, 10)] } };
  for (const [from, args, ended] of [
    [between, ['--epochs', '3'], true], [unevaluated, ['--epochs', '3'], true], [stale, ['--epochs', '9', '--patience', '2'], true],
    [between, ['--epochs', '4'], false], [checkpoint, ['--epochs', '4'], false], [stale, ['--epochs', '9', '--patience', '3'], false],
    [unevaluated, ['--epochs', '4', '--patience', '1'], false],
  ] as const) {
    const now = config(...args, '--schedule', 'cosine', ...other);
    t.same(keptOptions(from, now, asked), ended ? { lr: 0.1, clipGradNorm: 0, epochs: 3 } : asked, args.join(' '));
    t.match(resumeNotes(from, now).slice(0, 2), ended
      ? [/^no step is left to train, so --lr changes nothing$/, /so --clip-grad-norm changes nothing/]
      : [/^from here on the learning rate .* 0\.2 instead of 0\.1$/, /^from here on the bound/]);
    if (ended) t.equal(resumeNotes(from, now).length, 2, 'nor does a schedule matter');
  }
});

t.test('a run that ends within its warm-up is told so', async (t) => {
  const notes = (...args: string[]) => warmUpNotes(configOf(...TINY, '--lr', '0.02', ...args));
  // A tenth, and half of the other nine tenths.
  t.same(notes('--epochs', '3', '--warmup-epochs', '6'), ['the warm-up of 6 epochs (--warmup-epochs) is longer than the run of 3 epochs: the learning rate stays below 0.011, and does not reach the 0.02 of --lr']);
  t.match(notes('--epochs', '1', '--warmup-epochs', '1.5'), [/warm-up of 1\.5 epochs .* longer than the run of 1 epoch: .* stays below 0\.014,/]);
  t.same([...notes('--epochs', '3', '--warmup-epochs', '3'), ...notes('--epochs', '3', '--warmup-epochs', '0')], []);
});

t.test('what a run is told that starts from weights, or from none', async (t) => {
  const path = join(folder, 'start.safetensors');
  const { session } = fixedTraining(runtime, configOf(...TINY), 3);
  await saveCheckpoint(path, session, { scale: 10 }, ['a', 'b', 'c'], START);
  const notesOf = async (classes: string[], ...args: string[]): Promise<unknown[]> => {
    const logged = t.capture(console, 'log');
    await startFrom(path, session, configOf(...TINY, '--weights', path, ...args), classes);
    logged.restore();
    return logged().map(({ args: [line] }) => line as unknown).filter((line) => String(line).startsWith('Note:'));
  };
  t.same(await notesOf(['a', 'b', 'c']), []);
  t.match(await notesOf(['a', 'x', 'y']),
    [/^Note: .*start\.safetensors was trained on other classes: class 1 is "x" here and was "b" there\. .*--weights-ignore "fc\.\*,feature_center"$/]);
  t.same(await notesOf(['a', 'x', 'y'], '--weights-ignore', 'fc.*,feature_center'), [], 'a fresh classifier means what it learns');
  const scratch = (...args: string[]): number => scratchNotes(configOf(...args)).length;
  t.match(scratchNotes(configOf('--scale', '50')), [/a feature scale of 50 is made for pretrained weights; .*Use --scale 10 --attention-rim 1/]);
  t.same([scratch(), scratch('--scale', '100', '--method', 'plain'), scratch('--scale', '100', '--weights', path)], [0, 0, 0]);
});

t.test('the weights hash sees every bit', async (t) => {
  const { session: { method: { module } } } = fixedTraining(runtime, configOf(...TINY), 5);
  const before = await weightsHash(module);
  t.equal(await weightsHash(module), before);
  const [, last] = module.namedBuffers().at(-1)!;
  const values = Float32Array.from(await last.data());
  values[0] = -values[0]! || -0;
  write(last, values);
  t.not(await weightsHash(module), before);
});

const box = (y0: number, x0: number, y1: number, x1: number) => ({ y0, x0, y1, x1 });

t.test('localisation scores', async (t) => {
  const truth = box(0, 0, 10, 10);
  t.equal(intersectionOverUnion(truth, truth), 1);
  t.equal(intersectionOverUnion(truth, box(0, 5, 10, 15)), 50 / 150);
  t.equal(intersectionOverUnion(truth, box(2, 2, 4, 4)), 4 / 100);
  t.equal(intersectionOverUnion(truth, box(0, 10, 10, 20)), 0, 'edges that touch share nothing');
  t.same([box(0, 15, 10, 25), box(15, 0, 25, 10), box(15, 15, 25, 25)].map((apart) => intersectionOverUnion(truth, apart)), [0, 0, 0],
    'nor do boxes apart, beside or above each other or both');
  const score = new LocalisationScore();
  t.equal(score.result, null);
  score.add(truth, truth);
  score.add(box(0, 0, 5, 10), truth);
  score.add(box(0, 0, 4, 10), truth);
  t.same(score.result, { meanIoU: (1 + 0.5 + 0.4) / 3, corLoc50: 200 / 3, images: 3 }, 'one half counts as found');
});

t.test('epoch metrics from sums', async (t) => {
  const sums = {
    lossRaw: 8, lossCrop: 4, lossDrop: 2, lossCenter: 1, rawTop1: 2, rawTop5: 4, cropTop1: 1, cropTop5: 3, dropTop1: 0, dropTop5: 1,
    degenerateCrop: 1, degenerateDrop: 2,
  };
  const { method } = fixedTraining(runtime, configOf(...TINY, '--center-weight', '0.5'), 5).session;
  const loss = method.meanLoss(sums, 4);
  t.equal(loss, (14 / 3 + 0.5) / 4);
  t.same(trainMetrics(sums, 4, loss), {
    loss, terms: { raw: 2, crop: 1, drop: 0.5, center: 0.25 },
    raw: { top1: 50, top5: 100 }, crop: { top1: 25, top5: 75 }, drop: { top1: 0, top5: 25 }, degenerate: 3,
  });
  const accuracy = (top1: number) => ({ top1, top5: 100 });
  const evaluation = { images: 1, loss: 1, raw: accuracy(30), crop: null, drop: null, refinedOtherAverage: null, localisation: null, degenerate: 0 };
  t.equal(selectionScore({ ...evaluation, refined: accuracy(40) }), 40);
  t.equal(selectionScore({ ...evaluation, refined: null }), 30, 'a plain classifier has only raw');
});

t.test('patience counts evaluations since the best one', async (t) => {
  // null: an epoch that was not evaluated.
  const evaluated = (top1: number | null): object => (top1 === null ? {} : { eval: { raw: { top1: 0 }, refined: { top1 } } });
  const records = (...scores: (number | null)[]) => scores.map((top1, i) => ({ epoch: i + 1, ...evaluated(top1) })) as unknown as EpochRecord[];
  t.equal(bestEpoch(records(null)), undefined);
  t.equal(bestEpoch(records(10, 30, null, 30, 20))?.epoch, 2, 'the first of equals');
  t.equal(bestEpoch(records(0, 0))?.epoch, 1, 'nothing right is a score, too');
  for (const [expected, patience, ...scores] of [
    [false, 2], [false, 2, 10], [false, 2, 10, 10], [true, 2, 10, 10, 10], [true, 2, 10, 30, 30, 20], [false, 2, 10, 30, 20, 31], [true, 1, 30, 20],
    [false, 2, 30, null, 20, null], [true, 2, 30, null, 20, null, 10], [false, 2, 30, null, 20, null, 10, null], [false, 0, 30, 1, 1, 1, 1],
  ] as [boolean, number, ...(number | null)[]][]) t.equal(isOutOfPatience(records(...scores), patience), expected, `${patience}: ${scores.join()}`);
});

t.test('presets name existing options, with allowed values', async (t) => {
  for (const [dataset, preset] of Object.entries(presets)) {
    for (const [name, value] of Object.entries(preset)) {
      const spec = (trainOptions as Record<string, { read(value: unknown): unknown; defaultText?: string }>)[name];
      t.ok(spec, `${dataset}: ${name} is an option`);
      t.not(spec?.read(value), undefined, `${dataset}: ${name} = ${JSON.stringify(value)} is allowed`);
      t.match(spec?.defaultText, /preset of the data set/, `--help says of ${name} that presets set it`);
    }
    t.doesNotThrow(() => configOf('--dataset', dataset, ...(dataset === 'synthetic' ? [] : ['--data', folder])));
  }
});

t.test('--help lists what presets set', async (t) => {
  const lines = presetLines();
  t.same(lines.map((line) => line.split(': ')[0]), ['synthetic', 'aircraft, cub, cars', 'dogs', 'folder, csv']);
  t.match(lines[3], /^folder, csv: --scale 10 .*--crop-theta 0\.2,0\.5 .*--image-size 225 /);
  t.match(lines[2], / --lr 0\.0001 /);
});

t.test('options of training that contradict each other', async (t) => {
  t.throws(() => configOf('--data', 'my-birds'),
    { name: 'UserError', message: /--data my-birds: the data set synthetic .* reads no folder; add --dataset folder/ });
  for (const name of ['crop-theta', 'drop-theta', 'random-resized-crop']) {
    t.throws(() => configOf(`--${name}`, '0.6,0.4'),
      { name: 'UserError', message: new RegExp(`^--${name}: "0\\.6,0\\.4" is not allowed.*the smaller one first`) });
    t.doesNotThrow(() => configOf(`--${name}`, '0.5,0.5'));
  }
});

t.test('WS-DAN learns one batch by heart, pictures of noise that have nothing in common', async (t) => {
  // The embedded run's network and recipe, with a quarter of its size and maps.
  const config = configOf('--batch-size', '8', '--image-size', '33', '--attentions', '8');
  const { session: { method }, step } = fixedTraining(runtime, config, 4);
  const measure = async (number: number): Promise<ReturnType<typeof trainMetrics>> => {
    method.metrics.reset();
    await step(number);
    const sums = await method.metrics.read();
    return trainMetrics(sums, config.batchSize, method.meanLoss(sums, config.batchSize));
  };
  const first = await measure(0);
  t.ok(Math.abs(first.terms.raw! - Math.log(4)) < 0.5, `it begins with guessing: ${first.terms.raw}`);
  for (let number = 1; number < 25; number++) await step(number);
  const last = await measure(25);
  t.equal(last.raw.top1, 100);
  t.ok(last.terms.raw! < first.terms.raw! / 20, `loss of the pictures: ${first.terms.raw} to ${last.terms.raw}`);
  t.ok(last.loss < first.loss / 4, `with crops, drops and centers: ${first.loss} to ${last.loss}`);
});

t.test('a plain classifier trains through the same session', async (t) => {
  const { session, step } = fixedTraining(runtime,
    configOf('--batch-size', '8', '--image-size', '32', '--method', 'plain', '--optimizer', 'adamw', '--lr', '0.01'), 3);
  const lossOf = async (number: number): Promise<number> => {
    session.method.metrics.reset();
    await step(number);
    return (await session.method.metrics.read()).lossRaw! / 8;
  };
  const first = await lossOf(0);
  for (let number = 1; number < 20; number++) await step(number);
  t.ok(await lossOf(20) < first / 2, 'it learns eight pictures of noise');
  t.equal(session.method.centers, null);
});

t.test('options of the optimiser, of batch norm and of the loss reach them', async (t) => {
  const after = async (...args: string[]): Promise<string> => {
    const { session, step } = fixedTraining(runtime,
      configOf('--batch-size', '4', '--image-size', '32', '--method', 'plain', '--optimizer', 'sgd', '--weight-decay', '0', ...args), 3);
    await step(0);
    return weightsHash(session.method.module);
  };
  const seen = [await after()];
  for (const args of [['--nesterov'], ['--clip-grad-norm', '0.01'], ['--weight-decay', '0.1'], ['--bn-momentum', '0.3'], ['--label-smoothing', '0.2']]) {
    const hash = await after(...args);
    t.notOk(seen.includes(hash), args.join(' '));
    seen.push(hash);
  }
  t.equal(await after('--momentum', '0.5'), seen[0], 'momentum has no say in a first step');
});

t.teardown(() => runtime.device.close());
