import source from '../../shaders/grad-scaler.wgsl';
import { Shader } from '../kernels/shader.js';
import type { Tensor } from '../tensor/tensor.js';
import { allocate, dispatch } from './launch.js';

const shader = new Shader('grad-scaler', source);

/** What a gradient scaler keeps on the device. */
export interface ScalerState {
  /** float32, a scalar. */
  readonly scale: Tensor;
  /** float32 [2]: good steps since the scale last changed, steps skipped. */
  readonly counts: Tensor;
  /** uint32 [1]: optimisers whose step was skipped since the last update of the scale. */
  readonly overflows: Tensor;
}

export interface ScalerOptions {
  readonly growthFactor: number;
  readonly backoffFactor: number;
  readonly growthInterval: number;
}

const NONE = { growthFactor: 0, backoffFactor: 0, growthInterval: 0, maxNorm: 0 };

/** Gradients whose global norm is limited. */
export interface Clipping {
  /** Of the gradients as they are, a scalar. */
  readonly norm: Tensor;
  readonly maxNorm: number;
}

/**
 * The factor that brings scaled gradients back, and down to a norm, for the step of an optimiser, which is judged by its own gradients alone.
 *
 * @param verdict uint32 [2] of the optimiser: its gradients that are not finite, from `countNonFinite`, which begins anew; and its steps skipped so far,
 *   2^32 − 1 where only the scaler knows
 * @returns float32 [3]: factor, 1 where the step must be skipped, steps skipped before
 */
export const unscaleFactor = ({ scale, counts, overflows }: ScalerState, clipping: Clipping | null, verdict: Tensor): Tensor => {
  const factor = allocate(scale.runtime, [3], 'unscale factor');
  const shared = { scale, counts, overflows, verdict, factor };
  if (!clipping) dispatch(scale.runtime, shader.kernel('unscale'), shared, NONE, [1, 1, 1]);
  else dispatch(scale.runtime, shader.kernel('unscaleAndClip'), { ...shared, norm: clipping.norm }, { ...NONE, maxNorm: clipping.maxNorm }, [1, 1, 1]);
  return factor;
};

/** Shrinks the scale after a step that was skipped, lets it grow after enough others, and begins the next count of overflows; in place. */
export const updateScale_ = ({ scale, counts, overflows }: ScalerState, options: ScalerOptions): void =>
  dispatch(scale.runtime, shader.kernel('update'), { scale, counts, overflows }, { ...NONE, ...options }, [1, 1, 1]);
