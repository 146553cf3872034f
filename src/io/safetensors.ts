/**
 * Reading and writing safetensors files: 8 bytes of header length (little-endian), a JSON header, then the bytes of
 * the tensors. The header names dtype, shape and byte range of each tensor and may hold a map of strings.
 * Source: the format description of the safetensors project.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { UserError } from '../errors.js';
import { writeFileAtomic } from './atomic.js';

const ARRAYS = {
  F64: Float64Array,
  F32: Float32Array,
  I64: BigInt64Array,
  I32: Int32Array,
  U32: Uint32Array,
  U8: Uint8Array,
} as const;

export type SafetensorsDtype = keyof typeof ARRAYS;
export type SafetensorsData = Float64Array | Float32Array | BigInt64Array | Int32Array | Uint32Array | Uint8Array;

/** A tensor as it stands in a file: row-major, without padding. */
export interface StoredTensor {
  dtype: SafetensorsDtype;
  shape: readonly number[];
  data: SafetensorsData;
}

export interface SafetensorsFile {
  tensors: Map<string, StoredTensor>;
  metadata: Record<string, string>;
}

interface HeaderEntry {
  dtype: SafetensorsDtype;
  shape: number[];
  data_offsets: [number, number];
}

const LENGTH_BYTES = 8;
/** The format's own bound; a larger length means that the file is something else. */
const LONGEST_HEADER = 100_000_000;
/** Node reads and writes single buffers below 2 GiB. */
const LARGEST_FILE = 2 ** 31 - 1;
const HEADER_ALIGNMENT = 8;

const elementCount = (shape: readonly number[]): number => shape.reduce((product, size) => product * size, 1);

const checkTensor = (path: string, name: string, { dtype, shape, data }: StoredTensor): void => {
  if (name === '__metadata__') throw new UserError(`${path}: a tensor cannot be called "__metadata__"; the format keeps that name for itself.`);
  if (!(data instanceof ARRAYS[dtype])) {
    throw new UserError(`${path}: tensor "${name}" says dtype ${dtype} but holds a ${data.constructor.name}; give it a ${ARRAYS[dtype].name}.`);
  }
  if (elementCount(shape) !== data.length) {
    throw new UserError(`${path}: tensor "${name}" has shape [${shape.join(', ')}] = ${elementCount(shape)} elements but ${data.length} values.`);
  }
};

/** Larger elements first, so that every tensor starts at a multiple of its element size; then by name, for equal bytes. */
const fileOrder = (tensors: ReadonlyMap<string, StoredTensor>): [string, StoredTensor][] =>
  [...tensors].sort(([nameA, a], [nameB, b]) => b.data.BYTES_PER_ELEMENT - a.data.BYTES_PER_ELEMENT || (nameA < nameB ? -1 : 1));

const encodeHeader = (ordered: readonly [string, StoredTensor][], metadata: Readonly<Record<string, string>>): Buffer => {
  // Without a prototype even a tensor called "__proto__" is an ordinary entry.
  const header = Object.create(null) as Record<string, unknown>;
  const names = Object.keys(metadata).sort();
  if (names.length > 0) header.__metadata__ = Object.fromEntries(names.map((name) => [name, metadata[name]]));
  let offset = 0;
  for (const [name, { dtype, shape, data }] of ordered) {
    header[name] = { dtype, shape, data_offsets: [offset, offset + data.byteLength] };
    offset += data.byteLength;
  }
  const json = Buffer.from(JSON.stringify(header));
  const padded = Buffer.alloc(Math.ceil(json.length / HEADER_ALIGNMENT) * HEADER_ALIGNMENT, ' ');
  json.copy(padded);
  return padded;
};

/**
 * Writes tensors atomically. Equal content gives equal bytes, whatever the order of the map.
 *
 * @throws UserError when a tensor's shape, dtype and data disagree, or the file would pass 2 GiB
 */
