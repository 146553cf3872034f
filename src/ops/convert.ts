import source from '../../shaders/cast.wgsl';
import { fail } from '../errors.js';
import { Shader } from '../kernels/shader.js';
import { quadCount } from '../tensor/shape.js';
import type { DType, Tensor } from '../tensor/tensor.js';
import { checkTensor } from './arguments.js';
import { allocate, dispatch, floatOf, stretchesFor } from './launch.js';

const shader = new Shader('cast', source);

const CODES: Record<string, number> = {
  'int32 float': 0, 'uint32 float': 1, 'float int32': 2, 'float uint32': 3, 'float float': 4, 'float bool': 5, 'int32 bool': 6, 'uint32 bool': 6,
};

/** float16 is float32 to the kernel; bool tensors hold 0 and 1 as float32. */
const kindOf = (dtype: DType): string => (dtype === 'int32' || dtype === 'uint32' ? dtype : 'float');
const keepsBits = (from: DType, to: DType): boolean => from === to || (from === 'bool' && to === 'float32') || (kindOf(from) !== 'float' && kindOf(to) !== 'float');

/** A tensor's elements in another type, outside the tape; the memory is shared where their bits stay the same. See `cast` for the op. */
export const convert = (x: Tensor, to: DType): Tensor => {
  if (keepsBits(x.dtype, to)) return x.alias(x.shape, x.label, to);
  const code = CODES[`${kindOf(x.dtype)} ${to === 'bool' ? to : kindOf(to)}`]!;
  const y = allocate(x.runtime, x.shape, 'cast', to);
  const quads = quadCount(x.shape);
  const { steps, grid } = stretchesFor(x.runtime, quads);
  dispatch(x.runtime, shader.kernel('forward', { OP: code }), { x, y }, { quads, steps }, grid);
  return y;
};

/** A tensor's elements in memory of their own, outside the tape. */
export const copyOf = (x: Tensor): Tensor => {
  const y = allocate(x.runtime, x.shape, x.label, x.dtype);
  x.runtime.recorder.copy(x.range, y.range);
  return y;
};

/** The type of tensors that are brought together: their own where they have one, else that of floats; integers of two types do not come here. */
export const commonType = (tensors: readonly Tensor[]): DType =>
  (tensors.every(({ dtype }) => dtype === tensors[0]!.dtype) ? tensors[0]!.dtype : floatOf(...tensors));

/** Refuses tensors of different types to be brought together; bool and float16 go with float32. */
export const checkTypes = (op: string, tensors: readonly Tensor[]): void => {
  tensors.forEach((x, i) => checkTensor(op, x, i));
  const kind = ({ dtype }: Tensor): DType => (dtype === 'bool' || dtype === 'float16' ? 'float32' : dtype);
  const other = tensors.find((x) => kind(x) !== kind(tensors[0]!));
  if (other) fail(`${op}: all tensors must have one type; "${tensors[0]!.label}" is ${tensors[0]!.dtype}, "${other.label}" is ${other.dtype}`);
};

/** Refuses a number that a tensor's type cannot hold. */
export const checkFits = (op: string, value: number, { dtype, label }: Tensor): void => {
  const least = dtype === 'uint32' ? 0 : -(2 ** 31);
  const fits = Number.isInteger(value) && value >= least && value < least + 2 ** 32;
  if ((dtype === 'int32' || dtype === 'uint32') && !fits) fail(`${op}: ${value} does not fit "${label}", which is ${dtype}; cast(x, 'float32') makes it hold such numbers`);
};
