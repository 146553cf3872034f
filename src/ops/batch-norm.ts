import source from '../../shaders/batch-norm.wgsl';
import { fail } from '../errors.js';
import type { Runtime } from '../kernels/runtime.js';
import { Shader } from '../kernels/shader.js';
import { formatShape, numel, quadsPerRow, rowCount, rowWidth, sameShape, type Shape } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { div, mul } from './binary.js';
import { type OpCase, uniform } from './cases.js';
import { type Nd, nd } from './nd.js';
import { allocate, type BackwardCall, bytesOf, type Call, dispatch, gridFor, type Op, run } from './op.js';
import { affine, pow } from './unary.js';

const shader = new Shader('batch-norm', source);

interface Attrs {
  readonly training: boolean;
  readonly momentum: number;
  readonly eps: number;
  readonly activation: 'none' | 'relu';
}

/** Rows that an invocation of the pointwise kernels handles: enough to pay for loading the channel's values. */
const ROWS_PER_INVOCATION = 8;
/** Invocations that fill a device; fewer rows than this per block cost more to combine than they give. */
const TARGET_INVOCATIONS = 16384;
const ROWS_PER_BLOCK = 32;
/** Partial results that one invocation combines one after the other; more are combined in two steps. */
const FAN = 32;

interface Launch {
  readonly runtime: Runtime;
  readonly rows: number;
  readonly quads: number;
  readonly width: number;
  readonly attrs: Attrs;
}

const launchOf = (runtime: Runtime, shape: Shape, attrs: Attrs): Launch =>
  ({ runtime, rows: rowCount(shape), quads: quadsPerRow(shape), width: rowWidth(shape), attrs });

const record = (l: Launch, entry: string, tensors: Record<string, Tensor>, split: { per: number; blocks: number; fan?: number }, items: number): void => {
  const readsRelu = ['normalize', 'blockGradients', 'inputGradient', 'frozenInputGradient'].includes(entry);
  dispatch(l.runtime, shader.kernel(entry, readsRelu ? { RELU: l.attrs.activation === 'relu' ? 1 : 0 } : {}), tensors, {
    rows: l.rows, quads: l.quads, width: l.width, per: split.per, blocks: split.blocks, fan: split.fan ?? split.blocks,
    momentum: l.attrs.momentum, eps: l.attrs.eps,
  }, gridFor(items));
};

/** One invocation per channel quad and block of a few rows. */
const pointwise = (l: Launch, entry: string, tensors: Record<string, Tensor>): void => {
  const blocks = Math.ceil(l.rows / ROWS_PER_INVOCATION);
  record(l, entry, tensors, { per: ROWS_PER_INVOCATION, blocks }, blocks * l.quads);
};

/**
 * Reduces over rows in two or three steps: blocks of rows, blocks combined by FAN where they are many, and `finish`,
 * which combines the rest. The cut depends on shapes alone, so each bit repeats.
 */
const reduceRows = (l: Launch, step: 'Moments' | 'Gradients', inputs: Record<string, Tensor>, outputs: Record<string, Tensor>): void => {
  const wanted = Math.max(1, Math.min(Math.ceil(l.rows / ROWS_PER_BLOCK), Math.floor(TARGET_INVOCATIONS / l.quads)));
  let per = Math.ceil(l.rows / wanted);
  let blocks = Math.ceil(l.rows / per);
  let parts = allocate(l.runtime, [2 * blocks, l.width], 'batchNorm parts');
  record(l, `block${step}`, { ...inputs, parts }, { per, blocks }, blocks * l.quads);
  while (blocks > 2 * FAN) {
    const fewer = Math.ceil(blocks / FAN);
    const combined = allocate(l.runtime, [2 * fewer, l.width], 'batchNorm parts');
    record(l, `combine${step}`, { inputParts: parts, parts: combined }, { per, blocks, fan: FAN }, fewer * l.quads);
    per *= FAN;
    blocks = fewer;
    parts = combined;
  }
  record(l, `finish${step}`, { inputParts: parts, ...outputs }, { per, blocks }, l.quads);
};

