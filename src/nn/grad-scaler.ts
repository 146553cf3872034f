import { fail } from '../errors.js';
import { checkNames } from '../ops/arguments.js';
import { countNonFinite, full, mul, updateScale_, unscaleFactor } from '../ops/index.js';
import type { Clipping, ScalerOptions, ScalerState } from '../ops/grad-scaler.js';
import type { Runtime } from '../kernels/runtime.js';
import { defaultRuntime, write } from '../tensor/create.js';
import { keep } from '../tensor/scope.js';
import { withOwner } from '../tensor/storage.js';
import type { Tensor } from '../tensor/tensor.js';
import type { GradientScaling, Optimizer } from './optimizer.js';

export interface GradScalerOptions extends Partial<ScalerOptions> {
  readonly initScale?: number;
  readonly runtime?: Runtime;
}

/** A scaler on the host. */
export interface GradScalerState {
  readonly scale: number;
  /** Good steps since the scale last changed. */
  readonly growthTracker: number;
  /** Updates of the scale in which a step was skipped, so far. */
  readonly skipped: number;
}

/**
 * Loss scaling for float16 gradients (PyTorch's `GradScaler`, with its defaults): small gradients would become zero in float16, so
 * the loss is multiplied by a large number, and the optimiser divides. A step whose gradients hold an infinity or NaN is skipped as a whole
 * (weights, momentum and moments stay, and AdamW does not count it), and the scale shrinks; after `growthInterval` good steps in a row it grows.
 * Where several optimisers share a scaler, each is judged by its own gradients, and the scale shrinks if one was skipped.
 * Everything is decided on the device; nothing is read back unless {@link stateDict} asks.
 */
export class GradScaler implements GradientScaling {
  private readonly state: ScalerState;
  private readonly options: ScalerOptions;

  constructor(options: GradScalerOptions = {}) {
    checkNames('GradScaler', options, ['initScale', 'growthFactor', 'backoffFactor', 'growthInterval', 'runtime']);
    const { initScale = 65536, growthFactor = 2, backoffFactor = 0.5, growthInterval = 2000, runtime = defaultRuntime() } = options;
    if (!(initScale > 0)) fail(`GradScaler: initScale must be above 0, got ${initScale}`);
    if (!(growthFactor > 1)) fail(`GradScaler: growthFactor must be above 1, got ${growthFactor}`);
    if (!(backoffFactor > 0 && backoffFactor < 1)) fail(`GradScaler: backoffFactor must be between 0 and 1, got ${backoffFactor}`);
    if (!(Number.isInteger(growthInterval) && growthInterval > 0)) fail(`GradScaler: growthInterval must be a whole number above 0, got ${growthInterval}`);
    this.options = { growthFactor, backoffFactor, growthInterval };
    this.state = withOwner('optimiser', () => ({
      scale: keep(full([], initScale, { runtime, label: 'loss scale' })), counts: keep(full([2], 0, { runtime, label: 'loss scale counts' })),
      overflows: keep(full([1], 0, { runtime, dtype: 'uint32', label: 'overflows' })),
    }));
  }

  /** The loss, float32, times the scale: call backward on this. */
  scale(loss: Tensor): Tensor {
    return mul(loss, this.state.scale);
  }

  /** Updates the parameters, unless a gradient is infinite or NaN. Gradients of micro-batches are judged by their sum. */
  step(optimizer: Optimizer): void {
    optimizer.step(this);
  }

  /** Adapts the scale. Call it once a step, after {@link step}. */
  update(): void {
    updateScale_(this.state, this.options);
  }

  /** @internal for the optimiser */
  factor(gradients: readonly Tensor[], clipping: Clipping | null, verdict: Tensor): Tensor {
    for (const gradient of gradients) countNonFinite(gradient, verdict, 0);
    return unscaleFactor(this.state, clipping, verdict);
  }

  /** Reads the state as it is at the call; this waits for all work so far. */
  async stateDict(): Promise<GradScalerState> {
    const [scale, counts] = await Promise.all([this.state.scale.item(), this.state.counts.data()]);
    return { scale, growthTracker: counts[0]!, skipped: counts[1]! };
  }

  loadStateDict({ scale, growthTracker, skipped }: GradScalerState): void {
    write(this.state.scale, Float32Array.of(scale));
    write(this.state.counts, Float32Array.of(growthTracker, skipped));
  }

  /** Gives its memory back, where it does not live as long as the program. */
  release(): void {
    for (const tensor of Object.values(this.state) as Tensor[]) tensor.release();
  }
}
