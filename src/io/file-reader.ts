/** Reading parts of a file, with messages a person understands. */
import { closeSync, fstatSync, openSync, readSync, type Stats, statSync } from 'node:fs';
import { fail, UserError } from '../errors.js';

/** One read call takes at most this much: longer ones fail on some systems. */
const LONGEST_READ = 1 << 30;

const reasons: Record<string, string> = {
  ENOENT: 'there is no such file',
  EACCES: 'no permission to read it',
  EPERM: 'no permission to read it',
  ENOTDIR: 'a part of its path is a file and not a folder',
};

const openForReading = (path: string): number => {
  try {
    // Opening a pipe would wait for somebody who writes to it.
    if (!statSync(path).isFile()) fail(`${path} is not a file.`);
    return openSync(path, 'r');
  } catch (error) {
    if (error instanceof UserError) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    throw new UserError(`${path} cannot be read: ${reasons[code ?? ''] ?? message}.`);
  }
};

/**
 * Random access to a file. Each read opens and closes it, so that nobody has to; a file that changed in between is
 * refused, since its parts would not belong together.
 */
export class FileReader {
  readonly size: number;
  private readonly changed: number;

  /** @throws UserError when the file is missing, not readable or not a file */
  constructor(readonly path: string) {
    const { size, mtimeMs } = this.withFile((_, info) => info);
    [this.size, this.changed] = [size, mtimeMs];
  }

  /** Bytes from `offset` on. */
  read(offset: number, length: number): Uint8Array {
    if (!(offset >= 0 && length >= 0 && offset + length <= this.size)) throw new UserError(`${this.path} has ${this.size} bytes, but something is said to lie at ${offset} to ${offset + length}. The file is half-written or damaged; use another copy.`);
    return this.withFile((file, info) => {
      if (info.size !== this.size || info.mtimeMs !== this.changed) throw new UserError(`${this.path} was changed while it was read. Try again when nothing writes to it.`);
      const bytes = new Uint8Array(length);
      for (let done = 0; done < length;) {
        const count = readSync(file, bytes, done, Math.min(length - done, LONGEST_READ), offset + done);
        if (count === 0) throw new UserError(`${this.path} became shorter while it was read.`);
        done += count;
      }
      return bytes;
    });
  }

  private withFile<T>(use: (file: number, info: Stats) => T): T {
    const file = openForReading(this.path);
    try {
      return use(file, fstatSync(file));
    } finally {
      closeSync(file);
    }
  }
}
