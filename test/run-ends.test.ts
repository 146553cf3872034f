/** What ends a run in its midst, within an epoch or in an evaluation, costs nothing that was trained; and what patience ends is complete. */
import t from 'tap';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { drawTrainTransform, type ImageTransform } from '../src/data/augment.js';
import { openDataset, type Sample } from '../src/data/dataset.js';
import type { DecodePool } from '../src/data/decode-pool.js';
import { type Batch, Loader } from '../src/data/loader.js';
import { readSafetensors, type StoredTensor } from '../src/io/safetensors.js';
import { affine } from '../src/ops/index.js';
import { toConfig } from '../src/cli/options.js';
import { readCheckpoint } from '../src/train/checkpoint.js';
import type { EpochRecord } from '../src/train/history.js';
import type { Evaluated } from '../src/train/method.js';
import { resultOptions, toTrainConfig } from '../src/train/options/train-options.js';
import { lastCheckpoint } from '../src/train/resume.js';
import { runTraining } from '../src/train/run.js';
import type { Trainer } from '../src/train/trainer.js';
import { writePng } from './data-helpers.js';
import { optionsOf } from './support/default-training.js';
import { readJsonLines } from './support/json-lines.js';
import { openRuntime } from './support/runtime.js';

const runtime = await openRuntime();
const root = t.testdir({});
/** 15 training and 8 test images of two classes: four batches an epoch, of which the last is not full, and one an evaluation. */
const data = join(root, 'data');
const pathsOf = (split: string, count: number): string[] => Array.from({ length: count }, (_, i) => join(data, split, i % 2 ? 'gull' : 'heron', `${i}.png`));
[...pathsOf('train', 15), ...pathsOf('test', 8)].forEach((path, key) => writePng(path, key, 40, 40));
const TINY = ['--dataset', 'folder', '--data', data, '--batch-size', '4', '--image-size', '32', '--attentions', '4', '--epochs', '2', '--eval-every', '1',
  '--model', 'resnet_small', '--seed', '3'];

const dataset = await openDataset('folder', { dir: data, seed: 3 });
const fileOf = ({ path }: Sample): string => path!;
/** The files of a batch of the first epoch. */
const batchFiles = (number: number): string[] => {
  const order = new Loader(dataset.train, { batchSize: 4, shuffle: true, seed: 3, pool: null as unknown as DecodePool }).order(0);
  return [...order.subarray(4 * number, 4 * number + 4)].map((index) => fileOf(dataset.train.samples[index]!));
};

interface How {
  readonly args?: readonly string[];
  readonly resume?: boolean;
  readonly saveEveryMinutes?: number;
  readonly onTrainer?: (trainer: Trainer) => void;
}

const train = (out: string, { args = [], resume = false, saveEveryMinutes = 1000, onTrainer = () => {} }: How = {}): ReturnType<typeof runTraining> => {
  mkdirSync(out, { recursive: true });
  const options = optionsOf([...TINY, ...args]);
  const run = {
    options: toConfig(resultOptions, options), out, logEvery: 100, saveEveryMinutes, workers: 0, cacheMegabytes: 0, memoryBudgetMegabytes: 0,
    checkpointing: false, reportImages: 0, debugNan: false,
  };
  return runTraining(runtime, toTrainConfig(options), run, resume ? lastCheckpoint(out) : null, onTrainer);
};

/** While some files hold no pictures. */
const withBroken = async (files: readonly string[], body: () => Promise<void>): Promise<void> => {
  const before = files.map((file) => readFileSync(file));
  for (const file of files) writeFileSync(file, 'no picture');
  try {
    await body();
  } finally {
    files.forEach((file, i) => writeFileSync(file, before[i]!));
  }
};

