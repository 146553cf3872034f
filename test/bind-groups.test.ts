/** Bind groups are kept for as long as their buffers live. */
import t from 'tap';
import type { PooledBuffer } from '../src/device/buffers.js';
import type { Device } from '../src/device/device.js';
import { BindGroups, type Images } from '../src/kernels/bind-groups.js';
import type { CompiledKernel } from '../src/kernels/pipelines.js';
import type { BufferRange } from '../src/kernels/recorder.js';

const countedGroups = () => {
  const statistics = { bindGroups: 0 };
  const groups = new BindGroups({ gpu: { createBindGroup: () => ({}) } } as unknown as Device, statistics);
  return { groups, statistics };
};
const kernelOf = (id: number, ...names: string[]): CompiledKernel => ({ id, bindings: names.map((name, index) => ({ name, index })) }) as unknown as CompiledKernel;
const rangeOf = (id: number, offset = 0, bytes = 256): BufferRange => ({ buffer: { id } as PooledBuffer, offset, bytes });

t.test('kernels, buffers, offsets, lengths and images tell groups apart', async (t) => {
  const { groups, statistics } = countedGroups();
  const image = (number: number) => ({ x: { number, view: {} } }) as unknown as Images;
  const wanted = [
    () => groups.get(kernelOf(1, 'x', 'y'), { x: rangeOf(1), y: rangeOf(2) }, null), () => groups.get(kernelOf(2, 'x', 'y'), { x: rangeOf(1), y: rangeOf(2) }, null),
    () => groups.get(kernelOf(1, 'x', 'y'), { x: rangeOf(2), y: rangeOf(1) }, null), () => groups.get(kernelOf(1, 'x', 'y'), { x: rangeOf(1, 256), y: rangeOf(2) }, null),
    () => groups.get(kernelOf(1, 'x', 'y'), { x: rangeOf(1), y: rangeOf(2, 0, 512) }, null), () => groups.get(kernelOf(1, 'x', 'y'), { x: rangeOf(1), y: rangeOf(2) }, image(1)),
    () => groups.get(kernelOf(1, 'x', 'y'), { x: rangeOf(1), y: rangeOf(2) }, image(2)), () => groups.get(kernelOf(3, 'x'), { x: rangeOf(1) }, null),
  ];
  const made = wanted.map((get) => get());
  t.equal(new Set(made).size, wanted.length);
  wanted.forEach((get, i) => t.equal(get(), made[i], `group ${i} is kept`));
  t.equal(groups.get(kernelOf(1, 'x', 'y'), { x: rangeOf(9), y: rangeOf(2) }, image(1)), made[5], 'of what is read as an image the buffer does not count');
  t.equal(statistics.bindGroups, wanted.length);
});

t.test('groups do not pile up', async (t) => {
  const { groups } = countedGroups();
  const [kernel, most] = [kernelOf(1, 'x'), 16384];
  let largest = 0;
  for (let id = 0; id < 2 * most + 10; id++) {
    groups.get(kernel, { x: rangeOf(id) }, null);
    largest = Math.max(largest, groups['count']);
  }
  t.equal(largest, most);
  t.ok(groups['groups'].size <= most && groups['hashesOfBuffer'].size <= most);
});

t.test('of buffers that come and go, the ones that stay note nothing', async (t) => {
  const { groups } = countedGroups();
  const kernel = kernelOf(1, 'x', 'y');
  const weights = 1;
  const kept = groups.get(kernel, { x: rangeOf(weights), y: rangeOf(2) }, null);
  for (let id = 3; id < 100; id++) {
    groups.get(kernel, { x: rangeOf(weights), y: rangeOf(id) }, null);
    groups.forgetBuffer(id);
  }
  t.same([groups['count'], [...groups['hashesOfBuffer'].values()].map((hashes) => hashes.size)], [1, [1, 1]]);
  t.equal(groups.get(kernel, { x: rangeOf(weights), y: rangeOf(2) }, null), kept);
  groups.forgetBuffer(weights);
  t.same([groups['count'], groups['groups'].size, groups['hashesOfBuffer'].size], [0, 0, 0]);
});
