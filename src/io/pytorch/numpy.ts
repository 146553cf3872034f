/** NumPy's arrays, types and single numbers in pickles: the reference keeps its accuracies so. */
import { UserError } from '../../errors.js';
import { type Dtype, elementCount, isCount, itemBytes, numbersOf, type TensorData, type TensorEntry, toFloat32 } from '../tensor-file.js';
import type { Allowance } from './allowance.js';
import { Buildable, type PickleValue } from './pickle-machine.js';

const dtypeNames = new Map<string, Dtype>(Object.entries({
  f8: 'F64', f4: 'F32', f2: 'F16', i8: 'I64', i4: 'I32', i2: 'I16', i1: 'I8', u8: 'U64', u4: 'U32', u2: 'U16', u1: 'U8', b1: 'BOOL',
} as const));

export class NumpyDtype extends Buildable {
  readonly dtype: Dtype;

  constructor(private readonly path: string, name: PickleValue | undefined) {
    super();
    const known = typeof name === 'string' ? dtypeNames.get(name.replace(/^[<|=]/, '')) : undefined;
    if (!known) throw new UserError(`${path}: NumPy numbers of type ${typeof name === 'string' ? `"${name.slice(0, 20)}"` : 'unknown'} are not read; only ${[...dtypeNames.keys()].join(', ')} are.`);
    this.dtype = known;
  }

  /** (version, byte order, …) */
  build(state: PickleValue): void {
    if (Array.isArray(state) && state[1] === '>') throw new UserError(`${this.path}: NumPy numbers in big-endian order are not read. Convert them with .astype("<f4") first.`);
  }
}

/** Python 2 wrote bytes as text, one character a byte. */
const asBytes = (value: PickleValue): Uint8Array | null =>
  (value instanceof Uint8Array ? value : typeof value === 'string' ? Buffer.from(value, 'latin1') : null);

const isShape = (value: unknown): value is number[] => Array.isArray(value) && value.length <= 32 && value.every(isCount);

/** Column-major numbers put in row-major order. */
const fromColumns = (data: TensorData, shape: readonly number[]): TensorData => {
  const out = data.slice();
  const index = new Array<number>(shape.length).fill(0);
  for (let from = 0; from < data.length; from++) {
    out[index.reduce((at, i, axis) => at * shape[axis]! + i, 0)] = data[from]!;
    for (let axis = 0; axis < shape.length && ++index[axis]! === shape[axis]!; axis++) index[axis] = 0;
  }
  return out;
};

/** An array; its content comes with BUILD. */
export class NumpyArray extends Buildable implements TensorEntry {
  dtype: Dtype = 'F32';
  shape: readonly number[] = [0];
  private content: Uint8Array = new Uint8Array(0);
  private columns = false;

  constructor(private readonly path: string, private readonly allowance: Allowance) {
    super();
  }

  /** (version, shape, dtype, column-major?, bytes) */
  build(state: PickleValue): void {
    const [, shape, type, columns, content] = (Array.isArray(state) ? state : []) as PickleValue[];
    if (typeof content === 'string') this.allowance.spend(content.length);
    const bytes = asBytes(content ?? null);
    if (!isShape(shape) || !(type instanceof NumpyDtype) || !bytes || elementCount(shape) * itemBytes(type.dtype) !== bytes.length) {
      throw new UserError(`${this.path}: a NumPy array does not hold what its shape and type announce. The file is damaged; use another copy.`);
    }
    [this.shape, this.dtype, this.columns, this.content] = [shape, type.dtype, columns === true && shape.length > 1, bytes];
  }

  readonly read = (): TensorData => {
    const data = numbersOf(this.content, this.dtype);
    return this.columns ? fromColumns(data, this.shape) : data;
  };
}

/** numpy.float64(1.5) and the like. */
export const numpyScalar = (path: string, [type, content]: readonly PickleValue[]): number => {
  const size = content instanceof Uint8Array || typeof content === 'string' ? content.length : -1;
  if (!(type instanceof NumpyDtype) || size !== itemBytes(type.dtype)) throw new UserError(`${path}: a NumPy number is damaged; use another copy of the file.`);
  return toFloat64(type.dtype, numbersOf(asBytes(content!)!, type.dtype));
};

const toFloat64 = (dtype: Dtype, data: TensorData): number => (dtype === 'F16' || dtype === 'BF16' ? toFloat32(dtype, data)[0]! : Number(data[0]));
