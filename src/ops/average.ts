import source from '../../shaders/average.wgsl';
import { fail } from '../errors.js';
import { Shader } from '../kernels/shader.js';
import { formatShape, quadCount, sameShape } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { dispatch, stretchesFor } from './op.js';
import { checkTaken } from './taken.js';

const shader = new Shader('average', source);

const checkAlike = (op: string, a: Tensor, b: Tensor): void => {
  checkTaken(op, [a, b], ['any']);
  if (!sameShape(a.shape, b.shape) || a.dtype !== b.dtype) fail(`${op}: both must have one shape and type, got ${String(a)} and ${String(b)}`);
};

/**
 * Moves x towards `end` by a share of the distance, x ← x + weight · (end − x), in place and outside the tape (PyTorch's `lerp_` with a number).
 *
 * @throws UserError when shapes differ, or the tensors are not float32
 */
export const lerp_ = (x: Tensor, end: Tensor, weight: number): Tensor => {
  checkAlike('lerp_', x, end);
  if (x.dtype !== 'float32') fail(`lerp_: float32 is wanted, "${x.label}" ${formatShape(x.shape)} is ${x.dtype}`);
  const quads = quadCount(x.shape);
  const { steps, grid } = stretchesFor(x.runtime, quads);
  x.storage.changed();
  dispatch(x.runtime, shader.kernel('lerp'), { x, end }, { quads, steps, weight }, grid, 'lerp_');
  return x;
};

/**
 * Exchanges the elements of two tensors, in place and outside the tape; any type but float16.
 *
 * @throws UserError when shapes or types differ
 */
export const exchange_ = (a: Tensor, b: Tensor): void => {
  checkAlike('exchange_', a, b);
  if (a.dtype === 'float16') fail(`exchange_: "${a.label}" ${formatShape(a.shape)} is float16; convert both first`);
  const quads = quadCount(a.shape);
  const { steps, grid } = stretchesFor(a.runtime, quads);
  for (const { storage } of [a, b]) storage.changed();
  dispatch(a.runtime, shader.kernel('exchange'), { a, b }, { quads, steps, weight: 0 }, grid, 'exchange_');
};
