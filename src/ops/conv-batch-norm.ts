/** Convolution, frozen batch norm, residual and ReLU in one pass over memory: what evaluation does most. */
import source from '../../shaders/conv-batch-norm.wgsl';
import { fail } from '../errors.js';
import { Shader } from '../kernels/shader.js';
import { formatShape, quadsPerRow, sameShape, type Shape } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { checkNames, type Pair } from './arguments.js';
import { batchNorm2dOp } from './batch-norm.js';
import { type OpCase, type Tolerance, uniform } from './cases.js';
import { checkAdded, type ConvAttrs, convAttrs, convShape } from './conv-shape.js';
import { WINOGRAD } from './conv2d-cases.js';
import { type Conv2dOptions, conv2dOp, convolve } from './conv2d.js';
import type { Nd } from './nd.js';
import { allocate, bytesOf, dispatch, gridFor, type Op, run } from './op.js';

const shader = new Shader('conv-batch-norm', source);

interface Attrs extends ConvAttrs {
  readonly eps: number;
}

/** Behind x, w and the norm's mean, variance, weight and bias come the convolution's bias [Cout] and a residual, if any. */
const operandsOf = <T extends { readonly shape: Shape }>(inputs: readonly T[]) => {
  const [x, w, mean, variance, weight, bias, ...rest] = inputs as [T, T, T, T, T, T, ...T[]];
  const ofRank = (rank: number): T | null => rest.find(({ shape }) => shape.length === rank) ?? null;
  return { x, w, mean, variance, weight, bias, own: ofRank(1), residual: ofRank(4) };
};

const infer: Op<Attrs>['infer'] = (shapes, attrs) => {
  const { x, w, own, residual, ...norm } = operandsOf(shapes.map((shape) => ({ shape })));
  const shape = convShape(x.shape, w.shape, attrs, { bias: own?.shape, residual: residual?.shape });
  for (const [name, operand] of Object.entries(norm)) {
    if (!sameShape(operand.shape, [w.shape[3]!])) fail(`convBatchNorm2d: ${name} ${formatShape(operand.shape)} must be [${w.shape[3]}], the channels of the result`);
  }
  if (attrs.groups !== 1) fail('convBatchNorm2d: groups are not fused; use conv2d and batchNorm2d');
  return shape;
};

const forward: Op<Attrs>['forward'] = ({ runtime, inputs, attrs, shape }) => {
  const { x, w, own, residual, ...norm } = operandsOf(inputs);
  const channels = shape[3]!;
  const quads = quadsPerRow([channels]);
  const line = allocate(runtime, [2, channels], 'folded batch norm');
  dispatch(runtime, shader.kernel('fold'), { ...norm, own: own ?? norm.bias, line }, { quads, width: channels, hasOwn: own ? 1 : 0, eps: attrs.eps }, gridFor(quads));
  return convolve(x, w, shape, attrs, { bias: line, residual, relu: attrs.activation === 'relu' });
};

const reference: Op<Attrs>['reference'] = (inputs, { eps, activation = 'none', ...attrs }) => {
  const { x, w, own, residual, mean, variance, weight, bias } = operandsOf(inputs);
  const y: Nd = conv2dOp.reference([x, w, ...(own ? [own] : [])], attrs);
  return batchNorm2dOp.reference([y, weight, bias, mean, variance, ...(residual ? [residual] : [])], { training: false, momentum: 0, eps, activation });
};

interface Layer {
  readonly name: string;
  readonly x: Shape;
  readonly w: Shape;
  readonly padding?: Pair;
  readonly stride?: Pair;
  readonly own?: boolean;
  readonly residual?: boolean;
  readonly activation?: 'none' | 'relu';
  readonly tolerance?: Tolerance;
  readonly bench?: boolean;
}

const toCase = ({ name, x, w, own, residual, activation = 'none', padding = [0, 0], stride = [1, 1], tolerance, bench }: Layer): OpCase<Attrs> => {
  const channels = [w[3]!];
  const attrs = { stride, padding, dilation: [1, 1] as const, groups: 1, activation, eps: 1e-3 };
  return {
    name, attrs, shapes: [x, w, channels, channels, channels, channels, ...(own ? [channels] : []), ...(residual ? [convShape(x, w, attrs)] : [])],
    fill: [undefined, undefined, undefined, uniform(0.5, 1.5), uniform(0.5, 1.5)], gradient: 'none', ...(tolerance ? { tolerance } : {}), ...(bench ? { bench } : {}),
  };
};

const cases: readonly OpCase<Attrs>[] = ([
  { name: '1×1', x: [2, 3, 2, 8], w: [1, 1, 8, 6] },
  { name: '1×1, ReLU', x: [1, 3, 3, 5], w: [1, 1, 5, 7], activation: 'relu' },
  { name: '3×3 with a bias, residual, ReLU', x: [1, 4, 5, 9], w: [3, 3, 9, 5], padding: [1, 1], own: true, residual: true, activation: 'relu' },
  { name: '3×3, 64 channels, residual', x: [1, 6, 5, 64], w: [3, 3, 64, 64], padding: [1, 1], residual: true, tolerance: WINOGRAD },
  { name: '3-channel stem', x: [1, 9, 8, 3], w: [3, 3, 3, 10], stride: [2, 2], activation: 'relu' },
  { name: 'Inception 192→192 1×7 26², ReLU', x: [2, 26, 26, 192], w: [1, 7, 192, 192], padding: [0, 3], activation: 'relu', bench: true },
] satisfies Layer[]).map(toCase);

export const convBatchNorm2dOp: Op<Attrs> = {
  name: 'convBatchNorm2d', group: 'Convolution', precision: 'half', infer, forward, backward: null, reference, cases,
  cost: (shapes, attrs, shape) => ({ ...conv2dOp.cost(shapes, attrs, shape), bytes: bytesOf(...shapes, shape) }),
  tolerance: { forward: 4e-6, reason: 'division by the deviation and square root, 2.5 ulp each in WGSL' },
};

/** What a trained batch norm knows, each [Cout]. */
export interface FrozenNorm {
  readonly mean: Tensor;
  readonly variance: Tensor;
  readonly weight: Tensor;
  readonly bias: Tensor;
  readonly eps: number;
}

/**
 * `batchNorm2d(conv2d(x, weight, bias), …)` in evaluation, with what {@link Conv2dOptions} adds behind it, in one pass. No gradient, no groups.
 *
 * @param x [N, H, W, Cin]; weight [KH, KW, Cin, Cout]; bias [Cout] or null
 */
export const convBatchNorm2d = (x: Tensor, weight: Tensor, bias: Tensor | null, norm: FrozenNorm, options: Omit<Conv2dOptions, 'groups'> = {}): Tensor => {
  checkNames('convBatchNorm2d', options, ['stride', 'padding', 'dilation', 'activation', 'residual']);
  const { residual } = options;
  checkAdded('convBatchNorm2d', bias, residual);
  const inputs = [x, weight, norm.mean, norm.variance, norm.weight, norm.bias, bias, residual].filter((t): t is Tensor => Boolean(t));
  return run(convBatchNorm2dOp, inputs, { ...convAttrs('convBatchNorm2d', options), eps: norm.eps });
};
