/** Gradients that are added in place: twice the same backward gives twice the gradient, and nobody else's changes. */
import t from 'tap';
import { backward } from '../src/autograd/backward.js';
import { worstError } from '../src/autograd/verify.js';
import { caseInputs, type OpCase } from '../src/ops/cases.js';
import { add, affine, attentionPoolOp, batchNorm2dOp, conv2dOp, matmulOp, sum } from '../src/ops/index.js';
import { type Op, run } from '../src/ops/op.js';
import { tensor } from '../src/tensor/create.js';
import { scope } from '../src/tensor/scope.js';
import { openRuntime } from './support/runtime.js';

const runtime = await openRuntime();

/** Gradients of all inputs after one and after two backwards. */
const gradients = (op: Op, opCase: OpCase): Promise<{ once: number[][]; twice: number[][] }> => scope(async () => {
  const leaves = caseInputs(opCase).map(({ data, shape }) => tensor(Float32Array.from(data), shape).requiresGrad_());
  const seed = (count: number): Float32Array => Float32Array.from({ length: count }, (_, i) => Math.sin(i + 1));
  const step = async (): Promise<number[][]> => {
    const y = run(op, leaves, opCase.attrs);
    backward(y, tensor(seed(y.size), y.shape));
    return Promise.all(leaves.map(async (leaf) => (leaf.grad ? [...(await leaf.grad.data())] : [])));
  };
  return { once: await step(), twice: await step() };
});

for (const op of [conv2dOp, matmulOp, batchNorm2dOp, attentionPoolOp] as unknown as Op[]) {
  t.test(op.name, async (t) => {
    for (const opCase of op.cases.filter(({ bench, gradient, dtypes }) => !bench && gradient !== 'none' && !dtypes)) {
      // Training moves the running statistics, which no gradient depends on.
      const { once, twice } = await gradients(op, opCase);
      t.ok(once.some((gradient) => gradient.some((v) => v !== 0)), `${opCase.name}: there are gradients`);
      once.forEach((gradient, i) => {
        // A driver may draw the last addition into the kernel's own, which is one rounding (6e-8) more or less.
        const { error } = worstError(twice[i]!, gradient.map((v) => 2 * v));
        t.ok(error < 2e-7, `${opCase.name}, input ${i}: ${error.toExponential(1)}`);
      });
    }
  });
}

t.test('a gradient that two inputs share is not changed by what one of them gets besides', (t) => scope(async () => {
  const [x, y] = [tensor([1, 2]).requiresGrad_(), tensor([3, 4]).requiresGrad_()];
  const [a, b] = [affine(x, 1), affine(y, 1)];
  const twice = affine(a, 2);
  backward(sum(add(add(a, b), twice)));
  t.same([[...(await x.grad!.data())], [...(await y.grad!.data())]], [[3, 3], [1, 1]]);
}));

t.teardown(() => runtime.device.close());
