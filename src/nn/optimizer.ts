import { fail } from '../errors.js';
import { repeated } from '../kernels/capture.js';
import { type Live, liveNumber } from '../kernels/params.js';
import { checkWithin } from '../ops/arguments.js';
import { adamWStep, clipScale, fill_, full, globalNorm, sgdStep } from '../ops/index.js';
import type { Clipping } from '../ops/grad-scaler.js';
import { keep, scope } from '../tensor/scope.js';
import { withOwner } from '../tensor/storage.js';
import { Tensor } from '../tensor/tensor.js';
import { write } from '../tensor/create.js';
import { type FlatBuffer, flatten } from './flat-buffer.js';
import { type ActiveGroup, atLeastZero, type CommonOptions, type OptimizerRules, type ParamGroup, toGroups } from './parameter-groups.js';

/** State of an optimiser on the host: vectors by name, and the number of updates. */
export interface OptimizerState {
  /** Calls of `step`, those included that a scaler skipped. */
  readonly step: number;
  /** How many of them were skipped. Where it is absent, those of the scaler with which the optimiser goes on are taken for it. */
  readonly skipped?: number;
  readonly vectors: ReadonlyMap<string, Float32Array>;
}

/** Gradients are those of a loss that was scaled: what brings them back, and tells whether they can be used. See `unscaleFactor`. */
export interface GradientScaling {
  factor(gradients: readonly Tensor[], clipping: Clipping | null, verdict: Tensor): Tensor;
}

/** Stands for a number of skipped steps that only the scaler knows. */
const UNKNOWN = 0xffffffff;

/** What a step updates at once: a group's parameters, or as many of them as fit one buffer, end to end in one tensor; gaps between them hold zeros. */
export interface OptimizerPart<O extends CommonOptions = CommonOptions> {
  readonly weights: Tensor;
  /** As backward left them: neither clipped nor brought back from a loss that was scaled. */
  readonly gradients: Tensor;
  /** The options that hold for these parameters. */
  readonly group: ActiveGroup<O>;
  /** The group's learning rate, for kernels: also where a `Captured` step is replayed it is the one set last, which `group.lr` is not. */
  readonly lr: Live;
  /** What the optimiser keeps, by the names that its rules give; zeros at first. */
  readonly vectors: ReadonlyMap<string, Tensor>;
}

/** A part with the buffers that it lies in. */
interface Part<O extends CommonOptions> extends OptimizerPart<O> {
  readonly flat: FlatBuffer;
}

/**
 * What SGD and AdamW share: groups, flat buffers, clipping, state. Construct it after all parameters were made and frozen (`requiresGrad_(false)`): frozen ones
 * are left alone. Parameters belong to the optimiser that was made last. Their gradients lie in its memory: that of a parameter which no backward has reached,
 * or from which it was taken away (`p.grad = null`), is zero, so that weight decay and momentum go on (PyTorch passes over such a parameter; here, freeze it).
 * Each group takes a kernel of its own for a step.
 *
 * Another optimiser says its rules and extends {@link update}. `sgdStep` moves weights, and vectors too, along any direction:
 *
 * ```ts
 * const rules: OptimizerRules<CommonOptions> = { name: 'SignSGD', options: ['lr', 'weightDecay'], check: () => {}, vectors: () => [] };
 *
 * class SignSGD extends Optimizer<CommonOptions> {
 *   constructor(parameters: readonly Tensor[], options: CommonOptions) {
 *     super(rules, parameters, options);
 *   }
 *
 *   protected override update({ weights, gradients, group: { weightDecay = 0 }, lr }: OptimizerPart): void {
 *     sgdStep(weights, sign(gradients), null, { lr, weightDecay, step: this.liveStep });
 *   }
 * }
 * ```
 *
 * Where a `GradScaler` or `clipGradNorm` is to work with it, it must mind the second argument, too.
 */
export abstract class Optimizer<O extends CommonOptions = CommonOptions> {
  /** The parameters with their options (PyTorch's `param_groups`); one group, unless several were given. */
  readonly paramGroups: readonly ActiveGroup<O>[];
  /** Calls of {@link step}, skipped ones included. */
  protected steps = 0;
  /** Their number, for kernels. */
  protected readonly liveStep = liveNumber(() => this.steps);
  private readonly clipGradNorm: number;
  private readonly parts: readonly Part<O>[];
  /** uint32 [2], what scalers find: gradients of this step that are not finite, and steps skipped so far. */
  private readonly verdict: Tensor;
  private released = false;

