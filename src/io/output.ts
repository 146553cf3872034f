/** Places for results, made or looked at before the work that fills them. */
import { existsSync, mkdirSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { fail } from '../errors.js';
import { explain } from './atomic.js';
import { outputComplaint } from './outputs.mjs';

/** @returns false where the folder is there already: someone else may make it at the same moment */
const makeOne = (folder: string): boolean => {
  try {
    mkdirSync(folder);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    return false;
  }
};

/**
 * Makes a folder of its own for the caller, in one that is there.
 *
 * @returns false where there is one of that name
 * @throws UserError naming the folder
 */
export const makeNewFolder = (folder: string): boolean => {
  try {
    return makeOne(folder);
  } catch (error) {
    return explain('made', folder, error);
  }
};

/**
 * Makes a folder and those above it, as far as they are missing. Node's own recursive way never returns where nothing can be
 * made, such as in /proc.
 *
 * @returns the folders that were missing, the outermost first
 * @throws UserError naming the folder
 */
export const makeFolder = (folder: string): string[] => {
  const missing: string[] = [];
  for (let at = resolve(folder); !existsSync(at) && dirname(at) !== at; at = dirname(at)) missing.unshift(at);
  try {
    missing.forEach(makeOne);
    if (!statSync(folder).isDirectory()) fail(`${folder} cannot be made: a file of that name exists.`);
    return missing;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') fail(`${folder} cannot be made: there is no place for it; choose another folder.`);
    return explain('made', folder, error);
  }
};

/**
 * Refuses files that could not be written, before the work that fills them: a missing folder is not made, since it may be a slip.
 *
 * @param outputs files by what names them, an option for example
 * @throws UserError naming the option, the file and the reason
 */
export const checkOutputs = (outputs: Readonly<Record<string, string | undefined>>): void => {
  const complaint = outputComplaint(outputs);
  if (complaint) fail(complaint);
};
