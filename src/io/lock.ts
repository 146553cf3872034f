import { spawnSync } from 'node:child_process';
import { closeSync, constants, copyFileSync, fstatSync, linkSync, openSync, readFileSync, rmSync, statSync, writeSync } from 'node:fs';
import { UserError } from '../errors.js';
import { explain, temporaryFor } from './atomic.js';
import { beginOf, hasEnded, hasEndedAt, type Place, thisPlace } from './has-ended.js';

/** A process, as its lock describes it. */
interface Holder {
  readonly pid: number;
  /** null: an earlier version wrote it, which told the number alone. */
  readonly place: Place | null;
  readonly begin: string;
  /** Whether the system keeps the file for it. */
  readonly kept: boolean;
}

const ownText = (): string => `${process.pid}\n${JSON.stringify({ ...thisPlace(), begin: beginOf(process.pid) })}\n`;

/**
 * Asks the system to keep an open file for this process until it ends, however it does; other containers see that, too.
 *
 * @returns false where another process has it, null where nothing can be asked
 */
const keep = (file: number): boolean | null => {
  const { status } = spawnSync('flock', ['-n', '3'], { stdio: ['ignore', 'ignore', 'ignore', file] });
  return status === 0 || (status === 1 ? false : null);
};

/**
 * Gives a file a second name; where the file system knows none, a copy. Fails where there is a file of that name.
 *
 * @returns the file at the path, open
 */
const putAt = (path: string, own: string, file: number): number => {
  try {
    linkSync(own, path);
    return file;
  } catch {
    copyFileSync(own, path, constants.COPYFILE_EXCL);
    const copy = openSync(path, 'r+');
    closeSync(file);
    keep(copy);
    return copy;
  }
};

/**
 * It appears with all its text: an empty one is what a process left that ended, and not one that begins.
 *
 * @returns the file, open; null where there is one already
 */
const create = (path: string): number | null => {
  const own = temporaryFor(path);
  let file: number | null = null;
  try {
    file = openSync(own, 'wx');
    writeSync(file, ownText());
    if (keep(file)) writeSync(file, 'kept by flock\n');
    return putAt(path, own, file);
  } catch (error) {
    if (file !== null) closeSync(file);
    return (error as NodeJS.ErrnoException).code === 'EEXIST' ? null : explain('written', path, error);
  } finally {
    rmSync(own, { force: true });
  }
};

/** @returns null where the process ended while it wrote, or has taken the file away since */
const holderOf = (path: string): Holder | null => {
  try {
    const [pid, more, kept] = readFileSync(path, 'utf8').split('\n') as [string, string?, string?];
    if (!(Number.parseInt(pid, 10) > 0)) return null;
    const place = more ? JSON.parse(more) as Place & { begin: string } : null;
    return { pid: Number.parseInt(pid, 10), place, begin: place?.begin ?? '', kept: Boolean(kept) };
  } catch {
    return null;
  }
};

/**
 * Refuses what another process holds, or may hold.
 *
 * @param free whether the system would keep the file for us
 */
const checkFree = (path: string, what: string, free: boolean): void => {
  const holder = holderOf(path);
  if (!holder) return;
  const { pid, place, begin, kept } = holder;
  const ended = place ? hasEndedAt(pid, place, begin) : hasEnded(pid);
  if (ended === null) {
    // One start of a machine: its system knows of all containers.
    const known = kept && place!.boot !== '' && place!.boot === thisPlace().boot;
    if (known && free) return;
    throw new UserError(`${what} is in use by process ${pid} of another machine or container (${place!.host})${known ? '. Wait until it has ended.' : `, whose end cannot be seen from here. Wait until it has ended; if it surely has, delete ${path}.`}`);
  }
  if (!ended) throw new UserError(`${what} is in use by process ${pid}. Wait until it has ended; if that process is another program, delete ${path}.`);
};

/** @returns null where it has been taken away since */
const openLeft = (path: string): number | null => {
  try {
    return openSync(path, 'r+');
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT' ? null : explain('taken over', path, error);
  }
};

/** Removes what an ended process left; of several that would, one does. */
const removeLeft = (path: string, what: string): void => {
  const left = openLeft(path);
  if (left === null) return;
  try {
    const free = keep(left);
    // Another may have put its own in place since.
    if (statSync(path, { throwIfNoEntry: false })?.ino !== fstatSync(left).ino) return;
    checkFree(path, what, free === true);
    if (free !== false) rmSync(path);
  } finally {
    closeSync(left);
  }
};

/**
 * Makes a file that keeps other processes out; what a process that has ended left is taken over.
 *
 * @param what is in use, to be named in the refusal
 * @returns a function that takes the file away
 * @throws UserError when another process holds it
 */
export const lock = (path: string, what: string): (() => void) => {
  let file = create(path);
  if (file === null) {
    if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) throw new UserError(`${path} is a folder, where a file shall tell which process uses ${what}. Remove it, or choose another folder.`);
    removeLeft(path, what);
    file = create(path);
    if (file === null) throw new UserError(`${what} was taken by another process at this moment. Wait until it has ended.`);
  }
  const own = file;
  return () => {
    rmSync(path, { force: true });
    closeSync(own);
  };
};
