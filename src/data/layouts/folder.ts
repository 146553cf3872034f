import { extname, join, relative, sep } from 'node:path';
import { fail } from '../../errors.js';
import { findRoot, isFolder, listFilesBelow, listFolder, byCodeUnit } from '../list-file.js';
import { holdOut, type Entry, type Listing } from '../split.js';

const DECODABLE = new Set(['.jpg', '.jpeg', '.jpe', '.png', '.bmp', '.gif', '.tif', '.tiff']);
const OTHER_IMAGES = new Set(['.webp', '.avif', '.heic', '.heif', '.jp2', '.svg', '.jxl']);
/** Of each class, where the folder has no split of its own. */
const TEST_SHARE = 0.2;
const TRAIN_NAMES = ['train', 'training'];
const TEST_NAMES = ['test', 'testing'];
const VAL_NAMES = ['val', 'valid', 'validation'];

/**
 * Pictures sorted into one folder per class, ImageNet style: DIR/train/<class>/… with DIR/test/<class>/… and/or
 * DIR/val/<class>/…, or just DIR/<class>/…, of which a fifth of each class is then set aside for testing.
 * Classes are the folder names in code-unit order; pictures may lie in deeper folders.
 */
export function readFolder(dir: string | undefined, seed: number): Listing {
  const root = findRoot(dir, [], ['.'], 'a folder of images');
  const part = (names: string[]) => names.map((name) => join(root, name)).find(isFolder);
  const trainDir = part(TRAIN_NAMES);
  const notes: string[] = [];
  if (!trainDir) return splitByChance(root, seed, notes);
  const classes = classFolders(trainDir);
  const valDir = part(VAL_NAMES);
  const testDir = part(TEST_NAMES) ?? valDir;
  if (!testDir) fail(`${root} has a train folder but neither test nor val; add one, or put the class folders directly into ${root}`);
  const read = (folder: string) => readClasses(root, folder, classes, notes);
  const listing: Listing = { name: `folder ${root}`, classes, train: read(trainDir), test: read(testDir), notes };
  if (valDir && valDir !== testDir) listing.val = read(valDir);
  return listing;
}

function splitByChance(root: string, seed: number, notes: string[]): Listing {
  const classes = classFolders(root);
  const { kept, held } = holdOut(readClasses(root, root, classes, notes), TEST_SHARE, seed);
  notes.push(`${root} has no train folder: ${held.length} of ${held.length + kept.length} pictures were set aside for testing (seed ${seed})`);
  return { name: `folder ${root}`, classes, train: kept, test: held, notes };
}

function classFolders(dir: string): string[] {
  const names = listFolder(dir, 'check --data').filter((name) => !name.startsWith('.') && isFolder(join(dir, name)));
  if (names.length === 0) fail(`${dir} has no class folders; expected ${join(dir, '<class>', '<picture>.jpg')}`);
  return names;
}

function readClasses(root: string, dir: string, classes: string[], notes: string[]): Entry[] {
  const unknown = classFolders(dir).filter((name) => !classes.includes(name));
  if (unknown.length > 0) fail(`${dir} has class folder "${unknown[0]}", which the train folder lacks; rename it or add training pictures of it`);
  return classes.flatMap((name, label) => (isFolder(join(dir, name)) ? readClass(root, join(dir, name), label, notes) : []));
}

function readClass(root: string, dir: string, label: number, notes: string[]): Entry[] {
  const files = listFilesBelow(dir, 'give access to it or remove it')
    .filter((file) => !file.name.startsWith('.'))
    .map((file) => join(file.parentPath ?? file.path, file.name));
  const other = files.filter((file) => OTHER_IMAGES.has(extname(file).toLowerCase()));
  if (other.length > 0) {
    notes.push(`${other.length} pictures in ${dir} were left out, ${extname(other[0]!)} cannot be decoded; convert them to JPEG or PNG`);
  }
  return files
    .filter((file) => DECODABLE.has(extname(file).toLowerCase()))
    .sort(byCodeUnit)
    .map((path) => ({ id: relative(root, path).split(sep).join('/'), label, path, where: path }));
}
