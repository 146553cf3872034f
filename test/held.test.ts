/** Products whose w is held by lanes: where they are used, and that their sums are those of the usual kernels. */
import t from 'tap';
import { backward } from '../src/autograd/backward.js';
import type { Runtime } from '../src/kernels/runtime.js';
import { CaseRandom } from '../src/ops/cases.js';
import { attentionPool, conv2d, matmul, narrow } from '../src/ops/index.js';
import { setDefaultRuntime, tensor } from '../src/tensor/create.js';
import { scope } from '../src/tensor/scope.js';
import { numel, type Shape } from '../src/tensor/shape.js';
import type { Tensor } from '../src/tensor/tensor.js';
import { openRuntime } from './support/runtime.js';

// Winograd's products would hide the convolution's own.
const wherePossible = await openRuntime({ held: 'on', winograd: 'off' });
const never = await openRuntime({ held: 'off', winograd: 'off' });
const byItself = await openRuntime({ winograd: 'off' });

const { gemm } = wherePossible;
const skip = gemm.kind === 'broadcast' && gemm.images !== 'none' ? false : 'no kernels that share images by subgroups on this adapter';

interface Product {
  readonly shapes: readonly Shape[];
  readonly compute: (...inputs: Tensor[]) => Tensor;
}

const convolution = (x: Shape, w: Shape, options: Parameters<typeof conv2d>[3] = {}, ...more: Shape[]): Product =>
  ({ shapes: [x, w, ...more], compute: (input, weight, bias) => conv2d(input!, weight!, bias ?? null, options) });

const values = (seed: number, shape: Shape): Float32Array => {
  const random = new CaseRandom(seed);
  return Float32Array.from({ length: numel(shape) }, () => 2 * random.next() - 1);
};

interface Outcome {
  /** The result and the gradients of all inputs. */
  readonly numbers: Float32Array[];
  /** Kernels of products along rows, forward and backward. */
  readonly held: number;
  readonly others: number;
}

const outcomeOn = (runtime: Runtime, { shapes, compute }: Product): Promise<Outcome> => scope(async () => {
  setDefaultRuntime(runtime);
  let [held, others] = [0, 0];
  runtime.recorder.observe({
    dispatching: ({ kernel: { shader, entry } }) => {
      if (entry === 'rows' && shader.name === 'gemm-held') held++;
      else if (entry === 'rows') others++;
      return null;
    },
  });
  const inputs = shapes.map((shape, i) => tensor(values(i + 1, shape), shape).requiresGrad_());
  const y = compute(...inputs);
  backward(y, tensor(values(9, y.shape), y.shape));
  const numbers = await Promise.all([y, ...inputs.map(({ grad }) => grad!)].map(async (one) => Float32Array.from(await one.data())));
  runtime.recorder.observe(null);
  return { numbers, held, others };
});

const PRODUCTS: Readonly<Record<string, Product>> = {
  'two matrices': { shapes: [[37, 20], [20, 28]], compute: (a, b) => matmul(a!, b!) },
  'ragged matrices': { shapes: [[21, 27], [27, 31]], compute: (a, b) => matmul(a!, b!) },
  'matrices with rows 4 KiB apart': { shapes: [[40, 32], [32, 1024]], compute: (a, b) => matmul(a!, b!) },
  'deep matrices': { shapes: [[24, 600], [600, 44]], compute: (a, b) => matmul(a!, b!) },
  'ragged deep matrices': { shapes: [[24, 598], [598, 670]], compute: (a, b) => matmul(a!, b!) },
  '1×1': convolution([2, 6, 5, 48], [1, 1, 48, 80]),
  '1×1, bias and ReLU': convolution([2, 6, 5, 48], [1, 1, 48, 12], { activation: 'relu' }, [12]),
  'deep 1×1, bias and ReLU': convolution([1, 6, 5, 300], [1, 1, 300, 36], { activation: 'relu' }, [36]),
  '3×3 with a stride': convolution([2, 9, 8, 16], [3, 3, 16, 24], { stride: [2, 2], padding: [1, 1] }),
  '3×2 with holes': convolution([1, 9, 8, 8], [3, 2, 8, 20], { dilation: [2, 1], padding: [2, 0] }),
  'pictures, whose taps are laid out otherwise': convolution([2, 17, 15, 3], [3, 3, 3, 16], { stride: [2, 2], padding: [1, 1] }),
  '3×3 of five channels, bias': convolution([1, 9, 8, 5], [3, 3, 5, 12], {}, [12]),
  'groups': convolution([1, 6, 5, 16], [3, 3, 8, 24], { groups: 2, padding: [1, 1] }),
  'attention maps': { shapes: [[2, 5, 5, 40], [2, 5, 5, 32]], compute: (features, maps) => attentionPool(features!, maps!) },
};

for (const [name, product] of Object.entries(PRODUCTS)) {
  t.test(`${name}: the same bits`, { skip }, async (t) => {
    const [one, other] = [await outcomeOn(wherePossible, product), await outcomeOn(never, product)];
    t.ok(one.held > 0);
    t.equal(other.held, 0);
    t.same(one.numbers, other.numbers);
  });
}

t.test('it is used where rows are many and depth is little', { skip }, async (t) => {
  const kernelsOf = async (rows: number, depth: number, width = 64): Promise<Pick<Outcome, 'held' | 'others'>> => {
    const { held, others } = await outcomeOn(byItself, { shapes: [[rows, depth], [depth, width]], compute: (a, b) => matmul(a!, b!) });
    return { held, others };
  };
  t.same(await kernelsOf(2048, 64), { held: 2, others: 0 }, 'forward, and the gradient of x');
  t.same(await kernelsOf(2048, 2 * gemm.heldDepth), { held: 3, others: 0 }, 'two parts forward');
  t.same(await kernelsOf(2048, 2 * gemm.heldDepth, 32), { held: 1, others: 1 }, 'deep and narrow: only the gradient of x');
  t.same(await kernelsOf(2048, 62), { held: 1, others: 1 }, 'a depth that ends in a pair: likewise');
  t.same(await kernelsOf(512, 20 * gemm.heldDepth), { held: 1, others: 1 }, 'too deep: likewise');
  t.same(await kernelsOf(16, 64), { held: 0, others: 2 }, 'few rows');
  t.same(await kernelsOf(12, 64, 16384), { held: 0, others: 2 }, 'few rows of great width');
});

t.test('images of few channels are convolved without laying out their taps, one alone as among many', { skip }, (t) => scope(async () => {
  setDefaultRuntime(byItself);
  const [x, w] = [tensor(values(1, [32, 17, 17, 3]), [32, 17, 17, 3]), tensor(values(2, [3, 3, 3, 16]), [3, 3, 3, 16])];
  const convolved = async (images: Tensor): Promise<{ numbers: Float32Array; shaders: string[] }> => {
    const shaders: string[] = [];
    byItself.recorder.observe({ dispatching: ({ kernel: { shader } }) => { shaders.push(shader.name); return null; } });
    const numbers = Float32Array.from(await conv2d(images, w, null, { stride: 2, padding: 1 }).data());
    byItself.recorder.observe(null);
    return { numbers, shaders };
  };
  const [all, one] = [await convolved(x), await convolved(narrow(x, 0, 31, 1))];
  t.same(all.shaders, ['gemm-held']);
  t.not(one.shaders.at(-1), 'gemm-held', 'rows are few');
  t.same(one.numbers, all.numbers.slice(-one.numbers.length));
}));