const recordsOf = (out: string): EpochRecord[] => readJsonLines(join(out, 'metrics.jsonl')) as EpochRecord[];
/** A difference of thousands of numbers would take minutes to print. */
const digestOf = (tensors: ReadonlyMap<string, StoredTensor>): string => {
  const hash = createHash('sha256');
  for (const [name, { shape, data: { buffer, byteOffset, byteLength } }] of tensors) {
    hash.update(`${name} ${shape.join()}`).update(new Uint8Array(buffer, byteOffset, byteLength));
  }
  return hash.digest('hex');
};
/** All that a run leaves, apart from durations. */
const resultOf = (out: string) => ({
  records: recordsOf(out).map(({ epoch, step, lr, train: trained, eval: evaluation }) => ({ epoch, step, lr, trained, evaluation })),
  hash: (JSON.parse(readFileSync(join(out, 'summary.json'), 'utf8')) as { weightsHash: string }).weightsHash,
  tensors: ['last', 'best'].map((name) => digestOf(readSafetensors(join(out, `${name}.safetensors`)).tensors)),
  files: readdirSync(out).sort(),
});

/** Replaces what the network makes of the `at`-th batch of evaluations, 0-based. */
const atEvaluation = (at: number, change: (result: Evaluated, trainer: Trainer) => Evaluated) => (trainer: Trainer): void => {
  const { method } = trainer['model'];
  const evaluated = method.evaluate.bind(method);
  let count = 0;
  method.evaluate = (images, withDrop) => (count++ === at ? change(evaluated(images, withDrop), trainer) : evaluated(images, withDrop));
};
const stopAt = (at: number) => atEvaluation(at, (result, trainer) => {
  trainer.stop();
  return result;
});

/** Sees what each training step is given. */
const watchSteps = (seen: (batch: Batch, transforms: readonly ImageTransform[], trainer: Trainer) => void) => (trainer: Trainer): void => {
  const { training } = trainer as unknown as { training: { run(batch: Batch, transforms: readonly ImageTransform[]): void } };
  const step = training.run.bind(training);
  training.run = (batch, transforms) => {
    seen(batch, transforms, trainer);
    step(batch, transforms);
  };
};

const whole = join(root, 'whole');
const steps: { indices: number[]; transforms: readonly ImageTransform[] }[] = [];
t.same(await train(whole, { onTrainer: watchSteps(({ indices }, transforms) => steps.push({ indices, transforms })) }), { finished: true });
const expected = resultOf(whole);

t.test('a run that nothing ends', async (t) => {
  t.same(expected.files, ['best.safetensors', 'config.json', 'last.safetensors', 'metrics.jsonl', 'report.html', 'summary.json']);
  t.same(expected.records.map(({ epoch, step }) => [epoch, step]), [[1, 4], [2, 8]]);
  // Half a cosine behind half an epoch of warm-up; the last step of an epoch begins a quarter before its end.
  expected.records.forEach(({ lr }, i) =>
    t.ok(Math.abs(lr - 0.5 * 0.005 * (1 + Math.cos((Math.PI * (i + 0.25)) / 1.5))) < 1e-9, `epoch ${i + 1}: learning rate ${lr}`));
  for (const { trained } of expected.records) {
    t.same([trained.raw.top5, trained.crop!.top5, trained.drop!.top5], [100, 100, 100],
      'of two classes each is among the best five, whatever the size of the last batch');
  }
  const { augment } = toTrainConfig(optionsOf(TINY));
  steps.forEach(({ indices, transforms }, i) => t.same(transforms, indices.map((index) => drawTrainTransform(augment, 3, Math.floor(i / 4), index, 40, 40)),
    `step ${i + 1}: a picture is augmented by its own number`));
  t.equal(steps.length, 8);
});

t.test('an unreadable test image costs no epoch: --resume evaluates what is trained', async (t) => {
  for (const args of [[], ['--eval-every', '2']]) {
    const out = t.testdir({});
    await withBroken([fileOf(dataset.test.samples[5]!)], async () => {
      await t.rejects(train(out, { args }),
        { name: 'UserError', message: /test.*\.png .*--skip-bad-images.*\. What was trained is saved; go on with: node dist\/train\.js --out .* --resume$/ });
      const { position } = readCheckpoint(join(out, 'last.safetensors'));
      t.equal(position.epoch, args.length ? 2 : 1, 'the epoch counts as trained');
      await t.rejects(train(out, { args, resume: true }), /test.*\.png/, 'again, while nothing was repaired');
    });
    t.equal(recordsOf(out).length, args.length ? 1 : 0);
    t.same(await train(out, { args, resume: true }), { finished: true });
    if (args.length === 0) t.same(resultOf(out), expected, 'as if nothing had been');
    else t.same(resultOf(out).tensors[0], expected.tensors[0]);
  }
});

