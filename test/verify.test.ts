/** The proof of op records, on which all other numbers stand: right records pass, and each wrong one fails and says where. */
import t from 'tap';
import { unproved, verifyCase } from '../src/autograd/verify.js';
import { Shader } from '../src/kernels/shader.js';
import { closeBy, type OpCase } from '../src/ops/cases.js';
import { affine, full, mul, ones } from '../src/ops/index.js';
import { nd } from '../src/ops/nd.js';
import { allocate, dispatch, type NoAttrs, type Op } from '../src/ops/op.js';
import type { Shape } from '../src/tensor/shape.js';
import type { Tensor } from '../src/tensor/tensor.js';
import { guardResults } from './support/guards.js';
import { openRuntime } from './support/runtime.js';

const runtime = await openRuntime();

const product: Op<NoAttrs> = {
  name: 'product', group: 'Test', infer: ([a]) => a!, keeps: { inputs: [0, 1] },
  forward: ({ inputs: [a, b] }) => mul(a!, b!),
  backward: ({ grad, inputs: [a, b] }) => [mul(grad, b!), mul(grad, a!)],
  reference: ([a, b]) => nd(a!.shape, a!.data.map((v, i) => v * b!.data[i]!)),
  cost: () => ({ flops: 6, bytes: 96 }), cases: [],
};
const caseOf = (shape: Shape): OpCase<NoAttrs> => ({ name: 'case', shapes: [shape, shape], attrs: {}, fill: [closeBy(shape), closeBy(shape)] });
const [small, large] = [caseOf([2, 3]), caseOf([30, 7])];
/** Ones, in the padding too. */
const dirty = ([rows, width]: Shape): Tensor => full([rows!, 4 * Math.ceil(width! / 4)], 1).alias([rows!, width!]);

const verdicts = async (changes: Partial<Op<NoAttrs>>, opCase: OpCase<NoAttrs>) => verifyCase(runtime, { ...product, ...changes } as Op, opCase as OpCase);

t.test('a right record passes, by elements and along directions', async (t) => {
  for (const [opCase, mode] of [[small, 'elements'], [large, 'directions']] as const) {
    const [forward, gradient] = await verdicts({}, opCase);
    t.ok(forward!.passed && gradient!.passed && gradient!.note === mode, mode);
  }
  t.equal((await verdicts({ backward: null }, small)).length, 1, 'without a derivative there is nothing else to prove');
});

t.test('an op that no case proves, or whose gradient none does', (t) => {
  const plain = { ...product, backward: null };
  const valueOnly: OpCase<NoAttrs> = { ...small, gradient: 'none' };
  const verdict = (op: Op<NoAttrs>, ...cases: OpCase<NoAttrs>[]) => unproved({ ...op, cases } as Op);
  t.strictSame([verdict(product), verdict(plain), verdict(product, { ...small, bench: true })], ['the op', 'the op', 'the op']);
  t.strictSame([verdict(product, valueOnly), verdict(plain, valueOnly)], ['its gradient', null]);
  t.strictSame([verdict(product, valueOnly, small), verdict(product, { ...small, half: true })], [null, null], 'one is enough, on whatever adapter');
  t.end();
});

t.test('a wrong forward or reference', async (t) => {
  const wrong: Record<string, [Partial<Op<NoAttrs>>, RegExp]> = {
    'a wrong factor': [{ forward: ({ inputs: [a, b] }) => affine(mul(a!, b!), 1.00001) }, /^largest error at element \d$/],
    'a wrong reference': [{ reference: ([a]) => a! }, /^largest error at element \d$/],
    'NaN for numbers': [{ forward: ({ inputs: [a] }) => full(a!.shape, NaN) }, /^largest error at element 0$/],
    'numbers for NaN': [{ reference: ([a]) => nd(a!.shape, a!.data.map(() => NaN)) }, /^largest error at element 0$/],
    'a reference of another shape': [{ reference: ([a]) => nd([3, 2], a!.data) }, /^shape \[2, 3\] instead of \[3, 2\]$/],
    'padding that is not zero': [{ forward: ({ inputs: [a] }) => dirty(a!.shape), reference: ([a]) => nd(a!.shape, a!.data.map(() => 1)) },
      /^padding behind the last element/],
  };
  for (const [name, [changes, note]] of Object.entries(wrong)) {
    t.match((await verdicts({ backward: null, ...changes }, small))[0], { passed: false, note }, name);
  }
});

t.test('a wrong backward, and of which input', async (t) => {
  const wrong: Record<string, [Op<NoAttrs>['backward'], RegExp]> = {
    'a wrong factor': [({ grad, inputs: [a, b] }) => [mul(grad, b!), affine(mul(grad, a!), 1.0001)],
      /^elements; input 1, element \d: backward gives -?\d.*, differences -?\d/],
    'a wrong sign': [({ grad, inputs: [a, b] }) => [affine(mul(grad, b!), -1), mul(grad, a!)], /^elements; input 0, element \d/],
    'none': [({ grad, inputs: [, b] }) => [mul(grad, b!), null], /^elements; input 1, element \d: backward gives 0\.000000, /],
    'padding that is not zero': [({ grad, inputs: [, b] }) => [mul(grad, b!), dirty(b!.shape)], /^padding behind the last element/],
  };
  for (const [name, [backward, note]] of Object.entries(wrong)) {
    const [forward, gradient] = await verdicts({ backward }, small);
    t.match([forward!.passed, gradient], [true, { passed: false, note }], name);
    t.match((await verdicts({ backward }, large))[1], { passed: false, note: /^directions$|^padding/ }, `${name}, of many elements`);
  }
});

t.test('a kernel that writes past the end of its result, which the adapter hides', async (t) => {
  const shader = new Shader('stray', `struct Params { quads: u32 }
@group(0) @binding(0) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(31) var<uniform> P: Params;
@compute @workgroup_size(64) fn guarded(@builtin(global_invocation_id) id: vec3u) { if (id.x < P.quads) { y[id.x] = vec4f(1.0); } }
@compute @workgroup_size(64) fn unguarded(@builtin(global_invocation_id) id: vec3u) { if (P.quads > 0u) { y[id.x] = vec4f(1.0); } }`);
  const filledBy = (entry: string, shape: Shape, dtype: 'float32' | 'float16'): Tensor => {
    const y = allocate(runtime, shape, 'y', dtype);
    dispatch(runtime, shader.kernel(entry), { y }, { quads: 6 }, [1, 1, 1]);
    return y;
  };
  const strayed = guardResults(runtime);
  const dtypes = runtime.device.report.half ? ['float32', 'float16'] as const : ['float32'] as const;
  for (const dtype of dtypes) {
    for (const entry of ['guarded', 'unguarded', 'guarded']) {
      const filled: Partial<Op<NoAttrs>> = {
        backward: null, forward: () => filledBy(entry, [6, 4], dtype), reference: ([a]) => nd(a!.shape, a!.data.map(() => 1)),
      };
      t.match(await verdicts(filled, caseOf([6, 4])), [{ passed: true }], `${dtype}, ${entry}: the result is right`);
      t.same(await strayed(), entry === 'guarded' ? [] : [`stray.unguarded${dtype === 'float16' ? ' float16: y' : ''}: y`], 'and the guard tells');
    }
  }
  const x = ones([5, 8]);
  t.same([...await filledBy('guarded', [7, 4], 'float32').data()].slice(0, 24), new Array(24).fill(1), 'what a kernel writes arrives');
  t.same([...await mul(x, x).data()], new Array(40).fill(1));
  t.same(await strayed(), [], 'of all kernels since');
});

t.teardown(() => runtime.device.close());
