/** Buffers: their sizes, who gets which, and what a plan makes of it. */
import t from 'tap';
import { BufferPool, type PooledBuffer } from '../src/device/buffers.js';
import { DryPool } from '../src/device/dry-pool.js';
import { IdleStock, sizeClass } from '../src/device/idle-stock.js';
import { CaseRandom } from '../src/ops/cases.js';
import { Tensor } from '../src/tensor/tensor.js';
import { openRuntime } from './support/runtime.js';

const runtime = await openRuntime();

t.test('size classes: monotone, multiples of 256, at most an eighth above', async (t) => {
  let last = 0;
  for (let bytes = 1; bytes < 2 ** 31; bytes = Math.ceil(bytes * 1.07)) {
    const size = sizeClass(bytes);
    if (size < bytes || size % 256 !== 0 || size < last || (bytes > 4096 && size > bytes * 1.125 + 256)) t.fail(`${bytes} → ${size}`);
    last = size;
  }
  t.equal(sizeClass(1), 256);
  t.equal(sizeClass(2 ** 20), 2 ** 20);
});

t.test('of idle buffers of a size the oldest is handed out first, in whatever order they came back', async (t) => {
  const stock = new IdleStock();
  for (const id of [4, 1, 3, 2]) stock.put({ id, size: 512 });
  t.same([1, 2, 3, 4].map(() => stock.take(512)!.id), [1, 2, 3, 4]);
});

/** A device that only counts, so that caps and limits are exact. */
const fakeDevice = (limit: number) => {
  const destroyed: string[] = [];
  const gpu = {
    limits: { maxStorageBufferBindingSize: limit, maxBufferSize: limit * 2 },
    createBuffer: ({ label }: { label: string }) => ({ destroy: () => { destroyed.push(label); } }),
    pushErrorScope: () => {}, popErrorScope: () => Promise.resolve(null),
  };
  return { gpu: gpu as unknown as GPUDevice, destroyed };
};

t.test('pool: reuse, the cap, what is destroyed and when', async (t) => {
  const { gpu, destroyed } = fakeDevice(1 << 20);
  const forgotten: number[] = [];
  const small = new BufferPool(gpu, 4096, () => {}, (id) => forgotten.push(id));
  const first = small.acquire(1000, () => 'first');
  t.same([small.statistics().liveBytes, small.statistics().liveBuffers, small.statistics().created], [1024, 1, 1]);
  small.release(first);
  t.same(small.statistics(), { liveBuffers: 0, liveBytes: 0, idleBuffers: 1, idleBytes: 1024, created: 1 });
  t.equal(small.acquire(900, () => 'second').id, first.id, 'a buffer of the same class comes back');
  small.release(first);
  t.equal(small.acquire(512, () => 'half').id, first.id, 'or one of up to twice the size');
  small.release(first);
  const tiny = small.acquire(256, () => 'tiny');
  t.not(tiny.id, first.id, 'but no larger one');
  const other = small.acquire(700, () => 'other');
  t.same([other.id, other.size, small.statistics().liveBytes], [first.id, 1024, 256 + 1024], 'its whole size counts as in use');
  // In use at once were 1280 bytes at most; with a cap of 4096 that much may be idle.
  const idle = [4096, 1024 + 256].map((bytes) => small.acquire(bytes, () => `${bytes}`));
  t.same(destroyed, []);
  [...idle, tiny, other].forEach((buffer) => small.release(buffer));
  t.equal(small.statistics().idleBytes, 4096 + 1280 + 256 + 1024, 'twice what was in use at once may be idle, whatever the cap');
  small.trim();
  t.same([small.statistics().idleBuffers, destroyed.length, forgotten.length], [0, 4, 4], 'trimming destroys all, and caches are told');
});

