/** Fused optimiser updates against float64 loops and against trajectories of torch.optim. */
import { numberOf } from '../src/kernels/params.js';
import t from 'tap';
import { worstError } from '../src/autograd/verify.js';
import { readSafetensors } from '../src/io/safetensors.js';
import { CaseRandom } from '../src/ops/cases.js';
import { adamWStep, clipScale, globalNorm, sgdStep, type SgdStep } from '../src/ops/optimizer.js';
import { tensor } from '../src/tensor/create.js';
import { scope } from '../src/tensor/scope.js';
import { fixture } from './data-helpers.js';
import { openRuntime } from './support/runtime.js';

const runtime = await openRuntime();
/** A few roundings of 6e-8 per step, over up to five steps whose errors add up. */
const TOLERANCE = 2e-6;

const random = new CaseRandom(3);
const numbers = (count: number): Float32Array => Float32Array.from({ length: count }, () => random.uniform(-1, 1));
const SHAPES = [[7], [2, 3, 5], [1], [], [129, 12]];

interface SgdState { w: Float64Array; v: Float64Array }

/** PyTorch's documented rule, element by element in float64. */
const sgdReference = ({ w, v }: SgdState, grad: ArrayLike<number>, o: SgdStep, scale: number): void => {
  for (let i = 0; i < w.length; i++) {
    const g = grad[i]! * scale + (o.weightDecay ?? 0) * w[i]!;
    v[i] = o.step === 1 ? g : (o.momentum ?? 0) * v[i]! + (1 - (o.dampening ?? 0)) * g;
    const momentum = o.momentum ?? 0;
    w[i]! -= numberOf(o.lr) * (momentum === 0 ? g : o.nesterov ? g + momentum * v[i]! : v[i]!);
  }
};

const SGD_VARIANTS: [string, Partial<SgdStep>][] = [
  ['plain', {}],
  ['weight decay', { weightDecay: 0.1 }],
  ['momentum', { momentum: 0.9, weightDecay: 0.01 }],
  ['dampening', { momentum: 0.9, dampening: 0.4 }],
  ['Nesterov', { momentum: 0.8, nesterov: true, weightDecay: 0.02 }],
];

for (const [name, variant] of SGD_VARIANTS) {
  for (const scale of [undefined, 0.25]) {
    await t.test(`sgdStep, ${name}${scale ? ', scaled gradient' : ''}`, (t) => scope(async () => {
      for (const shape of SHAPES) {
        const size = shape.reduce((a, b) => a * b, 1);
        const start = numbers(size);
        const state = { w: Float64Array.from(start), v: new Float64Array(size) };
        const [param, velocity] = [tensor(start, shape), tensor(new Float32Array(size), shape)];
        for (let step = 0; step < 3; step++) {
          const grad = numbers(size);
          const options = { lr: 0.1 / (step + 1), ...variant, step: step + 1 };
          sgdReference(state, grad, options, scale ?? 1);
          sgdStep(param, tensor(grad, shape), variant.momentum ? velocity : null, { ...options, gradScale: scale ? tensor([scale], []) : undefined });
        }
        t.ok(worstError(await param.data(), state.w).error < TOLERANCE, `[${shape.join('×')}]`);
      }
    }));
  }
}

await t.test('adamWStep follows its formula in float64', (t) => scope(async () => {
  for (const shape of SHAPES) {
    const size = shape.reduce((a, b) => a * b, 1);
    const start = numbers(size);
    const [w, m, v] = [Float64Array.from(start), new Float64Array(size), new Float64Array(size)];
    const [param, first, second] = [tensor(start, shape), tensor(new Float32Array(size), shape), tensor(new Float32Array(size), shape)];
    const { lr, beta1, beta2, eps, weightDecay } = { lr: 0.02, beta1: 0.9, beta2: 0.95, eps: 1e-6, weightDecay: 0.1 };
    for (let step = 1; step <= 4; step++) {
      const grad = numbers(size);
      for (let i = 0; i < size; i++) {
        m[i] = beta1 * m[i]! + (1 - beta1) * grad[i]!;
        v[i] = beta2 * v[i]! + (1 - beta2) * grad[i]! ** 2;
        const [mean, square] = [m[i]! / (1 - beta1 ** step), v[i]! / (1 - beta2 ** step)];
        w[i] = w[i]! * (1 - lr * weightDecay) - (lr * mean) / (Math.sqrt(square) + eps);
      }
      adamWStep(param, tensor(grad, shape), first, second, { lr, beta1, beta2, eps, weightDecay, step });
    }
    // WGSL allows sqrt and division some ulp each.
    t.ok(worstError(await param.data(), w).error < 2 * TOLERANCE, `[${shape.join('×')}]`);
  }
}));

