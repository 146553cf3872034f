import { fail } from '../errors.js';
import { repeated } from '../kernels/capture.js';
import { liveNumber } from '../kernels/params.js';
import { adamWStep, clearAutocastCache, clipScale, fill_, globalNorm, sgdStep } from '../ops/index.js';
import { given } from '../ops/arguments.js';
import type { Clipping } from '../ops/grad-scaler.js';
import { keep, scope } from '../tensor/scope.js';
import { withOwner } from '../tensor/storage.js';
import { Tensor, type TypedArray } from '../tensor/tensor.js';
import { write } from '../tensor/create.js';
import { type FlatBuffer, flatten, ownsParameters } from './flat-buffer.js';

/** State of an optimiser on the host: vectors by name, and the number of updates. */
export interface OptimizerState {
  readonly step: number;
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
  factor(gradients: readonly Tensor[], clipping: Clipping | null): Tensor;
}

/**
 * What SGD and AdamW share: flat buffers, clipping, state. Construct it after all parameters were made and frozen (`requiresGrad_(false)`): frozen ones
 * are left alone. Parameters belong to the optimiser that was made last.
 */
export abstract class Optimizer {
  lr: number;
  /** The learning rate and the number of the update, for kernels. */
  protected readonly live = { lr: liveNumber(() => this.lr), step: liveNumber(() => this.steps) };
  /** Calls of {@link step}; those that a scaler skipped it counts itself. */
  protected steps = 0;
  protected readonly buffers: readonly FlatBuffer[];
  private readonly state: ReadonlyMap<string, readonly Tensor[]>;

  /** @param stateNames vectors of the parameters' size that the optimiser keeps */
  protected constructor(parameters: readonly Tensor[], protected readonly common: CommonOptions, stateNames: readonly string[]) {
    if (parameters.length === 0) fail('optimizer: there are no parameters to train');
    given('optimizer', common, 'lr');
    if (!(common.lr > 0)) fail(`optimizer: lr must be above 0, got ${common.lr}`);
    this.lr = common.lr;
    this.buffers = flatten(parameters.filter((p) => p.requiresGrad));
    if (this.buffers.length === 0) fail('optimizer: all parameters are frozen; there is nothing to train');
    this.state = new Map(stateNames.map((name) => [name, this.buffers.map(({ weights }) => zerosLikeFlat(weights, name))]));
  }

  /** Sets all gradients to zero. */
  zeroGrad(): void {
    for (const { gradients } of this.buffers) fill_(gradients, 0);
  }

  /** Updates all parameters from their gradients. Of a scaled loss, call {@link GradScaler.step} instead. */
  step(scaling?: GradientScaling): void {
    if (!this.buffers.every(ownsParameters)) fail('optimizer: a newer optimiser has taken over some of the parameters; use that one');
    repeated(() => { this.steps++; });
    clearAutocastCache();
    scope(() => {
      const gradients = this.buffers.map((b) => b.gradients);
      const maxNorm = this.common.clipGradNorm;
      const clipping = maxNorm ? { norm: globalNorm(gradients), maxNorm } : null;
      const scale = scaling ? scaling.factor(gradients, clipping) : clipping ? clipScale(clipping.norm, clipping.maxNorm) : undefined;
      this.buffers.forEach((flat, i) => this.update(flat, (name) => this.state.get(name)![i]!, scale));
    });
  }

  protected abstract update(flat: FlatBuffer, vector: (name: string) => Tensor, scale: Tensor | undefined): void;

  async stateDict(): Promise<OptimizerState> {
    const vectors = new Map<string, TypedArray>();
    for (const [name, tensors] of this.state) for (const [i, tensor] of tensors.entries()) vectors.set(`${name}.${i}`, await tensor.data());
    return { step: this.steps, vectors };
  }

  /** @throws UserError when the state is of another optimiser or model */
  loadStateDict(saved: OptimizerState): void {
    for (const [name, tensors] of this.state) {
      tensors.forEach((tensor, i) => {
        const data = saved.vectors.get(`${name}.${i}`);
        if (!data || data.length !== tensor.size) fail(`optimizer: the saved state has no "${name}.${i}" of ${tensor.size} numbers; resume with the model and optimiser it was saved with`);
        write(tensor, data);
      });
    }
    this.steps = saved.step;
  }
}

const zerosLikeFlat = (weights: Tensor, name: string): Tensor =>
  withOwner('optimiser', () => fill_(keep(Tensor.allocate(weights.runtime, weights.shape, 'float32', `optimiser ${name}`)), 0));

export interface SgdOptions extends CommonOptions {
  momentum?: number;
  dampening?: number;
  nesterov?: boolean;
}

/** Stochastic gradient descent with PyTorch's semantics: g += wd·w; v = μ·v + g; w −= lr·v. */
export class SGD extends Optimizer {
  constructor(parameters: readonly Tensor[], private readonly options: SgdOptions) {
    super(parameters, given('SGD', options, 'lr'), options.momentum ? ['momentum'] : []);
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

/** Adam with decoupled weight decay (Loshchilov and Hutter), PyTorch's defaults. */
export class AdamW extends Optimizer {
  constructor(parameters: readonly Tensor[], private readonly options: AdamWOptions) {
    super(parameters, options, ['m', 'v']);
  }

  protected override update({ weights, gradients }: FlatBuffer, vector: (name: string) => Tensor, gradScale: Tensor | undefined): void {
    const [beta1, beta2] = this.options.betas ?? [0.9, 0.999];
    adamWStep(weights, gradients, vector('m'), vector('v'), {
      ...this.live, beta1, beta2, eps: this.options.eps ?? 1e-8, weightDecay: this.options.weightDecay ?? 0.01, gradScale,
    });
  }
}
