import { type StoredTensor, type TensorEntry, toFloat32 } from '../io/tensor-file.js';
import type { StateDict } from '../nn/module.js';
import { strides } from '../ops/nd.js';
import type { Shape } from '../tensor/shape.js';

/**
 * The edge to files: Pipit keeps convolution weights as [kh, kw, in, out] and linear ones as [in, out]; files hold
 * PyTorch's [out, in, kh, kw] and [out, in], so that PyTorch reads them as they are.
 */
export interface FileTensor {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** Pipit's images are [N, H, W, C], those of PyTorch and ONNX [N, C, H, W]: the axis of ours that each axis of theirs shows, and the other way. */
export const CHANNELS_FIRST = [0, 3, 1, 2] as const;
export const CHANNELS_LAST = [0, 2, 3, 1] as const;

/** A state does not tell whose its tensors are: what PyTorch lays out otherwise is called `weight`, and has four axes (convolutions) or two (linear layers). */
const isWeight = (name: string, { length }: Shape, axes: 2 | 4): boolean => length === axes && name.endsWith('weight');

/** out[o][...rest] = in[...rest][o] for the given order of axes. */
export const permuted = (data: ArrayLike<number>, shape: Shape, axes: readonly number[]): FileTensor => {
  const to = axes.map((axis) => shape[axis]!);
  const steps = strides(shape);
  const out = new Float32Array(data.length);
  const index = new Array<number>(to.length).fill(0);
  for (let i = 0; i < out.length; i++) {
    let from = 0;
    for (let axis = 0; axis < to.length; axis++) from += index[axis]! * steps[axes[axis]!]!;
    out[i] = data[from]!;
    for (let axis = to.length - 1; axis >= 0 && ++index[axis]! === to[axis]!; axis--) index[axis] = 0;
  }
  return { shape: to, data: out };
};

/** The axis of ours that each axis in files shows; null where both agree. */
const fileAxes = (name: string, shape: Shape): readonly number[] | null => (isWeight(name, shape, 4) ? [3, 2, 0, 1] : isWeight(name, shape, 2) ? [1, 0] : null);

/** The shape a tensor of ours has in files. */
export const toFileShape = (name: string, shape: Shape): Shape => fileAxes(name, shape)?.map((axis) => shape[axis]!) ?? shape;

/** From Pipit's layout to PyTorch's. */
export const toFileLayout = (name: string, { shape, data }: { shape: Shape; data: Float32Array }): FileTensor => {
  const axes = fileAxes(name, shape);
  return axes ? permuted(data, shape, axes) : { shape, data };
};

/** From PyTorch's layout to Pipit's. */
export const fromFileLayout = (name: string, { shape, data }: FileTensor): FileTensor => {
  if (isWeight(name, shape, 4)) return permuted(data, shape, [2, 3, 1, 0]);
  return isWeight(name, shape, 2) ? permuted(data, shape, [1, 0]) : { shape, data };
};

/** A tensor of a file, whatever its type, as float32 in Pipit's layout. */
export const fromFileEntry = (name: string, { dtype, shape, read }: TensorEntry): FileTensor => fromFileLayout(name, { shape, data: toFloat32(dtype, read()) });

/** What of a state goes to a file. */
export const stateToFile = (state: StateDict): Map<string, StoredTensor> =>
  new Map([...state].map(([name, value]) => [name, { dtype: 'F32', ...toFileLayout(name, value) }]));
