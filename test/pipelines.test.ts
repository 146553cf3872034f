/** Compiling ahead of the first step. */
import t from 'tap';
import { foresee, verifyCase } from '../src/autograd/verify.js';
import { openDevice } from '../src/device/node.js';
import { compileAhead } from '../src/kernels/compile-ahead.js';
import { Runtime } from '../src/kernels/runtime.js';
import { Shader } from '../src/kernels/shader.js';
import { provingCases } from '../src/ops/cases.js';
import { ops } from '../src/ops/registry.js';
import { Tensor } from '../src/tensor/tensor.js';

t.test('kernels that a dry run meets are compiled ahead, and what does not compile is explained when it is wanted', async (t) => {
  const fresh = new Runtime(await openDevice());
  const { pipelines } = fresh.recorder;
  const text = (value: string): string => `struct Params { quads: u32 }
@group(0) @binding(0) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(31) var<uniform> P: Params;
@compute @workgroup_size(1) fn main() {
  y[P.quads] = ${value};
}`;
  const [right, wrong] = [new Shader('ahead', text('vec4f(7.0)')), new Shader('broken', text('undefinedName'))];
  const y = Tensor.allocate(fresh, [4]);
  const record = (shader: Shader): void => fresh.recorder.dispatch(shader.kernel('main'), { y: y.range }, { quads: 0 }, [1, 1, 1]);
  fresh.planMemory(() => [right, right, wrong].forEach(record));
  t.equal(pipelines.count, 0, 'a dry run compiles nothing');
  await fresh.compileAhead();
  t.equal(pipelines.count, 1, 'what compiles is there');
  t.same(pipelines.takeForeseen(), [], 'nothing waits any more');
  fresh.planMemory(() => record(right));
  t.same(pipelines.takeForeseen(), [], 'and what is there need not be made');
  await t.rejects(fresh.device.gpu.popErrorScope(), 'it leaves none open that would hide errors of others');
  record(right);
  t.equal(pipelines.count, 1);
  t.same(Array.from(await y.data()), [7, 7, 7, 7]);
  await t.rejects(async () => {
    record(wrong);
    await fresh.idle();
  }, /broken\.main does not compile:\n\s+broken\.wgsl:5:\d+ .*undefinedName/);
  fresh.device.close();
});

t.test('a kernel that is called with a wrong name is left to the call, and hides no errors of others', async (t) => {
  const fresh = new Runtime(await openDevice());
  const shader = new Shader('one',
    '@group(0) @binding(0) var<storage, read_write> y: array<vec4f>;\n@compute @workgroup_size(1) fn main() { y[0] = vec4f(7.0); }');
  const y = Tensor.allocate(fresh, [4]);
  const record = (): void => fresh.recorder.dispatch(shader.kernel('main'), { out: y.range }, {}, [1, 1, 1]);
  fresh.planMemory(record);
  await fresh.compileAhead();
  t.throws(record, /one\.main: the shader has no binding "out"; it has y/);
  await t.rejects(fresh.device.gpu.popErrorScope(), 'no scope was left open');
  fresh.device.close();
});

t.test('a kernel that is wanted while it is being compiled ahead is one kernel', async (t) => {
  const fresh = new Runtime(await openDevice());
  const { pipelines } = fresh.recorder;
  const kernels = ['one', 'two'].map((name) => new Shader(name,
    '@group(0) @binding(0) var<storage, read_write> y: array<vec4f>;\n@compute @workgroup_size(1) fn main() { y[0] = vec4f(7.0); }').kernel('main'));
  const get = (at: number) => pipelines.get(kernels[at]!, { y: null }, {});
  pipelines.foresee(kernels[0]!, { y: null }, {});
  const ahead = fresh.compileAhead();
  const first = get(0);
  await ahead;
  t.equal(get(0), first);
  t.not(get(1).id, first.id, 'bind groups are looked up by this number');
  fresh.device.close();
});

