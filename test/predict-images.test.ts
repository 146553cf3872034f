/** How `predict` takes its pictures in: batch by batch, in order, a little ahead. */
import t from 'tap';
import { loadBatches, type Request } from '../src/cli/predict-images.js';
import { BadImageError } from '../src/data/decode.js';
import type { DecodePool } from '../src/data/decode-pool.js';
import type { DecodedImage } from '../src/data/types.js';

/** A pool that notes what it was asked for; it knows no picture whose name begins with "bad". */
const notingPool = (asked: string[]): DecodePool => ({
  async decode({ path = '' }) {
    asked.push(path);
    if (path.startsWith('bad')) throw new BadImageError(path, 'is no picture');
    if (path.startsWith('fault')) throw new TypeError('a fault of the program');
    return { rgba: new Uint8Array(4), width: 1, height: 1, shrink: [1, 1] } as DecodedImage;
  },
}) as DecodePool;

const requestsFor = (...names: string[]): Request[] => names.map((name) => ({ name, source: { path: name } }));

t.test('one batch ahead is decoded, and no more', async (t) => {
  const asked: string[] = [];
  const seen: unknown[] = [];
  for await (const { loaded, failed } of loadBatches(notingPool(asked), requestsFor('a', 'bad-1', 'b', 'c', 'bad-2', 'bad-3', 'd'), 2)) {
    seen.push([loaded.map(({ request }) => request.name), failed.map(({ error }) => error), asked.length]);
  }
  const why = (n: number): string => `image bad-${n} is no picture`;
  t.same(seen, [[['a'], [why(1)], 4], [['b', 'c'], [], 6], [[], [why(2), why(3)], 7], [['d'], [], 7]]);
  t.same(asked, ['a', 'bad-1', 'b', 'c', 'bad-2', 'bad-3', 'd']);
});

t.test('a fault in the batch ahead waits for its turn', async (t) => {
  const batches = loadBatches(notingPool([]), requestsFor('a', 'fault'), 1);
  t.match(await batches.next(), { done: false, value: { loaded: [{ request: { name: 'a' } }] } });
  // A rejection that nobody had listened to would end the test's process here.
  await new Promise(setImmediate);
  await t.rejects(batches.next(), { name: 'TypeError', message: 'a fault of the program' });
});

t.test('nor does a pool that is closed early end the process', async (t) => {
  let close = (): void => {};
  const waiting = new Promise<DecodedImage>((_, reject) => { close = () => reject(new Error('closed')); });
  let calls = 0;
  const pool = { decode: async () => (calls++ ? waiting : { rgba: new Uint8Array(4), width: 1, height: 1, shrink: [1, 1] }) } as unknown as DecodePool;
  for await (const { loaded } of loadBatches(pool, requestsFor('a', 'b'), 1)) {
    t.equal(loaded.length, 1);
    break;
  }
  close();
  await new Promise(setImmediate);
  t.equal(calls, 2);
});