  /** @param options hold where a group says nothing; `clipGradNorm` only here */
  protected constructor(rules: OptimizerRules<O>, parameters: readonly Tensor[] | readonly ParamGroup<O>[], options: Partial<O>) {
    this.paramGroups = toGroups(rules, parameters, options);
    atLeastZero(rules.name, 'clipGradNorm', options.clipGradNorm);
    this.clipGradNorm = options.clipGradNorm ?? 0;
    const flats = flatten(this.paramGroups.map(({ params }) => params.filter((p) => p.requiresGrad)));
    const [first] = flats.flat();
    if (!first) fail('optimizer: all parameters are frozen, or tensors that never asked for gradients with requiresGrad_(); there is nothing to train');
    this.parts = this.paramGroups.flatMap((group, i) => flats[i]!.map((flat): Part<O> => ({
      flat, weights: flat.weights, gradients: flat.gradients, group, lr: liveNumber(() => group.lr),
      vectors: new Map(rules.vectors(group as unknown as O).map((name) => [name, zerosLikeFlat(flat.weights, name)])),
    })));
    this.verdict = withOwner('optimiser', () => keep(full([2], 0, { runtime: first.weights.runtime, dtype: 'uint32', label: 'optimiser verdict' })));
  }

  /** The learning rate; of several groups, the first one's. */
  get lr(): number {
    return this.paramGroups[0]!.lr;
  }

  /** @throws UserError where there are several groups: each has its own */
  set lr(rate: number) {
    const { length } = this.paramGroups;
    if (length > 1) fail(`optimizer: there are ${length} parameter groups, each with a rate of its own: set the lr of those in paramGroups, or let setLearningRates(optimizer, …) do so`);
    this.paramGroups[0]!.lr = rate;
  }

  /** Sets all gradients to zero. */
  zeroGrad(): void {
    this.checkCurrent();
    for (const { flat } of this.parts) {
      flat.gather(false);
      fill_(flat.gradients, 0);
    }
  }

  /**
   * Updates all parameters from their gradients. Of a scaled loss, call {@link GradScaler.step} instead.
   *
   * @throws UserError when a learning rate that was set meanwhile is no number of at least 0
   */
  step(scaling?: GradientScaling): void {
    this.checkCurrent();
    repeated(() => {
      this.checkRates();
      this.steps++;
    });
    scope(() => {
      for (const { flat } of this.parts) flat.gather();
      const gradients = this.parts.map(({ flat }) => flat.gradients);
      const maxNorm = this.clipGradNorm;
      const clipping = maxNorm ? { norm: globalNorm(gradients), maxNorm } : null;
      const scale = scaling ? scaling.factor(gradients, clipping, this.verdict) : clipping ? clipScale(clipping.norm, clipping.maxNorm) : undefined;
      for (const part of this.parts) this.update(part, scale);
    });
  }

  /**
   * Changes weights and vectors of a part in place, by work on the device alone, so that it can be captured.
   *
   * @param gradScale what the gradients must be multiplied by: a scalar (clipping), or, where a `GradScaler` makes the step, [3]: that factor, 1 where nothing
   *   may be changed (a gradient is not finite), and how many steps were skipped before. `sgdStep` and `adamWStep` take it as it is
   */
  protected abstract update(part: OptimizerPart<O>, gradScale: Tensor | undefined): void;

  /**
   * Reads the state as it is at the call; training may go on meanwhile. To a file it goes as any state of vectors, its `step` and `skipped` beside it (JSON
   * knows no Map):
   *
   * ```js
   * const { vectors, ...counts } = await optimizer.stateDict();
   * saveFile(new Map([...vectors].map(([name, data]) => [name, { shape: [data.length], data }])), 'optimizer.safetensors');
   * …
   * const read = await loadFile('optimizer.safetensors');
   * optimizer.loadStateDict({ ...counts, vectors: new Map([...read].map(([name, { data }]) => [name, data])) });
   * ```
   */
  async stateDict(): Promise<OptimizerState> {
    this.checkCurrent();
    const { steps } = this;
    const named = this.named();
    const [verdict, ...read] = await Promise.all([this.verdict, ...named.map(([, tensor]) => tensor)].map((tensor) => tensor.data()));
    const skipped = verdict![1]!;
    return { step: steps, ...(skipped === UNKNOWN ? {} : { skipped }), vectors: new Map(named.map(([name], i) => [name, read[i] as Float32Array])) };
  }

  /** @throws UserError when the state is of another optimiser or model; nothing is changed then */
  loadStateDict(saved: OptimizerState): void {
    this.checkCurrent();
    if (!(saved?.vectors instanceof Map)) fail('optimizer: the saved state must be what stateDict() gave: { step, vectors }');
    const named = this.named();
    const found = named.map(([name, tensor]) => {
      const data = saved.vectors.get(name);
      if (!data || data.length !== tensor.size) fail(`optimizer: the saved state has no "${name}" of ${tensor.size} numbers; resume with the model and optimiser it was saved with`);
      return [tensor, data] as const;
    });
    const surplus = [...saved.vectors.keys()].find((name) => !named.some(([own]) => own === name));
    if (surplus !== undefined) fail(`optimizer: the saved state has "${surplus}", which has no place here; resume with the model, optimiser and parameter groups it was saved with`);
    for (const [tensor, data] of found) write(tensor, data);
    write(this.verdict, Uint32Array.of(0, saved.skipped ?? UNKNOWN));
    this.steps = saved.step;
  }

  /** Gives back the memory of the state and of the gradients, where an optimiser does not live as long as the program. The parameters go on to live. */
  release(): void {
    this.released = true;
    for (const { flat } of this.parts) flat.release();
    for (const [, tensor] of this.named()) tensor.release();
    this.verdict.release();
  }