t.test('an unreadable training image costs no batch before it', async (t) => {
  const out = t.testdir({});
  await withBroken([batchFiles(2)[1]!], async () => {
    await t.rejects(train(out), { name: 'UserError', message: /What was trained is saved/ });
    const { epoch, batch, images } = readCheckpoint(join(out, 'last.safetensors')).position;
    t.same([epoch, batch, images], [0, 2, 8]);
  });
  t.same(await train(out, { resume: true }), { finished: true });
  t.same(resultOf(out), expected);
  const none = t.testdir({});
  await withBroken([batchFiles(0)[1]!], async () => { await t.rejects(train(none), { message: /with --skip-bad-images$/ }); });
  t.notOk(existsSync(join(none, 'last.safetensors')), 'before the first batch there is nothing to save');
});

t.test('what is saved between the batches of an epoch, and before its evaluation, can always be resumed', async (t) => {
  const out = t.testdir({});
  const broken = atEvaluation(0, () => { throw new Error('ended in the evaluation'); });
  await t.rejects(train(out, { saveEveryMinutes: 0, onTrainer: broken }), { message: 'ended in the evaluation' });
  t.same(await train(out, { resume: true }), { finished: true });
  t.same(resultOf(out), expected);
});

t.test('Ctrl-C ends an evaluation, of an epoch or the last one, and is resumed there', async (t) => {
  // The network is asked once more for each evaluation: one batch of eight, and with --eval-batch-size 4 two of four.
  for (const at of [0, 2, 4]) {
    const out = t.testdir({});
    const args = ['--eval-batch-size', '4'];
    t.same(await train(out, { args, onTrainer: stopAt(at) }), { finished: false });
    t.notOk(existsSync(join(out, 'summary.json')));
    t.equal(recordsOf(out).length, at / 2);
    t.same(await train(out, { args, resume: true }), { finished: true });
    const { tensors, hash } = resultOf(out);
    t.same([tensors[0], hash], [expected.tensors[0], expected.hash]);
    t.equal(recordsOf(out).length, 2);
  }
});

t.test('a network that gives no finite number in the evaluation does not replace the last good checkpoint', async (t) => {
  const out = t.testdir({});
  const last = join(out, 'last.safetensors');
  const infinite = (result: Evaluated): Evaluated => ({ ...result, refined: affine(result.refined!, NaN) });
  await t.rejects(train(out, { onTrainer: atEvaluation(0, infinite) }),
    /Training has diverged: the loss on the test images is NaN at step 4\. No checkpoint was written before/);
  t.notOk(existsSync(last));
  await t.rejects(train(out, { onTrainer: atEvaluation(1, infinite) }), /the loss on the test images is NaN at step 8\. The last good checkpoint is/);
  t.equal(readCheckpoint(last).position.step, 4);
  t.same(readdirSync(out).filter((name) => name.endsWith('.safetensors')), ['best.safetensors', 'last.safetensors']);
});

/** Gives the evaluations of epochs these refined top-1. */
const withScores = (scores: readonly number[], more: (trainer: Trainer) => void = () => {}) => (trainer: Trainer): void => {
  const evaluateEpoch = trainer['evaluateEpoch'].bind(trainer);
  trainer['evaluateEpoch'] = async (epoch) => {
    const top1 = scores[epoch - 1]!;
    return { ...await evaluateEpoch(epoch), refined: { top1, top5: 100 } };
  };
  more(trainer);
};

