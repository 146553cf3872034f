import { inflateSync } from 'node:zlib';
import { UserError } from '../errors.js';

/**
 * A value of a MATLAB v5 file. Arrays are in MATLAB's column-major order; a struct array is one record per
 * element. Kinds that no dataset here uses (sparse, function handles, …) are kept as `other`.
 */
export type MatValue =
  | { kind: 'number'; dims: number[]; data: number[] }
  | { kind: 'text'; text: string }
  | { kind: 'cell'; dims: number[]; items: MatValue[] }
  | { kind: 'struct'; dims: number[]; records: Record<string, MatValue>[] }
  | { kind: 'other'; dims: number[] };

/** Data types of elements in the MAT-file level 5 format. */
const MI = {
  int8: 1, uint8: 2, int16: 3, uint16: 4, int32: 5, uint32: 6, single: 7, double: 9, int64: 12, uint64: 13,
  matrix: 14, compressed: 15, utf8: 16, utf16: 17,
} as const;
/** Array classes of the same format. */
const MX = { cell: 1, struct: 2, object: 3, char: 4, sparse: 5, double: 6, uint64: 15 } as const;

/** The lists of the datasets here unpack to a tenth of this; a damaged file must not fill the memory. */
const MOST_UNPACKED_MIB = 64;

interface Element {
  type: number;
  data: Buffer;
}

/**
 * Variables of a MATLAB v5 (.mat) file, compressed or not, in either byte order.
 * `path` names the file in errors: damaged files, other versions (v4, v7.3).
 */
export function parseMat(bytes: Buffer, path: string): Map<string, MatValue> {
  checkHeader(bytes, path);
  try {
    const reader = new MatReader(bytes.toString('latin1', 126, 128) === 'IM');
    const variables = new Map<string, MatValue>();
    for (const element of reader.unpackedElements(bytes.subarray(128))) {
      if (element.type !== MI.matrix) continue;
      const { name, value } = reader.matrix(element.data);
      variables.set(name, value);
    }
    return variables;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') {
      throw new UserError(`${path} unpacks to more than ${MOST_UNPACKED_MIB} MiB, which no list of these datasets does; download it again`);
    }
    throw new UserError(`${path} is damaged or cut short (${(error as Error).message}); download it again`);
  }
}

function checkHeader(bytes: Buffer, path: string): void {
  const text = bytes.toString('latin1', 0, Math.min(116, bytes.length));
  if (text.startsWith('MATLAB 7.3') || text.includes('HDF')) {
    throw new UserError(`${path} is a MATLAB 7.3 (HDF5) file; save it again in MATLAB with save(..., '-v7')`);
  }
  const mark = bytes.length >= 128 ? bytes.toString('latin1', 126, 128) : '';
  if (mark !== 'IM' && mark !== 'MI') {
    throw new UserError(`${path} is not a MATLAB v5 file (${bytes.length} bytes); download it again`);
  }
}

class MatReader {
  constructor(private readonly little: boolean) {}

  /** Splits a byte range into its tagged elements (padded to 8 bytes, or packed into 8 bytes when ≤ 4 long). */
  *elements(bytes: Buffer): Generator<Element> {
    let at = 0;
    while (at + 8 <= bytes.length) {
      const word = this.uint32(bytes, at);
      const small = word >>> 16;
      const type = small ? word & 0xffff : word;
      const size = small || this.uint32(bytes, at + 4);
      const start = at + (small ? 4 : 8);
      if (start + size > bytes.length) throw new Error(`an element of ${size} bytes ends behind the data`);
      yield { type, data: bytes.subarray(start, start + size) };
      // Compressed elements are the only ones that are not padded.
      at = small ? at + 8 : start + (type === MI.compressed ? size : Math.ceil(size / 8) * 8);
    }
  }

  /** The elements of a file. A compressed one holds a single element; what stands behind it is not looked at. */
  *unpackedElements(bytes: Buffer): Generator<Element> {
    let room = MOST_UNPACKED_MIB << 20;
    for (const element of this.elements(bytes)) {
      if (element.type !== MI.compressed) {
        yield element;
        continue;
      }
      const unpacked = inflateSync(element.data, { maxOutputLength: Math.max(1, room) });
      room -= unpacked.length;
      const [first] = this.elements(unpacked);
      if (first) yield first;
    }
  }

  /** One array: flags, dimensions, name, then the content by class. An empty element is an empty array. */
  matrix(bytes: Buffer): { name: string; value: MatValue } {
    if (bytes.length === 0) return { name: '', value: { kind: 'number', dims: [0, 0], data: [] } };
    const [flags, dimensions, name, ...content] = [...this.elements(bytes)] as [Element, Element, Element, ...Element[]];
    const arrayClass = this.uint32(flags.data, 0) & 0xff;
    const dims = this.numbers(dimensions);
    return { name: name.data.toString('latin1'), value: this.content(arrayClass, dims, content) };
  }

