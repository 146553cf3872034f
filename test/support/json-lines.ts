import { readFileSync } from 'node:fs';

/** The objects of a file's complete lines. */
export const readJsonLines = <T = Record<string, unknown>>(path: string): T[] =>
  readFileSync(path, 'utf8').split('\n').slice(0, -1).map((line) => JSON.parse(line) as T);
