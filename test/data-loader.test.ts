import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { DecodeCancelled, DecodePool, findWorkerFile } from '../src/data/decode-pool.js';
import type { BadImageError } from '../src/data/decode.js';
import { ImageCache } from '../src/data/image-cache.js';
import { Loader, type Batch, type LoaderOptions } from '../src/data/loader.js';
import type { ImageSource } from '../src/data/produce-image.js';
import type { Box, DecodedImage, Sample, Split } from '../src/data/types.js';
import { fixture, scratch, userMessage, write, writePng } from './data-helpers.js';

type Scratch = Parameters<typeof scratch>[0];

function pictures(t: Scratch, count: number, size = 12): Split {
  const dir = scratch(t);
  const samples = Array.from({ length: count },
    (_, i): Sample => ({ id: `p${i}`, label: i % 3, path: writePng(join(dir, `${i}.png`), i, size + (i % 4), size) }));
  return { samples };
}

function poolFor(t: Scratch, options: ConstructorParameters<typeof DecodePool>[0]): DecodePool {
  const pool = new DecodePool(options);
  t.teardown(() => void pool.close());
  return pool;
}

const defaults = { batchSize: 4, shuffle: true, seed: 9, dropLast: false, prefetch: 2 };
const loaderOf = (split: Split, pool: DecodePool, more: Partial<LoaderOptions> = {}) => new Loader(split, { ...defaults, pool, ...more });

async function collect(batches: AsyncIterable<Batch>): Promise<Batch[]> {
  const all = [];
  for await (const batch of batches) all.push(batch);
  return all;
}

/** Everything a batch says, pixels as a hash. */
const digest = (batch: Batch) => ({
  ...batch,
  labels: [...batch.labels],
  images: batch.images.map(({ rgba, width, height }) => `${width}x${height} ${createHash('sha1').update(rgba).digest('hex')}`),
});

t.test('0, 1 and 3 workers, cached or not, deliver the same batches', async (t) => {
  const split = pictures(t, 22);
  split.samples[5]!.path = write(split.samples[5]!.path!.replace('5.png', 'bad.png'), 'not a picture');
  split.samples[6]!.box = { x0: 1, y0: 2, x1: 3, y1: 4 };
  const runs = [];
  for (const workers of [0, 1, 3]) {
    const pool = poolFor(t, { workers });
    for (const budget of [0, 3000, 1e9]) {
      const bad: string[] = [];
      const loader = loaderOf(split, pool, {
        cache: new ImageCache(budget),
        prefetch: workers,
        skipBadImages: true,
        onBad: (sample: Sample, error: BadImageError) => bad.push(`${sample.id} ${error.reason}`),
      });
      const epochs = [...(await collect(loader.epoch(1))), ...(await collect(loader.epoch(2)))];
      runs.push({ batches: epochs.map(digest), bad });
    }
  }
  for (const run of runs) t.same(run, runs[0]);
  t.equal(runs[0]!.batches.length, 12);
  t.equal(runs[0]!.bad.length, 1, 'told once, not each epoch');
  t.match(runs[0]!.bad[0], /^p5 is not an image/);
  const boxes = runs[0]!.batches.flatMap(({ ids, boxes }) => ids.flatMap((id, i) => (boxes[i] ? [id] : [])));
  t.ok(boxes.length >= 2 && boxes.every((id) => id === 'p6'));
});

t.test('an epoch is a new order of everything; resuming in the middle continues it exactly', async (t) => {
  const split = pictures(t, 10);
  const loader = loaderOf(split, poolFor(t, { workers: 0 }));
  const whole = await collect(loader.epoch(3));
  t.same(whole.map((b) => b.ids.length), [4, 4, 2]);
  t.same(whole.flatMap((b) => b.indices).sort((a, b) => a - b), Array.from({ length: 10 }, (_, i) => i));
  t.same((await collect(loader.epoch(3, 1))).map(digest), whole.slice(1).map(digest));
  t.notSame((await collect(loader.epoch(4))).flatMap((b) => b.indices), whole.flatMap((b) => b.indices));
  for (const batch of whole) t.same([...batch.labels], batch.indices.map((i) => split.samples[i]!.label));
  const dropping = loaderOf(split, poolFor(t, { workers: 0 }), { dropLast: true });
  t.equal(dropping.batchesPerEpoch, 2);
  t.same((await collect(dropping.epoch(3))).map(digest), whole.slice(0, 2).map(digest));
  const plain = await collect(loaderOf(split, poolFor(t, { workers: 0 }), { shuffle: false }).epoch(7));
  t.same(plain.flatMap((b) => b.indices), Array.from({ length: 10 }, (_, i) => i));
});