t.test('--patience ends a run as finished; it stays so when resumed, and goes on with a larger one', async (t) => {
  const lines = t.capture(console, 'log').args;
  const scores = withScores([10, 30, 20, 30, 40, 5]);
  const six = ['--epochs', '6'];
  const two = [...six, '--patience', '2'];
  const [out, cut, endless] = ['ended', 'stopped', 'endless'].map((name) => join(root, name)) as [string, string, string];
  t.same(await train(out, { args: two, onTrainer: scores }), { finished: true });
  const said = /^Training ended after epoch 4 of 6: epoch 2 was the best, and 2 evaluations since then did not better it \(--patience 2\)\. --resume with a larger --patience, or 0, goes on\.$/m;
  t.match(lines().flat().join('\n'), said);
  const ended = resultOf(out);
  t.equal(ended.records.length, 4);
  t.match(JSON.parse(readFileSync(join(out, 'summary.json'), 'utf8')), { epochs: 4, best: { epoch: 2 } });
  t.match(readFileSync(join(out, 'report.html'), 'utf8'), /Training ended after epoch 4 of 6[^]*The best epoch and the end were chosen on the test images/);

  t.same(await train(cut, { args: two, onTrainer: withScores([10, 30, 20, 30], stopAt(3)) }), { finished: false }, 'stopped in the evaluation that decides');
  t.same(await train(cut, { args: two, resume: true, onTrainer: scores }), { finished: true });
  t.same(resultOf(cut), ended);
  lines();
  t.same(await train(out, { args: two, resume: true }), { finished: true });
  t.match(lines().flat().join('\n'), said, 'a resume says so, too');
  t.same(resultOf(out), ended);

  await train(endless, { args: six, onTrainer: scores });
  t.same(await train(out, { args: [...six, '--patience', '0'], resume: true, onTrainer: scores }), { finished: true });
  t.same(resultOf(out), resultOf(endless), 'as if it had never ended');
});

t.test('a smaller patience on the way ends no epoch in its midst', async (t) => {
  const out = t.testdir({});
  const scores = [30, 20, 10, 5];
  const args = ['--epochs', '4'];
  let steps = 0;
  await train(out, { args, onTrainer: withScores(scores, watchSteps((_batch, _transforms, trainer) => { if (++steps === 10) trainer.stop(); })) });
  t.match(readCheckpoint(join(out, 'last.safetensors')).position, { epoch: 2, batch: 2 });
  t.same(await train(out, { args: [...args, '--patience', '1'], resume: true, onTrainer: withScores(scores) }), { finished: true });
  t.equal(recordsOf(out).length, 3);
});

t.test('--keep-every keeps checkpoints of their own, also where the run was interrupted or one could not be written', async (t) => {
  const args = ['--keep-every', '1'];
  const file = (out: string, name: string): string => join(out, `${name}.safetensors`);
  const kept = (out: string): string[] => ['epoch-001', 'epoch-002'].map((name) => digestOf(readSafetensors(file(out, name)).tensors));
  const [straight, out] = [t.testdir({ straight: {}, out: {} })].flatMap((folder) => [join(folder, 'straight'), join(folder, 'out')]) as [string, string];
  t.same(await train(straight, { args }), { finished: true });
  t.same({ ...resultOf(straight), files: expected.files }, expected);
  t.same(readdirSync(straight).filter((name) => !expected.files.includes(name)), ['epoch-001.safetensors', 'epoch-002.safetensors']);
  t.equal(kept(straight)[1], expected.tensors[0]);
  t.not(kept(straight)[0], kept(straight)[1]);
  t.match(readCheckpoint(file(straight, 'epoch-001')).position, { epoch: 1, batch: 0, history: { length: 1 } });

  mkdirSync(file(out, 'epoch-001'));
  await t.rejects(train(out, { args }), { name: 'UserError', message: /epoch-001\.safetensors cannot be written: a folder of that name exists/ });
  rmdirSync(file(out, 'epoch-001'));
  t.same(await train(out, { args, resume: true, onTrainer: stopAt(1) }), { finished: false });
  t.same(await train(out, { args, resume: true }), { finished: true });
  t.same([resultOf(out), kept(out)], [resultOf(straight), kept(straight)]);

  writeFileSync(file(out, 'last'), 'another, copied over it');
  t.same(kept(out), kept(straight));
});