/** Tells of each buffer that is made from now on whether it was destroyed. */
const endsOfBuffers = (gpu: GPUDevice): boolean[] => {
  const ends: boolean[] = [];
  const create = gpu.createBuffer.bind(gpu);
  gpu.createBuffer = (descriptor) => {
    const buffer = create(descriptor);
    const destroy = buffer.destroy.bind(buffer);
    const at = ends.push(false) - 1;
    buffer.destroy = () => {
      ends[at] = true;
      return destroy();
    };
    return buffer;
  };
  return ends;
};

t.test('where kernels are slow to compile, other devices help', async (t) => {
  const fresh = new Runtime(await openDevice());
  const { device, recorder } = fresh;
  // Bindings of all kinds.
  const shader = new Shader('helped', `struct Params { offset: f32 }
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(2) var image: texture_storage_2d<rgba32float, read>;
@group(0) @binding(3) var<storage, read_write> z: array<vec4f>;
@group(0) @binding(31) var<uniform> P: Params;
@compute @workgroup_size(1) fn main() {
  y[0] = x[0] + f32($WHICH);
  z[0] = textureLoad(image, vec2u(0u)) + P.offset;
}`);
  const tensors = ['x', 'y', 'image', 'z'].map((name) => [name, Tensor.allocate(fresh, [4])] as const);
  const ranges = Object.fromEntries(tensors.map(([name, tensor]) => [name, tensor.range]));
  const record = (which: number): void => recorder.dispatch(shader.kernel('main', { WHICH: which }), ranges, { offset: 3 }, [1, 1, 1]);
  recorder.upload(ranges.x!, new Float32Array([1, 2, 3, 4]));
  recorder.upload(ranges.image!, new Float32Array([5, 6, 7, 8]));
  fresh.planMemory(() => [0, 1, 2, 3, 4, 5].forEach(record));
  const told: number[] = [];
  const ends = endsOfBuffers(device.gpu);
  const twins = [0, 0];
  const twin = device.twin.bind(device);
  device.twin = async () => {
    const made = await twin();
    const close = made.close.bind(made);
    twins[0]!++;
    made.close = () => {
      twins[1]!++;
      close();
    };
    return made;
  };
  await compileAhead(device, recorder.pipelines, (kernels) => told.push(kernels), -1);
  t.equal(twins[0], twins[1], 'those that helped are closed');
  t.same(ends, Array(device.report.software ? 4 : 0).fill(true), 'what kernels were bound to is gone');
  t.same(told, device.report.software ? [6] : [], 'told once');
  t.equal(recorder.pipelines.count, 6);
  record(5);
  const [, y, , z] = await Promise.all(tensors.map(([, tensor]) => tensor.data()));
  t.same(Array.from(y!), [6, 7, 8, 9]);
  t.same(Array.from(z!), [8, 9, 10, 11]);
  device.close();
});

t.test('where no other device can be had, one does it all', async (t) => {
  const fresh = new Runtime(await openDevice());
  const { device, recorder: { pipelines } } = fresh;
  const shader = new Shader('alone',
    '@group(0) @binding(0) var<storage, read_write> y: array<vec4f>;\n@compute @workgroup_size(1) fn main() { y[0] = vec4f($WHICH); }');
  for (const WHICH of [0, 1, 2, 3]) pipelines.foresee(shader.kernel('main', { WHICH }), { y: null }, {});
  device.twin = () => Promise.reject(new Error('no more devices'));
  await t.resolves(compileAhead(device, pipelines, () => {}, -1));
  t.equal(pipelines.count, 4);
  device.close();
});

t.test('the checks of an op want no kernel that was not foreseen', async (t) => {
  const fresh = new Runtime(await openDevice());
  const { device, recorder: { pipelines } } = fresh;
  for (const name of ['matmul', 'maxPool2d', 'softmax']) {
    const op = ops.find((one) => one.name === name)!;
    const cases = provingCases(op, device.report);
    const before = pipelines.count;
    foresee(fresh, op, cases);
    await fresh.compileAhead();
    const { count } = pipelines;
    t.ok(count > before, `${name}: some are new`);
    for (const opCase of cases) await verifyCase(fresh, op, opCase);
    t.equal(pipelines.count, count, `${name}: none came later`);
  }
  device.close();
});
