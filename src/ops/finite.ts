import source from '../../shaders/finite.wgsl';
import { fail } from '../errors.js';
import { linearGrid } from '../kernels/grid.js';
import { Shader } from '../kernels/shader.js';
import { quadCount } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { dispatch } from './op.js';
import { checkTaken } from './taken.js';

const shader = new Shader('finite', source);

/** Adds the number of NaN and infinite elements of x (float32) to `counters[slot]` (uint32), without read-back. */
export const countNonFinite = (x: Tensor, counters: Tensor, slot: number): void => {
  checkTaken('countNonFinite', [x, counters], ['float', 'any']);
  if (counters.dtype !== 'uint32' || counters.rank !== 1) fail(`countNonFinite: counters must be uint32 of one dimension, got ${counters.toString()}`);
  if (!(Number.isInteger(slot) && slot >= 0 && slot < counters.size)) fail(`countNonFinite: slot ${slot} is outside 0 … ${counters.size - 1}`);
  const quads = quadCount(x.shape);
  dispatch(x.runtime, shader.kernel('count'), { x, counters }, { quads, slot }, linearGrid(Math.ceil(quads / 1024)));
};
