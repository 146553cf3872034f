/** A checkpoint in the hands of a program: it sees in pictures what the command sees. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Jimp } from 'jimp';
import t from 'tap';
import { UserError } from '../src/errors.js';
import { save } from '../src/train/state-bytes.js';
import type { Predicted } from '../src/train/predict.js';
import { memoryReport } from '../src/tensor/storage.js';
import type { Picture } from '../src/train/picture.js';
import { openTrained } from '../src/train/trained-model.js';
import { PlainClassifier, WSDAN } from '../src/wsdan/model.js';
import { call } from './support/command.js';
import { trainedBytes } from './support/default-training.js';
import { patternPicture } from './support/pictures.js';
import { openRuntime } from './support/runtime.js';

const runtime = await openRuntime();
const TINY = ['--image-size', '32', '--batch-size', '4', '--attentions', '4'];
const CLASSES = ['wagtail', 'pipit', 'lark', 'bunting', 'finch'];
const folder = t.testdir({});
const path = join(folder, 'last.safetensors');
const bytes = await trainedBytes(runtime, path, CLASSES, 3, ...TINY);

/** More than one batch of evaluation. */
const sizes = [[64, 48], [40, 90], [32, 32], [33, 31], [200, 20], [36, 36], [64, 64], [50, 40], [128, 96]] as const;
const pictures: Picture[] = sizes.map(([width, height], i) => patternPicture(width, height, i));

t.test('what the command predicts', async (t) => {
  const names = await Promise.all(pictures.map(async ({ width, height, data }, i) => {
    const name = join(folder, `picture-${i}.png`);
    writeFileSync(name, await new Jimp({ width, height, data: Buffer.from(data) }).getBuffer('image/png'));
    return name;
  }));
  const { out, errors, code } = await call('predict', ...names, '--checkpoint', path, '--json', '--top', '3');
  t.equal(code, 0, errors);
  const expected = (JSON.parse(out) as Predicted[]).map(({ raw, refined, box, degenerate }) => ({ raw, refined, box, degenerate }));

  const model = openTrained(bytes);
  t.ok(model.module instanceof WSDAN);
  t.same([model.classes, model.imageSize], [CLASSES, 32]);
  const found = await model.predict(pictures, { top: 3 });
  t.same(found, expected);
  t.same(found.map(({ raw }) => raw.length), pictures.map(() => 3));
  t.ok(new Set(found.map(({ raw }) => raw[0]!.probability)).size > 5, 'the pictures are told apart');
  t.same(await model.predict([]), []);
});

t.test('several at a time, as a server asks', async (t) => {
  const model = openTrained(bytes);
  const oneByOne = [];
  for (const picture of pictures) oneByOne.push(...await model.predict([picture]));
  const before = memoryReport(runtime);
  const together = await Promise.all(pictures.map((picture) => model.predict([picture])));
  t.same(together.flat(), oneByOne);
  t.same(memoryReport(runtime).owners, before.owners, 'nothing is left of it');
});

t.test('a model that is let go leaves nothing', async (t) => {
  await openTrained(bytes).predict(pictures.slice(0, 1));
  const before = memoryReport(runtime).liveBytes;
  const model = openTrained(bytes);
  await model.predict(pictures.slice(0, 1));
  t.ok(memoryReport(runtime).liveBytes > before + 300_000);
  model.release();
  t.equal(memoryReport(runtime).liveBytes, before);
  await t.rejects(model.predict(pictures.slice(0, 1)), { name: new UserError('').name, message: /released/ });
});

t.test('a plain classifier has no box', async (t) => {
  const plain = openTrained(await trainedBytes(runtime, join(folder, 'plain.safetensors'), CLASSES, 1, ...TINY, '--method', 'plain'));
  t.ok(plain.module instanceof PlainClassifier);
  const [found] = await plain.predict(pictures.slice(0, 1));
  t.same(Object.keys(found!), ['raw']);
  t.ok(Math.abs(found!.raw.reduce((sum, { probability }) => sum + probability, 0) - 1) < 1e-6, 'probabilities of all five, each rounded to float32');
});

t.test('a picture that the adapter does not take is named, with what helps', async (t) => {
  const model = openTrained(bytes);
  const pool = runtime.device.pool as { largestBuffer: number };
  const { largestBuffer } = pool;
  t.teardown(() => { pool.largestBuffer = largestBuffer; });
  pool.largestBuffer = 512 * 1024;
  await t.rejects(model.predict([pictures[0]!, patternPicture(500, 400, 1)]), {
    name: 'UserError', message: /^predict: picture 2 of 500 × 400 pixels takes 781\.3 KiB, but this adapter binds at most 512\.0 KiB in one buffer\. Make it smaller first, .*resizeWidth/,
  });
});

t.test('what it refuses', async (t) => {
  const refusal = { name: new UserError('').name };
  const model = openTrained(bytes);
  await t.rejects(model.predict({} as never), { ...refusal, message: /predict: the pictures must be a list/ });
  await t.rejects(model.predict([pictures[0]!, { width: 4, height: 2, data: new Uint8Array(24) }]), { ...refusal, message: /predict: picture 2 of 4 × 2 pixels needs 32 bytes of data/ });
  await t.rejects(model.predict([{ width: 1.5, height: 2, data: new Uint8Array(12) }]), { ...refusal, message: /width and height of picture 1 \[1\.5, 2\] must hold integers of at least 1/ });
  await t.rejects(model.predict([{ width: 4, height: 2, data: new Float32Array(8) as never }]), { ...refusal, message: /predict: picture 1 .* needs 32 bytes of data, as a Uint8Array/ }, 'grey values have as many bytes');
  await t.rejects(model.predict(pictures.slice(0, 1), { Top: 3 } as never), { ...refusal, message: /predict: there is no option "Top"; there are top/ });
  await t.rejects(model.predict(pictures.slice(0, 1), null as never), { ...refusal, message: /predict: the options must be an object/ });
  for (const top of [-1, 0, 1.5, '3']) await t.rejects(model.predict(pictures.slice(0, 1), { top: top as number }), { ...refusal, message: /predict: top .* must hold integers of at least 1/ });
  for (const wrong of [null, undefined, 'a.png', new Blob(['x'])]) await t.rejects(model.predict([wrong as never]), { ...refusal, message: /predict: picture 1 must be \{ width, height, data \}/ });
  t.throws(() => (openTrained as () => unknown)(), { ...refusal, message: /^the checkpoint must be the bytes of a safetensors file, .* got undefined/ });
  t.throws(() => openTrained(save(new Map())), { ...refusal, message: /the checkpoint: this safetensors file was not written by Pipit's training/ });
  t.throws(() => openTrained(bytes.subarray(0, 1000)), { ...refusal, message: /the checkpoint is not a safetensors file or is damaged/ });
});
