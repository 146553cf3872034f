/** JSON Lines: one object a line, appended so that a power cut costs at most the line being written. */
import { closeSync, existsSync, fstatSync, fsyncSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs';
import { explain } from './atomic.js';

const NEWLINE = 10;
const TAIL_CHUNK = 65536;

/** Length of the file up to and including its last line end; a torn line behind it does not count. */
const completeLength = (file: number): number => {
  const chunk = Buffer.alloc(TAIL_CHUNK);
  for (let end = fstatSync(file).size; end > 0;) {
    const start = Math.max(0, end - TAIL_CHUNK);
    const count = readSync(file, chunk, 0, end - start, start);
    const place = chunk.subarray(0, count).lastIndexOf(NEWLINE);
    if (place >= 0) return start + place + 1;
    end = start;
  }
  return 0;
};

const appendLine = (path: string, line: Uint8Array): void => {
  const file = openSync(path, existsSync(path) ? 'r+' : 'w+');
  try {
    const length = completeLength(file);
    if (length < fstatSync(file).size) ftruncateSync(file, length);
    for (let done = 0; done < line.length;) done += writeSync(file, line, done, line.length - done, length + done);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
};

/**
 * Appends one object as a line and forces it to disk. A torn last line of an earlier crash is cut off first.
 *
 * @throws UserError naming the file when the folder is missing, full or not writable
 */
export const appendJsonLine = (path: string, value: object): void => {
  try {
    appendLine(path, Buffer.from(`${JSON.stringify(value)}\n`));
  } catch (error) {
    explain('written', path, error);
  }
};