export const writeSafetensors = (path: string, tensors: ReadonlyMap<string, StoredTensor>, metadata: Readonly<Record<string, string>> = {}): void => {
  for (const [name, tensor] of tensors) checkTensor(path, name, tensor);
  const ordered = fileOrder(tensors);
  const header = encodeHeader(ordered, metadata);
  const total = LENGTH_BYTES + header.length + ordered.reduce((sum, [, { data }]) => sum + data.byteLength, 0);
  if (total > LARGEST_FILE) throw new UserError(`${path}: ${total} bytes are more than one file can hold here (2 GiB). Save the tensors in several files.`);
  const length = Buffer.alloc(LENGTH_BYTES);
  length.writeBigUInt64LE(BigInt(header.length));
  const pieces = ordered.map(([, { data }]) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  writeFileAtomic(path, [length, header, ...pieces]);
};

const readWhole = (path: string): Buffer => {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch (error) {
    throw new UserError(`${path} cannot be read: ${(error as NodeJS.ErrnoException).code === 'ENOENT' ? 'there is no such file' : (error as Error).message}.`);
  }
  try {
    const info = fstatSync(file);
    if (!info.isFile()) throw new UserError(`${path} is not a file.`);
    if (info.size > LARGEST_FILE) throw new UserError(`${path} has ${info.size} bytes; files over 2 GiB are not read. Split it into several files.`);
    const bytes = Buffer.alloc(info.size);
    for (let done = 0; done < info.size;) {
      const count = readSync(file, bytes, done, info.size - done, done);
      if (count === 0) throw new UserError(`${path} became shorter while it was read.`);
      done += count;
    }
    return bytes;
  } finally {
    closeSync(file);
  }
};

const parseHeader = (path: string, bytes: Buffer): { header: Record<string, unknown>; start: number } => {
  const damaged = (why: string) => new UserError(`${path} is not a safetensors file or is damaged: ${why}. Use another copy of the file.`);
  if (bytes.length < LENGTH_BYTES) throw damaged(`it has only ${bytes.length} bytes`);
  const length = Number(bytes.readBigUInt64LE(0));
  if (length > LONGEST_HEADER) throw damaged(`it announces a header of ${length} bytes`);
  const start = LENGTH_BYTES + length;
  if (start > bytes.length) throw damaged(`the header of ${length} bytes goes beyond the end (${bytes.length} bytes)`);
  let header: unknown;
  try {
    header = JSON.parse(bytes.toString('utf8', LENGTH_BYTES, start));
  } catch (error) {
    throw damaged(`its header is not JSON (${(error as Error).message})`);
  }
  if (typeof header !== 'object' || header === null || Array.isArray(header)) throw damaged('its header is not an object');
  return { header: header as Record<string, unknown>, start };
};

const isWhole = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

/** Checks one entry alone: form, dtype, and that shape and byte range agree. */
const checkEntry = (path: string, name: string, value: unknown, available: number): HeaderEntry => {
  const bad = (why: string) => new UserError(`${path}: tensor "${name}" ${why}. The file is damaged; use another copy.`);
  const { dtype, shape, data_offsets: range } = (value ?? {}) as Partial<Record<keyof HeaderEntry, unknown>>;
  if (typeof dtype !== 'string') throw bad('has no dtype');
  if (!Object.hasOwn(ARRAYS, dtype)) {
    throw new UserError(`${path}: tensor "${name}" has dtype ${dtype}; only ${Object.keys(ARRAYS).join(', ')} are read. Convert the file first.`);
  }
  if (!Array.isArray(shape) || !shape.every(isWhole)) throw bad('has no valid shape');
  if (!Array.isArray(range) || range.length !== 2 || !range.every(isWhole) || range[0] > range[1]) throw bad('has no valid byte range');
  const [begin, end] = range as [number, number];
  const needed = elementCount(shape) * ARRAYS[dtype as SafetensorsDtype].BYTES_PER_ELEMENT;
  if (end - begin !== needed) throw bad(`needs ${needed} bytes for ${dtype} [${shape.join(', ')}] but its byte range has ${end - begin}`);
  if (end > available) throw bad(`ends at byte ${end} of the data but only ${available} bytes are there: the file is cut off`);
  return { dtype: dtype as SafetensorsDtype, shape, data_offsets: [begin, end] };
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

/** Copies the bytes out: typed arrays need an aligned start, and the file's buffer must not stay alive for one tensor. */
const toArray = (bytes: Buffer, dtype: SafetensorsDtype, begin: number, end: number): SafetensorsData => {
  const copy = new Uint8Array(bytes.subarray(begin, end)).buffer;
  return new ARRAYS[dtype](copy);
};

/**
 * Reads a whole safetensors file.
 *
 * @throws UserError naming file and tensor when the file is missing, cut off, inconsistent or of an unknown dtype
 */
export const readSafetensors = (path: string): SafetensorsFile => {
  const bytes = readWhole(path);
  const { header: { __metadata__: metadata, ...rest }, start } = parseHeader(path, bytes);
  const available = bytes.length - start;
  const entries = Object.entries(rest).map(([name, value]): [string, HeaderEntry] => [name, checkEntry(path, name, value, available)]);
  checkCoverage(path, entries, available);
  const tensors = new Map(entries.map(([name, { dtype, shape, data_offsets: [begin, end] }]): [string, StoredTensor] =>
    [name, { dtype, shape, data: toArray(bytes, dtype, start + begin, start + end) }]));
  return { tensors, metadata: readMetadata(path, metadata) };
};
