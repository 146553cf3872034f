/** Bind groups are kept for as long as their buffers live. */
import t from 'tap';
import type { PooledBuffer } from '../src/device/buffers.js';
import type { Device } from '../src/device/device.js';
import { BindGroups, type Images } from '../src/kernels/bind-groups.js';
import { hashOf } from '../src/kernels/hash.js';
import { ParamArena } from '../src/kernels/param-arena.js';
import type { ParamField } from '../src/kernels/params.js';
import type { CompiledKernel } from '../src/kernels/pipelines.js';
import type { BufferRange } from '../src/kernels/recorder.js';

const countedGroups = () => {
  const statistics = { bindGroups: 0 };
  const places: number[] = [];
  const gpu = { createBindGroup: () => ({}) };
  const arena = { resets: 0, resourceOf: (slot: number) => (places.push(slot), {}) as unknown as GPUBufferBinding };
  return { groups: new BindGroups({ gpu } as unknown as Device, arena, statistics), statistics, places, arena };
};
const kernelOf = (id: number, ...names: string[]): CompiledKernel =>
  ({ id, bindings: names.map((name, index) => ({ name, index })) }) as unknown as CompiledKernel;
const rangeOf = (id: number, offset = 0, bytes = 256): BufferRange => ({ buffer: { id } as PooledBuffer, offset, bytes });

t.test('kernels, buffers, offsets, lengths, images and parameters tell groups apart', async (t) => {
  const { groups, statistics, places } = countedGroups();
  const image = (number: number) => ({ x: { number, view: {} } }) as unknown as Images;
  const wanted = [
    () => groups.get(kernelOf(1, 'x', 'y'), { x: rangeOf(1), y: rangeOf(2) }, null, 0),
    () => groups.get(kernelOf(2, 'x', 'y'), { x: rangeOf(1), y: rangeOf(2) }, null, 0),
    () => groups.get(kernelOf(1, 'x', 'y'), { x: rangeOf(2), y: rangeOf(1) }, null, 0),
    () => groups.get(kernelOf(1, 'x', 'y'), { x: rangeOf(1, 256), y: rangeOf(2) }, null, 0),
    () => groups.get(kernelOf(1, 'x', 'y'), { x: rangeOf(1), y: rangeOf(2, 0, 512) }, null, 0),
    () => groups.get(kernelOf(1, 'x', 'y'), { x: rangeOf(1), y: rangeOf(2) }, image(1), 0),
    () => groups.get(kernelOf(1, 'x', 'y'), { x: rangeOf(1), y: rangeOf(2) }, image(2), 0), () => groups.get(kernelOf(3, 'x'), { x: rangeOf(1) }, null, 0),
    () => groups.get(kernelOf(1, 'x', 'y'), { x: rangeOf(1), y: rangeOf(2) }, null, 7),
  ];
  const made = wanted.map((get) => get());
  t.equal(new Set(made).size, wanted.length);
  wanted.forEach((get, i) => t.equal(get(), made[i], `group ${i} is kept`));
  t.equal(groups.get(kernelOf(1, 'x', 'y'), { x: rangeOf(9), y: rangeOf(2) }, image(1), 0), made[5], 'of what is read as an image the buffer does not count');
  t.equal(statistics.bindGroups, wanted.length);
  t.same(places, [...wanted.slice(1).map(() => 0), 7], 'each names its slot');
});

t.test('groups do not pile up', async (t) => {
  const { groups } = countedGroups();
  const [kernel, most] = [kernelOf(1, 'x'), 16384];
  let largest = 0;
  for (let id = 0; id < 2 * most + 10; id++) {
    groups.get(kernel, { x: rangeOf(id) }, null, 0);
    largest = Math.max(largest, groups['count']);
  }
  t.equal(largest, most);
  t.ok(groups['groups'].size <= most && groups['hashesOfBuffer'].size <= most);
});

t.test('of buffers that come and go, the ones that stay note nothing', async (t) => {
  const { groups } = countedGroups();
  const kernel = kernelOf(1, 'x', 'y');
  const weights = 1;
  const kept = groups.get(kernel, { x: rangeOf(weights), y: rangeOf(2) }, null, 0);
  for (let id = 3; id < 100; id++) {
    groups.get(kernel, { x: rangeOf(weights), y: rangeOf(id) }, null, 0);
    groups.forgetBuffer(id);
  }
  t.same([groups['count'], [...groups['hashesOfBuffer'].values()].map((hashes) => hashes.size)], [1, [1, 1]]);
  t.equal(groups.get(kernel, { x: rangeOf(weights), y: rangeOf(2) }, null, 0), kept);
  groups.forgetBuffer(weights);
  t.same([groups['count'], groups['groups'].size, groups['hashesOfBuffer'].size], [0, 0, 0]);
});

