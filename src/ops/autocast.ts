/** Which precision an op computes in: PyTorch's `autocast`, decided where ops are run. */
import { fail } from '../errors.js';
import { Extents } from '../tensor/extent.js';
import { keep } from '../tensor/scope.js';
import type { Storage } from '../tensor/storage.js';
import type { Tensor } from '../tensor/tensor.js';
import { checkFunction } from './arguments.js';
import { convert } from './convert.js';

/**
 * What an op does with float16 operands. Arithmetic is float32 in any case; this is about storage.
 * - `half`: products of matrices and convolutions. Within `autocast` their first two operands are brought to float16.
 * - `any`: the result has its operands' type, float32 where they are mixed.
 * - `float32`: operands are brought to float32: losses, normalised exponentials, and whatever needs its digits.
 */
export type Precision = 'half' | 'any' | 'float32';

/** A copy, and what it was made of: the weight may be changed in place, or come to lie elsewhere. */
interface HalfCopy {
  readonly half: Tensor;
  readonly storage: Storage;
  readonly version: number;
}

/** The dynamic extent of a call of `autocast`. */
export interface AutocastRegion {
  readonly enabled: boolean;
  /** float16 copies of weights, which many calls of a step read. */
  readonly weights: Map<Tensor, HalfCopy>;
  entered: number;
}

const regions = new Extents<AutocastRegion>({ enabled: false, weights: new Map(), entered: 1 });

const regionOf = (enabled: boolean): AutocastRegion => ({ enabled, weights: new Map(), entered: 0 });

const forget = ({ weights }: AutocastRegion): void => {
  for (const { half } of weights.values()) half.release();
  weights.clear();
};

/** The region that holds now, for work that is repeated later. */
export const currentAutocast = (): AutocastRegion => regions.current;

/** Runs `fn` under the rules of a region, be it still open or not. */
export const inAutocast = <T>(entered: AutocastRegion, fn: () => T): T => {
  entered.entered++;
  return regions.within(entered, fn, () => {
    if (--entered.entered === 0) forget(entered);
  });
};

/** Runs `fn` under the rules that hold now, with float16 copies of its own: what is repeated later makes them again. */
export const withOwnCopies = <T>(fn: () => T): T => inAutocast(regionOf(isAutocastEnabled()), fn);

/**
 * Runs `fn` (also an async one) in mixed precision: convolutions and matrix products read float16 copies of float32 inputs and weights and
 * give float16; pooling, batch norm, ReLU and other element-wise ops follow their inputs, with float32 statistics and parameters; losses,
 * softmax, attention pooling and normalisation to unit length are computed from float32. Gradients have the type of what they belong to,
 * so those of float32 weights are never rounded to float16. Backward is not affected by the region it is called in.
 * A weight is converted once per region, and again when it was changed in place.
 * Of async regions that overlap the one begun last decides for all until it ends.
 *
 * @param options.enabled false: a part of the region that computes as if there was none; `runtime.device.report.half`: float32 where the adapter has no float16
 * @throws UserError when `fn` is no function and, from its first product, when the adapter has no float16
 */
export const autocast = <T>(fn: () => T, { enabled = true }: { readonly enabled?: boolean } = {}): T => {
  checkFunction('autocast', fn, 'autocast(() => …, { enabled: true })');
  return enabled === regions.current.enabled ? fn() : inAutocast(regionOf(enabled), fn);
};

/** Whether ops run here compute in mixed precision (PyTorch's `is_autocast_enabled`): true within {@link autocast}, unless an inner call switched it off. */
export const isAutocastEnabled = (): boolean => regions.current.enabled;

/** Gives back the region's float16 copies of weights; those that are still needed are made again. */
export const clearAutocastCache = (): void => forget(regions.current);

const halfOf = (x: Tensor): Tensor => {
  const { half: isThere, name } = x.runtime.device.report;
  if (!isThere) fail(`autocast: the adapter "${name}" has no float16 (shader-f16); with { enabled: runtime.device.report.half } the region computes in float32 there`);
  if (!x.requiresGrad || x.gradNode) return convert(x, 'float16');
  const { weights } = regions.current;
  const { storage } = x;
  const known = weights.get(x);
  if (known?.storage === storage && known.version === storage.version) return known.half.alias();
  known?.half.release();
  const half = keep(convert(x, 'float16'));
  weights.set(x, { half, storage, version: storage.version });
  return half.alias();
};

/** The operands in the precision of the op; where they are not those given, the caller releases them. */
export const inPrecision = (precision: Precision, inputs: readonly Tensor[]): readonly Tensor[] => {
  if (precision === 'float32') return inputs.some(isHalf) ? inputs.map((x) => (isHalf(x) ? convert(x, 'float32') : x)) : inputs;
  if (precision === 'half' && regions.current.enabled) return inputs.map((x, i) => (i < 2 && x.dtype === 'float32' ? halfOf(x) : x));
  return inputs;
};

const isHalf = ({ dtype }: Tensor): boolean => dtype === 'float16';
