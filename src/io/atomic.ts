/** Files that are either complete or absent, whatever moment the process ends. */
import { closeSync, constants, copyFileSync, existsSync, fsyncSync, linkSync, openSync, readdirSync, renameSync, rmSync, writeSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { UserError } from '../errors.js';
import { hasEnded } from './has-ended.js';

/** One write call takes at most this much: longer ones fail on some systems. */
const LONGEST_WRITE = 1 << 30;

let serial = 0;

const writeAll = (file: number, bytes: Uint8Array): void => {
  let done = 0;
  while (done < bytes.length) done += writeSync(file, bytes, done, Math.min(bytes.length - done, LONGEST_WRITE));
};

/** Makes the new name itself durable. Windows cannot open folders; there the rename must do. */
const syncFolder = (folder: string): void => {
  if (process.platform === 'win32') return;
  const handle = openSync(folder, 'r');
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
};

const writeSynced = (path: string, parts: Iterable<Uint8Array>, flags: 'w' | 'r+' = 'w'): void => {
  const file = openSync(path, flags);
  try {
    for (const part of parts) writeAll(file, part);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
};

export const temporaryFor = (path: string): string => join(dirname(path), `.${basename(path)}.${process.pid}-${serial++}.tmp`);

const TEMPORARY = /^\..+\.(\d+)-\d+\.tmp$/;

/** Removes the temporary files of processes that were killed while they wrote into this folder. */
export const removeAbandoned = (folder: string): void => {
  for (const name of readdirSync(folder)) {
    const pid = TEMPORARY.exec(name)?.[1];
    if (pid && hasEnded(Number(pid))) rmSync(join(folder, name), { force: true });
  }
};

/** The temporary file takes the place of the old one. */
const putInPlace = (temporary: string, path: string): void => {
  renameSync(temporary, path);
  syncFolder(dirname(path));
};

/** A readable reason for what the system refused; anything else is a fault of ours and is passed on. */
export const explain = (what: string, path: string, error: unknown): never => {
  const { code, errno } = error as NodeJS.ErrnoException;
  const reasons: Record<string, string> = {
    ENOENT: `the folder ${dirname(path)} does not exist; create it first`,
    EACCES: 'no permission to write there; choose another folder',
    EPERM: 'no permission to write there; choose another folder',
    EROFS: 'the file system is read-only; choose another folder',
    ENOSPC: 'the disk is full; free some space or choose another folder',
    EDQUOT: 'your quota is used up; free some space or choose another folder',
    EISDIR: 'a folder of that name exists',
    ENOTDIR: 'a part of its path is a file, not a folder',
    ELOOP: 'a symbolic link in its path leads back to itself',
    ENAMETOOLONG: 'the name is too long; choose a shorter one',
    EFBIG: 'the file would be larger than this system allows; choose another folder',
    EIO: 'the device failed; check the disk or choose another folder',
  };
  if (errno === undefined || code === undefined) throw error;
  throw new UserError(`${path} cannot be ${what}: ${reasons[code] ?? `the system answers ${code}; choose another folder`}.`);
};

const giveUp = (temporary: string, path: string, error: unknown): never => {
  if (existsSync(temporary)) rmSync(temporary);
  return explain('written', path, error);
};

/** Replaces a file by one that is made, and forced to disk, under a temporary name. */
const replaceBy = (path: string, make: (temporary: string) => void): void => {
  const temporary = temporaryFor(path);
  try {
    make(temporary);
    putInPlace(temporary, path);
  } catch (error) {
    giveUp(temporary, path, error);
  }
};

/**
 * Replaces a file in one step: writes a temporary file beside it, forces it to disk, renames it, forces the rename.
 * A reader sees the old content or the new one, never a part.
 *
 * @param content text (UTF-8), bytes, or pieces of bytes to be joined; each piece is asked for when the one before is written
 * @throws UserError naming the file when the folder is missing, full or not writable
 */
export const writeFileAtomic = (path: string, content: string | Uint8Array | Iterable<Uint8Array>): void => {
  const parts = typeof content === 'string' ? [Buffer.from(content)] : content instanceof Uint8Array ? [content] : content;
  replaceBy(path, (temporary) => { writeSynced(temporary, parts); });
};

/** As {@link writeFileAtomic}, for pieces that come one by one. */
export const writeStreamAtomic = async (path: string, pieces: AsyncIterable<Uint8Array>): Promise<void> => {
  const temporary = temporaryFor(path);
  try {
    const file = openSync(temporary, 'w');
    try {
      for await (const piece of pieces) writeAll(file, piece);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    putInPlace(temporary, path);
  } catch (error) {
    giveUp(temporary, path, error);
  }
};

/**
 * Copies a file in one step, as {@link writeFileAtomic} writes one; a file system that can lets both share what they hold until one is changed.
 *
 * @throws UserError naming the copy when it cannot be made
 */
export const copyFileAtomic = (path: string, copy: string): void => replaceBy(copy, (temporary) => {
  copyFileSync(path, temporary, constants.COPYFILE_FICLONE);
  writeSynced(temporary, [], 'r+');
});

/**
 * Gives a file a second name, by which it stays when the first is written anew; a copy, where the file system knows no links.
 *
 * @throws UserError naming the second when it cannot be made
 */
export const keepUnder = (path: string, second: string): void => {
  try {
    linkSync(path, second);
  } catch {
    copyFileAtomic(path, second);
  }
};
