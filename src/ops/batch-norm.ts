import source from '../../shaders/batch-norm.wgsl';
import { fail } from '../errors.js';
import type { Grid } from '../kernels/grid.js';
import type { Runtime } from '../kernels/runtime.js';
import { Shader } from '../kernels/shader.js';
import { formatShape, numel, quadsPerRow, rowCount, rowWidth, sameShape, type Shape } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { checkChoice, checkNames, checkWithin, given } from './arguments.js';
import { div, mul } from './binary.js';
import { type OpCase, uniform } from './cases.js';
import { type Nd, nd } from './nd.js';
import { allocate, type BackwardCall, bytesOf, type Call, dispatch, floatOf, forAdapter, gridFor, type Op, run } from './op.js';
import { affine, pow, reluGradient } from './unary.js';

const shader = new Shader('batch-norm', source);

interface Attrs {
  readonly training: boolean;
  readonly momentum: number;
  readonly eps: number;
  readonly activation: 'none' | 'relu';
}

/** Lanes that share out a block's rows, and how many such teams are a workgroup: 128 bytes of a row, which a GPU reads at once. */
const SHARES = { gpu: { TEAM: 32, TEAMS: 8, SHARED: 1 }, software: { TEAM: 1, TEAMS: 64, SHARED: 0 } };
/** Invocations that fill a GPU; fewer rows than this for each cost more to join than they give. */
const TARGET_INVOCATIONS = 131_072;
const FEWEST_ROWS = { gpu: 8, software: 32 } as const;
/** Invocations that a software adapter's threads share out evenly. */
const ENOUGH_INVOCATIONS = 1024;
/** Blocks on a software adapter: more cost more to join than they give. */
const MOST_BLOCKS = 64;

interface Launch {
  readonly runtime: Runtime;
  readonly rows: number;
  readonly quads: number;
  readonly width: number;
  readonly attrs: Attrs;
  /** Forward: something is added behind the normalisation. */
  readonly residual: boolean;
}

const launchOf = (runtime: Runtime, shape: Shape, attrs: Attrs, residual = false): Launch =>
  ({ runtime, rows: rowCount(shape), quads: quadsPerRow(shape), width: rowWidth(shape), attrs, residual });

interface Split {
  readonly per: number;
  readonly blocks: number;
  readonly accumulate?: boolean;
}

/** What an entry point is compiled for. */
const constantsOf = ({ runtime, attrs, residual }: Launch, entry: string): Record<string, number> => {
  const RELU = attrs.activation === 'relu' ? 1 : 0;
  const team = forAdapter(runtime, SHARES);
  if (entry === 'normalize') return { ...team, RELU, RESIDUAL: residual ? 1 : 0 };
  return ['blockGradients', 'inputGradient', 'frozenInputGradient'].includes(entry) ? { ...team, RELU } : team;
};

const record = (l: Launch, entry: string, tensors: Record<string, Tensor>, { per, blocks, accumulate }: Split, grid: Grid): void =>
  dispatch(l.runtime, shader.kernel(entry, constantsOf(l, entry)), tensors, {
    rows: l.rows, quads: l.quads, width: l.width, per, blocks, momentum: l.attrs.momentum, eps: l.attrs.eps, accumulate: accumulate ? 1 : 0,
  }, grid);

/**
 * Rows that an invocation of the pointwise kernels handles: enough to pay for loading the channel's values, few enough to fill a GPU, or
 * to be shared out evenly among a software adapter's threads.
 */
const rowsPerInvocation = ({ runtime, rows, quads }: Launch): number =>
  forAdapter(runtime, { gpu: 8, software: Math.min(128, Math.max(32, Math.floor((rows * quads) / ENOUGH_INVOCATIONS))) });

/** One invocation per channel quad and block of a few rows. */
const pointwise = (l: Launch, entry: string, tensors: Record<string, Tensor>): void => {
  const per = rowsPerInvocation(l);
  const blocks = Math.ceil(l.rows / per);
  record(l, entry, tensors, { per, blocks }, gridFor(blocks * l.quads));
};

const blocksOf = ({ runtime, rows, quads }: Launch): number => {
  const { TEAM: team } = forAdapter(runtime, SHARES);
  const most = forAdapter(runtime, {
    gpu: Math.floor(TARGET_INVOCATIONS / (team * quads)), software: Math.min(MOST_BLOCKS, Math.ceil(ENOUGH_INVOCATIONS / quads)),
  });
  return Math.max(1, Math.min(Math.ceil(rows / (team * forAdapter(runtime, FEWEST_ROWS))), most));
};

