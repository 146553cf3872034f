/** Compiling ahead of the first step. */
import t from 'tap';
import { openDevice } from '../src/device/node.js';
import { Runtime } from '../src/kernels/runtime.js';
import { Shader } from '../src/kernels/shader.js';
import { Tensor } from '../src/tensor/tensor.js';

t.test('kernels that a dry run meets are compiled ahead, and what does not compile is explained when it is wanted', async (t) => {
  const fresh = new Runtime(await openDevice());
  const { pipelines } = fresh.recorder;
  const text = (value: string): string => `struct Params { quads: u32 }
@group(0) @binding(0) var<storage, read_write> y: array<vec4f>;
@group(1) @binding(0) var<uniform> P: Params;
@compute @workgroup_size(1) fn main() {
  y[P.quads] = ${value};
}`;
  const [right, wrong] = [new Shader('ahead', text('vec4f(7.0)')), new Shader('broken', text('undefinedName'))];
  const y = Tensor.allocate(fresh, [4]);
  const record = (shader: Shader): void => fresh.recorder.dispatch(shader.kernel('main'), { y: y.range }, { quads: 0 }, [1, 1, 1]);
  fresh.planMemory(() => [right, right, wrong].forEach(record));
  t.equal(pipelines.count, 0, 'a dry run compiles nothing');
  await pipelines.compileForeseen();
  t.equal(pipelines.count, 1, 'what compiles is there');
  record(right);
  t.equal(pipelines.count, 1);
  t.same(Array.from(await y.data()), [7, 7, 7, 7]);
  await t.rejects(async () => {
    record(wrong);
    await fresh.idle();
  }, /broken\.main does not compile:\n\s+5:\d+ .*undefinedName/);
  fresh.device.close();
});
