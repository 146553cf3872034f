import source from '../../shaders/optimizer.wgsl';
import { fail } from '../errors.js';
import { type Live, liveNumber, numberOf, type ParamValues } from '../kernels/params.js';
import { Shader } from '../kernels/shader.js';
import { formatShape, quadCount } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { allocate, dispatch, forAdapter, stretchesFor, WORKGROUP } from './op.js';
import { checkTaken } from './taken.js';

const shader = new Shader('optimizer', source);

/** Workgroups that sum squares: enough to fill an adapter, few enough for one workgroup to add their partial sums. */
const NORM_GROUPS = { gpu: 256, software: 64 } as const;
/** vec4f that an invocation sums at least: each leaves a partial sum to add. */
const STEPS_PER_SUM = 16;

const ZERO_PARAMS = {
  quads: 0, steps: 0, firstSlot: 0, nesterov: 0, step: 0, lr: 0, weightDecay: 0, momentum: 0, dampening: 0,
  beta1: 0, beta2: 0, rest1: 0, rest2: 0, logBeta1: 0, logBeta2: 0, stepSize: 0, rootCorrection: 0, eps: 0, maxNorm: 0,
};
const paramsWith = (values: Partial<Record<keyof typeof ZERO_PARAMS, number | Live>>): ParamValues => ({ ...ZERO_PARAMS, ...values });

export interface SgdStep {
  readonly lr: number | Live;
  readonly momentum?: number;
  readonly dampening?: number;
  readonly weightDecay?: number;
  readonly nesterov?: boolean;
  /** Number of this update, from 1: in the first, the momentum buffer starts as the gradient, undampened. */
  readonly step: number | Live;
  /** What multiplies the gradient: a scalar from {@link clipScale}, or [3] from `unscaleFactor`, which may also skip the update. */
  readonly gradScale?: Tensor | undefined;
}

export interface AdamWStep {
  readonly lr: number | Live;
  readonly beta1?: number;
  readonly beta2?: number;
  readonly eps?: number;
  readonly weightDecay?: number;
  /** Number of this update, from 1: the averages' bias is corrected by it. */
  readonly step: number | Live;
  /** As in {@link SgdStep}. */
  readonly gradScale?: Tensor | undefined;
}

const checkBuffers = (op: string, param: Tensor, others: Readonly<Record<string, Tensor>>): void => {
  checkTaken(op, [param, ...Object.values(others)], ['any']);
  for (const [name, tensor] of Object.entries(others)) {
    if (quadCount(tensor.shape) !== quadCount(param.shape)) {
      fail(`${op}: the ${name} has shape ${formatShape(tensor.shape)}, the parameter "${param.label}" ${formatShape(param.shape)}; they must be equal`);
    }
    if (tensor.dtype !== 'float32') fail(`${op}: the ${name} must be float32, got ${tensor.dtype}`);
  }
};

const checkStep = (op: string, given: number | Live): void => {
  const step = numberOf(given);
  if (!Number.isInteger(step) || step < 1) fail(`${op}: step counts updates from 1, got ${step}`);
};

/** Without a scale the gradient stands in for it: a kernel needs all its bindings, and reading twice is allowed. */
const scaleBinding = (op: string, grad: Tensor, gradScale: Tensor | undefined): Tensor => {
  if (gradScale && gradScale.size !== 1 && gradScale.size !== 3) fail(`${op}: gradScale must be a scalar or have 3 elements, got shape ${formatShape(gradScale.shape)}`);
  return gradScale ?? grad;
};

/**
 * One step of PyTorch's SGD, in place and outside the tape:
 * g ← scale·grad + weightDecay·w; v ← momentum·v + (1 − dampening)·g (g itself on the first step);
 * w ← w − lr·v, or w − lr·(g + momentum·v) with Nesterov.
 * Parameters, gradient and momentum buffer are of one shape (usually one flat buffer each).
 *
 * @param momentumBuffer may be null when momentum is 0
 * @throws UserError when shapes differ, or momentum lacks its buffer
 */
