import { readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { UserError } from '../errors.js';
import { explain } from './atomic.js';
import { beginOf, hasEnded, hasEndedAt, type Place, thisPlace } from './has-ended.js';

/** A process, as its lock describes it. */
interface Holder {
  readonly pid: number;
  /** null: an earlier version wrote it, which told the number alone. */
  readonly place: Place | null;
  readonly begin: string;
}

const ownText = (): string => `${process.pid}\n${JSON.stringify({ ...thisPlace(), begin: beginOf(process.pid) })}\n`;

/** @returns whether the file was made; false where one is there already */
const create = (path: string): boolean => {
  try {
    writeFileSync(path, ownText(), { flag: 'wx' });
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EEXIST' ? false : explain('written', path, error);
  }
};

/** @returns null where the process ended while it wrote, or has taken the file away since */
const holderOf = (path: string): Holder | null => {
  try {
    const [pid, more] = readFileSync(path, 'utf8').split('\n') as [string, string?];
    if (!(Number.parseInt(pid, 10) > 0)) return null;
    const place = more ? JSON.parse(more) as Place & { begin: string } : null;
    return { pid: Number.parseInt(pid, 10), place, begin: place?.begin ?? '' };
  } catch {
    return null;
  }
};

/** Refuses what another process holds, or may hold. */
const checkFree = (path: string, what: string): void => {
  const holder = holderOf(path);
  if (!holder) return;
  const { pid, place, begin } = holder;
  const ended = place ? hasEndedAt(pid, place, begin) : hasEnded(pid);
  if (ended === null) {
    throw new UserError(`${what} is in use by process ${pid} of another machine or container (${place!.host}), whose end cannot be seen from here. Wait until it has ended; if it surely has, delete ${path}.`);
  }
  if (!ended) throw new UserError(`${what} is in use by process ${pid}. Wait until it has ended; if that process is another program, delete ${path}.`);
};

/**
 * Makes a file that keeps other processes out; what a process that has ended left is taken over.
 *
 * @param what is in use, to be named in the refusal
 * @returns a function that takes the file away
 * @throws UserError when another process holds it
 */
export const lock = (path: string, what: string): (() => void) => {
  if (!create(path)) {
    if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) throw new UserError(`${path} is a folder, where a file shall tell which process uses ${what}. Remove it, or choose another folder.`);
    checkFree(path, what);
    rmSync(path, { force: true });
    if (!create(path)) throw new UserError(`${what} was taken by another process at this moment. Wait until it has ended.`);
  }
  return () => rmSync(path, { force: true });
};
