import { fail } from '../errors.js';
import { formatShape } from '../tensor/shape.js';
import { type DType, isFloat, type Tensor } from '../tensor/tensor.js';
import { checkTensor, refuseForeign } from './arguments.js';

/** What an op reads an operand as: floats (bool among them), integers of one type, or bits that it passes on. */
export type Taken = 'float' | 'int32' | 'uint32' | 'any';

const FLOATS: readonly Taken[] = ['float'];

const fits = (taken: Taken, dtype: DType): boolean =>
  (taken === 'float' ? isFloat(dtype) || dtype === 'bool' : taken === 'any' || dtype === taken);

/** Refuses what is no tensor, and operands that the kernel would misread. The last entry holds for all further operands. */
export const checkTaken = (op: string, operands: readonly Tensor[], taken = FLOATS): void => {
  for (let i = 0; i < operands.length; i++) {
    checkTensor(op, operands[i]!, i);
    if (operands[i]!.runtime !== operands[0]!.runtime) refuseForeign(op, operands[i]!, operands[0]!.runtime);
    const [wanted, { dtype, label, shape }] = [taken[Math.min(i, taken.length - 1)]!, operands[i]!];
    if (fits(wanted, dtype)) continue;
    const to = wanted === 'float' ? 'float32' : wanted;
    fail(`${op}: operand ${i + 1} must be ${to}, but "${label}" ${formatShape(shape)} is ${dtype}; cast(x, '${to}') converts it`);
  }
};
