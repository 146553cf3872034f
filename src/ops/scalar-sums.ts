import source from '../../shaders/scalar-sums.wgsl';
import { fail } from '../errors.js';
import { Shader } from '../kernels/shader.js';
import type { Tensor } from '../tensor/tensor.js';
import { dispatch } from './op.js';
import { checkTaken } from './taken.js';

const shader = new Shader('scalar-sums', source);

/** Numbers that one dispatch takes: with the sums they are eight buffers, which every adapter binds. */
const AT_ONCE = 7;

/** A tensor of one element, and what it is multiplied with. */
export type Weighted = readonly [value: Tensor, weight: number];

/**
 * sums[i] += weight · value for the i-th pair, in place and outside the tape: statistics of a step without a read-back.
 *
 * @param sums float32 [at least as many as there are pairs]
 * @throws UserError for numbers that are no floats or lie elsewhere, and for tensors of several elements
 */
export const addScalars_ = (sums: Tensor, values: readonly Weighted[]): void => {
  checkTaken('addScalars_', [sums, ...values.map(([value]) => value)]);
  if (sums.rank !== 1 || sums.size < values.length) fail(`addScalars_: ${values.length} numbers do not fit sums of shape [${sums.shape.join(', ')}]`);
  const large = values.find(([value]) => value.size !== 1);
  if (large) fail(`addScalars_: "${large[0].label}" has ${large[0].size} elements; only single numbers are added`);
  for (let first = 0; first < values.length; first += AT_ONCE) {
    const part = values.slice(first, first + AT_ONCE);
    const tensors = Object.fromEntries(Array.from({ length: AT_ONCE }, (_, i) => [`s${i}`, (part[i] ?? part[0]!)[0]]));
    const weights = part.map(([, weight]) => weight);
    dispatch(sums.runtime, shader.kernel('add'), { ...tensors, sums }, { first, count: part.length, weights0: weights.slice(0, 4), weights4: weights.slice(4) }, [1, 1, 1]);
  }
};
