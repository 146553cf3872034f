/**
 * The safetensors format, wherever its bytes are: 8 bytes of header length (little-endian), a JSON header, then the bytes
 * of the tensors. The header names dtype, shape and byte range of each tensor and may hold a map of strings.
 * Source: the format description of the safetensors project.
 */
import { UserError } from '../errors.js';
import {
  byteCount, bytesOf, checkTensor, type Dtype, dtypes, elementCount, entryOf, isCount, isDtype, itemBytes, numbersOf, type StoredTensor, type TensorEntry,
  type TensorFile,
} from './tensor-file.js';

/** Bytes that are read in parts. `path` names them in messages. */
interface ByteRanges {
  readonly path: string;
  readonly size: number;
  read(offset: number, length: number): Uint8Array;
}

/**
 * Bytes in memory, read in parts.
 *
 * @throws UserError when they are something else
 */
export const rangesOf = (given: Uint8Array | ArrayBuffer, path: string): ByteRanges => {
  const bytes = given instanceof ArrayBuffer ? new Uint8Array(given) : given;
  if (!(bytes instanceof Uint8Array)) throw new UserError(`${path} must be the bytes of a safetensors file, a Uint8Array or an ArrayBuffer, got ${bytes === null ? 'null' : typeof bytes}.`);
  return { path, size: bytes.byteLength, read: (offset, length) => bytes.subarray(offset, offset + length) };
};

interface HeaderEntry {
  dtype: Dtype;
  shape: number[];
  data_offsets: [number, number];
}

const LENGTH_BYTES = 8;
/** The format's own bound; a larger length means that the file is something else. */
const LONGEST_HEADER = 100_000_000;
const HEADER_ALIGNMENT = 8;

/** Larger elements first, so that every tensor starts at a multiple of its element size; then by name, for equal bytes. */
const fileOrder = (tensors: ReadonlyMap<string, TensorEntry>): [string, TensorEntry][] =>
  [...tensors].sort(([nameA, a], [nameB, b]) => itemBytes(b.dtype) - itemBytes(a.dtype) || (nameA < nameB ? -1 : 1));

const encodeHeader = (ordered: readonly [string, TensorEntry][], metadata: Readonly<Record<string, string>>): Uint8Array => {
  // Without a prototype even a tensor called "__proto__" is an ordinary entry.
  const header = Object.create(null) as Record<string, unknown>;
  const names = Object.keys(metadata).sort();
  if (names.length > 0) header.__metadata__ = Object.fromEntries(names.map((name) => [name, metadata[name]]));
  let offset = 0;
  for (const [name, tensor] of ordered) {
    header[name] = { dtype: tensor.dtype, shape: tensor.shape, data_offsets: [offset, offset + byteCount(tensor)] };
    offset += byteCount(tensor);
  }
  const json = new TextEncoder().encode(JSON.stringify(header));
  const padded = new Uint8Array(Math.ceil(json.length / HEADER_ALIGNMENT) * HEADER_ALIGNMENT).fill(' '.charCodeAt(0));
  padded.set(json);
  return padded;
};

/**
 * The pieces of a file one after the other; a tensor is read only when its turn comes. Equal content gives equal bytes, whatever the order of the map.
 *
 * @throws UserError when a tensor's shape, dtype and data disagree
 */
export function* safetensorsPieces(
  path: string, tensors: ReadonlyMap<string, StoredTensor | TensorEntry>, metadata: Readonly<Record<string, string>> = {},
): Generator<Uint8Array> {
  if (tensors.has('__metadata__')) throw new UserError(`${path}: a tensor cannot be called "__metadata__"; the format keeps that name for itself.`);
  const ordered = fileOrder(new Map([...tensors].map(([name, tensor]): [string, TensorEntry] => [name, 'data' in tensor ? entryOf(tensor) : tensor])));
  const header = encodeHeader(ordered, metadata);
  const length = new DataView(new ArrayBuffer(LENGTH_BYTES));
  length.setBigUint64(0, BigInt(header.length), true);
  yield new Uint8Array(length.buffer);
  yield header;
  for (const [name, { dtype, shape, read }] of ordered) {
    const data = read();
    checkTensor(path, name, { dtype, shape, data });
    yield bytesOf(data);
  }
}