t.test('bad pictures: an error at their batch, replaced in training, left out in evaluation', async (t) => {
  const split = pictures(t, 9);
  for (const i of [1, 4, 5, 6, 7]) split.samples[i]!.path = write(split.samples[i]!.path!.replace('.png', '-bad.png'), '');
  const pool = poolFor(t, { workers: 2 });
  const strict = loaderOf(split, pool, { shuffle: false });
  t.match(await userMessage(() => collect(strict.epoch(0))), /1-bad\.png is empty \(0 bytes\).*--skip-bad-images/,
    'the first bad one in order, whichever worker is first');
  const evaluation = await collect(loaderOf(split, pool, { shuffle: false, skipBadImages: true }).epoch(0));
  t.same(evaluation.map((b) => b.indices), [[0, 2, 3], [8]], 'a batch without any good picture is not delivered');
  t.same(evaluation.map((b) => b.number), [0, 2]);
  const loader = loaderOf(split, pool, { skipBadImages: true });
  for (const batch of await collect(loader.epoch(1))) {
    const order = [...loader.order(1)].slice(4 * batch.number, 4 * batch.number + 4);
    const good = order.filter((i) => ![1, 4, 5, 6, 7].includes(i));
    const expected = order.map((i, at) => (good.includes(i) ? i : [...order.slice(at), ...order].find((j) => good.includes(j))));
    t.same(batch.indices, expected, 'the next good picture of the batch takes the place');
  }
  const shuffled = loaderOf({ samples: split.samples.slice(4, 9) }, pool, { skipBadImages: true, batchSize: 1 });
  const good = [...shuffled.order(2)].indexOf(4);
  t.same((await collect(shuffled.epoch(2))).map((b) => [b.number, ...b.ids]), [[good, 'p8']], 'four of five batches are missing, the fifth keeps its number');
  t.same(await collect(shuffled.epoch(2, good + 1)), [], 'a resumed epoch may have nothing left to deliver');
  const hopeless = { samples: [1, 4].map((i) => split.samples[i]!) };
  t.match(await userMessage(() => collect(loaderOf(hopeless, pool, { skipBadImages: true }).epoch(0))), /not one image of the split/);
});

t.test('leaving an epoch early cancels what was being decoded ahead', async (t) => {
  const split = pictures(t, 120, 40);
  for (const workers of [0, 2]) {
    const pool = poolFor(t, { workers });
    // Both workers are up before it starts, or the later one would hold up the first batch.
    await Promise.all(split.samples.slice(0, 4).map((sample) => pool.decode(sample)));
    const cache = new ImageCache(1e9);
    const loader = loaderOf(split, pool, { prefetch: 29, cache });
    for await (const batch of loader.epoch(0)) {
      t.equal(batch.number, 0);
      break;
    }
    const decoded = cache.report.images;
    t.ok(decoded >= 4 && decoded < 60, `${decoded} of 120 pictures were decoded`);
    for (const time of ['first', 'second']) {
      // Jobs run in order, so new ones coming back show that the cancelled ones are gone.
      await Promise.all(split.samples.slice(0, 8).map((sample) => pool.decode(sample)));
      t.ok(cache.report.images <= decoded + Math.max(1, 2 * workers),
        `only what the workers had in hand, two each, is finished in the background (${time} look)`);
    }
    await t.resolves(collect(loader.epoch(1)), 'the loader can be used again');
    const alone = new ImageCache(1e9);
    for await (const batch of loaderOf(split, pool, { cache: alone, prefetch: 0 }).epoch(1)) {
      t.equal(batch.ids.length, 4);
      break;
    }
    t.equal(alone.report.images, 4, 'without prefetch only the batch in use is decoded');
  }
});