const forward = ({ runtime, inputs, attrs, shape }: Call<Attrs>) => {
  const [x, weight, bias, runningMean, runningVariance] = inputs as [Tensor, Tensor, Tensor, Tensor, Tensor];
  const l = launchOf(runtime, shape, attrs);
  const statistics = allocate(runtime, [2, l.width], 'batchNorm statistics');
  if (attrs.training) reduceRows(l, 'Moments', { x }, { statistics, runningMean, runningVariance });
  else record(l, 'frozenStatistics', { statistics, frozenMean: runningMean, frozenVariance: runningVariance }, { per: 1, blocks: 1 }, l.quads);
  const y = allocate(runtime, shape, 'batchNorm2d');
  pointwise(l, 'normalize', { x, moments: statistics, weight, bias, y });
  return { output: y, saved: { statistics } };
};

const backward = ({ runtime, grad, attrs, inputs, saved, needs, shape }: BackwardCall<Attrs>) => {
  const [x, weight, bias, , runningVariance] = inputs as [Tensor, Tensor, Tensor, null, Tensor];
  const moments = saved.statistics!;
  const l = launchOf(runtime, shape, attrs);
  const read = { x, gradient: grad, moments, weight, bias };
  const [gradBias, gradWeight] = [allocate(runtime, [l.width], 'batchNorm bias gradient'), allocate(runtime, [l.width], 'batchNorm weight gradient')];
  if (attrs.training || needs.slice(1).some(Boolean)) reduceRows(l, 'Gradients', read, { biasOut: gradBias, weightOut: gradWeight });
  let y: Tensor | null = null;
  if (needs[0]) {
    y = allocate(runtime, shape, 'batchNorm input gradient');
    if (attrs.training) pointwise(l, 'inputGradient', { ...read, gradBias, gradWeight, y });
    else pointwise(l, 'frozenInputGradient', { ...read, y });
  }
  if (attrs.training || !(needs[3] || needs[4])) return [y, gradWeight, gradBias, null, null];
  // y = w (x − m) / s + b with s = sqrt(v + eps), so dm = −w/s · Σdy and dv = −w/(2 s²) · Σ dy (x − m)/s.
  const deviation = pow(affine(runningVariance, 1, attrs.eps), 0.5);
  const perStep = affine(div(weight, deviation), -1);
  return [y, gradWeight, gradBias, needs[3] ? mul(perStep, gradBias) : null, needs[4] ? affine(div(mul(perStep, gradWeight), deviation), 0.5) : null];
};

const infer: Op<Attrs>['infer'] = (shapes, { training, activation }) => {
  const [x] = shapes as [Shape];
  if (x.length < 2) fail(`batchNorm2d: expects [..., channels] with at least two axes, got ${formatShape(x)}`);
  const names = ['weight', 'bias', 'runningMean', 'runningVar'];
  names.forEach((name, i) => {
    if (!sameShape(shapes[i + 1]!, [rowWidth(x)])) {
      fail(`batchNorm2d: input ${formatShape(x)} has ${rowWidth(x)} channels but ${name} has shape ${formatShape(shapes[i + 1]!)}; expected [${rowWidth(x)}]`);
    }
  });
  if (training && rowCount(x) === 1) fail(`batchNorm2d: Expected more than 1 value per channel when training, got input size ${formatShape(x)}; use a larger batch or image, or eval mode`);
  if (activation !== 'none' && activation !== 'relu') fail(`batchNorm2d: activation must be 'none' or 'relu', got '${String(activation)}'`);
  return x;
};

const referenceStatistics = (x: Nd, c: number, channel: number): [number, number] => {
  const rows = x.data.length / c;
  let [sum, squares] = [0, 0];
  for (let i = channel; i < x.data.length; i += c) sum += x.data[i]!;
  for (let i = channel; i < x.data.length; i += c) squares += (x.data[i]! - sum / rows) ** 2;
  return [sum / rows, squares / rows];
};

const reference: Op<Attrs>['reference'] = ([x, weight, bias, runningMean, runningVar], { training, eps, activation }) => {
  const out = nd(x!.shape);
  const c = rowWidth(x!.shape);
  for (let channel = 0; channel < c; channel++) {
    const [mean, variance] = training ? referenceStatistics(x!, c, channel) : [runningMean!.data[channel]!, runningVar!.data[channel]!];
    for (let i = channel; i < out.data.length; i += c) {
      const v = ((x!.data[i]! - mean) / Math.sqrt(variance + eps)) * weight!.data[channel]! + bias!.data[channel]!;
      out.data[i] = activation === 'relu' ? Math.max(v, 0) : v;
    }
  }
  return out;
};