  private content(arrayClass: number, dims: number[], parts: Element[]): MatValue {
    if (arrayClass === MX.cell) return { kind: 'cell', dims, items: parts.map((part) => this.matrix(part.data).value) };
    if (arrayClass === MX.struct) return this.struct(dims, parts);
    if (arrayClass === MX.char) return { kind: 'text', text: this.text(parts[0]) };
    if (arrayClass >= MX.double && arrayClass <= MX.uint64) return { kind: 'number', dims, data: parts[0] ? this.numbers(parts[0]) : [] };
    return { kind: 'other', dims };
  }

  private struct(dims: number[], content: Element[]): MatValue {
    const [nameLength, names, ...values] = content as [Element, Element, ...Element[]];
    const width = this.numbers(nameLength)[0]!;
    if (!(width >= 1)) throw new Error(`its field names are ${width} bytes long`);
    const fields: string[] = [];
    for (let at = 0; at + width <= names.data.length; at += width) {
      fields.push(names.data.toString('latin1', at, at + width).replace(/\0.*$/s, ''));
    }
    const records: Record<string, MatValue>[] = [];
    for (let at = 0; at + fields.length <= values.length && fields.length > 0; at += fields.length) {
      records.push(Object.fromEntries(fields.map((field, i) => [field, this.matrix(values[at + i]!.data).value])));
    }
    return { kind: 'struct', dims, records };
  }

  private text(element: Element | undefined): string {
    if (!element) return '';
    if (element.type === MI.utf8) return element.data.toString('utf8');
    return this.numbers(element).map((unit) => String.fromCharCode(unit)).join('');
  }

  /** Numbers are stored in the smallest type that holds them, whatever the array's class. */
  private numbers({ type, data }: Element): number[] {
    const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    const read = (width: number, get: (at: number) => number) => Array.from({ length: Math.floor(data.length / width) }, (_, i) => get(i * width));
    switch (type) {
      case MI.int8:
        return read(1, (at) => view.getInt8(at));
      case MI.uint8:
      case MI.utf8:
        return read(1, (at) => view.getUint8(at));
      case MI.int16:
        return read(2, (at) => view.getInt16(at, this.little));
      case MI.uint16:
      case MI.utf16:
        return read(2, (at) => view.getUint16(at, this.little));
      case MI.int32:
        return read(4, (at) => view.getInt32(at, this.little));
      case MI.uint32:
        return read(4, (at) => view.getUint32(at, this.little));
      case MI.single:
        return read(4, (at) => view.getFloat32(at, this.little));
      case MI.double:
        return read(8, (at) => view.getFloat64(at, this.little));
      case MI.int64:
        return read(8, (at) => Number(view.getBigInt64(at, this.little)));
      case MI.uint64:
        return read(8, (at) => Number(view.getBigUint64(at, this.little)));
      default:
        throw new Error(`unknown number type ${type}`);
    }
  }

  private uint32(bytes: Buffer, at: number): number {
    return this.little ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at);
  }
}

/** The struct array called `name`, one record per element. */
export function matRecords(variables: Map<string, MatValue>, name: string, path: string): Record<string, MatValue>[] {
  const value = variables.get(name);
  if (value?.kind !== 'struct') {
    throw new UserError(`${path} has no struct array "${name}" (it holds: ${[...variables.keys()].join(', ') || 'nothing'}); is it the right file?`);
  }
  return value.records;
}

/** The texts of the cell array called `name`. */
export function matTexts(variables: Map<string, MatValue>, name: string, path: string): string[] {
  const value = variables.get(name);
  if (value?.kind !== 'cell') {
    throw new UserError(`${path} has no cell array "${name}" (it holds: ${[...variables.keys()].join(', ') || 'nothing'}); is it the right file?`);
  }
  return value.items.map((item, i) => matText(item, `${path}: ${name}{${i + 1}}`));
}

/** A text value, also when it sits in a 1×1 cell. */
export function matText(value: MatValue | undefined, where: string): string {
  if (value?.kind === 'text') return value.text;
  if (value?.kind === 'cell' && value.items.length === 1) return matText(value.items[0], where);
  throw new UserError(`${where} is not a text; is it the right file?`);
}

/** A single number. */
export function matNumber(value: MatValue | undefined, where: string): number {
  if (value?.kind === 'number' && value.data.length === 1) return value.data[0]!;
  throw new UserError(`${where} is not a number; is it the right file?`);
}