t.test('a worker that dies: an error naming the file, and the rest goes on', async (t) => {
  const dir = scratch(t);
  // Stands in for a decoder that crashes on one picture and hangs on another.
  const workerFile = write(
    join(dir, 'worker.mjs'),
    `import { parentPort } from 'node:worker_threads';
     parentPort.on('message', ({ job, source }) => {
       if (source.path.includes('exit')) process.exit(7);
       if (source.path.includes('throw')) throw new Error('out of luck');
       if (source.path.includes('hang')) for (;;);
       parentPort.postMessage({ job, image: { rgba: new Uint8Array(4), width: 1, height: 1, shrink: [1, 1] } });
     });`,
  );
  const pool = poolFor(t, { workers: 2, workerFile, timeoutSeconds: 0.5 });
  const names = ['a', 'exit-1', 'b', 'c', 'throw-1', 'd', 'e', 'exit-2', 'f', 'hang-1', 'g', 'h'];
  const results = await Promise.allSettled(names.map((path) => pool.decode({ path })));
  for (const [i, result] of results.entries()) {
    const doomed = names[i]!.includes('-');
    t.equal(result.status, doomed ? 'rejected' : 'fulfilled', names[i]!);
    if (result.status === 'rejected') {
      t.match(result.reason.message, new RegExp(names[i] === 'hang-1'
        ? 'image hang-1 took longer than 0.5 s to decode\\.'
        : `decoding ${names[i]} ended its worker \\((exit code 7|out of luck)\\)`));
    }
  }
  const slow = ['a', 'hang-1', 'b'].map((path, i) => ({ id: path, label: i, path }));
  const skipped: string[] = [];
  const patient = loaderOf({ samples: slow }, pool, { skipBadImages: true, shuffle: false, onBad: (_, { message }) => skipped.push(message) });
  const looks = t.capture(pool, 'decode', pool.decode.bind(pool));
  for (const epoch of [0, 1]) t.same((await collect(patient.epoch(epoch))).flatMap((batch) => batch.ids), ['a', 'b']);
  t.match(skipped, [/^image hang-1 took longer than 0.5 s to decode/]);
  t.same(looks().map(({ args: [source] }) => source.path), ['a', 'hang-1', 'b', 'a', 'b'], 'waited for once');
  const split = { samples: ['a', 'exit-1', 'b'].map((path, i) => ({ id: path, label: i, path })) };
  t.match(await userMessage(() => collect(loaderOf(split, pool, { skipBadImages: true }).epoch(0))), /exit-1 ended its worker/,
    'never passed over: it may be lack of memory');
});

t.test('a reply that waits behind the time limit, since the main thread was busy, comes in time', async (t) => {
  const shared = new Int32Array(new SharedArrayBuffer(4));
  const workerFile = write(
    join(scratch(t), 'worker.mjs'),
    `import { parentPort } from 'node:worker_threads';
     parentPort.on('message', ({ job, source: { shared } }) => {
       parentPort.postMessage({ job, image: { rgba: new Uint8Array(4), width: 1, height: 1, shrink: [1, 1] } });
       Atomics.store(shared, 0, 1);
       Atomics.notify(shared, 0);
     });`,
  );
  const pool = poolFor(t, { workers: 1, workerFile, timeoutSeconds: 0.001 });
  const decoding = pool.decode({ path: 'a', shared } as ImageSource);
  t.not(Atomics.wait(shared, 0, 0, 60_000), 'timed-out', 'the worker has answered');
  // However fast that was: now the limit is over.
  Atomics.wait(shared, 0, 1, 5);
  t.equal((await decoding).width, 1);
  t.same([...pool['threads']].map(({ failure }) => failure), [undefined], 'and the worker is not ended');
});

