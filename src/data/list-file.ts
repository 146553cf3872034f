import { isUtf8 } from 'node:buffer';
import { existsSync, readFileSync, readdirSync, realpathSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { UserError, fail } from '../errors.js';

/** A non-empty line of a list file with its 1-based number. */
interface ListLine {
  text: string;
  number: number;
}

/** Non-empty lines of a text file. `remedy` ends the message when the file is missing or unreadable. */
export function readLines(path: string, remedy: string): ListLine[] {
  const text = readBytes(path, remedy).toString('utf8').replace(/^\uFEFF/, '');
  const lines = text.split(/\r?\n/).map((line, i) => ({ text: line.trimEnd(), number: i + 1 }));
  const kept = lines.filter((line) => line.text !== '');
  if (kept.length === 0) fail(`${path} is empty; ${remedy}`);
  return kept;
}

/** Bytes of a file, with a readable error when it is not there. */
export function readBytes(path: string, remedy: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new UserError(`${path} ${reasonOf(error)}; ${remedy}`);
  }
}

/** The dataset's root: the first of `dir` and `dir/<nested>` that holds one of `markers`. */
export function findRoot(dir: string | undefined, nested: string[], markers: string[], what: string): string {
  if (!dir) fail(`${what} needs a folder: pass --data DIR`);
  if (!existsSync(dir)) fail(`data folder ${dir} does not exist; pass the folder of ${what} with --data DIR`);
  if (!statSync(dir).isDirectory()) fail(`${dir} is not a folder; pass the folder of ${what} with --data DIR`);
  const roots = [dir, ...nested.map((name) => join(dir, name))];
  const root = roots.find((candidate) => markers.some((marker) => existsSync(join(candidate, marker))));
  if (root) return root;
  return fail(`${dir} does not look like ${what}: it has no ${markers.join(' or ')} (looked in ${roots.join(', ')}); check --data and --dataset`);
}

/** Names in a folder, in code-unit order (the same on every machine). */
export function listFolder(dir: string, remedy: string): string[] {
  try {
    return readdirSync(dir).sort(byCodeUnit);
  } catch (error) {
    throw new UserError(`${dir} ${reasonOf(error)}; ${remedy}`);
  }
}

/** Names of the folders in a folder, as {@link listFolder}; without hidden ones (.name). */
export function foldersIn(dir: string): string[] {
  const names = listFolder(dir, 'give access to it or remove it');
  checkNames(dir, names);
  return names.filter((name) => !name.startsWith('.') && isFolder(join(dir, name)));
}

/** Paths of the files in a folder and in all below it, in code-unit order; without what is hidden. Links to folders are followed, each folder once. */
export function listFilesBelow(dir: string, remedy: string): string[] {
  const seen = new Set<string>();
  const walk = (folder: string): string[] => {
    const real = realpathSync(folder);
    if (seen.has(real)) return [];
    seen.add(real);
    const all = readdirSync(folder, { withFileTypes: true });
    checkNames(folder, all.map(({ name }) => name));
    const entries = all.filter((entry) => !entry.name.startsWith('.'));
    // Links last, so that what can be found without them is.
    entries.sort((a, b) => Number(a.isSymbolicLink()) - Number(b.isSymbolicLink()) || byCodeUnit(a.name, b.name));
    return entries.flatMap((entry) => {
      const path = join(folder, entry.name);
      return entry.isDirectory() || (entry.isSymbolicLink() && leadsToFolder(path)) ? walk(path) : [path];
    });
  };
  try {
    return walk(dir).sort(byCodeUnit);
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(`${(error as NodeJS.ErrnoException).path ?? dir} ${reasonOf(error)}; ${remedy}`);
  }
}

/** Whether there is a folder at a path. A link that leads nowhere is told of where it is read. */
export function leadsToFolder(link: string): boolean {
  try {
    return statSync(link).isDirectory();
  } catch {
    return false;
  }
}

/** Refuses names that are no UTF-8: read as text they are other names, of files that do not exist. */
function checkNames(dir: string, names: string[]): void {
  if (!names.some((name) => name.includes('\ufffd'))) return;
  const name = readdirSync(dir, { encoding: 'buffer' }).find((bytes) => !isUtf8(bytes));
  if (!name) return;
  const shown = Array.from(name, (byte) => (byte < 0x20 || byte > 0x7e ? `\\x${byte.toString(16).padStart(2, '0')}` : String.fromCharCode(byte))).join('');
  fail(`${dir} holds "${shown}", whose name is not UTF-8; rename it`);
}

export function isFolder(path: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
  } catch (error) {
    throw new UserError(`${path} ${reasonOf(error)}; remove it or give access to it`);
  }
}

export function byCodeUnit(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** A whole number, or an error naming file and line. */
export function parseInteger(text: string | undefined, where: string): number {
  if (text === undefined || !/^-?\d+$/.test(text)) fail(`${where}: expected a whole number, got "${text ?? ''}"; the file looks damaged, unpack the dataset again`);
  return Number(text);
}

/** What went wrong with a path, as a clause. */
export function reasonOf(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === 'ENOENT') return 'is missing';
  if (code === 'EACCES' || code === 'EPERM') return 'may not be read (permission denied)';
  if (code === 'EISDIR') return 'is a folder, not a file';
  if (code === 'ERR_FS_FILE_TOO_LARGE') return 'is too large to be read at once (2 GiB or more)';
  if (code === 'ENOTDIR') return 'is no folder, or lies below a file';
  if (code === 'ELOOP') return 'is a symbolic link that leads back to itself';
  return `could not be read (${code ?? String(error)})`;
}
