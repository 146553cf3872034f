/** What goes wrong with an adapter or its device, and what is said then. */
import t from 'tap';
import { BufferPool } from '../src/device/buffers.js';
import { Device } from '../src/device/device.js';
import { describeAdapter, findAdapter, openAdapter, type ProcessorTraits, UNKNOWN_PROCESSOR } from '../src/device/gpu.js';
import { hasFeature, processorTraits } from '../src/device/processor.js';
import { openDevice } from '../src/device/node.js';
import { open } from '../src/index.js';
import { Runtime } from '../src/kernels/runtime.js';
import { Shader } from '../src/kernels/shader.js';
import { affine } from '../src/ops/index.js';
import { tensor } from '../src/tensor/create.js';
import { Tensor } from '../src/tensor/tensor.js';

/** What of an adapter Pipit looks at. */
const adapterOf = (info: object, ...features: string[]): GPUAdapter =>
  ({ info: { vendor: 'acme', architecture: 'one', description: '', ...info }, features: new Set(features) }) as unknown as GPUAdapter;

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

t.test('an error that nobody asked for is kept, the first one', async (t) => {
  const device = await openDevice();
  device.gpu.createBuffer({ label: 'nonsense', size: 16, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.STORAGE });
  await t.rejects(device.idle(), { message: /^The adapter rejected an operation: .*nonsense/s });
  device.reportFailure(new Error('a consequence'));
  t.throws(() => device.check(), /nonsense/);
  const finding = (text: string): void => device.diagnose(Promise.resolve(new Error(text)));
  ['the cause', 'what follows from it'].forEach(finding);
  await t.rejects(device.idle(), { message: 'the cause' }, 'a check says more, and the first one most');
  device.close();
});

t.test('an allocation that fails says for what, and what to do', async (t) => {
  const errors: Error[] = [];
  const gpu = { limits: { maxStorageBufferBindingSize: 2 ** 30, maxBufferSize: 2 ** 30 }, createBuffer: () => ({}), pushErrorScope: () => {},
    popErrorScope: () => Promise.resolve({ message: 'no' }) };
  const pool = new BufferPool(gpu as unknown as GPUDevice, 0, (error) => errors.push(error));
  pool.acquire(3 * 2 ** 20, () => 'conv2d [1, 2]');
  await Promise.resolve();
  t.match(errors, [{ name: 'UserError',
    message: 'The adapter ran out of memory while allocating 3.0 MiB for conv2d [1, 2] (3.0 MiB in use). Use a smaller batch size or image size; a program that goes on calls open() again.' }]);
});

t.test('what a device makes for others does not outlive its use', async (t) => {
  const runtime = new Runtime(await openDevice());
  const { device } = runtime;
  const x = tensor([1, 2, 3, 4], [4], { runtime });
  const [made, destroyed]: [GPUBuffer[], GPUBuffer[]] = [[], []];
  const create = device.gpu.createBuffer.bind(device.gpu);
  device.gpu.createBuffer = (descriptor) => {
    const buffer = create(descriptor);
    const destroy = buffer.destroy.bind(buffer);
    made.push(buffer);
    buffer.destroy = () => {
      destroyed.push(buffer);
      return destroy();
    };
    return buffer;
  };
  t.same(await x.data(), [1, 2, 3, 4]);
  t.same([made.length, destroyed.length], [1, 1], 'what is read goes over a buffer, which is gone then');
  affine(x, 2).release();
  x.release();
  await runtime.idle();
  const gone: number[] = [];
  device.onBufferDestroyed((id) => gone.push(id));
  t.equal(runtime.recorder['bindGroups']['count'], 1);
  device.pool.trim();
  t.equal(new Set(gone).size, 2, 'who keeps something for a buffer is told of its end');
  t.equal(runtime.recorder['bindGroups']['count'], 0);
  device.close();
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
  lost.device.diagnose(Promise.resolve(new Error('add does not compile: its device is lost')));
  await t.rejects(lost.idle(), explained, 'so do kernels, in some browsers');
});

t.test('a loss that is told of a moment after what fails because of it', async (t) => {
  let lose: (info: object) => void = () => {};
  const lost = new Promise((resolve) => { lose = resolve; });
  const fails = (): Promise<void> => {
    setImmediate(() => lose({ reason: 'unknown', message: 'it fell off the bus.' }));
    return Promise.reject(new Error('mapping failed'));
  };
  const device = new Device({ adapter: adapterOf({}), gpu: { wgslLanguageFeatures: new Set() },
    device: { limits: {}, addEventListener: () => {}, lost, queue: { onSubmittedWorkDone: fails } }, whenLost: 'Go on.' } as never);
  await t.rejects(device.idle(), { name: 'UserError', message: 'The GPU device was lost (unknown): it fell off the bus. Go on.' });
});

t.test('what lay on a runtime that was closed is gone', async (t) => {
  const closed = new Runtime(await openDevice());
  const x = tensor([1, 2, 3, 4], [4], { runtime: closed });
  await affine(x, 2).data();
  closed.device.close();
  await t.rejects(x.data(), { name: 'UserError', message: /this runtime was closed.*open\(\) gives another/ });
  await closed.device.gpu.lost;
  await t.rejects(affine(x, 2).data(), { name: 'UserError', message: /this runtime was closed/ }, 'it was not lost');
});

