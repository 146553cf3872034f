/** PyTorch's storages (runs of numbers of one type) and the tensors that look into them. */
import { UserError } from '../../errors.js';
import type { FileReader } from '../file-reader.js';
import { arrayOf, type Dtype, elementCount, isCount, itemBytes, numbersOf, type TensorData, type TensorEntry } from '../tensor-file.js';

export const storageDtypes: Readonly<Record<string, Dtype>> = {
  DoubleStorage: 'F64', FloatStorage: 'F32', HalfStorage: 'F16', BFloat16Storage: 'BF16',
  LongStorage: 'I64', IntStorage: 'I32', ShortStorage: 'I16', CharStorage: 'I8', ByteStorage: 'U8', BoolStorage: 'BOOL',
};

/** Name of PyTorch's storage class for a number type. */
export const storageName = (dtype: Dtype): string | undefined => Object.keys(storageDtypes).find((name) => storageDtypes[name] === dtype);

/** The class of a storage, as pickles name it. */
export class StorageType {
  constructor(readonly dtype: Dtype) {}
}

/** A run of numbers in the file. Where it lies is known only after the pickle has been read. */
export class TorchStorage {
  private place: { file: FileReader; offset: number; verify: (bytes: Uint8Array | null) => void } | null = null;
  private verified = false;

  constructor(readonly path: string, readonly key: string, readonly dtype: Dtype, readonly length: number) {}

  get bytes(): number {
    return this.length * itemBytes(this.dtype);
  }

  /**
   * @param available bytes that the file has there
   * @param verify checks the storage's bytes before their first use; null: it shall read them itself
   */
  locate(file: FileReader, offset: number, available: number, verify: (bytes: Uint8Array | null) => void = () => undefined): void {
    if (available !== this.bytes) {
      throw new UserError(`${this.path}: storage ${this.key} needs ${this.bytes} bytes (${this.length} × ${this.dtype}) but ${available} are there. The file is half-written or damaged; use another copy.`);
    }
    this.place = { file, offset, verify };
  }

  /** Elements from `start` on. */
  read(start: number, count: number): TensorData {
    const size = itemBytes(this.dtype);
    if (!this.place) throw new UserError(`${this.path}: the numbers of storage ${this.key} are missing. The file is half-written or damaged; use another copy.`);
    const { file, offset, verify } = this.place;
    const bytes = file.read(offset + start * size, count * size);
    if (!this.verified) verify(count === this.length ? bytes : null);
    this.verified = true;
    return numbersOf(bytes, this.dtype);
  }
}

const isCounts = (value: unknown): value is number[] => Array.isArray(value) && value.length <= 64 && value.every(isCount);

/** Whether elements follow each other without gaps in row-major order. */
const isContiguous = (shape: readonly number[], strides: readonly number[]): boolean => {
  let step = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis]! > 1 && strides[axis] !== step) return false;
    step *= shape[axis]!;
  }
  return true;
};

/** Elements picked by strides, in row-major order. */
const gather = (from: TensorData, dtype: Dtype, shape: readonly number[], strides: readonly number[]): TensorData => {
  const out = new (arrayOf(dtype))(elementCount(shape));
  const index = new Array<number>(shape.length).fill(0);
  let at = 0;
  for (let i = 0; i < out.length; i++) {
    out[i] = from[at]!;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      at += strides[axis]!;
      if (++index[axis]! < shape[axis]!) break;
      at -= shape[axis]! * strides[axis]!;
      index[axis] = 0;
    }
  }
  return out;
};

/** A tensor as pickles describe it. It may share its storage with others and need not be contiguous. */
export class TorchTensor implements TensorEntry {
  readonly dtype: Dtype;

  constructor(
    private readonly storage: TorchStorage, private readonly offset: number, readonly shape: readonly number[], private readonly strides: readonly number[],
  ) {
    this.dtype = storage.dtype;
  }

  readonly read = (): TensorData => {
    const { storage, shape, strides } = this;
    const count = elementCount(shape);
    if (count === 0) return new (arrayOf(this.dtype))(0);
    if (isContiguous(shape, strides)) return storage.read(this.offset, count);
    const span = shape.reduce((last, size, axis) => last + (size - 1) * strides[axis]!, 0) + 1;
    return gather(storage.read(this.offset, span), this.dtype, shape, strides);
  };
}

/** Checks what a pickle says about a tensor, so that nothing outside its storage can be reached. */
export const rebuildTensor = (path: string, [storage, offset, shape, strides]: readonly unknown[]): TorchTensor => {
  const bad = (why: string) => new UserError(`${path}: a tensor ${why}. The file is damaged; use another copy.`);
  if (!(storage instanceof TorchStorage)) throw bad('has no storage');
  if (!isCount(offset) || !isCounts(shape) || !isCounts(strides) || shape.length !== strides.length) throw bad(`in storage ${storage.key} has no valid offset, shape or strides`);
  const count = elementCount(shape);
  const last = shape.reduce((sum, size, axis) => sum + (size - 1) * strides[axis]!, offset);
  if (!Number.isSafeInteger(count) || (count > 0 && last >= storage.length)) throw bad(`of shape [${shape.join(', ')}] goes beyond its storage ${storage.key} of ${storage.length} numbers`);
  if (count > storage.length) {
    throw new UserError(`${path}: a tensor shows the ${storage.length} numbers of storage ${storage.key} as ${count}: an expanded view. Save it with .contiguous() in PyTorch.`);
  }
  return new TorchTensor(storage, offset, shape, strides);
};