/** Reduces over rows in two steps: blocks of rows, then all blocks. The cut depends on shapes and the kind of adapter alone, so each bit repeats. */
const reduceRows = (l: Launch, step: 'Moments' | 'Gradients', inputs: Record<string, Tensor>, outputs: Record<string, Tensor>, accumulate = false): void => {
  const per = Math.ceil(l.rows / blocksOf(l));
  const blocks = Math.ceil(l.rows / per);
  const parts = allocate(l.runtime, [2 * blocks, l.width], 'batchNorm parts');
  const { TEAMS } = forAdapter(l.runtime, SHARES);
  record(l, `block${step}`, { ...inputs, parts }, { per, blocks }, gridFor(blocks * l.quads, TEAMS));
  record(l, `finish${step}`, { inputParts: parts, ...outputs }, { per, blocks, accumulate }, gridFor(l.quads, TEAMS));
};

const forward = ({ runtime, inputs, attrs, shape }: Call<Attrs>) => {
  const [x, weight, bias, runningMean, runningVariance, residual] = inputs as [Tensor, Tensor, Tensor, Tensor, Tensor, Tensor?];
  const l = launchOf(runtime, shape, attrs, residual !== undefined);
  const statistics = allocate(runtime, [2, l.width], 'batchNorm statistics');
  if (attrs.training) reduceRows(l, 'Moments', { x }, { statistics, runningMean, runningVariance });
  else record(l, 'frozenStatistics', { statistics, frozenMean: runningMean, frozenVariance: runningVariance }, { per: 1, blocks: 1 }, gridFor(l.quads));
  const y = allocate(runtime, shape, 'batchNorm2d', floatOf(x));
  // Where nothing is added, the binding is not read: any tensor will do.
  pointwise(l, 'normalize', { x, moments: statistics, weight, bias, y, residual: residual ?? x });
  // With a residual the sign of what ReLU saw cannot be computed again from x alone.
  const saved: Record<string, Tensor> = residual && attrs.activation === 'relu' ? { statistics, output: y.alias() } : { statistics };
  return { output: y, saved };
};

/** Gradients of weight and bias, and the sums over rows that the input's gradient needs. */
const parameterGradients = (l: Launch, read: Record<string, Tensor>, into: readonly (Tensor | null)[]) => {
  // One tensor may be weight and bias, but cannot be written as both at once.
  const both = into[1] && into[2] && into[1] !== into[2] ? { weightOut: into[1], biasOut: into[2] } : null;
  const made = both ?? { weightOut: allocate(l.runtime, [l.width], 'batchNorm weight gradient'), biasOut: allocate(l.runtime, [l.width], 'batchNorm bias gradient') };
  const sums = allocate(l.runtime, [2, l.width], 'batchNorm gradient sums');
  reduceRows(l, 'Gradients', read, { sumsOut: sums, ...made }, both !== null);
  return { sums, weight: both ? null : made.weightOut, bias: both ? null : made.biasOut };
};

const backward = (call: BackwardCall<Attrs>) => {
  const { runtime, attrs, inputs, saved, needs, shape, into = [] } = call;
  const [x, weight, bias, , runningVariance] = inputs as [Tensor, Tensor, Tensor, null, Tensor];
  const moments = saved.statistics!;
  const gradient = saved.output ? reluGradient(call.grad, saved.output) : call.grad;
  const l = launchOf(runtime, shape, saved.output ? { ...attrs, activation: 'none' } : attrs);
  const read = { x, gradient, moments, weight, bias };
  const ofStatistics = !attrs.training && (needs[3] === true || needs[4] === true);
  const own = attrs.training || needs.slice(1, 5).some(Boolean) ? parameterGradients(l, read, ofStatistics ? [] : into) : null;
  let y: Tensor | null = null;
  if (needs[0]) {
    y = allocate(runtime, shape, 'batchNorm input gradient', call.dtypes[0]);
    if (attrs.training) pointwise(l, 'inputGradient', { ...read, sums: own!.sums, y });
    else pointwise(l, 'frozenInputGradient', { ...read, y });
  }
  const statistics = ofStatistics ? statisticsGradients(weight, runningVariance, attrs.eps, own!.weight!, own!.bias!) : [null, null];
  return [y, own?.weight ?? null, own?.bias ?? null, ...statistics, ...(needs.length > 5 ? [gradient] : [])];
};

