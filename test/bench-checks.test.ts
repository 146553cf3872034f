/** The benchmark's proof of what it times: a wrong kernel must not get a figure. */
import t from 'tap';
import { optimizerSubjects } from '../bench/optimizer-work.js';
import type { Ceiling } from '../bench/ceiling.js';
import { measure, type Watch } from '../bench/clock.js';
import { products, sampleIndices } from '../bench/elements.js';
import { benchSubject, type Settings } from '../bench/kernels.js';
import { opSubject } from '../bench/subjects.js';
import { row } from '../bench/table.js';
import { usable } from '../src/cli/open-runtime.js';
import { Shader } from '../src/kernels/shader.js';
import { caseInputs, CaseRandom, inHalf, type OpCase } from '../src/ops/cases.js';
import { convert } from '../src/ops/convert.js';
import { affine, conv2dOp, matmulOp, ones, reluOp } from '../src/ops/index.js';
import { inceptionLayers } from '../src/ops/inception-shapes.js';
import { type Nd, nd } from '../src/ops/nd.js';
import { allocate, dispatch, type Op } from '../src/ops/op.js';
import { setDefaultRuntime } from '../src/tensor/create.js';
import { scope } from '../src/tensor/scope.js';
import { numel } from '../src/tensor/shape.js';
import type { Tensor } from '../src/tensor/tensor.js';
import { openRuntime } from './support/runtime.js';

const runtime = await openRuntime();
t.teardown(() => runtime.device.close());

const ceiling: Ceiling = { gflops: 100, arithmetic: '', gbs: 10, copy: '' };
const lines: string[] = [];
const settings: Settings = { parts: [], wanted: () => true, repeats: 5, ceiling, watch: null, before: null, print: (line) => void lines.push(line) };

const flat = ({ shape, data }: Nd, index: readonly number[]): number => data[index.reduce((offset, i, axis) => offset * shape[axis]! + i, 0)]!;

const random = (shape: readonly number[]): Nd => {
  const numbers = new CaseRandom(3);
  return nd(shape, Array.from({ length: numel(shape) }, () => numbers.uniform(-1, 1)));
};

/** Products are linear in each operand: the gradient of Σ g·y for one element is exactly what a step of 1 in it changes. */
const slope = (op: Op, opCase: OpCase, inputs: readonly Nd[], grad: Nd, operand: number, index: readonly number[]): number => {
  const objective = (at: readonly Nd[]): number => op.reference(at, opCase.attrs).data.reduce((sum, y, i) => sum + y * grad.data[i]!, 0);
  const moved = inputs.map((input, i) => {
    const copy = nd(input.shape, input.data);
    if (i === operand) copy.data[index.reduce((offset, k, axis) => offset * input.shape[axis]! + k, 0)]! += 1;
    return copy;
  });
  return objective(moved) - objective(inputs);
};

const near = (a: number, b: number): boolean => Math.abs(a - b) < 1e-9 * Math.max(1, Math.abs(b));

for (const op of [conv2dOp, matmulOp] as unknown as readonly Op[]) {
  // Without a bias and without batches: those have no layer among the timed ones.
  const cases = op.cases.filter((c) =>
    !c.bench && c.shapes.length === 2 && c.shapes.every((s) => numel(s) < 2000) && (op.name === 'conv2d' || c.shapes.every((s) => s.length === 2)));
  t.test(`single elements of ${op.name} agree with its whole reference`, async (t) => {
    t.ok(cases.length >= 6);
    for (const opCase of cases) {
      const inputs = caseInputs(opCase);
      const grad = random(op.infer(opCase.shapes, opCase.attrs));
      const element = products[op.name]!;
      const whole = op.reference(inputs, opCase.attrs);
      const forward = element.forward(inputs, grad, opCase.attrs as never);
      t.ok(sampleIndices(whole.shape, 40).every((index) => near(forward(index), flat(whole, index))), `${opCase.name}, forward`);
      for (const [operand, direction] of [[0, 'gradInput'], [1, 'gradWeight']] as const) {
        const gradient = element[direction](inputs, grad, opCase.attrs as never);
        t.ok(sampleIndices(opCase.shapes[operand]!, 24).every((index) => near(gradient(index), slope(op, opCase, inputs, grad, operand, index))),
          `${opCase.name}, ${direction}`);
      }
    }
  });
}

t.test('samples hold all corners and stay inside', async (t) => {
  const indices = sampleIndices([3, 5, 2], 30);
  t.equal(indices.length, 30);
  t.equal(new Set(indices.slice(0, 8).map(String)).size, 8);
  t.ok(indices.slice(0, 8).every(([i, j, k]) => [0, 2].includes(i!) && [0, 4].includes(j!) && [0, 1].includes(k!)));
  t.ok(indices.every(([i, j, k]) => i! < 3 && j! < 5 && k! < 2));
});