t.test('--skip-bad-images passes over a batch that is bad as a whole', async (t) => {
  const args = ['--skip-bad-images'];
  const [out, cut] = [join(root, 'skipped'), join(root, 'cut')];
  await withBroken(batchFiles(1), async () => {
    t.same(await train(out, { args }), { finished: true });
    const [first, second] = recordsOf(out) as [EpochRecord, EpochRecord];
    t.equal(first.step, 3, 'three batches of four were trained');
    t.ok(second.step > first.step);
    const images = (11 * first.train.raw.top1) / 100;
    t.ok(Math.abs(images - Math.round(images)) < 1e-9, `means are those of 11 images: ${first.train.raw.top1} % right`);
    let steps = 0;
    const stopped = await train(cut, { args, onTrainer: watchSteps((_batch, _transforms, trainer) => { if (++steps === 2) trainer.stop(); }) });
    t.same(stopped, { finished: false });
    const { batch, step, images: seen } = readCheckpoint(join(cut, 'last.safetensors')).position;
    t.same([batch, step, seen], [3, 2, 8], 'the bad batch keeps its place');
    t.same(await train(cut, { args, resume: true }), { finished: true });
    t.same(resultOf(cut), resultOf(out));
  });
  const badImages = (): unknown => (JSON.parse(readFileSync(join(out, 'summary.json'), 'utf8')) as { badImages: unknown }).badImages;
  t.equal(badImages(), 4);
  const lines = t.capture(console, 'log').args;
  t.same(await train(out, { args, resume: true }), { finished: true });
  t.ok(lines().flat().includes('4 unreadable images left out.'), 'said at the end');
  t.equal(badImages(), 4, 'a finished run that is resumed remembers them');
  t.match(readFileSync(join(out, 'report.html'), 'utf8'), '4 unreadable images left out');
});

t.test('the speed is that of the images behind the first step, which compiles', async (t) => {
  const out = t.testdir({});
  await train(out, { args: ['--limit-train', '4'] });
  t.equal(recordsOf(out)[0]!.imagesPerSecond, null, 'an epoch of a single step has none');
  const { trainImages } = readCheckpoint(join(out, 'last.safetensors')).position;
  t.equal(trainImages, 4, 'that of the second epoch');
  t.equal(readCheckpoint(join(whole, 'last.safetensors')).position.trainImages, 11 + 15);
  t.match(readCheckpoint(join(whole, 'last.safetensors')).position, { dataImages: 15 }, 'those of the data set');
  await train(join(root, 'single'), { args: ['--limit-train', '4', '--epochs', '1'] });
  const { imagesPerSecond } = JSON.parse(readFileSync(join(root, 'single', 'summary.json'), 'utf8')) as { imagesPerSecond: unknown };
  t.equal(imagesPerSecond, null);
  t.notMatch(readFileSync(join(root, 'single', 'report.html'), 'utf8'), /images a second/);
});

t.test('held-out images choose, and the test images tell', async (t) => {
  const out = t.testdir({});
  await train(out, { args: ['--val-fraction', '0.34', '--epochs', '1'] });
  const { split, images } = recordsOf(out)[0]!.eval!;
  t.same([split, images], ['val', 5], 'a third of the 15 training images');
  const { testImages, best } = JSON.parse(readFileSync(join(out, 'summary.json'), 'utf8')) as { testImages: number; best: { split: string } };
  t.same([testImages, best.split], [8, 'val']);
  t.match(readFileSync(join(out, 'report.html'), 'utf8'), /10 training, 5 held-out and 8 test images[\s\S]*"held-out refined"/);
});

t.test('an image size that a network cannot take is named', (t) => t.rejects(train(t.testdir({}), { args: ['--model', 'vgg19', '--image-size', '16'] }),
  { name: 'UserError', message: /vgg19 cannot take images of 16 px; try another --image-size/ }));

t.teardown(() => runtime.device.close());