t.test('pool: what exceeds the cap goes, but not before the commands naming it were submitted', async (t) => {
  const { gpu, destroyed } = fakeDevice(1 << 20);
  const forgotten: number[] = [];
  const pool = new BufferPool(gpu, 0, () => {}, (id) => forgotten.push(id));
  pool.release(pool.acquire(8192, () => 'large'));
  const middle = [0, 1].map(() => pool.acquire(3584, () => 'middle'));
  middle.forEach((buffer) => pool.release(buffer));
  const many = Array.from({ length: 5 }, () => pool.acquire(1536, () => 'many'));
  many.forEach((buffer) => pool.release(buffer));
  t.same(destroyed, [], '8192 were in use at once, so that 16384 may be idle');
  const last = pool.acquire(512, () => 'last');
  t.equal(pool.statistics().idleBytes, 8192 + 2 * 3584);
  pool.release(last);
  t.same(destroyed, []);
  t.ok(many.every(({ state }) => state === 'gone'), 'though it is still there it belongs to nobody');
  pool.destroyDoomed();
  t.same(destroyed, [...new Array<string>(5).fill('many')]);
  t.equal(forgotten.length, 5);
  pool.destroyDoomed();
  t.same([destroyed.length, forgotten.length], [5, 5], 'once');
});

t.test('pool: what was handed out while something ran, and nothing after it', async (t) => {
  const pool = new BufferPool(fakeDevice(1 << 20).gpu, 0, () => {});
  const acquire = (): PooledBuffer => pool.acquire(256, () => 'x');
  const before = acquire();
  let during: PooledBuffer | null = null;
  const log = pool.handedOut(() => { during = acquire(); });
  pool.release(before);
  acquire();
  acquire();
  t.same([...log], [during]);
});

t.test('a plan reserves what a pool holds after the same requests, again and again', async (t) => {
  for (let seed = 0; seed < 300; seed++) {
    const random = new CaseRandom(seed);
    const int = (n: number): number => Math.floor(n * random.next());
    const [pool, plan] = [new BufferPool(fakeDevice(1 << 20).gpu, 1 << 30, () => {}), new DryPool()];
    // Bytes of a request, or the number of an earlier one that ends.
    const events: { bytes?: number; ends?: number }[] = [];
    const live: number[] = [];
    for (let i = 0; i < 30; i++) {
      if (live.length > 0 && int(2)) events.push({ ends: live.splice(int(live.length), 1)[0]! });
      else live.push(events.push({ bytes: 1 + int(3000) }) - 1);
    }
    const planned = new Map<number, number>();
    events.forEach(({ bytes = 0, ends }, i) => {
      if (ends === undefined) planned.set(i, plan.acquire(sizeClass(bytes), bytes, () => String(bytes)));
      else plan.release(planned.get(ends)!);
    });
    for (let repeat = 0; repeat < 5; repeat++) {
      const held = new Map<number, PooledBuffer>();
      events.forEach(({ bytes = 0, ends }, i) => {
        if (ends === undefined) held.set(i, pool.acquire(bytes, () => ''));
        else {
          pool.release(held.get(ends)!);
          held.delete(ends);
        }
      });
      for (const buffer of held.values()) pool.release(buffer);
    }
    const largest = Math.max(...events.map(({ bytes = 0 }) => bytes));
    const { reservedBytes, largestBytes, largestLabel } = plan.finish();
    if (reservedBytes !== pool.statistics().idleBytes || largestBytes !== largest || largestLabel !== String(largest)) {
      t.fail(`seed ${seed}: ${reservedBytes} reserved, ${pool.statistics().idleBytes} held`);
    }
  }
});

t.test('pool: a tensor beyond the limit is refused with name, size, limit and remedy', async (t) => {
  const { gpu } = fakeDevice(1 << 20);
  const limited = new BufferPool(gpu, 0, () => {});
  t.throws(() => limited.acquire(3 << 20, () => 'conv2d [16, 64, 64, 12]'),
    { name: 'UserError', message: /^conv2d \[16, 64, 64, 12\] needs 3\.0 MiB in one buffer.*binds at most 1\.0 MiB.*smaller batch size or image size/ });
  t.equal(limited.acquire((1 << 20) - 100, () => 'exactly').size, 1 << 20, 'up to the limit it is allowed, although the class would be larger');
  t.equal(limited.acquire(1 << 20, () => 'all').size, 1 << 20);
  const limit = runtime.device.limits.maxStorageBufferBindingSize;
  t.throws(() => Tensor.allocate(runtime, [Math.floor(limit / 16) + 1, 4], 'float32', 'huge'), /^huge \[\d+, 4\] needs .* MiB in one buffer/,
    'and so on the real device');
});

t.teardown(() => runtime.device.close());
