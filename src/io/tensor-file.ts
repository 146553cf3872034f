/** Tensors in files, whatever the format: their types, and reading one at a time. */
import { UserError } from '../errors.js';
import { fromHalf } from '../float16.js';

/** Number types by the names of safetensors. Half floats are kept as their bits. */
const ARRAYS = {
  F64: Float64Array, F32: Float32Array, F16: Uint16Array, BF16: Uint16Array,
  I64: BigInt64Array, I32: Int32Array, I16: Int16Array, I8: Int8Array,
  U64: BigUint64Array, U32: Uint32Array, U16: Uint16Array, U8: Uint8Array, BOOL: Uint8Array,
} as const;

export type Dtype = keyof typeof ARRAYS;
export const dtypes = Object.keys(ARRAYS) as Dtype[];
export type TensorData =
  Float64Array | Float32Array | Uint16Array | BigInt64Array | Int32Array | Int16Array | Int8Array | BigUint64Array | Uint32Array | Uint8Array;

export const isDtype = (name: string): name is Dtype => Object.hasOwn(ARRAYS, name);
export const arrayOf = (dtype: Dtype): (typeof ARRAYS)[Dtype] => ARRAYS[dtype];
export const itemBytes = (dtype: Dtype): number => ARRAYS[dtype].BYTES_PER_ELEMENT;

/** A tensor in memory as it stands in a file: row-major, without padding. */
export interface StoredTensor {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly data: TensorData;
}

/** A tensor that is read when asked, so that a file never lies in memory as a whole. */
export interface TensorEntry {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  read(): TensorData;
}

export type Fact = string | number | boolean | null;

/** A file of tensors, opened and checked; the numbers are still on disk. */
export interface TensorFile {
  readonly path: string;
  readonly format: string;
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  /** What else the file holds: numbers and texts by their names. */
  readonly facts: ReadonlyMap<string, Fact>;
  /**
   * Entries of the outermost dictionary that are dictionaries themselves; a name such as `model.fc.weight` does not tell whether it is one's or a module's.
   * Absent where the format has names alone.
   */
  readonly dictionaries?: ReadonlySet<string>;
}

/** Whether something a file says may be a size or a position: a whole number from 0 up, of which no digit is lost. */
export const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

export const elementCount = (shape: readonly number[]): number => shape.reduce((product, size) => product * size, 1);
export const byteCount = ({ dtype, shape }: Pick<TensorEntry, 'dtype' | 'shape'>): number => elementCount(shape) * itemBytes(dtype);

/** The bytes of a typed array, as they lie in memory (little-endian, as all formats here want them). */
export const bytesOf = (data: TensorData): Uint8Array => new Uint8Array(data.buffer, data.byteOffset, data.byteLength);

/** Bytes seen as numbers. They are copied where they do not start at a multiple of the number's size. */
export const numbersOf = (bytes: Uint8Array, dtype: Dtype): TensorData => {
  // Not `slice()`: Node's Buffer gives a view of the same bytes for that.
  const aligned = bytes.byteOffset % itemBytes(dtype) === 0 ? bytes : new Uint8Array(bytes);
  return new ARRAYS[dtype](aligned.buffer as ArrayBuffer, aligned.byteOffset, aligned.byteLength / itemBytes(dtype));
};

/** A tensor in memory as an entry. */
export const entryOf = ({ dtype, shape, data }: StoredTensor): TensorEntry => ({ dtype, shape, read: () => data });

/** bfloat16 is the upper half of a float32. */
const fromBrain = (data: Uint16Array): Float32Array => new Float32Array(Uint32Array.from(data, (bits) => bits << 16).buffer);

/** The numbers of any type as float32; those that are float32 already are not copied. */
export const toFloat32 = (dtype: Dtype, data: TensorData): Float32Array => {
  if (dtype === 'F32') return data as Float32Array;
  if (dtype === 'F16') return fromHalf(data as Uint16Array);
  if (dtype === 'BF16') return fromBrain(data as Uint16Array);
  return Float32Array.from(data as ArrayLike<number | bigint>, Number);
};

/** Refuses a tensor whose numbers do not match what is said about it. */
export const checkTensor = (path: string, name: string, { dtype, shape, data }: StoredTensor): void => {
  if (!(data instanceof ARRAYS[dtype])) {
    throw new UserError(`${path}: tensor "${name}" says dtype ${dtype} but holds a ${(data as TensorData).constructor.name}; give it a ${ARRAYS[dtype].name}.`);
  }
  if (elementCount(shape) !== data.length) {
    throw new UserError(`${path}: tensor "${name}" has shape [${shape.join(', ')}] = ${elementCount(shape)} elements but ${data.length} values.`);
  }
};