export const sgdStep = (param: Tensor, grad: Tensor, momentumBuffer: Tensor | null, options: SgdStep): void => {
  const { lr, momentum = 0, dampening = 0, weightDecay = 0, nesterov = false, step, gradScale } = options;
  if (nesterov && (momentum <= 0 || dampening !== 0)) fail(`sgdStep: Nesterov needs momentum above 0 and dampening 0, got ${momentum} and ${dampening}`);
  checkStep('sgdStep', step);
  checkBuffers('sgdStep', param, { gradient: grad, ...(momentumBuffer ? { 'momentum buffer': momentumBuffer } : {}) });
  const quads = quadCount(param.shape);
  const { steps, grid } = stretchesFor(param.runtime, quads);
  const params = paramsWith({ quads, steps, lr, weightDecay, momentum, dampening, step, nesterov: nesterov ? 1 : 0 });
  const constants = { SCALED: gradScale ? 1 : 0 };
  param.storage.changed();
  const shared = { weights: param, gradient: grad, gradScale: scaleBinding('sgdStep', grad, gradScale) };
  if (momentum === 0) {
    dispatch(param.runtime, shader.kernel('sgd', constants), shared, params, grid, 'sgdStep');
    return;
  }
  if (!momentumBuffer) fail(`sgdStep: momentum ${momentum} needs a momentum buffer of shape ${formatShape(param.shape)}`);
  dispatch(param.runtime, shader.kernel('sgdMomentum', constants), { ...shared, moment1: momentumBuffer }, params, grid, 'sgdStep');
};

/**
 * One step of PyTorch's AdamW, in place and outside the tape: w ← w·(1 − lr·weightDecay), then
 * w ← w − lr/(1 − β1ᵗ) · m / (sqrt(v/(1 − β2ᵗ)) + eps) with the running means m and v, which start as zeros.
 *
 * @throws UserError when shapes differ or `step` is not a positive integer
 */
export const adamWStep = (param: Tensor, grad: Tensor, m: Tensor, v: Tensor, options: AdamWStep): void => {
  const { lr, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weightDecay = 0.01, step, gradScale } = options;
  checkStep('adamWStep', step);
  checkBuffers('adamWStep', param, { gradient: grad, 'first moment': m, 'second moment': v });
  const quads = quadCount(param.shape);
  const { steps, grid } = stretchesFor(param.runtime, quads);
  const params = paramsWith({
    quads, steps, lr, beta1, beta2, eps, weightDecay, rest1: 1 - beta1, rest2: 1 - beta2, step, logBeta1: Math.log(beta1), logBeta2: Math.log(beta2),
    stepSize: liveNumber(() => numberOf(lr) / (1 - beta1 ** numberOf(step))), rootCorrection: liveNumber(() => 1 / Math.sqrt(1 - beta2 ** numberOf(step))),
  });
  param.storage.changed();
  dispatch(param.runtime, shader.kernel('adamW', { SCALED: gradScale ? 1 : 0 }),
    { weights: param, gradient: grad, gradScale: scaleBinding('adamWStep', grad, gradScale), moment1: m, moment2: v }, params, grid, 'adamWStep');
};

/**
 * Euclidean norm over all elements of all tensors, as a scalar tensor. Two stages in a fixed order,
 * so the result repeats to the bit. A NaN or infinite element gives NaN or infinity.
 */
export const globalNorm = (grads: readonly Tensor[]): Tensor => {
  const first = grads[0] ?? fail('globalNorm: the list of gradients is empty');
  checkTaken('globalNorm', grads);
  const { runtime } = first;
  const most = forAdapter(runtime, NORM_GROUPS);
  const cuts = grads.map((grad) => {
    const quads = quadCount(grad.shape);
    const steps = Math.max(STEPS_PER_SUM, Math.ceil(quads / (WORKGROUP * most)));
    return { quads, steps, groups: Math.ceil(quads / (WORKGROUP * steps)) };
  });
  const total = WORKGROUP * cuts.reduce((sum, { groups }) => sum + groups, 0);
  const partials = allocate(runtime, [total, 4], 'sums of squares');
  let firstSlot = 0;
  grads.forEach((gradient, i) => {
    const { quads, steps, groups } = cuts[i]!;
    dispatch(runtime, shader.kernel('squares'), { gradient, slots: partials }, paramsWith({ quads, steps, firstSlot }), [groups, 1, 1]);
    firstSlot += WORKGROUP * groups;
  });
  const result = allocate(runtime, [], 'gradient norm');
  dispatch(runtime, shader.kernel('root'), { sums: partials, result }, paramsWith({ quads: total }), [1, 1, 1]);
  partials.release();
  return result;
};

/**
 * The factor by which PyTorch's `clip_grad_norm_` multiplies gradients of this norm: min(1, maxNorm / (norm + 1e-6)),
 * as a scalar tensor, so that clipping needs no read-back.
 */
export const clipScale = (norm: Tensor, maxNorm: number): Tensor => {
  checkTaken('clipScale', [norm]);
  if (!(maxNorm > 0)) fail(`clipScale: maxNorm must be above 0, got ${maxNorm}`);
  const result = allocate(norm.runtime, [], 'clip scale');
  dispatch(norm.runtime, shader.kernel('clipScale'), { sums: norm, result }, paramsWith({ maxNorm }), [1, 1, 1]);
  return result;
};