t.test('closing the pool ends what is waiting; a process with an open idle pool ends by itself', async (t) => {
  const split = pictures(t, 12, 80);
  const pool = new DecodePool({ workers: 1 });
  const waiting = split.samples.map((sample) => pool.decode(sample));
  const settled = Promise.allSettled(waiting);
  let ended = 0;
  for (const { worker } of pool['threads']) worker.once('exit', () => ended++);
  await pool.close();
  t.equal(ended, 1);
  const results = await settled;
  t.ok(results.every((r) => r.status === 'fulfilled' || r.reason instanceof DecodeCancelled));
  t.ok(results.some((r) => r.status === 'rejected'));
  t.same([pool['queue'].length, pool['threads'].size], [0, 0], 'nothing is taken up again');
  await t.rejects(pool.decode(split.samples[0]!), /closed/);
  const script = fileURLToPath(new URL('data-open-pool.test.js', import.meta.url));
  const child = spawnSync(process.execPath, [script], { encoding: 'utf8', timeout: 20000 });
  t.equal(child.status, 0, child.stderr || String(child.error));
});

t.test('the cache keeps to its budget and never replaces', async (t) => {
  const cache = new ImageCache(100);
  const image = (bytes: number): DecodedImage => ({ rgba: new Uint8Array(bytes), width: bytes / 4, height: 1, shrink: [1, 1] });
  const first = image(60);
  cache.put('a', first);
  cache.put('b', image(60));
  cache.put('a', image(4));
  cache.put('c', image(40));
  t.equal(cache.get('a'), first);
  t.equal(cache.get('b'), undefined);
  t.same(cache.report, { images: 2, bytes: 100, hits: 1, misses: 1 });
  t.throws(() => new ImageCache(-1), /budget/);
});

t.test('a second epoch comes from the cache', async (t) => {
  const split = pictures(t, 8);
  const cache = new ImageCache(1e9);
  const loader = loaderOf(split, poolFor(t, { workers: 1 }), { cache });
  const first = await collect(loader.epoch(1));
  const second = await collect(loader.epoch(2));
  t.match(cache.report, { images: 8, hits: 8, misses: 8 });
  const image = (batches: Batch[], index: number) => batches.flatMap((b) => b.images)[batches.flatMap((b) => b.indices).indexOf(index)]!.rgba;
  t.equal(image(first, 3), image(second, 3), 'the very same pixels, not a copy');
});

t.test('shrunk pictures take their boxes with them', async (t) => {
  const split = pictures(t, 6, 40);
  for (const [i, x1] of [[2, 42], [3, 43]] as const) split.samples[i]!.box = { x0: 5, y0: 6, x1, y1: 40 };
  const pool = poolFor(t, { workers: 1, maxSide: 16 });
  const loader = loaderOf(split, pool, { shuffle: false });
  const [batch] = await collect(loader.epoch(0));
  t.same([batch!.images[2]!.width, batch!.images[2]!.height, batch!.boxes[2]], [21, 20, { x0: 2, y0: 3, x1: 21, y1: 20 }], '42×40 halved');
  t.same([batch!.images[3]!.width, batch!.boxes[3]], [21, { x0: 2, y0: 3, x1: 21, y1: 20 }], 'of 43×40 the last column is cut off');
});

t.test('a box outside its picture is told of and left out', async (t) => {
  const split = pictures(t, 6, 40);
  const boxes: Box[] = [
    { x0: 40, y0: 0, x1: 50, y1: 9 }, { x0: 3, y0: 40, x1: 9, y1: 44 }, { x0: -5, y0: 1, x1: 0, y1: 9 }, { x0: 1, y0: -5, x1: 9, y1: 0 },
    { x0: -5, y0: -3, x1: 2, y1: 99 },
  ];
  boxes.forEach((box, i) => { split.samples[i]!.box = box; });
  for (const maxSide of [Infinity, 16]) {
    const told: string[] = [];
    const loader = loaderOf(split, poolFor(t, { workers: 0, maxSide }), { shuffle: false, batchSize: 6, onBoxOutside: ({ id }) => told.push(id) });
    const [batch] = await collect(loader.epoch(0));
    t.same(told, ['p0', 'p1', 'p2', 'p3'], 'right of it, below it, left of it, above it');
    t.same(batch!.boxes.map(Boolean), [false, false, false, false, true, false], 'one that it shows a part of stays');
  }
});