const parseHeader = (file: ByteRanges): { header: Record<string, unknown>; start: number } => {
  const { path, size } = file;
  const damaged = (why: string) => new UserError(`${path} is not a safetensors file or is damaged: ${why}. Use another copy of the file.`);
  if (size < LENGTH_BYTES) throw damaged(`it has only ${size} bytes`);
  const head = file.read(0, LENGTH_BYTES);
  const length = Number(new DataView(head.buffer, head.byteOffset).getBigUint64(0, true));
  if (length > LONGEST_HEADER) throw damaged(`it announces a header of ${length} bytes`);
  const start = LENGTH_BYTES + length;
  if (start > size) throw damaged(`the header of ${length} bytes goes beyond the end (${size} bytes)`);
  let header: unknown;
  try {
    header = JSON.parse(new TextDecoder().decode(file.read(LENGTH_BYTES, length)));
  } catch (error) {
    throw damaged(`its header is not JSON (${(error as Error).message})`);
  }
  if (typeof header !== 'object' || header === null || Array.isArray(header)) throw damaged('its header is not an object');
  return { header: header as Record<string, unknown>, start };
};

/** Checks one entry alone: form, dtype, and that shape and byte range agree. */
const checkEntry = (path: string, name: string, value: unknown, available: number): HeaderEntry => {
  const bad = (why: string) => new UserError(`${path}: tensor "${name}" ${why}. The file is damaged; use another copy.`);
  const { dtype, shape, data_offsets: range } = (value ?? {}) as Partial<Record<keyof HeaderEntry, unknown>>;
  if (typeof dtype !== 'string') throw bad('has no dtype');
  if (!isDtype(dtype)) {
    throw new UserError(`${path}: tensor "${name}" has dtype ${dtype}; only ${dtypes.join(', ')} are read. Convert the file first.`);
  }
  if (!Array.isArray(shape) || !shape.every(isCount)) throw bad('has no valid shape');
  if (!Array.isArray(range) || range.length !== 2 || !range.every(isCount) || range[0]! > range[1]!) throw bad('has no valid byte range');
  const [begin, end] = range as [number, number];
  const needed = elementCount(shape) * itemBytes(dtype);
  if (end - begin !== needed) throw bad(`needs ${needed} bytes for ${dtype} [${shape.join(', ')}] but its byte range has ${end - begin}`);
  if (end > available) throw bad(`ends at byte ${end} of the data but only ${available} bytes are there: the file is cut off`);
  return { dtype, shape, data_offsets: [begin, end] };
};

/** The ranges must follow each other without gap or overlap and reach the end of the file. */
const checkCoverage = (path: string, entries: readonly [string, HeaderEntry][], available: number): void => {
  let reached = 0;
  let previous = '';
  const ordered = [...entries].sort(([, a], [, b]) => a.data_offsets[0] - b.data_offsets[0] || a.data_offsets[1] - b.data_offsets[1]);
  for (const [name, { data_offsets: [begin, end] }] of ordered) {
    if (begin < reached) throw new UserError(`${path}: tensors "${previous}" and "${name}" overlap. The file is damaged; use another copy.`);
    if (begin > reached) throw new UserError(`${path}: ${begin - reached} bytes before tensor "${name}" belong to nothing. The file is damaged; use another copy.`);
    [reached, previous] = [end, name];
  }
  if (reached !== available) throw new UserError(`${path}: ${available - reached} bytes at the end belong to nothing. The file is damaged; use another copy.`);
};

const readMetadata = (path: string, value: unknown): Record<string, string> => {
  if (value === undefined) return {};
  const valid = typeof value === 'object' && value !== null && !Array.isArray(value) && Object.values(value).every((v) => typeof v === 'string');
  if (!valid) throw new UserError(`${path}: __metadata__ must map names to texts. The file is damaged; use another copy.`);
  return value as Record<string, string>;
};

/**
 * Checks the header; the tensors are read when asked.
 *
 * @throws UserError naming source and tensor when something is cut off, inconsistent or of an unknown dtype
 */
export const parseSafetensors = (file: ByteRanges): TensorFile => {
  const { path } = file;
  const { header: { __metadata__: metadata, ...rest }, start } = parseHeader(file);
  const available = file.size - start;
  const entries = Object.entries(rest).map(([name, value]): [string, HeaderEntry] => [name, checkEntry(path, name, value, available)]);
  checkCoverage(path, entries, available);
  const tensors = new Map(entries.map(([name, { dtype, shape, data_offsets: [begin, end] }]): [string, TensorEntry] =>
    [name, { dtype, shape, read: () => numbersOf(file.read(start + begin, end - begin), dtype) }]));
  return { path, format: 'safetensors', tensors, facts: new Map(Object.entries(readMetadata(path, metadata))) };
};