await t.test('globalNorm is that of float64; clipScale never scales up, and hides no NaN', (t) => scope(async () => {
  // The last tensor needs several workgroups, the first ones a fraction of one.
  const grads = [[7], [3, 5], [], [3, 41_001]].map((shape) => ({ shape, data: numbers(shape.reduce((a, b) => a * b, 1)) }));
  const squares = grads.flatMap(({ data }) => [...data]).reduce((sum, g) => sum + g * g, 0);
  const tensors = grads.map(({ data, shape }) => tensor(data, shape));
  const norm = globalNorm(tensors);
  // Some thousand positive terms per running sum: relative rounding grows at most like their number, in practice like its root.
  t.ok(Math.abs(await norm.item() / Math.sqrt(squares) - 1) < 2e-6, 'against float64');
  t.equal(await globalNorm(tensors).item(), await norm.item(), 'repeats to the bit');
  t.ok(Math.abs(await clipScale(norm, 10).item() - 10 / (Math.sqrt(squares) + 1e-6)) < 1e-6, 'scales down');
  t.equal(await clipScale(norm, 1e6).item(), 1, 'never scales up');
  const broken = globalNorm([tensor([1, NaN, 2])]);
  t.ok(Number.isNaN(await broken.item()) && Number.isNaN(await clipScale(broken, 1).item()), 'NaN is not hidden');
}));

await t.test('a NaN scale leaves the padding of rows zero', (t) => scope(async () => {
  const param = tensor([1, 2, 3, 4, 5], [5]);
  sgdStep(param, tensor([1, 1, 1, 1, 1], [5]), null, { lr: 1, step: 1, gradScale: tensor([NaN], []) });
  const stored = new Float32Array(await runtime.recorder.read(param.range));
  t.same([...stored.subarray(5)], [0, 0, 0]);
  t.ok(Number.isNaN(stored[0]!), 'and the parameters show it');
}));

await t.test('misuse is refused', (t) => scope(async () => {
  const [a, b] = [tensor([1, 2, 3, 4, 5]), tensor([1, 2])];
  t.throws(() => sgdStep(a, b, null, { lr: 1, step: 1 }), /gradient has shape \[2\].*\[5\]/);
  t.throws(() => sgdStep(a, a, null, { lr: 1, momentum: 0.9, step: 1 }), /momentum 0\.9 needs a momentum buffer/);
  t.throws(() => sgdStep(a, a, a, { lr: 1, momentum: 0, nesterov: true, step: 1 }), /Nesterov needs momentum/);
  t.throws(() => adamWStep(a, a, a, a, { lr: 1, step: 0 }), /counts updates from 1/);
  t.throws(() => globalNorm([]), /empty/);
  t.throws(() => clipScale(tensor([1], []), 0), /above 0/);
}));

const LR = [0.1, 0.1, 0.05, 0.05, 0.02];
const TORCH: Record<string, Partial<SgdStep>> = {
  sgd: {},
  sgd_decay: { weightDecay: 0.05 },
  momentum: { momentum: 0.9, weightDecay: 0.01 },
  dampening: { momentum: 0.8, dampening: 0.3 },
  nesterov: { momentum: 0.9, weightDecay: 0.01, nesterov: true },
  clipped: { momentum: 0.9 },
  adamw: {},
};

await t.test('trajectories of torch.optim', (t) => scope(async () => {
  const { tensors } = readSafetensors(fixture('optim-torch.safetensors'));
  const load = (name: string) => tensor(tensors.get(name)!.data as Float32Array, tensors.get(name)!.shape);
  for (const [name, variant] of Object.entries(TORCH)) {
    const param = load('start');
    const [first, second] = [load('start'), load('start')].map(({ shape }) => tensor(new Float32Array(10), shape));
    for (const [n, lr] of LR.entries()) {
      const grad = load(`gradient.${n}`);
      const gradScale = name === 'clipped' ? clipScale(globalNorm([grad]), 1.5) : undefined;
      if (name === 'adamw') adamWStep(param, grad, first!, second!, { lr, beta1: 0.9, beta2: 0.99, eps: 1e-6, weightDecay: 0.1, step: n + 1 });
      else sgdStep(param, grad, variant.momentum ? first! : null, { lr, ...variant, step: n + 1, gradScale });
      const { error } = worstError(await param.data(), tensors.get(`${name}.${n}`)!.data as Float32Array);
      t.ok(error < TOLERANCE, `${name}, step ${n + 1}: ${error.toExponential(1)}`);
    }
  }
}));

runtime.device.close();