  /** The vectors, each kind in the order of the parts that have it. */
  private named(): (readonly [name: string, vector: Tensor])[] {
    const kinds = new Set(this.parts.flatMap(({ vectors }) => [...vectors.keys()]));
    return [...kinds].flatMap((kind) => this.parts.flatMap(({ vectors }, i) => {
      const vector = vectors.get(kind);
      return vector ? [[`${kind}.${i}`, vector] as const] : [];
    }));
  }

  /** Rates may be set between steps; one that is no number would make all weights NaN. */
  private checkRates(): void {
    this.paramGroups.forEach(({ lr }, i) => checkWithin('optimizer', this.paramGroups.length > 1 ? `lr of group ${i}` : 'lr', lr, 0));
  }

  private checkCurrent(): void {
    if (this.released) fail('optimizer: it was released; make a new one');
    if (!this.parts.every(({ flat }) => flat.isCurrent)) fail('optimizer: a newer optimiser has taken over some of the parameters; use that one');
  }
}

const zerosLikeFlat = (weights: Tensor, name: string): Tensor =>
  withOwner('optimiser', () => fill_(keep(Tensor.allocate(weights.runtime, weights.shape, 'float32', `optimiser ${name}`)), 0));

export interface SgdOptions extends CommonOptions {
  momentum?: number;
  dampening?: number;
  nesterov?: boolean;
}

const sgdRules: OptimizerRules<SgdOptions> = {
  name: 'SGD',
  options: ['lr', 'momentum', 'dampening', 'nesterov', 'weightDecay', 'clipGradNorm'],
  check: (where, { momentum, dampening = 0, nesterov }) => {
    atLeastZero(where, 'momentum', momentum);
    if (typeof dampening !== 'number') fail(`${where}: dampening must be a number, got ${String(dampening)}`);
    if (nesterov && (!momentum || dampening !== 0)) fail(`${where}: Nesterov needs momentum above 0 and dampening 0, got ${momentum ?? 0} and ${dampening}`);
  },
  vectors: ({ momentum }) => (momentum ? ['momentum'] : []),
};

/** Stochastic gradient descent with PyTorch's semantics: g += wd·w; v = μ·v + g; w −= lr·v. */
export class SGD extends Optimizer<SgdOptions> {
  constructor(parameters: readonly Tensor[], options: SgdOptions);
  /** @param defaults hold where a group says nothing */
  constructor(groups: readonly ParamGroup<SgdOptions>[], defaults?: Partial<SgdOptions>);
  constructor(parameters: readonly Tensor[] | readonly ParamGroup<SgdOptions>[], options: Partial<SgdOptions> = {}) {
    super(sgdRules, parameters, options);
  }

  protected override update({ weights, gradients, group, lr, vectors }: OptimizerPart<SgdOptions>, gradScale: Tensor | undefined): void {
    const { momentum = 0, dampening = 0, nesterov = false, weightDecay = 0 } = group;
    sgdStep(weights, gradients, vectors.get('momentum') ?? null, { lr, step: this.liveStep, momentum, dampening, nesterov, weightDecay, gradScale });
  }
}

export interface AdamWOptions extends CommonOptions {
  betas?: readonly [number, number];
  eps?: number;
}

const adamWRules: OptimizerRules<AdamWOptions> = {
  name: 'AdamW',
  options: ['lr', 'betas', 'eps', 'weightDecay', 'clipGradNorm'],
  check: (where, { betas = [0.9, 0.999], eps }) => {
    atLeastZero(where, 'eps', eps);
    const fit = Array.isArray(betas) && betas.length === 2 && betas.every((beta) => typeof beta === 'number' && beta >= 0 && beta < 1);
    if (!fit) fail(`${where}: betas must be two numbers from 0 to below 1, as in [0.9, 0.999], got ${JSON.stringify(betas)}`);
  },
  vectors: () => ['m', 'v'],
};

/** Adam with decoupled weight decay (Loshchilov and Hutter), PyTorch's defaults. */
export class AdamW extends Optimizer<AdamWOptions> {
  constructor(parameters: readonly Tensor[], options: AdamWOptions);
  /** @param defaults hold where a group says nothing */
  constructor(groups: readonly ParamGroup<AdamWOptions>[], defaults?: Partial<AdamWOptions>);
  constructor(parameters: readonly Tensor[] | readonly ParamGroup<AdamWOptions>[], options: Partial<AdamWOptions> = {}) {
    super(adamWRules, parameters, options);
  }

  protected override update({ weights, gradients, group, lr, vectors }: OptimizerPart<AdamWOptions>, gradScale: Tensor | undefined): void {
    const { betas: [beta1, beta2] = [0.9, 0.999], eps = 1e-8, weightDecay = 0.01 } = group;
    adamWStep(weights, gradients, vectors.get('m')!, vectors.get('v')!, { lr, step: this.liveStep, beta1, beta2, eps, weightDecay, gradScale });
  }
}
