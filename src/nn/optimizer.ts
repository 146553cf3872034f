import { fail } from '../errors.js';
import { repeated } from '../kernels/capture.js';
import { liveNumber } from '../kernels/params.js';
import { adamWStep, clearAutocastCache, clipScale, fill_, full, globalNorm, sgdStep } from '../ops/index.js';
import { checkTensors, given } from '../ops/arguments.js';
import type { Clipping } from '../ops/grad-scaler.js';
import { keep, scope } from '../tensor/scope.js';
import { withOwner } from '../tensor/storage.js';
import { Tensor, type TypedArray } from '../tensor/tensor.js';
import { write } from '../tensor/create.js';
import { type FlatBuffer, flatten } from './flat-buffer.js';

/** State of an optimiser on the host: vectors by name, and the number of updates. */
export interface OptimizerState {
  /** Calls of `step`, those included that a scaler skipped. */
  readonly step: number;
  /** How many of them were skipped. Where it is absent, those of the scaler with which the optimiser goes on are taken for it. */
  readonly skipped?: number;
  readonly vectors: ReadonlyMap<string, TypedArray>;
}

export interface CommonOptions {
  lr: number;
  weightDecay?: number;
  /** Gradients are scaled down to this global norm where they exceed it; 0 or absent: never. */
  clipGradNorm?: number;
}

/** Gradients are those of a loss that was scaled: what brings them back, and tells whether they can be used. See `unscaleFactor`. */
export interface GradientScaling {
  factor(gradients: readonly Tensor[], clipping: Clipping | null, verdict: Tensor): Tensor;
}

/** Stands for a number of skipped steps that only the scaler knows. */
const UNKNOWN = 0xffffffff;

/**
 * What SGD and AdamW share: flat buffers, clipping, state. Construct it after all parameters were made and frozen (`requiresGrad_(false)`): frozen ones
 * are left alone. Parameters belong to the optimiser that was made last. Their gradients lie in its memory: that of a parameter which no backward has reached,
 * or from which it was taken away (`p.grad = null`), is zero, so that weight decay and momentum go on (PyTorch passes over such a parameter; here, freeze it).
 */
export abstract class Optimizer {
  lr: number;
  /** The learning rate and the number of the update, for kernels. */
  protected readonly live = { lr: liveNumber(() => this.lr), step: liveNumber(() => this.steps) };
  /** Calls of {@link step}, skipped ones included. */
  protected steps = 0;
  protected readonly buffers: readonly FlatBuffer[];
  private readonly state: ReadonlyMap<string, readonly Tensor[]>;
  /** uint32 [2], what scalers find: gradients of this step that are not finite, and steps skipped so far. */
  private readonly verdict: Tensor;
  private released = false;

  /** @param stateNames vectors of the parameters' size that the optimiser keeps */
  protected constructor(parameters: readonly Tensor[], protected readonly common: CommonOptions, stateNames: readonly string[]) {
    checkTensors('optimizer', 'parameters', parameters, 'module.parameters()');
    if (parameters.length === 0) fail('optimizer: there are no parameters to train');
    checkCommon(common);
    this.lr = common.lr;
    this.buffers = flatten(parameters.filter((p) => p.requiresGrad));
    const [first] = this.buffers;
    if (!first) fail('optimizer: all parameters are frozen; there is nothing to train');
    this.state = new Map(stateNames.map((name) => [name, this.buffers.map(({ weights }) => zerosLikeFlat(weights, name))]));
    this.verdict = withOwner('optimiser', () => keep(full([2], 0, { runtime: first.weights.runtime, dtype: 'uint32', label: 'optimiser verdict' })));
  }

  /** Sets all gradients to zero. */
  zeroGrad(): void {
    this.checkCurrent();
    for (const flat of this.buffers) {
      flat.gather(false);
      fill_(flat.gradients, 0);
    }
  }

  /** Updates all parameters from their gradients. Of a scaled loss, call {@link GradScaler.step} instead. */
  step(scaling?: GradientScaling): void {
    this.checkCurrent();
    repeated(() => { this.steps++; });
    clearAutocastCache();
    scope(() => {
      for (const flat of this.buffers) flat.gather();
      const gradients = this.buffers.map((b) => b.gradients);
      const maxNorm = this.common.clipGradNorm;
      const clipping = maxNorm ? { norm: globalNorm(gradients), maxNorm } : null;
      const scale = scaling ? scaling.factor(gradients, clipping, this.verdict) : clipping ? clipScale(clipping.norm, clipping.maxNorm) : undefined;
      this.buffers.forEach((flat, i) => this.update(flat, (name) => this.state.get(name)![i]!, scale));
    });
  }

  protected abstract update(flat: FlatBuffer, vector: (name: string) => Tensor, scale: Tensor | undefined): void;

  /** Reads the state as it is at the call; training may go on meanwhile. */
  async stateDict(): Promise<OptimizerState> {
    this.checkCurrent();
    const { steps } = this;
    const named = [...this.state].flatMap(([name, tensors]) => tensors.map((tensor, i) => [`${name}.${i}`, tensor] as const));
    const [verdict, ...read] = await Promise.all([this.verdict, ...named.map(([, tensor]) => tensor)].map((tensor) => tensor.data()));
    const skipped = verdict![1]!;
    return { step: steps, ...(skipped === UNKNOWN ? {} : { skipped }), vectors: new Map(named.map(([name], i) => [name, read[i]!])) };
  }

