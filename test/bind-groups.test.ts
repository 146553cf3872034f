/** Bind groups are kept for as long as their buffers live. */
import t from 'tap';
import type { PooledBuffer } from '../src/device/buffers.js';
import type { Device } from '../src/device/device.js';
import { BindGroups } from '../src/kernels/bind-groups.js';
import type { CompiledKernel } from '../src/kernels/pipelines.js';
import type { BufferRange } from '../src/kernels/recorder.js';

t.test('of buffers that come and go, the ones that stay note nothing', async (t) => {
  const gpu = { createBindGroup: () => ({}) };
  const groups = new BindGroups({ gpu } as unknown as Device, { bindGroups: 0 });
  const kernel = { id: 1, bindings: [{ name: 'x', index: 0 }, { name: 'y', index: 1 }] } as unknown as CompiledKernel;
  const range = (id: number): BufferRange => ({ buffer: { id } as PooledBuffer, offset: 0, bytes: 256 });
  const weights = 1;
  const kept = groups.get(kernel, { x: range(weights), y: range(2) }, null);
  for (let id = 3; id < 100; id++) {
    groups.get(kernel, { x: range(weights), y: range(id) }, null);
    groups.forgetBuffer(id);
  }
  t.same([groups['count'], [...groups['hashesOfBuffer'].values()].map((hashes) => hashes.size)], [1, [1, 1]]);
  t.equal(groups.get(kernel, { x: range(weights), y: range(2) }, null), kept);
  groups.forgetBuffer(weights);
  t.same([groups['count'], groups['groups'].size, groups['hashesOfBuffer'].size], [0, 0, 0]);
});
