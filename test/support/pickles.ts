/** Pickles put together opcode by opcode, and files around them, for tests of what a hostile file may contain. */
import { createWriteStream } from 'node:fs';
import { once } from 'node:events';
import { ZipFile } from 'yazl';

export const bytes = (...parts: readonly (string | number | Buffer | readonly number[])[]): Buffer =>
  Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part, 'latin1') : typeof part === 'number' ? Buffer.of(part) : Buffer.from(part))));

const uint32 = (value: number): Buffer => {
  const out = Buffer.alloc(4);
  out.writeUInt32LE(value);
  return out;
};

export const uint64 = (value: bigint): Buffer => {
  const out = Buffer.alloc(8);
  out.writeBigUInt64LE(value);
  return out;
};

export const text = (value: string): Buffer => bytes('X', uint32(Buffer.byteLength(value)), Buffer.from(value));
export const int = (value: number): Buffer => bytes('J', uint32(value >>> 0));
/** An integer of eight bytes. */
export const long = (value: bigint): Buffer => bytes(0x8a, 8, uint64(BigInt.asUintN(64, value)));
export const global = (module: string, name: string): Buffer => bytes('c', module, '\n', name, '\n');
export const tuple = (...items: readonly Buffer[]): Buffer => bytes('(', ...items, 't');
export const call = (module: string, name: string, ...args: readonly Buffer[]): Buffer => bytes(global(module, name), tuple(...args), 'R');
export const dict = (entries: Readonly<Record<string, Buffer>>): Buffer =>
  bytes('}(', ...Object.entries(entries).flatMap(([key, value]) => [text(key), value]), 'u');

/** A storage and a tensor that looks into it; sizes and strides are pickled as they are given. */
export const storage = (key: string, length: Buffer, type = 'FloatStorage'): Buffer =>
  bytes(tuple(text('storage'), global('torch', type), text(key), text('cpu'), length), 'Q');
export const tensor = (from: Buffer, offset: Buffer, shape: readonly Buffer[], strides: readonly Buffer[]): Buffer =>
  call('torch._utils', '_rebuild_tensor_v2', from, offset, tuple(...shape), tuple(...strides), Buffer.of(0x89), call('collections', 'OrderedDict'));

export const pickle = (body: Buffer): Buffer => bytes(0x80, 2, body, '.');

/** A file in the format before PyTorch 1.6: storages by key with their bytes. */
export const legacyFile = (body: Buffer, storages: Readonly<Record<string, Float32Array>> = {}): Buffer => bytes(
  pickle(bytes(0x8a, 10, Buffer.from('6cfc9c46f9206aa85019', 'hex'))), pickle(int(1001)), pickle(dict({})), pickle(body),
  pickle(bytes('](', ...Object.keys(storages).map(text), 'e')),
  ...Object.values(storages).flatMap((data) => [uint64(BigInt(data.length)), Buffer.from(data.buffer, data.byteOffset, data.byteLength)]),
);

/** Writes a zip archive of these members. */
export const writeZip = async (path: string, members: readonly (readonly [name: string, content: Buffer])[], compress = false): Promise<void> => {
  const zip = new ZipFile();
  for (const [name, content] of members) zip.addBuffer(content, name, { compress });
  zip.end();
  const out = createWriteStream(path);
  zip.outputStream.pipe(out);
  await once(out, 'close');
};
