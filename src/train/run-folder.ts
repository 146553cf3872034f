import { existsSync, readdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { fail } from '../errors.js';
import { removeAbandoned } from '../io/atomic.js';
import { lock } from '../io/lock.js';
import { makeFolder, makeNewFolder } from '../io/output.js';

/** A folder that this process alone trains in. */
interface RunFolder {
  readonly path: string;
  /** Lets others in; a new folder in which nothing was written disappears, and those made above it. */
  release(): void;
}

/** Checkpoints in the folder of a run; `previous`, while an epoch is evaluated, and those that are kept, as {@link keptName} calls them. */
export type CheckpointName = 'last' | 'best' | 'previous' | `epoch-${string}`;

export const checkpointFile = (out: string, name: CheckpointName): string => join(out, `${name}.safetensors`);

/** The checkpoint that `--keep-every` keeps of an epoch; they sort by epoch up to the 999th. */
export const keptName = (epoch: number): `epoch-${string}` => `epoch-${String(epoch).padStart(3, '0')}`;

/** Checkpoints besides `last` that a new run would replace. */
const KEPT = /^(best|epoch-\d{3,})\.safetensors$/;

/** Makes the next unused `runs/NAME-N`; another start at the same moment gets the number after it. */
const newFolder = (name: string): string => {
  makeFolder('runs');
  for (let n = 1; ; n++) {
    const path = join('runs', `${name}-${n}`);
    if (makeNewFolder(path)) return path;
  }
};

/** @param made folders that were made for it, the outermost first */
const claim = (path: string, made: readonly string[]): RunFolder => {
  const unlock = lock(join(path, 'running.pid'), `the folder ${path}`);
  removeAbandoned(path);
  const release = (): void => {
    unlock();
    try {
      for (const folder of made.toReversed()) rmdirSync(folder);
    } catch {
      // It holds files, and stays.
    }
  };
  return { path, release };
};

/** The folder of `--out`, or a new one named after the data set. Refuses to overwrite a run, and to work where another process does. */
export const claimRunFolder = (out: string | undefined, name: string, resume: boolean): RunFolder => {
  if (out === undefined) {
    const path = newFolder(name);
    return claim(path, [path]);
  }
  if (!resume && existsSync(checkpointFile(out, 'last'))) {
    fail(`${out} already holds a run. Add --resume to go on with it, or choose another folder with --out.`);
  }
  const made = makeFolder(out);
  const kept = resume ? undefined : readdirSync(out).find((name) => KEPT.test(name));
  if (kept) fail(`${out} holds the ${kept} of a run, which would be replaced. Choose another folder with --out, or move the file.`);
  return claim(out, made);
};