  /** @throws UserError when the state is of another optimiser or model; nothing is changed then */
  loadStateDict(saved: OptimizerState): void {
    this.checkCurrent();
    if (!(saved?.vectors instanceof Map)) fail('optimizer: the saved state must be what stateDict() gave: { step, vectors }');
    const found = [...this.state].flatMap(([name, tensors]) => tensors.map((tensor, i) => {
      const data = saved.vectors.get(`${name}.${i}`);
      if (!data || data.length !== tensor.size) fail(`optimizer: the saved state has no "${name}.${i}" of ${tensor.size} numbers; resume with the model and optimiser it was saved with`);
      return [tensor, data] as const;
    }));
    for (const [tensor, data] of found) write(tensor, data);
    write(this.verdict, Uint32Array.of(0, saved.skipped ?? UNKNOWN));
    this.steps = saved.step;
  }

  /** Gives back the memory of the state and of the gradients, where an optimiser does not live as long as the program. The parameters go on to live. */
  release(): void {
    this.released = true;
    for (const flat of this.buffers) flat.release();
    for (const tensor of [...this.state.values()].flat()) tensor.release();
    this.verdict.release();
  }

  private checkCurrent(): void {
    if (this.released) fail('optimizer: it was released; make a new one');
    if (!this.buffers.every((flat) => flat.isCurrent)) fail('optimizer: a newer optimiser has taken over some of the parameters; use that one');
  }
}

const atLeastZero = (option: string, value: number | undefined): void => {
  if (value !== undefined && !(typeof value === 'number' && value >= 0)) fail(`optimizer: ${option} must be a number of at least 0, got ${String(value)}`);
};

const checkCommon = (options: CommonOptions): void => {
  const { lr, weightDecay, clipGradNorm } = given('optimizer', options, 'lr');
  atLeastZero('lr', lr);
  atLeastZero('weightDecay', weightDecay);
  atLeastZero('clipGradNorm', clipGradNorm);
};

/** Refuses options that an optimiser would pass over in silence. */
const checkNames = <T extends object>(op: string, options: T, known: readonly (keyof T & string)[]): void => {
  const unknown = Object.keys(options).find((name) => !known.includes(name as keyof T & string));
  if (unknown) fail(`${op}: there is no option "${unknown}"; there are ${known.join(', ')}`);
};

const zerosLikeFlat = (weights: Tensor, name: string): Tensor =>
  withOwner('optimiser', () => fill_(keep(Tensor.allocate(weights.runtime, weights.shape, 'float32', `optimiser ${name}`)), 0));

export interface SgdOptions extends CommonOptions {
  momentum?: number;
  dampening?: number;
  nesterov?: boolean;
}

const checkSgd = (options: SgdOptions): SgdOptions => {
  const { momentum, dampening = 0, nesterov } = given('SGD', options, 'lr');
  checkNames('SGD', options, ['lr', 'momentum', 'dampening', 'nesterov', 'weightDecay', 'clipGradNorm']);
  atLeastZero('momentum', momentum);
  if (typeof dampening !== 'number') fail(`SGD: dampening must be a number, got ${String(dampening)}`);
  if (nesterov && (!momentum || dampening !== 0)) fail(`SGD: Nesterov needs momentum above 0 and dampening 0, got ${momentum ?? 0} and ${dampening}`);
  return options;
};

/** Stochastic gradient descent with PyTorch's semantics: g += wd·w; v = μ·v + g; w −= lr·v. */
export class SGD extends Optimizer {
  constructor(parameters: readonly Tensor[], private readonly options: SgdOptions) {
    super(parameters, checkSgd(options), options.momentum ? ['momentum'] : []);
  }

  protected override update({ weights, gradients }: FlatBuffer, vector: (name: string) => Tensor, gradScale: Tensor | undefined): void {
    const { momentum = 0, dampening = 0, nesterov = false, weightDecay = 0 } = this.options;
    sgdStep(weights, gradients, momentum ? vector('momentum') : null, {
      ...this.live, momentum, dampening, nesterov, weightDecay, gradScale,
    });
  }
}

export interface AdamWOptions extends CommonOptions {
  betas?: readonly [number, number];
  eps?: number;
}

const checkAdamW = (options: AdamWOptions): AdamWOptions => {
  const { betas = [0.9, 0.999], eps } = given('AdamW', options, 'lr');
  checkNames('AdamW', options, ['lr', 'betas', 'eps', 'weightDecay', 'clipGradNorm']);
  atLeastZero('eps', eps);
  const fit = Array.isArray(betas) && betas.length === 2 && betas.every((beta) => typeof beta === 'number' && beta >= 0 && beta < 1);
  if (!fit) fail(`AdamW: betas must be two numbers from 0 to below 1, as in [0.9, 0.999], got ${JSON.stringify(betas)}`);
  return options;
};

/** Adam with decoupled weight decay (Loshchilov and Hutter), PyTorch's defaults. */
export class AdamW extends Optimizer {
  constructor(parameters: readonly Tensor[], private readonly options: AdamWOptions) {
    super(parameters, checkAdamW(options), ['m', 'v']);
  }

  protected override update({ weights, gradients }: FlatBuffer, vector: (name: string) => Tensor, gradScale: Tensor | undefined): void {
    const [beta1, beta2] = this.options.betas ?? [0.9, 0.999];
    adamWStep(weights, gradients, vector('m'), vector('v'), {
      ...this.live, beta1, beta2, eps: this.options.eps ?? 1e-8, weightDecay: this.options.weightDecay ?? 0.01, gradScale,
    });
  }
}