/** y = w (x − m) / s + b with s = sqrt(v + eps), so dm = −w/s · Σdy and dv = −w/(2 s²) · Σ dy (x − m)/s. */
const statisticsGradients = (weight: Tensor, variance: Tensor, eps: number, gradWeight: Tensor, gradBias: Tensor): [Tensor, Tensor] => {
  const deviation = pow(affine(variance, 1, eps), 0.5);
  const perStep = affine(div(weight, deviation), -1);
  return [mul(perStep, gradBias), affine(div(mul(perStep, gradWeight), deviation), 0.5)];
};

const infer: Op<Attrs>['infer'] = (shapes, { training }) => {
  const [x] = shapes as [Shape];
  if (x.length < 2) fail(`batchNorm2d: expects [..., channels] with at least two axes, got ${formatShape(x)}`);
  const names = ['weight', 'bias', 'runningMean', 'runningVar'];
  names.forEach((name, i) => {
    if (!sameShape(shapes[i + 1]!, [rowWidth(x)])) {
      fail(`batchNorm2d: input ${formatShape(x)} has ${rowWidth(x)} channels but ${name} has shape ${formatShape(shapes[i + 1]!)}; expected [${rowWidth(x)}]`);
    }
  });
  if (shapes.length > 5 && !sameShape(shapes[5]!, x)) fail(`batchNorm2d: the residual ${formatShape(shapes[5]!)} must have the shape of the input, ${formatShape(x)}`);
  if (training && rowCount(x) === 1) fail(`batchNorm2d: Expected more than 1 value per channel when training, got input size ${formatShape(x)}; use a larger batch or image, or eval mode`);
  return x;
};

const referenceStatistics = (x: Nd, c: number, channel: number): [number, number] => {
  const rows = x.data.length / c;
  let [sum, squares] = [0, 0];
  for (let i = channel; i < x.data.length; i += c) sum += x.data[i]!;
  for (let i = channel; i < x.data.length; i += c) squares += (x.data[i]! - sum / rows) ** 2;
  return [sum / rows, squares / rows];
};

const reference: Op<Attrs>['reference'] = ([x, weight, bias, runningMean, runningVar, residual], { training, eps, activation }) => {
  const out = nd(x!.shape);
  const c = rowWidth(x!.shape);
  for (let channel = 0; channel < c; channel++) {
    const [mean, variance] = training ? referenceStatistics(x!, c, channel) : [runningMean!.data[channel]!, runningVar!.data[channel]!];
    for (let i = channel; i < out.data.length; i += c) {
      const v = ((x!.data[i]! - mean) / Math.sqrt(variance + eps)) * weight!.data[channel]! + bias!.data[channel]! + (residual?.data[i] ?? 0);
      out.data[i] = activation === 'relu' ? Math.max(v, 0) : v;
    }
  }
  return out;
};

const opCase = (name: string, shape: Shape, options: Partial<Attrs> & { bench?: boolean; seed?: number; residual?: boolean }): OpCase<Attrs> => {
  const { bench, seed = 1, residual, ...attrs } = options;
  const unchecked = bench && attrs.activation === 'relu' ? { gradient: 'none' as const } : {};
  const c = [rowWidth(shape)];
  return {
    name, shapes: [shape, c, c, c, c, ...(residual ? [shape] : [])], attrs: { training: true, momentum: 0.1, eps: 1e-5, activation: 'none', ...attrs },
    fill: [undefined, uniform(0.5, 1.5), undefined, undefined, uniform(0.5, 1.5)], seed, ...(bench ? { bench } : {}), ...unchecked,
  };
};