const opCase = (name: string, shape: Shape, options: Partial<Attrs> & { bench?: boolean; seed?: number }): OpCase<Attrs> => {
  const { bench, seed = 1, ...attrs } = options;
  const unchecked = bench && attrs.activation === 'relu' ? { gradient: 'none' as const } : {};
  const c = [rowWidth(shape)];
  return {
    name, shapes: [shape, c, c, c, c], attrs: { training: true, momentum: 0.1, eps: 1e-5, activation: 'none', ...attrs },
    fill: [undefined, uniform(0.5, 1.5), undefined, undefined, uniform(0.5, 1.5)], seed, ...(bench ? { bench } : {}), ...unchecked,
  };
};

/** Seeds of the ReLU cases are such that no normalised value lies so close to 0 that finite differences cross the kink. */
const cases: OpCase<Attrs>[] = [
  opCase('training', [2, 3, 2, 5], {}),
  opCase('training, one channel', [3, 2, 2, 1], {}),
  opCase('training, two rows', [2, 1, 1, 4], { eps: 0.1 }),
  opCase('training, relu', [2, 2, 2, 3], { activation: 'relu' }),
  opCase('training, ragged blocks', [5, 7, 11, 6], {}),
  opCase('training, three steps', [4, 33, 33, 3], {}),
  opCase('training, relu, many channels', [2, 5, 5, 130], { activation: 'relu', seed: 3 }),
  opCase('rows alone', [9, 7], {}),
  opCase('eval', [2, 3, 2, 5], { training: false }),
  opCase('eval, relu', [2, 2, 3, 3], { training: false, activation: 'relu' }),
  opCase('eval, one row', [1, 1, 1, 6], { training: false }),
  // Among so many values some lie within a rounding of ReLU's kink, so the gradient is checked without it.
  ...([[[1, 221, 221, 64], 'none'], [[1, 108, 108, 192], 'relu'], [[2, 53, 53, 96], 'none'], [[2, 26, 26, 192], 'relu'], [[16, 33, 33, 16], 'relu']] as const)
    .map(([shape, activation]) => opCase(`${shape.join('×')}${activation === 'relu' ? ', relu' : ''}`, shape, { activation, bench: true })),
];

export const batchNorm2dOp: Op<Attrs> = {
  name: 'batchNorm2d', group: 'Normalisation', infer, forward, backward, reference, cases,
  // The running variance serves the gradients with respect to running statistics in eval mode.
  keeps: { inputs: [0, 1, 2, 4] },
  cost: ([x], { training }) => ({ flops: (training ? 7 : 2) * numel(x!), bytes: (training ? 3 : 2) * bytesOf(x!) }),
  // The sums over x and the gradient must be known before either is read for the result.
  backwardBytes: ([x], { training }) => (training ? 5 : 3) * bytesOf(x!),
  tolerance: { forward: 4e-6, gradient: 2e-5, reason: 'division by the deviation and square root (2.5 ulp each in WGSL) multiply the rounding of the sums' },
};

export interface BatchNormOptions {
  readonly training: boolean;
  /** Share of the new statistics in the running ones. */
  readonly momentum?: number;
  readonly eps?: number;
  /** `relu` applies max(·, 0) in the same pass. */
  readonly activation?: 'none' | 'relu';
}

/**
 * Batch normalisation over all axes but the last, with optional fused ReLU (PyTorch's `batch_norm`).
 * Training normalises by the batch's mean and biased variance and updates the running statistics in place,
 * outside the tape: running = (1 − momentum) · running + momentum · batch, with the unbiased variance.
 * Otherwise the running statistics are used.
 *
 * @param x [..., c]; weight, bias, runningMean, runningVar: [c]
 * @throws UserError for shapes that disagree, or a single value per channel in training
 */
export const batchNorm2d = (
  x: Tensor, weight: Tensor, bias: Tensor, runningMean: Tensor, runningVar: Tensor,
  { training, momentum = 0.1, eps = 1e-5, activation = 'none' }: BatchNormOptions,
): Tensor => run(batchNorm2dOp, [x, weight, bias, runningMean, runningVar], { training, momentum, eps, activation });
