import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { UserError } from '../errors.js';
import { explain } from './atomic.js';
import { hasEnded } from './has-ended.js';

/** @returns whether the file was made; false where one is there already */
const create = (path: string): boolean => {
  try {
    writeFileSync(path, `${process.pid}\n`, { flag: 'wx' });
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EEXIST' ? false : explain('written', path, error);
  }
};

/** @returns not a number where the process ended while it wrote its own, or has taken the file away since */
const holderOf = (path: string): number => {
  try {
    return Number.parseInt(readFileSync(path, 'utf8'), 10);
  } catch {
    return NaN;
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
  if (!create(path)) {
    const pid = holderOf(path);
    if (pid > 0 && !hasEnded(pid)) {
      throw new UserError(`${what} is in use by process ${pid}. Wait until it has ended; if that process is another program, delete ${path}.`);
    }
    rmSync(path, { force: true });
    if (!create(path)) throw new UserError(`${what} was taken by another process at this moment. Wait until it has ended.`);
  }
  return () => rmSync(path, { force: true });
};