t.test('pictures that EXIF turns upright turn their boxes with them', async (t) => {
  const dir = scratch(t);
  const jpeg = readFileSync(fixture('images', 'rotated.jpg'));
  const tag = jpeg.indexOf(Buffer.from('01120003000000010006', 'hex')) + 9;
  t.ok(tag > 9);
  // The box is the stored picture's left upper corner, 24×16, which is its darkest.
  const box = { x0: 0, y0: 0, x1: 6, y1: 2 };
  const expected: Record<number, Box> = {
    1: box, 2: { x0: 18, y0: 0, x1: 24, y1: 2 }, 3: { x0: 18, y0: 14, x1: 24, y1: 16 }, 4: { x0: 0, y0: 14, x1: 6, y1: 16 },
    5: { x0: 0, y0: 0, x1: 2, y1: 6 }, 6: { x0: 14, y0: 0, x1: 16, y1: 6 }, 7: { x0: 14, y0: 18, x1: 16, y1: 24 }, 8: { x0: 0, y0: 18, x1: 2, y1: 24 },
  };
  const samples = Object.keys(expected).map((orientation): Sample => {
    const bytes = Buffer.from(jpeg);
    bytes[tag] = Number(orientation);
    return { id: orientation, label: 0, path: write(join(dir, `${orientation}.jpg`), bytes), box };
  });
  const load = (options: Parameters<typeof poolFor>[1]) => collect(loaderOf({ samples }, poolFor(t, options), { shuffle: false, batchSize: 8 }).epoch(0));
  const [batch] = await load({ workers: 1 });
  batch!.boxes.forEach((found, i) => t.same(found, expected[i + 1], `orientation ${i + 1}`));
  for (const i of [2, 5]) {
    const { rgba, width } = batch!.images[i]!;
    const { x0, y0, x1, y1 } = batch!.boxes[i]!;
    t.ok(rgba[4 * (y0 * width + x0)]! <= 60 && rgba[4 * ((y1 - 1) * width + x1 - 1)]! <= 60, 'the dark corner lies in it');
  }
  const [small] = await load({ workers: 0, maxSide: 8 });
  t.same(small!.boxes[5], { x0: 7, y0: 0, x1: 8, y1: 3 }, 'turned, then halved');
});

t.test('a box keeps whatever it touches of a shrunk picture; no more is decoded ahead than asked for', async (t) => {
  let decoded = 0;
  const decode = (): Promise<DecodedImage> => {
    decoded++;
    return Promise.resolve({ rgba: new Uint8Array(4 * 20 * 12), width: 20, height: 12, shrink: [2, 2] });
  };
  const samples = Array.from({ length: 40 }, (_, i): Sample => ({ id: `p${i}`, label: 0, path: `${i}`, box: { x0: 3, y0: 5, x1: 9, y1: 11 } }));
  for await (const { boxes } of loaderOf({ samples }, { decode } as unknown as DecodePool, { prefetch: 2 }).epoch(0)) {
    t.same(boxes[0], { x0: 1, y0: 2, x1: 5, y1: 6 });
    t.equal(decoded, 3 * 4, 'the batch in use and two more');
    break;
  }
});

t.test('impossible settings are refused', async (t) => {
  const split = pictures(t, 3);
  const pool = poolFor(t, { workers: 0 });
  t.match(await userMessage(() => loaderOf({ samples: [] }, pool)), /split is empty/);
  t.match(await userMessage(() => loaderOf(split, pool, { batchSize: 0 })), /batch size/);
  t.match(await userMessage(() => loaderOf(split, pool, { prefetch: -1 })), /prefetch/);
  t.match(await userMessage(() => loaderOf(split, pool, { dropLast: true })), /3 images, fewer than one batch of 4/);
  t.match(await userMessage(() => new DecodePool({ workers: 1.5 })), /workers/);
  t.match(await userMessage(() => new DecodePool({ workers: 0, maxSide: 0 })), /maxSide/);
  t.match(await userMessage(() => findWorkerFile('/nowhere/at/all.js')), /decode-worker\.js was not found .*npm run build/);
});
