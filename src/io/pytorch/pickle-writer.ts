/** Writes pickles of protocol 2, the one torch.save uses: dictionaries, lists, texts, numbers, tensors. */
import { type Dtype, elementCount, type TensorEntry } from '../tensor-file.js';
import { storageName } from './storages.js';

/** What can be written. Maps become OrderedDict, as state dictionaries are; plain objects become dict. */
export type Picklable =
  null | boolean | number | string | readonly Picklable[] | ReadonlyMap<string, Picklable> | PicklableTensor | { readonly [key: string]: Picklable };

/** A tensor whose numbers lie in a storage of its own. */
export class PicklableTensor {
  constructor(readonly entry: TensorEntry) {}
}

const uint32 = (value: number): Buffer => {
  const out = Buffer.alloc(4);
  out.writeUInt32LE(value);
  return out;
};

class PickleWriter {
  /** Tensors in the order of their storages' keys. */
  readonly tensors: TensorEntry[] = [];
  private readonly parts: Buffer[] = [];

  /** @returns the pickle */
  finish(value: Picklable): Buffer {
    this.put('\x80\x02');
    this.value(value);
    this.put('.');
    return Buffer.concat(this.parts);
  }

  private put(...parts: readonly (string | Buffer)[]): void {
    for (const part of parts) this.parts.push(typeof part === 'string' ? Buffer.from(part, 'latin1') : part);
  }

  private text(value: string): void {
    const bytes = Buffer.from(value);
    this.put('X', uint32(bytes.length), bytes);
  }

  private integer(value: number): void {
    if (value >= -(2 ** 31) && value < 2 ** 31) {
      this.put('J', uint32(value >>> 0));
      return;
    }
    const bytes = Buffer.alloc(8);
    bytes.writeBigInt64LE(BigInt(value));
    this.put('\x8a\x08', bytes);
  }

  private number(value: number): void {
    if (Number.isSafeInteger(value) && !Object.is(value, -0)) {
      this.integer(value);
      return;
    }
    const bytes = Buffer.alloc(8);
    bytes.writeDoubleBE(value);
    this.put('G', bytes);
  }

  private global(module: string, name: string): void {
    this.put(`c${module}\n${name}\n`);
  }

  private orderedDict(): void {
    this.global('collections', 'OrderedDict');
    this.put(')R');
  }

  private entries(entries: Iterable<readonly [string, Picklable]>): void {
    this.put('(');
    for (const [key, value] of entries) {
      this.text(key);
      this.value(value);
    }
    this.put('u');
  }

  private integers(values: readonly number[]): void {
    this.put('(');
    for (const value of values) this.integer(value);
    this.put('t');
  }

  /** ('storage', class, key, 'cpu', length) as a persistent id; offset 0; shape; strides; no gradient; no hooks. */
  private tensor(entry: TensorEntry): void {
    const { dtype, shape } = entry;
    const strides = shape.map((_, axis) => elementCount(shape.slice(axis + 1)));
    this.global('torch._utils', '_rebuild_tensor_v2');
    this.put('((');
    this.text('storage');
    this.global('torch', storageClass(dtype));
    this.text(String(this.tensors.push(entry) - 1));
    this.text('cpu');
    this.integer(elementCount(shape));
    this.put('tQ');
    this.integer(0);
    this.integers(shape);
    this.integers(strides);
    this.put('\x89');
    this.orderedDict();
    this.put('tR');
  }

  private value(value: Picklable): void {
    if (value === null) this.put('N');
    else if (typeof value === 'boolean') this.put(value ? '\x88' : '\x89');
    else if (typeof value === 'number') this.number(value);
    else if (typeof value === 'string') this.text(value);
    else if (value instanceof PicklableTensor) this.tensor(value.entry);
    else if (value instanceof Map) {
      this.orderedDict();
      this.entries(value as ReadonlyMap<string, Picklable>);
    } else if (Array.isArray(value)) {
      this.put('](');
      for (const item of value as readonly Picklable[]) this.value(item);
      this.put('e');
    } else {
      this.put('}');
      this.entries(Object.entries(value));
    }
  }
}

const storageClass = (dtype: Dtype): string => {
  const name = storageName(dtype);
  if (!name) throw new Error(`PyTorch has no storage of ${dtype}`);
  return name;
};

/** A value as a pickle, and the tensors in it in the order of their storages. */
export const writePickle = (value: Picklable): { pickle: Buffer; tensors: readonly TensorEntry[] } => {
  const writer = new PickleWriter();
  const pickle = writer.finish(value);
  return { pickle, tensors: writer.tensors };
};