/** Seeds of the ReLU cases are such that no normalised value lies so close to 0 that finite differences cross the kink. */
const cases: OpCase<Attrs>[] = [
  opCase('training', [2, 3, 2, 5], {}),
  opCase('training, one channel', [3, 2, 2, 1], {}),
  opCase('training, eps 0', [2, 3, 2, 5], { eps: 0 }),
  opCase('training, two rows', [2, 1, 1, 4], { eps: 0.1 }),
  opCase('training, relu', [2, 2, 2, 3], { activation: 'relu' }),
  opCase('training, ragged blocks', [5, 7, 11, 6], {}),
  opCase('training, three steps', [4, 33, 33, 3], {}),
  opCase('training, relu, many channels', [2, 5, 5, 130], { activation: 'relu', seed: 3 }),
  opCase('training, residual', [2, 3, 2, 5], { residual: true }),
  opCase('training, residual, relu', [3, 2, 2, 5], { residual: true, activation: 'relu', seed: 2 }),
  opCase('eval, residual, relu', [2, 2, 3, 3], { training: false, residual: true, activation: 'relu' }),
  opCase('rows alone', [9, 7], {}),
  opCase('eval', [2, 3, 2, 5], { training: false }),
  opCase('eval, eps 0', [2, 3, 2, 5], { training: false, eps: 0 }),
  opCase('eval, relu', [2, 2, 3, 3], { training: false, activation: 'relu' }),
  opCase('eval, one row', [1, 1, 1, 6], { training: false }),
  // Among so many values some lie within a rounding of ReLU's kink, so the gradient is checked without it.
  ...([[[1, 221, 221, 64], 'none'], [[1, 108, 108, 192], 'relu'], [[2, 53, 53, 96], 'none'], [[2, 26, 26, 192], 'relu'], [[16, 33, 33, 16], 'relu']] as const)
    .map(([shape, activation]) => opCase(`${shape.join('×')}${activation === 'relu' ? ', relu' : ''}`, shape, { activation, bench: true })),
];

export const batchNorm2dOp: Op<Attrs> = {
  name: 'batchNorm2d', group: 'Normalisation', precision: 'any', infer, forward, backward, reference, cases,
  // The running variance serves the gradients with respect to running statistics in eval mode.
  keeps: { inputs: [0, 1, 2, 4] },
  cost: ([x, , , , , residual], { training }) => ({ flops: (training ? 7 : 2) * numel(x!), bytes: ((training ? 3 : 2) + (residual ? 1 : 0)) * bytesOf(x!) }),
  // The sums over x and the gradient must be known before either is read for the result.
  backwardCost: ([x], { training }) => ({ bytes: (training ? 5 : 3) * bytesOf(x!) }),
  tolerance: { forward: 4e-6, gradient: 2e-5, reason: 'division by the deviation and square root (2.5 ulp each in WGSL) multiply the rounding of the sums' },
};

export interface BatchNormOptions {
  readonly training: boolean;
  /** Share of the new statistics in the running ones, from 0 to 1; default 0.1. PyTorch's `None`, a plain average, is not there. */
  readonly momentum?: number;
  /** Added to the variance; default 1e-5. */
  readonly eps?: number;
  /** `relu` applies max(·, 0) in the same pass. */
  readonly activation?: 'none' | 'relu';
  /** Of x's shape: added behind the normalisation and before the activation, in the same pass. */
  readonly residual?: Tensor | null;
}

/**
 * Batch normalisation over all axes but the last (PyTorch's `batch_norm`), with optional fused sum with a residual and ReLU.
 * Training normalises by the batch's mean and biased variance and updates the running statistics in place,
 * outside the tape: running = (1 − momentum) · running + momentum · batch, with the unbiased variance.
 * Otherwise the running statistics are used.
 *
 * @param x [..., c], float32 or float16, which the result has too; weight, bias, runningMean, runningVar: [c]; statistics are float32
 * @throws UserError for shapes that disagree, a single value per channel in training, or a momentum or eps outside its limits
 */
export const batchNorm2d = (
  x: Tensor, weight: Tensor, bias: Tensor, runningMean: Tensor, runningVar: Tensor,
  options: BatchNormOptions,
): Tensor => {
  const { training, momentum = 0.1, eps = 1e-5, activation = 'none', residual = null } = given('batchNorm2d', options, 'training');
  checkNames('batchNorm2d', options, ['training', 'momentum', 'eps', 'activation', 'residual']);
  checkChoice('batchNorm2d', 'activation', activation, ['none', 'relu']);
  checkWithin('batchNorm2d', 'momentum', momentum, 0, 1);
  checkWithin('batchNorm2d', 'eps', eps, 0);
  if (training && runningMean === runningVar) fail('batchNorm2d: the running mean and the running variance are one tensor, but training writes both');
  return run(batchNorm2dOp, [x, weight, bias, runningMean, runningVar, ...(residual ? [residual] : [])], { training, momentum, eps, activation });
};
