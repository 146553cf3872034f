import { integers, literal } from './cases.js';
import type { DType, Tensor } from '../tensor/tensor.js';
import { convert } from './convert.js';
import { mapNd } from './nd.js';
import { bytesOf, type Op, run } from './op.js';

interface Attrs {
  readonly to: DType;
}

const converted = (value: number, to: DType): number => {
  if (to === 'bool') return value === 0 ? 0 : 1;
  return to === 'int32' || to === 'uint32' ? Math.trunc(value) : value;
};

export const castOp: Op<Attrs> = {
  name: 'cast',
  takes: ['any'],
  group: 'Shape',
  precision: 'any',
  infer: ([shape]) => shape!,
  forward: ({ inputs: [x], attrs: { to } }) => convert(x!, to),
  // The tape brings it to the input's type.
  backward: ({ grad }) => [grad],
  reference: ([x], { to }) => mapNd(x!.shape, (i) => converted(x!.data[i]!, to)),
  cost: ([shape]) => ({ flops: 0, bytes: 2 * bytesOf(shape!) }),
  cases: [
    { name: 'int32 to float32', shapes: [[3, 5]], attrs: { to: 'float32' }, dtypes: ['int32'], fill: [integers(1000)], gradient: 'none' },
    { name: 'uint32 to float32', shapes: [[7]], attrs: { to: 'float32' }, dtypes: ['uint32'], fill: [integers(1000)], gradient: 'none' },
    { name: 'float32 to int32', shapes: [[2, 6]], attrs: { to: 'int32' }, gradient: 'none' },
    { name: 'float32 to bool', shapes: [[2, 6]], attrs: { to: 'bool' }, fill: [literal([0, 1, -0, -2.5, NaN, 1e-30, Infinity, 0, 5, 0, 0, -1])], gradient: 'none' },
    { name: 'int32 to bool', shapes: [[5]], attrs: { to: 'bool' }, dtypes: ['int32'], fill: [literal([0, 1, -1, 7, -(2 ** 31)])], gradient: 'none' },
    { name: 'bool to float32', shapes: [[5]], attrs: { to: 'float32' }, dtypes: ['bool'], fill: [literal([0, 1, 1, 0, 1])], gradient: 'none' },
    { name: 'bool to int32', shapes: [[5]], attrs: { to: 'int32' }, dtypes: ['bool'], fill: [literal([0, 1, 1, 0, 1])], gradient: 'none' },
    { name: 'uint32 to int32', shapes: [[5]], attrs: { to: 'int32' }, dtypes: ['uint32'], fill: [integers(1000)], gradient: 'none' },
    { name: 'float32 to float16', shapes: [[3, 5]], attrs: { to: 'float16' }, half: true },
    { name: 'float16 to float32', shapes: [[3, 5]], attrs: { to: 'float32' }, dtypes: ['float16'], half: true },
    { name: 'int32 to float16', shapes: [[2, 7]], attrs: { to: 'float16' }, dtypes: ['int32'], fill: [integers(2048)], half: true, gradient: 'none' },
  ],
};

/**
 * Converts the element type (PyTorch's `to`): float32 to integers rounds towards zero, to float16 to the nearest half (beyond 65504: infinity),
 * to bool is 1 for all but zero. Between int32 and uint32 the bits stay.
 * Between floats the gradient is converted back; integers have none. A tensor of the type wanted is returned as it is.
 */
export const cast = (x: Tensor, to: DType): Tensor => (x.dtype === to ? x : run(castOp, [x], { to }));
