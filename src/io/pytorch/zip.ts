import { crc32 } from 'node:zlib';
import * as yauzl from 'yauzl';
import { UserError } from '../../errors.js';
import type { FileReader } from '../file-reader.js';

/** A member of an archive: bytes as they lie in the file. */
export interface Member {
  readonly name: string;
  readonly offset: number;
  readonly size: number;
  readonly checksum: number;
}

/** Larger networks have some thousand tensors. */
const MOST_MEMBERS = 1 << 16;
const STORED = 0;
const CHUNK = 1 << 20;

const damaged = (path: string, why: string) => new UserError(`${path} cannot be read as PyTorch's archive: ${why.replace(/[.\s]+$/, '')}. It is half-written or damaged; use another copy.`);

/** yauzl reports damage with errors of its own; ours pass. */
const explained = (path: string, error: unknown): UserError => (error instanceof UserError ? error : damaged(path, (error as Error).message));

/** Lets yauzl read through ours, which refuses places outside the file; by itself yauzl would throw where nobody can catch it. */
class ArchiveReader extends yauzl.RandomAccessReader {
  constructor(private readonly file: FileReader) {
    super();
  }

  override read(buffer: Buffer, offset: number, length: number, position: number, callback: (error: Error | null) => void): void {
    let error: Error | null = null;
    try {
      buffer.set(this.file.read(position, length), offset);
    } catch (refusal) {
      error = refusal as Error;
    }
    setImmediate(callback, error);
  }
}

/**
 * Lists an archive. PyTorch stores its members as they are; a compressed one is refused, and with it every archive whose
 * content is much larger than itself.
 */
export const listZip = async (file: FileReader): Promise<Map<string, Member>> => {
  const { path } = file;
  const members = new Map<string, Member>();
  try {
    const archive = await yauzl.fromRandomAccessReaderPromise(new ArchiveReader(file), file.size, { autoClose: false });
    for await (const entry of archive.eachEntry()) {
      const { fileName: name, uncompressedSize: size, crc32: checksum } = entry;
      if (members.size >= MOST_MEMBERS) throw damaged(path, `it has more than ${MOST_MEMBERS} members`);
      if (members.has(name)) throw damaged(path, `two members are called "${name}"`);
      if (entry.compressionMethod !== STORED || entry.isEncrypted()) throw new UserError(`${path}: member "${name}" is compressed or encrypted, which PyTorch does not do. Load and save the file again with PyTorch.`);
      const { fileDataStart: offset } = await archive.readLocalFileHeaderPromise(entry, { minimal: true });
      members.set(name, { name, offset, size, checksum });
    }
    return members;
  } catch (error) {
    throw explained(path, error);
  }
};

/** Compares a member with its checksum; reads it piece by piece where its bytes are not at hand. */
export const verifyMember = (file: FileReader, { name, offset, size, checksum }: Member, bytes: Uint8Array | null): void => {
  let sum = bytes ? crc32(bytes) : 0;
  if (!bytes) for (let at = 0; at < size; at += CHUNK) sum = crc32(file.read(offset + at, Math.min(CHUNK, size - at)), sum);
  if (sum !== checksum) {
    throw new UserError(`${file.path}: the bytes of "${name}" do not have the checksum they were written with. The file is damaged (or was written with PyTorch's checksums turned off); use another copy.`);
  }
};