t.test('31 Inception layers, with the published number of operations', async (t) => {
  // How often the network runs each, heaviest first.
  const counts = [1, 10, 1, 3, 1, 3, 4, 3, 3, 4, 4, 1, 4, 2, 2, 4, 2, 2, 3, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 1, 1];
  t.equal(new Set(inceptionLayers.map((l) => l.name)).size, 31);
  const products = inceptionLayers.map(({ x, w, stride = [1, 1], padding }) => {
    const [, oh, ow, out] = conv2dOp.infer([x, w], { stride, padding, dilation: [1, 1], groups: 1 }) as [number, number, number, number];
    return oh * ow * out * w[0]! * w[1]! * w[2]!;
  });
  const total = products.reduce((sum, each, i) => sum + each * counts[i]!, 0);
  t.equal(counts.reduce((sum, count) => sum + count), 71);
  t.equal((total / 1e9).toFixed(3), '10.913');
});

const matmulCase: OpCase = { name: '40×30 · 30×20', shapes: [[40, 30], [30, 20]], attrs: { transposeA: false, transposeB: false }, bench: true };
const benchCase = (op: Op, more: Partial<Op> = {}): Op => ({ ...op, cases: [matmulCase], ...more });
const matmul = matmulOp as unknown as Op;

t.test('right results are timed, each gradient of a product by itself', async (t) => {
  const { results, wrong, checks } = await benchSubject(runtime, opSubject(benchCase(matmul)), settings);
  t.strictSame(results.map((r) => r.direction), ['forward', 'gradInput', 'gradWeight']);
  t.strictSame([wrong, checks.length], [[], 1]);
  for (const { flops, check, gflops, wallMs } of results) {
    t.equal(flops, 2 * 40 * 30 * 20);
    t.ok(check && check.error <= check.tolerance && check.how === '128 elements');
    t.ok(gflops > 0 && wallMs > 0);
  }
});

t.test('products of float16 operands are held to their own rounding, and half the bytes', async (t) => {
  if (!runtime.device.report.half) return t.comment('the adapter has no float16');
  const { results } = await benchSubject(runtime, opSubject(benchCase(matmul), inHalf), settings);
  t.strictSame(results.map((r) => [r.direction, r.bytes]),
    ['forward', 'gradInput', 'gradWeight'].map((direction) => [direction, 8 * (40 * 32 + 30 * 20 + 40 * 20) / 4]));
  for (const { check } of results) t.ok(check && check.error <= check.tolerance && check.tolerance > 2 ** -11 && check.tolerance < 2 ** -10);
  // A hundredth of the result is twenty roundings of it.
  const forward: Op['forward'] = (call) => convert(affine(matmul.forward(call) as Tensor, 1.01), 'float16');
  const { wrong } = await benchSubject(runtime, opSubject(benchCase(matmul, { forward }), inHalf), settings);
  t.strictSame(wrong, ['matmul, 40×30 · 30×20, forward']);
});

t.test('a wrong result is named and gets no figure; the rest goes on', async (t) => {
  lines.length = 0;
  const forward: Op['forward'] = (call) => affine(matmul.forward(call) as Tensor, 1.00002);
  const { results, wrong } = await benchSubject(runtime, opSubject(benchCase(matmul, { forward })), settings);
  t.strictSame(results.map((r) => r.direction), ['gradInput', 'gradWeight']);
  t.strictSame(wrong, ['matmul, 40×30 · 30×20, forward']);
  t.match(lines[0], /forward +WRONG: error 2\.\de-5 \(at most \S+, 128 elements\); not timed/);
});

t.test('a gradient wrong in one element of thousands is found', async (t) => {
  const relu = reluOp as unknown as Op;
  const bench: OpCase = { ...relu.cases.find((c) => c.bench)!, name: 'small', shapes: [[3, 64, 64]] };
  const oneMore: Op['backward'] = (call) => relu.backward!(call).map((g) => {
    const spoilt = g!;
    // Row 0 of the gradient comes from what was uploaded for another row.
    call.runtime.recorder.upload({ ...spoilt.range, bytes: 16 }, new Float32Array([9, 0, 0, 0]));
    return spoilt;
  });
  const good = await benchSubject(runtime, opSubject({ ...relu, cases: [bench] }), settings);
  t.strictSame([good.wrong, good.results.length], [[], 2]);
  const bad = await benchSubject(runtime, opSubject({ ...relu, cases: [bench], backward: oneMore }), settings);
  t.strictSame(bad.wrong, ['relu, small, backward']);
});