t.test('a group with a slot of its own keeps it until the arena begins anew', async (t) => {
  const { groups, arena } = countedGroups();
  const ranges = { x: rangeOf(1) };
  let next = 5;
  const own = () => groups.withOwnSlot(kernelOf(1, 'x'), ranges, null, () => next++);
  const first = own();
  t.equal(first.slot, 5);
  t.equal(own(), first);
  t.not(groups.get(kernelOf(1, 'x'), ranges, null, 5), first.group, 'who shares a slot gets another group');
  arena.resets++;
  t.equal(own().slot, 6);
});

/** Parameters on a device that notes which bytes are sent. */
const countedArena = () => {
  Object.assign(globalThis, { GPUBufferUsage: { UNIFORM: 64, COPY_DST: 8 } });
  const sent: [number, number][] = [];
  const gpu = {
    createBuffer: () => ({}),
    queue: {
      writeBuffer: (_: unknown, offset: number, _data: Uint32Array, from: number, words: number) => {
        sent.push([from * 4 === offset ? offset : NaN, words * 4]);
      },
    },
  };
  return { arena: new ParamArena({ gpu } as unknown as Device), sent };
};
const fieldsOf = (...names: string[]): ParamField[] => names.map((name, i) => ({ name, type: 'u32', count: 1, offset: 4 * i }));

/** Two of the rows that `row` makes which share a hash. */
const colliding = (row: (i: number) => number[]): [number[], number[]] => {
  const seen = new Map<number, number>();
  for (let i = 0; ; i++) {
    const hash = hashOf(row(i), row(i).length);
    const before = seen.get(hash);
    if (before !== undefined) return [row(before), row(i)];
    seen.set(hash, i);
  }
};

t.test('what shares a hash is told apart by its contents', async (t) => {
  const { groups } = countedGroups();
  const ranges = colliding((i) => [1, i, 256 * (i % 1000), 256]).map(([, id, offset, bytes]) => rangeOf(id!, offset, bytes));
  const kernel = kernelOf(1, 'x');
  const group = (at: number) => groups.get(kernel, { x: ranges[at]! }, null, 0);
  const [one, other] = [group(0), group(1)];
  t.not(one, other);
  t.same([group(0) === one, group(1) === other], [true, true]);

  const { arena } = countedArena();
  const fields = fieldsOf('a', 'b');
  const pair = colliding((i) => [i, Math.imul(i, 0x85ebca6b) >>> 0]);
  const place = (at: number): unknown => arena.place('k', fields, { a: pair[at]![0]!, b: pair[at]![1]! });
  t.same([0, 1, 0, 1].map(place), [0, 1, 0, 1]);
  t.same([0, 1].map((slot) => arena.resourceOf(slot).offset), [0, 256]);
});

t.test('equal parameters share a place, new ones alone are sent, and after a reset all are new', async (t) => {
  const { arena, sent } = countedArena();
  const one = fieldsOf('a');
  const place = (a: number): unknown => arena.place('k', one, { a });
  t.same([5, 6, 5].map(place), [0, 1, 0]);
  arena.upload();
  arena.upload();
  t.equal(place(7), 2);
  arena.upload();
  t.same(sent, [[0, 512], [512, 256]]);
  // Words that no parameter has are zero, whatever the kernel before had there.
  const apart: ParamField[] = [...one, { name: 'v', type: 'f32', count: 4, offset: 16 }];
  const spread = (): unknown => arena.place('k', apart, { a: 5, v: [1, 2, 3, 4] });
  const first = spread();
  arena.place('k', fieldsOf('a', 'b', 'c', 'd'), { a: 9, b: 9, c: 9, d: 9 });
  t.equal(spread(), first);
  arena.reset();
  t.same([8, 6, 7].map(place), [0, 1, 2], 'what was there before is not');
  arena.upload();
  t.same(sent.at(-1), [0, 3 * 256]);
});

t.test('a slot of its own is shared with nobody, and changes when the work that counts on it was submitted', async (t) => {
  const { arena, sent } = countedArena();
  const one = fieldsOf('a');
  const slot = arena.placeAlone('k', one, { a: 5 });
  const replace = (a: number): boolean => arena.replace(slot, 'k', one, { a });
  t.same([arena.place('k', one, { a: 5 }), arena.placeAlone('k', one, { a: 5 })], [slot + 1, slot + 2]);
  t.same([5, 6].map(replace), [true, false], 'recorded work counts on 5');
  arena.upload();
  t.same([6, 6, 7].map(replace), [true, true, false], 'and now on 6');
  arena.upload();
  arena.upload();
  t.equal(replace(6), true);
  arena.upload();
  t.same(sent, [[0, 3 * 256], [256 * slot, 256]], 'what is there already is not sent again');
});
