import source from '../../shaders/unary.wgsl';
import { Shader } from '../kernels/shader.js';
import { quadCount, quadsPerRow, rowWidth, type Shape } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { checkNumbers } from './arguments.js';
import { awayFrom, type Fill, uniform } from './cases.js';
import { mapNd } from './nd.js';
import { allocate, bytesOf, dispatch, floatOf, isRagged, type Op, run, stretchesFor } from './op.js';
import { checkTaken } from './taken.js';

const shader = new Shader('unary', source);

/** Scalar arguments of a pointwise function. */
export interface Scalars {
  readonly a: number;
  readonly b: number;
}

/** One pointwise function: its number in the shader, its float64 formula, and where it has kinks. */
interface Row {
  readonly code: number;
  readonly formula: (x: number, s: Scalars) => number;
  /** What the derivative is computed from; the input without it. */
  readonly from?: 'output' | 'nothing';
  readonly differentiable?: boolean;
  /** Needs a wider range than float16 has, or more digits: the derivatives of sigmoid and tanh are differences of outputs near 1. */
  readonly wide?: boolean;
  readonly fill?: Fill;
  readonly scalars?: Scalars;
  readonly tolerance?: Op['tolerance'];
}

const POW = 6;
/** Exponents, times two, for which the shader has a formula without logarithm. */
const HALVES: readonly number[] = [-4, -2, -1, 0, 1, 2, 4, 6];

/** Runs one of the shader's entry points; its inputs and its output have the same shape. */
const launch = (entry: string, { code }: Pick<Row, 'code'>, tensors: Record<string, Tensor> & { readonly x: Tensor }, { a, b }: Scalars): void => {
  const { runtime, shape } = tensors.x;
  const { steps, grid } = stretchesFor(runtime, quadCount(shape));
  const constants = { OP: code, RAGGED: isRagged(shape) };
  dispatch(runtime, shader.kernel(entry, code === POW && HALVES.includes(2 * a) ? { ...constants, HALVES: 2 * a } : constants), tensors,
    { quads: quadCount(shape), steps, quadsPerRow: quadsPerRow(shape), width: rowWidth(shape), a, b }, grid);
};

const shapesToTest: readonly Shape[] = [[2, 3, 5], [1], [], [7, 1], [3, 130], [9, 8], [257, 1]];

const unaryOp = (name: string, row: Row): Op<Scalars> => ({
  name,
  group: 'Pointwise',
  precision: row.wide ? 'float32' : 'any',
  infer: ([shape]) => shape!,
  forward: ({ runtime, inputs, attrs, shape }) => {
    const y = allocate(runtime, shape, name, floatOf(...inputs));
    launch('forward', row, { x: inputs[0]!, y }, attrs);
    return y;
  },
  keeps: row.from === 'nothing' ? {} : row.from === 'output' ? { output: true } : { inputs: [0] },
  backward: row.differentiable === false ? null : ({ runtime, grad, attrs, inputs, output, shape }) => {
    const result = allocate(runtime, shape, `${name} gradient`, floatOf(grad));
    // Where the derivative is constant, what x is does not matter.
    if (row.from) launch('backwardFromOutput', row, { x: output ?? grad, gradient: grad, result }, attrs);
    else launch('backward', row, { x: inputs[0]!, gradient: grad, result }, attrs);
    return [result];
  },
  reference: ([x], attrs) => mapNd(x!.shape, (i) => row.formula(x!.data[i]!, attrs)),
  cost: ([shape]) => ({ flops: 0, bytes: 2 * bytesOf(shape!) }),
  cases: [
    ...shapesToTest.map((shape) => ({ name: `[${shape.join('×')}]`, shapes: [shape], attrs: row.scalars ?? { a: 0, b: 0 }, fill: [row.fill] })),
    { name: '2×26×26×768', shapes: [[2, 26, 26, 768]], attrs: row.scalars ?? { a: 0, b: 0 }, fill: [row.fill], bench: true },
  ],
  ...(row.tolerance ? { tolerance: row.tolerance } : {}),
});