t.test('an op whose small cases fail is not timed at all', async (t) => {
  lines.length = 0;
  const small: OpCase = { ...matmulCase, name: 'small', shapes: [[2, 3], [3, 2]], bench: false };
  const reference: Op['reference'] = (inputs, attrs) => {
    const right = matmul.reference(inputs, attrs);
    return nd(right.shape, right.data.map((v) => v + 0.5));
  };
  const { results, wrong } = await benchSubject(runtime, opSubject({ ...matmul, reference, cases: [small, matmulCase] }), settings);
  t.strictSame([results.length, wrong], [0, ['matmul']]);
  t.match(lines[0], /matmul, small: error .* It is not timed; see "node dist\/gradcheck\.js --ops matmul"/);
});

t.test('a kernel that does not compile is named, and what comes after it is timed all the same', async (t) => {
  lines.length = 0;
  const shader = new Shader('broken', '@group(0) @binding(0) var<storage, read_write> y: array<vec4f>;\n@compute @workgroup_size(1) fn main() { y[0] = undefinedName; }');
  const forward: Op['forward'] = ({ runtime: on, shape }) => {
    const y = allocate(on, shape, 'y');
    dispatch(on, shader.kernel('main'), { y }, {}, [1, 1, 1]);
    return y;
  };
  const spoilt = await openRuntime();
  const { results, wrong } = await benchSubject(spoilt, opSubject(benchCase({ ...matmul, backward: null }, { forward })), settings);
  t.strictSame([results.length, wrong], [0, ['matmul']]);
  t.match(lines, [/^matmul: broken\.main does not compile:\n {2}broken\.wgsl:2:\d+ .*undefinedName/]);
  const fresh = await usable(spoilt);
  t.teardown(() => {
    fresh.device.close();
    setDefaultRuntime(runtime);
  });
  t.not(fresh, spoilt);
  t.equal(await usable(fresh), fresh, 'one on which nothing failed stays');
  const good = await benchSubject(fresh, opSubject(benchCase(matmul)), settings);
  t.strictSame([good.results.length, good.wrong], [3, []]);
  // A fault of the benchmark itself is none of the op's.
  const fault: Op['forward'] = () => { throw new TypeError('slip'); };
  await t.rejects(benchSubject(fresh, opSubject(benchCase(matmul, { forward: fault })), settings), new TypeError('slip'));
});

t.test('what is timed while the machine is busy is timed again, as long as patience lasts', async (t) => {
  /** Tells the given noises, the last one for ever, and that the ceilings' kernels are slower by so much. */
  const watching = (noises: number[], patience: number): Watch & { waited: number } => ({
    waited: 0, best: ceiling,
    look() {
      const noise = noises.length > 1 ? noises.shift()! : noises[0]!;
      return Promise.resolve({ gflops: 100 / noise, gbs: 10 / noise, noise });
    },
    waits(tries) {
      this.waited++;
      return Promise.resolve(tries < patience);
    },
  });
  const timed = (watch: Watch | null) => scope(() => {
    const x = ones([64], { runtime });
    return measure(runtime, () => void affine(x, 2, 1), 5, watch);
  });
  const passing = watching([1, 1.05, 3, 3, 1.2, 1], 10);
  const quiet = (await timed(passing))!;
  // Rounds lie between two looks each: 1.05, 3, 3, 3, 1.2 at first, then four quiet ones.
  t.strictSame([quiet.noise, quiet.rounds, passing.waited], [1.05, 5, 4]);
  const lasting = watching([2], 3);
  const busy = (await timed(lasting))!;
  t.strictSame([busy.noise, lasting.waited], [2, 4]);
  t.ok(Math.abs(busy.possible!.flops / (busy.driverMs! * 50e6) - 1) < 1e-9, 'what the peak\'s kernel could have done in the time, by what it did beside it');
  t.ok(Math.abs(busy.possible!.bytes / (busy.driverMs! * 5e6) - 1) < 1e-9, 'and the copy');
  t.match(await timed(null), { noise: 1, possible: null });
  const result = { op: 'relu', case: 'small', direction: 'forward', ...quiet, flops: 0, bytes: 1, gflops: 0, gbs: 1, bound: 'memory', share: 0.5, ofPeak: 0,
    check: null } as const;
  t.match([row({ ...result, noise: 2 }), row(result)], [/50 % of memory ~$/, /50 % of memory$/]);
  t.match(row({ ...result, noise: 2, gbs: 0.5, bound: 'arithmetic', share: 1.38 }), / 0\.5 +138 % of arithmetic ~$/,
    'the longest share stays apart from the rate before it');
});

t.test('the optimiser\'s kernels follow their formulas at the default model\'s size', async (t) => {
  for (const subject of optimizerSubjects) {
    const name = subject.cases(true).find((c) => c.startsWith('default'))!;
    await scope(async () => {
      const [work] = subject.prepare(runtime, name, () => true);
      const check = await work!.check();
      t.ok(check && check.error <= check.tolerance, `${subject.name}: ${check?.error}`);
    });
  }
});
