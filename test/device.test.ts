/** What goes wrong with an adapter or its device, and what is said then. */
import t from 'tap';
import { openAdapter } from '../src/device/gpu.js';
import { openDevice } from '../src/device/node.js';
import { Runtime } from '../src/kernels/runtime.js';
import { Shader } from '../src/kernels/shader.js';
import { affine } from '../src/ops/index.js';
import { tensor } from '../src/tensor/create.js';
import { Tensor } from '../src/tensor/tensor.js';

t.test('an operation that the adapter rejects surfaces at the next wait', async (t) => {
  const faulty = new Runtime(await openDevice());
  const shader = new Shader('wrongset', `@group(0) @binding(0) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> z: array<vec4f>;
@compute @workgroup_size(1) fn main() { y[0] = z[0]; }`);
  const y = Tensor.allocate(faulty, [4]);
  await t.rejects(async () => {
    faulty.recorder.dispatch(shader.kernel('main'), { y: y.range }, {}, [1, 1, 1]);
    await faulty.idle();
  }, /wrongset\.main/, 'and names the kernel');
  faulty.device.close();
});

t.test('a lost device is an error that says how to go on', async (t) => {
  const lost = new Runtime(await openDevice());
  const x = tensor([1, 2, 3, 4], [4], { runtime: lost });
  await affine(x, 2).data();
  lost.device.gpu.destroy();
  await lost.device.gpu.lost;
  const explained = { name: 'UserError', message: /The GPU device was lost \(destroyed\).*goes on from its last checkpoint with --resume/ };
  await t.rejects(lost.idle(), explained);
  await t.rejects(x.data(), explained, 'reading fails by itself, which says less');
});

t.test('what lay on a runtime that was closed is gone', async (t) => {
  const closed = new Runtime(await openDevice());
  const x = tensor([1, 2, 3, 4], [4], { runtime: closed });
  closed.device.close();
  await t.rejects(x.data(), { name: 'UserError', message: /this runtime was closed.*open\(\) gives another/ });
  await t.rejects(affine(x, 2).data(), { name: 'UserError' });
});

t.test('an adapter that is not there is refused with the one that is', async (t) => {
  await t.rejects(openDevice({ adapter: 'Voodoo 2' }), { name: 'UserError', message: /The adapter "Voodoo 2" was asked for, but the one found is ".+"\. Leave the choice out/ });
});

t.test('an adapter that gives no device is named, with its reason', async (t) => {
  const spent = { features: new Set(), limits: {}, info: { description: 'Voodoo 2' }, requestDevice: () => Promise.reject(new Error('adapter is consumed')) };
  await t.rejects(openAdapter(spent as never), { name: 'UserError', message: 'The adapter "Voodoo 2" gave no device: adapter is consumed. Close other programs or pages that use it, or update its driver' });
});