/** The error function by its Maclaurin series in float64, enough for |x| ≤ 4. */
const erf = (x: number): number => {
  let term = x;
  let sum = x;
  for (let n = 1; n < 200; n++) {
    term *= -(x * x) / n;
    sum += term / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * sum;
};

const loose = (reason: string, forward: number): Op['tolerance'] => ({ forward, gradient: forward * 4, reason });

export const negOp = unaryOp('neg', { code: 0, formula: (x) => -x, from: 'nothing' });
export const absOp = unaryOp('abs', { code: 1, formula: Math.abs, fill: awayFrom([0]) });
export const signOp = unaryOp('sign', { code: 2, formula: Math.sign, differentiable: false });
export const sqrtOp = unaryOp('sqrt', { code: 3, formula: Math.sqrt, from: 'output', fill: uniform(0.1, 4) });
export const expOp = unaryOp('exp', {
  code: 4, formula: Math.exp, wide: true, from: 'output', fill: uniform(-3, 3), tolerance: loose('WGSL allows exp an error of 3 + 2|x| ulp', 2e-6),
});
export const logOp = unaryOp('log', {
  code: 5, formula: Math.log, wide: true, fill: uniform(0.1, 4), tolerance: loose('WGSL allows log an absolute error of 2^-21 near 1', 2e-6),
});
const powers = unaryOp('pow', {
  code: POW, formula: (x, { a }) => x ** a, wide: true, fill: uniform(0.2, 2), scalars: { a: 1.7, b: 0 },
  tolerance: loose('pow is exp2(y log2 x); their errors multiply', 4e-6),
});
export const powOp: Op<Scalars> = {
  ...powers,
  cases: [...powers.cases, ...[-2, -1, -0.5, 0, 0.5, 1, 2, 3].map((a) => ({ name: `to the power ${a}`, shapes: [[3, 5]], attrs: { a, b: 0 }, fill: [uniform(0.2, 2)] }))],
};
export const clampOp = unaryOp('clamp', {
  code: 7, formula: (x, { a, b }) => Math.min(Math.max(x, a), b), fill: awayFrom([-0.5, 0.25]), scalars: { a: -0.5, b: 0.25 },
});
export const reluOp = unaryOp('relu', { code: 8, formula: (x) => Math.max(x, 0), from: 'output', fill: awayFrom([0]) });
export const sigmoidOp = unaryOp('sigmoid', {
  code: 9, wide: true, formula: (x) => 1 / (1 + Math.exp(-x)), from: 'output', fill: uniform(-4, 4), tolerance: loose('exp, a sum and a division', 2e-6),
});
export const tanhOp = unaryOp('tanh', {
  code: 10, wide: true, formula: Math.tanh, from: 'output', fill: uniform(-3, 3),
  tolerance: loose('the rational fit has 4e-7 relative error, then a division', 2e-6),
});
export const geluOp = unaryOp('gelu', {
  code: 11, formula: (x) => 0.5 * x * (1 + erf(x / Math.SQRT2)), fill: uniform(-3, 3),
  tolerance: loose('the erfc fit has 1.2e-7 relative error, then exp', 4e-6),
});
export const signedSqrtOp = unaryOp('signedSqrt', {
  code: 12, wide: true, formula: (x, { a }) => Math.sign(x) * Math.sqrt(Math.abs(x) + a), fill: awayFrom([0]), scalars: { a: 1e-12, b: 0 },
});
export const affineOp = unaryOp('affine', { code: 13, formula: (x, { a, b }) => a * x + b, from: 'nothing', scalars: { a: 1.5, b: -0.25 } });

const apply = (op: Op<Scalars>, x: Tensor, ...numbers: number[]): Tensor => {
  checkNumbers(op.name, numbers);
  const [a = 0, b = 0] = numbers;
  return run(op, [x], { a, b });
};

/** −x. */
export const neg = (x: Tensor): Tensor => apply(negOp, x);
/** |x|; the gradient at 0 is 0. */
export const abs = (x: Tensor): Tensor => apply(absOp, x);
/** −1, 0 or 1; NaN stays NaN. No gradient. */
export const sign = (x: Tensor): Tensor => apply(signOp, x);
/** Square root, element by element; NaN below 0, an infinite gradient at 0, as in PyTorch. */
export const sqrt = (x: Tensor): Tensor => apply(sqrtOp, x);
/** e to the power of x, element by element; float32 also from float16 operands. */
export const exp = (x: Tensor): Tensor => apply(expOp, x);
/** Natural logarithm. */
export const log = (x: Tensor): Tensor => apply(logOp, x);
/** x to a constant power. Negative x needs an integral exponent, else the result is NaN. */
export const pow = (x: Tensor, exponent: number): Tensor => apply(powOp, x, exponent);
/** Limits x to min … max; NaN stays NaN. The gradient is 1 at both borders, as in PyTorch. */
export const clamp = (x: Tensor, min: number, max: number): Tensor => apply(clampOp, x, min, max);
/** max(x, 0); NaN stays NaN, the gradient at 0 is 0. */
export const relu = (x: Tensor): Tensor => apply(reluOp, x);
/** The gradient of what went into a ReLU, from its result. For ops with a ReLU of their own. */
export const reluGradient = (grad: Tensor, output: Tensor): Tensor => {
  checkTaken('reluGradient', [grad, output]);
  const [result] = reluOp.backward!({
    runtime: grad.runtime, grad, attrs: { a: 0, b: 0 }, inputs: [null], output, saved: {}, shapes: [grad.shape], dtypes: [grad.dtype],
    shape: grad.shape, needs: [true],
  });
  return result!;
};
/** 1 / (1 + e⁻ˣ), element by element; float32 also from float16 operands. */
export const sigmoid = (x: Tensor): Tensor => apply(sigmoidOp, x);
/** Hyperbolic tangent, element by element; float32 also from float16 operands. */
export const tanh = (x: Tensor): Tensor => apply(tanhOp, x);
/** Exact GELU, x · Φ(x). */
export const gelu = (x: Tensor): Tensor => apply(geluOp, x);
/** sign(x) · sqrt(|x| + eps) as in WS-DAN's pooling; 0 at 0, with zero gradient there. */
export const signedSqrt = (x: Tensor, eps = 1e-12): Tensor => apply(signedSqrtOp, x, eps);
/** scale · x + shift with constants: the scalar forms of mul and add. */
export const affine = (x: Tensor, scale: number, shift = 0): Tensor => apply(affineOp, x, scale, shift);
