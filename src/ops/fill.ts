import source from '../../shaders/fill.wgsl';
import { Shader } from '../kernels/shader.js';
import { checkOptions, defaultRuntime, type TensorOptions } from '../tensor/create.js';
import { checkShape, quadCount, quadsPerRow, rowWidth, type Shape } from '../tensor/shape.js';
import { type DType, Tensor } from '../tensor/tensor.js';
import { checkNumbers, checkTensor } from './arguments.js';
import { dispatch, isRagged, stretchesFor } from './op.js';

const shader = new Shader('fill', source);
const cell = new DataView(new ArrayBuffer(4));

/** The 32 bits that stand for a number in storage; a bool holds 1 for all but zero. */
export const bitsOf = (value: number, dtype: DType): number => {
  if (dtype === 'int32') cell.setInt32(0, value);
  else if (dtype === 'uint32') cell.setUint32(0, value);
  else cell.setFloat32(0, dtype === 'bool' && value !== 0 ? 1 : value);
  return cell.getUint32(0);
};

/** Sets every element of a tensor, in place and outside the tape (PyTorch's `fill_`). */
export const fill_ = (x: Tensor, value: number): Tensor => {
  checkTensor('fill_', x, 0);
  checkNumbers('fill_', [value]);
  const quads = quadCount(x.shape);
  const bits = bitsOf(value, x.dtype);
  x.storage.changed();
  const { steps, grid } = stretchesFor(x.runtime, quads);
  dispatch(x.runtime, shader.kernel('forward', { RAGGED: bits === 0 ? 0 : isRagged(x.shape) }), { y: x },
    { quads, steps, quadsPerRow: quadsPerRow(x.shape), width: rowWidth(x.shape), bits }, grid);
  return x;
};

/** A filled tensor in the name of the function that was called. */
const filled = (op: string, shape: Shape, value: number, options: TensorOptions): Tensor => {
  checkShape(op, shape);
  checkOptions(op, options);
  checkNumbers(op, [value]);
  return fill_(Tensor.allocate(options.runtime ?? defaultRuntime(), shape, options.dtype ?? 'float32', options.label ?? op), value);
};

const filledLike = (op: string, x: Tensor, value: number): Tensor => {
  checkTensor(op, x, 0);
  return filled(op, x.shape, value, { runtime: x.runtime, dtype: x.dtype });
};

/** A tensor filled with `value`. */
export const full = (shape: Shape, value: number, options: TensorOptions = {}): Tensor => filled('full', shape, value, options);

/**
 * A tensor of zeros; float32 on the default runtime unless `options` say otherwise (PyTorch's `zeros`).
 *
 * @throws UserError when an extent is not a whole number of at least 1
 */
export const zeros = (shape: Shape, options: TensorOptions = {}): Tensor => filled('zeros', shape, 0, options);
/** A tensor of ones; everything else as of {@link zeros}. */
export const ones = (shape: Shape, options: TensorOptions = {}): Tensor => filled('ones', shape, 1, options);
/** Zeros in the shape and type of x, on its runtime; not on the tape, and without its `requiresGrad` (PyTorch's `zeros_like`). */
export const zerosLike = (x: Tensor): Tensor => filledLike('zerosLike', x, 0);
/** Ones in the shape and type of x, on its runtime; everything else as of {@link zerosLike}. */
export const onesLike = (x: Tensor): Tensor => filledLike('onesLike', x, 1);