t.test('an adapter that is not there is refused with the one that is', async (t) => {
  await t.rejects(openDevice({ adapter: 'Voodoo 2' }),
    { name: 'UserError', message: /The adapter "Voodoo 2" was asked for, but the one found is ".+"\. Leave the choice out/ });
});

t.test('an adapter that gives no device is named, with its reason', async (t) => {
  const spent = { features: new Set(), limits: {}, info: { description: 'Voodoo 2' }, requestDevice: () => Promise.reject(new Error('adapter is consumed')) };
  await t.rejects(openAdapter(spent as never), { name: 'UserError',
    message: 'The adapter "Voodoo 2" gave no device: adapter is consumed. Close other programs or pages that use it, or update its driver' });
});

t.test('facts of adapters', async (t) => {
  const gpu = { wgslLanguageFeatures: new Set() } as unknown as GPU;
  const told = (...args: Parameters<typeof adapterOf>) => describeAdapter(adapterOf(...args), gpu);
  t.match(told({ description: 'llvmpipe (LLVM 15)' }), { name: 'llvmpipe (LLVM 15)', driverClass: 'lavapipe', software: true });
  t.match(told({}), { name: 'acme one', driverClass: 'gpu', software: false, subgroupSize: 0, half: false, imageOperands: false });
  t.equal(told({ isFallbackAdapter: true }).software, true, 'as the browser says of its own');
  t.equal(told({ subgroupMinSize: 8, subgroupMaxSize: 8 }, 'subgroups').subgroupSize, 8);
  t.equal(told({ subgroupMinSize: 8, subgroupMaxSize: 8 }).subgroupSize, 0, 'without the feature');
  t.equal(told({ subgroupMinSize: 8, subgroupMaxSize: 32 }, 'subgroups').subgroupSize, 0, 'of several sizes a kernel cannot know which it gets');
  const traits = { longLoops: true, quickBuffers: true };
  const traitsOf = (description: string): ProcessorTraits => describeAdapter(adapterOf({ description }), gpu, () => traits);
  t.match(traitsOf('llvmpipe'), traits);
  t.match(traitsOf('Voodoo 2'), UNKNOWN_PROCESSOR, 'of software only');
  const units = ['subgroups', 'shader-f16', 'chromium-experimental-subgroup-matrix'];
  const config = { componentType: 'f16', resultComponentType: 'f32', M: 16, N: 16, K: 16 };
  const side = (configs: readonly object[], features = units): number =>
    told({ subgroupMinSize: 32, subgroupMaxSize: 32, subgroupMatrixConfigs: configs }, ...features).matrixSide;
  t.same([side([config]), side([{ ...config, K: 8 }, { ...config, M: 8, N: 8, K: 8 }])], [16, 8]);
  for (const other of [{ componentType: 'f32' }, { resultComponentType: 'f16' }, { N: 8 }, { K: 8 }]) {
    t.equal(side([{ ...config, ...other }]), 0, JSON.stringify(other));
  }
  for (const lacking of units) t.equal(side([config], units.filter((name) => name !== lacking)), 0, `without ${lacking}`);
});

t.test('the processor\'s features are read from what Linux tells', async (t) => {
  const facts = (vendor: string, flags: string): string => `vendor_id\t: ${vendor}\nflags\t\t: fpu ${flags} sse\nbugs\t\t: avx512f\n`;
  t.ok(hasFeature(facts('AuthenticAMD', 'avx2'), 'avx2'));
  t.notOk(hasFeature(facts('AuthenticAMD', 'avx2'), 'avx'), 'no part of a word');
  t.ok(hasFeature('Features\t: fp asimd\n', 'asimd'), 'as on Arm');
  const longLoops = (vendor: string): boolean[] => ['avx2', 'avx512f', 'avx512f avx512_fp16'].map((flags) => processorTraits(facts(vendor, flags)).longLoops);
  t.same(longLoops('AuthenticAMD'), [false, true, true], 'from Zen 4 on');
  t.same(longLoops('GenuineIntel'), [false, false, true], 'from Sapphire Rapids on');
  t.same(processorTraits(''), UNKNOWN_PROCESSOR, 'on systems that tell nothing');
  t.same(['AuthenticAMD', 'GenuineIntel'].map((vendor) => processorTraits(facts(vendor, 'avx512f avx512_fp16')).quickBuffers), [false, true]);
  t.equal(processorTraits(facts('GenuineIntel', 'avx512f')).quickBuffers, false, 'as far as was measured');
});

t.test('a software adapter is taken where there is no other, or where it is wanted', async (t) => {
  const offering = (...there: string[]): GPU => ({
    requestAdapter: ({ forceFallbackAdapter }: GPURequestAdapterOptions) =>
      Promise.resolve(there.find((name) => (name === 'software') === Boolean(forceFallbackAdapter)) ?? null),
  }) as unknown as GPU;
  t.equal(await findAdapter(offering('software', 'fast')), 'fast');
  t.equal(await findAdapter(offering('software', 'fast'), true), 'software');
  t.equal(await findAdapter(offering('software')), 'software');
  t.equal(await findAdapter(offering()), null);
});

t.test('options that open does not have are refused', async (t) => {
  for (const options of [{ software: true }, { gem: 'tile' }, 'swiftshader', null]) {
    await t.rejects(open(options as never),
      { name: 'UserError', message: /^open: (there is no option "(software|gem)"; there are adapter, gemm|the options must be an object)/ });
  }
});
