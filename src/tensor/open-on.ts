import type { Device } from '../device/device.js';
import type { GemmKind, GemmOptions, TuningTable } from '../kernels/gemm-family.js';
import { Runtime } from '../kernels/runtime.js';
import { setDefaultRuntime } from './create.js';

/** Choices among kernels. */
export interface RuntimeOptions {
  /** Matrix kernels: `broadcast` (software adapters), `tile` (GPUs), `plain` (anywhere); default: what suits the adapter. */
  gemm?: GemmKind;
  /**
   * How long the loops of `broadcast` are; default: what suits the processor. Weight gradients are rounded otherwise, so that who needs the same
   * numbers on all processors chooses one.
   */
  loops?: 'long' | 'short';
  /** Columns of w held by `broadcast` while it goes over rows of x: `on` up to a depth of 288, `off`; default: where it is faster. Sums are the same. */
  held?: 'on' | 'off';
  /** Winograd's algorithm for convolutions without stride: `on` wherever possible, `off`; default: where it is faster. */
  winograd?: 'on' | 'off';
  /** Operands copied to images: `on` all that may be read more than once, `few` only those that are read often, `off` none; default: what is fastest. */
  images?: 'on' | 'few' | 'off';
  /** Tensor cores and their like for float16; default: where the adapter has them. */
  matrices?: 'on' | 'off';
  /** What `node dist/bench.js --tune` wrote, parsed. */
  tuning?: TuningTable;
}

export const runtimeOptions: readonly (keyof RuntimeOptions)[] = ['gemm', 'loops', 'held', 'winograd', 'images', 'matrices', 'tuning'];

/** Makes an adapter the one on which tensors are created from now on. */
export const openOn = (device: Device, options: GemmOptions): Runtime => {
  const runtime = new Runtime(device, options);
  setDefaultRuntime(runtime);
  return runtime;
};
