/** What an evaluation makes of predictions and boxes that are known: accuracies, loss, localisation, and what it leaves behind. */
import t from 'tap';
import { join } from 'node:path';
import { tensor } from '../src/tensor/create.js';
import { memoryReport } from '../src/tensor/storage.js';
import type { Tensor } from '../src/tensor/tensor.js';
import { ClassResults, classTable, meanOfClasses } from '../src/train/class-results.js';
import { evaluate } from '../src/train/evaluate.js';
import type { Evaluated, Method } from '../src/train/method.js';
import { openData } from '../src/train/session.js';
import { scratch, write, writePng } from './data-helpers.js';
import { configOf } from './support/default-training.js';
import { openRuntime } from './support/runtime.js';

const runtime = await openRuntime();
/** Pictures are resized to 32 × 32 pixels, of which the network sees the 28 × 28 in the middle. */
const folder = scratch(t);
const CLASSES = ['a', 'b', 'c', 'd', 'e', 'f'];
CLASSES.forEach((name, i) => writePng(join(folder, `${name}.png`), i, 64, 32));
const table = write(join(folder, 'table.csv'), ['path,label,split,x0,y0,x1,y1', ...CLASSES.map((name) => `${name}.png,${name},train,,,,`),
  // Of these boxes the network sees: everything, and its left half.
  'x.png,a,test,0,0,64,32', 'y.png,b,test,4,2,32,30', 'z.png,c,test,,,,'].join('\n'));
['x', 'y', 'z'].forEach((name, i) => writePng(join(folder, `${name}.png`), 9 + i, 64, 32));
const config = configOf('--dataset', 'csv', '--data', table, '--image-size', '28', '--eval-batch-size', '2');
const data = await openData(config, { workers: 0, cacheMegabytes: 0 });

/** Rows of probabilities for the three test pictures, whose labels are 0, 1 and 2. */
const predictions = {
  raw: [[0.5, 0.1, 0.1, 0.1, 0.1, 0.1], [0.3, 0, 0.3, 0.2, 0.1, 0.1], [0.5, 0, 0.3, 0.1, 0.1, 0]],
  crop: [[0.1, 0.5, 0.1, 0.1, 0.1, 0.1], [0.4, 0.6, 0, 0, 0, 0], [0, 0.3, 0.2, 0.2, 0.2, 0.1]],
  drop: [[0, 0.2, 0.2, 0.2, 0.2, 0.2], [0.2, 0, 0.2, 0.2, 0.2, 0.2], [0.2, 0.2, 0, 0.2, 0.2, 0.2]],
  refined: [[0.9, 0.1, 0, 0, 0, 0], [0.3, 0, 0.3, 0.2, 0.1, 0.1], [0.3, 0.2, 0.5, 0, 0, 0]],
  refinedOtherAverage: [[0.9, 0.1, 0, 0, 0, 0], [0.2, 0.8, 0, 0, 0, 0], [0.3, 0.2, 0.5, 0, 0, 0]],
};
/** y0, x0, y1, x1: all of the picture, the middle of it, and a third box that nothing is known about. */
const BOXES = [[0, 0, 28, 28], [0, 7, 28, 21], [0, 0, 1, 1]];
const DEGENERATE = [1, 0, 1];

/** Answers for one batch after the other. */
const knowing = (attends: boolean): Method => {
  let from = 0;
  const evaluated = (images: Tensor, withDrop: boolean): Evaluated => {
    const to = from + images.shape[0]!;
    const rows = (values: number[][]): Tensor => tensor(values.slice(from, to));
    const { raw, crop, drop, refined, refinedOtherAverage } = predictions;
    const result = attends
      ? {
        raw: rows(raw), crop: rows(crop), refined: rows(refined), refinedOtherAverage: rows(refinedOtherAverage), drop: withDrop ? rows(drop) : null,
        boxes: rows(BOXES), degenerate: tensor(Int32Array.from(DEGENERATE.slice(from, to)), [to - from]),
      }
      : { raw: rows(raw) };
    from = to;
    return result;
  };
  return { evaluate: evaluated, centers: attends ? {} : null } as unknown as Method;
};

/** Hits among the three pictures, in percent. */
const hits = (top1: number, top5: number) => ({ top1: (100 * top1) / 3, top5: (100 * top5) / 3 });
const nearly = (t: { ok(value: boolean, text: string): unknown }, value: number, wanted: number): unknown =>
  t.ok(Math.abs(value - wanted) < 1e-5 * wanted, `${value} ≈ ${wanted}`);

