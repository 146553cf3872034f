import { integers } from './cases.js';
import type { DType, Tensor } from '../tensor/tensor.js';
import { convert } from './convert.js';
import { mapNd } from './nd.js';
import { bytesOf, type Op, run } from './op.js';

interface Attrs {
  readonly to: DType;
}

export const castOp: Op<Attrs> = {
  name: 'cast',
  group: 'Shape',
  precision: 'any',
  infer: ([shape]) => shape!,
  forward: ({ inputs: [x], attrs: { to } }) => convert(x!, to),
  // The tape brings it to the input's type.
  backward: ({ grad }) => [grad],
  reference: ([x], { to }) => mapNd(x!.shape, (i) => (to === 'int32' || to === 'uint32' ? Math.trunc(x!.data[i]!) : x!.data[i]!)),
  cost: ([shape]) => ({ flops: 0, bytes: 2 * bytesOf(shape!) }),
  cases: [
    { name: 'int32 to float32', shapes: [[3, 5]], attrs: { to: 'float32' }, dtypes: ['int32'], fill: [integers(1000)], gradient: 'none' },
    { name: 'uint32 to float32', shapes: [[7]], attrs: { to: 'float32' }, dtypes: ['uint32'], fill: [integers(1000)], gradient: 'none' },
    { name: 'float32 to int32', shapes: [[2, 6]], attrs: { to: 'int32' }, gradient: 'none' },
    { name: 'float32 to float16', shapes: [[3, 5]], attrs: { to: 'float16' }, half: true },
    { name: 'float16 to float32', shapes: [[3, 5]], attrs: { to: 'float32' }, dtypes: ['float16'], half: true },
    { name: 'int32 to float16', shapes: [[2, 7]], attrs: { to: 'float16' }, dtypes: ['int32'], fill: [integers(2048)], half: true, gradient: 'none' },
  ],
};

/**
 * Converts the element type (PyTorch's `to`): float32 to integers rounds towards zero, to float16 to the nearest half (beyond 65504: infinity).
 * Between floats the gradient is converted back; integers have none. A tensor of the type wanted is returned as it is.
 */
export const cast = (x: Tensor, to: DType): Tensor => (x.dtype === to ? x : run(castOp, [x], { to }));