t.test('accuracies, loss and localisation', async (t) => {
  const { loss, localisation, ...found } = await evaluate(runtime, data, knowing(true), config, data.dataset.test, { withDrop: true });
  t.same(found, { images: 3, raw: hits(1, 2), crop: hits(1, 3), drop: hits(0, 0), refined: hits(2, 2), refinedOtherAverage: hits(3, 3), degenerate: 2 });
  nearly(t, loss, -(Math.log(0.9) + Math.log(1e-12) + Math.log(0.5)) / 3);
  // The second box shares a quarter of the picture with the half that is true, of three quarters in all.
  t.same(localisation, { meanIoU: (1 + 1 / 3) / 2, corLoc50: 50, images: 2 });
});

t.test('without the dropped branch, and of a plain classifier', async (t) => {
  const { drop, refined, refinedOtherAverage } = await evaluate(runtime, data, knowing(true), config, data.dataset.test, { withDrop: false });
  t.same({ drop, refined, refinedOtherAverage }, { drop: null, refined: hits(2, 2), refinedOtherAverage: null });
  const { loss, ...plain } = await evaluate(runtime, data, knowing(false), config, data.dataset.test, { withDrop: true });
  t.same(plain, { images: 3, raw: hits(1, 2), crop: null, drop: null, refined: null, refinedOtherAverage: null, localisation: null, degenerate: 0 });
  nearly(t, loss, -(Math.log(0.5) + Math.log(1e-12) + Math.log(0.3)) / 3);
});

t.test('what became of each class, by the prediction that counts', async (t) => {
  const [refined, raw] = [new ClassResults(data.dataset.classes), new ClassResults(data.dataset.classes)];
  await evaluate(runtime, data, knowing(true), config, data.dataset.test, { withDrop: true, byClass: refined });
  t.same(refined.list, [
    { label: 'a', images: 1, right: 1, takenFor: [] }, { label: 'b', images: 1, right: 0, takenFor: [{ label: 'a', images: 1 }] }, { label: 'c', images: 1, right: 1, takenFor: [] },
  ]);
  await evaluate(runtime, data, knowing(false), config, data.dataset.test, { withDrop: true, byClass: raw });
  t.same(raw.list.map(({ right }) => right), [1, 0, 0], 'as many as the accuracy counts');
});

t.test('a network that names one class is shown by the mean over classes', (t) => {
  const results = new ClassResults(['10_ok', '2_crack', 'burr', 'none']);
  results.add([0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2], [0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1, 0, 3]);
  t.ok(Math.abs(meanOfClasses(results.list) - (100 + 25 + 0) / 3) < 1e-9, 'a class without images does not count');
  t.same(classTable(results.list, 'refined'), [
    'refined, mean over 3 classes: 41.67 %',
    'refined, by class  images   right  taken for',
    '  10_ok                 7 100.0 %',
    '  2_crack               4  25.0 %  10_ok (2), burr (1)',
    '  burr                  2   0.0 %  10_ok (1), none (1)',
  ]);
  t.same(classTable(results.list, 'raw', 2).slice(1).map((line) => line.slice(0, 40).trim()), ['raw, the lowest 2 of 3 classes  images', 'burr                               2', '2_crack                            4']);
  t.end();
});

t.test('it tells how far it is, can be ended between batches, and leaves no memory behind', async (t) => {
  const before = memoryReport(runtime);
  const seen: [number, number][] = [];
  const end = new AbortController();
  const onBatch = (done: number, total: number): void => { seen.push([done, total]); };
  await evaluate(runtime, data, knowing(true), config, data.dataset.test, { withDrop: true, onBatch, signal: end.signal });
  t.same(seen, [[1, 2], [2, 2]]);
  t.same(memoryReport(runtime), before);
  t.equal(runtime.device.pool.statistics().idleBytes, 0, 'nor idle buffers, which training could not use');
  const stop = evaluate(runtime, data, knowing(true), config, data.dataset.test,
    { withDrop: true, onBatch: () => end.abort(new Error('enough')), signal: end.signal });
  await t.rejects(stop, { message: 'enough' });
  t.same(memoryReport(runtime), before);
});

t.teardown(async () => {
  await data.close();
  runtime.device.close();
});
