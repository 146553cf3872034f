import { basename, extname, join, relative, sep } from 'node:path';
import { counted, fail } from '../../errors.js';
import { findRoot, foldersIn, isFolder, listFilesBelow, listFolder } from '../list-file.js';
import { firstFew, PART_NAMES, splitByChance, type Entry, type Listing } from '../split.js';

const DECODABLE = new Set(['.jpg', '.jpeg', '.jpe', '.jfif', '.png', '.bmp', '.gif', '.tif', '.tiff']);
const OTHER_IMAGES = new Set(['.webp', '.avif', '.heic', '.heif', '.jp2', '.svg', '.jxl']);
const REMEDY = 'give access to it or remove it';

/**
 * Pictures sorted into one folder per class, ImageNet style: DIR/train/<class>/… with DIR/test/<class>/… and/or
 * DIR/val/<class>/…, or just DIR/<class>/…, of which a fifth of each class is then set aside for testing.
 * Classes are the names of folders with pictures in code-unit order; pictures may lie in deeper folders. What is hidden
 * (.name) is left out, and of DIR/<class>/… what Pipit wrote there: runs, and pictures of `predict`.
 */
export function readFolder(dir: string | undefined, seed: number): Listing {
  const root = findRoot(dir, [], ['.'], 'a set of pictures');
  const [train, val, test] = [PART_NAMES.train, PART_NAMES.val, PART_NAMES.test].map((names) => partOf(root, names));
  if (train && (test || val)) return readParts(root, train, val, test ?? val!);
  const alone = train ?? test ?? val;
  // Without folders in it, it is a class that happens to be called so.
  if (alone && foldersIn(alone).length > 0) {
    fail(`${root} has a ${relative(root, alone)} folder but ${train ? 'neither test nor val' : 'no train folder'}; add one, or put the class folders directly into ${root}`);
  }
  return classesAlone(root, seed);
}

/** The folder of a part, in capitals or not. */
function partOf(root: string, names: string[]): string | undefined {
  const [first, second] = listFolder(root, 'check --data').filter((name) => names.includes(name.toLowerCase()) && isFolder(join(root, name)));
  if (second !== undefined) fail(`${root} has both ${first} and ${second}; keep one of them`);
  return first && join(root, first);
}

function readParts(root: string, trainDir: string, valDir: string | undefined, testDir: string): Listing {
  const notes: string[] = [];
  const [train, test, val] = [trainDir, testDir, ...(valDir && valDir !== testDir ? [valDir] : [])].map((dir) => {
    const pictures = readClasses(dir, foldersIn(dir), notes);
    return { dir, pictures };
  }) as [Part, Part, Part?];
  const parts = val ? [train, test, val] : [train, test];
  const filled = new Set(parts.flatMap(({ pictures }) => [...pictures].flatMap(([name, files]) => (files.length > 0 ? [name] : []))));
  for (const { dir, pictures } of parts) {
    const unknown = [...pictures.keys()].find((name) => filled.has(name) && !train.pictures.has(name));
    if (unknown !== undefined) fail(`${dir} has class folder "${unknown}", which the train folder lacks; rename it or add training pictures of it`);
  }
  noteEmpty(root, parts.flatMap(({ dir, pictures }) => [...pictures.keys()].filter((name) => !filled.has(name)).map((name) => join(dir, name))), notes);
  const classes = [...train.pictures.keys()].filter((name) => filled.has(name));
  const entries = (part: Part) => entriesOf(root, part.pictures, classes);
  return { name: `folder ${root}`, classes, train: entries(train), test: entries(test), ...(val ? { val: entries(val) } : {}), notes };
}

interface Part {
  dir: string;
  /** The files of each class folder; none where it is empty. */
  pictures: Map<string, string[]>;
}

function classesAlone(root: string, seed: number): Listing {
  const notes: string[] = [];
  const folders = foldersIn(root);
  const written = folders.filter((name) => isOutput(join(root, name)));
  if (written.length > 0) notes.push(`what Pipit wrote is no class and was left out: ${firstFew(written.map((name) => join(root, name)))}`);
  const pictures = readClasses(root, folders.filter((name) => !written.includes(name)), notes);
  const classes = [...pictures.keys()].filter((name) => pictures.get(name)!.length > 0);
  noteEmpty(root, [...pictures.keys()].filter((name) => !classes.includes(name)).map((name) => join(root, name)), notes);
  const { note, ...parts } = splitByChance(entriesOf(root, pictures, classes), seed, `${root} has no train folder`);
  if (parts.train.length === 0) fail(`no folder in ${root} holds a picture; expected ${join(root, '<class>', '<picture>.jpg')}`);
  return { name: `folder ${root}`, classes, ...parts, notes: [...notes, note] };
}

function noteEmpty(root: string, folders: string[], notes: string[]): void {
  if (folders.length > 0) notes.push(`${counted(folders.length, 'folder')} without pictures below ${root} left out: ${firstFew(folders)}`);
}

/** A folder that holds a run, that runs go to by default, or to which `predict --pictures` wrote (cli/predict-pictures.ts). */
function isOutput(dir: string): boolean {
  const pictures = listFolder(dir, REMEDY).filter(isPicture);
  if (pictures.length === 0 && basename(dir) === 'runs') return true;
  const kinds = ['-box.png', '-crop.png', '-heat.png', '-maps.png'];
  const ends = (ending: string) => pictures.filter((name) => name.endsWith(ending)).length;
  const predicted = kinds.every((kind) => ends(kind) > 0) && [...kinds, '-drop.png'].reduce((sum, kind) => sum + ends(kind), 0) === pictures.length;
  return predicted || holdsRun(dir, 2);
}

function holdsRun(dir: string, deeper: number): boolean {
  const names = listFolder(dir, REMEDY);
  if (names.includes('config.json') && names.some((name) => name.endsWith('.safetensors'))) return true;
  return deeper > 0 && foldersIn(dir).some((name) => holdsRun(join(dir, name), deeper - 1));
}

/** The pictures in a folder and below it, those too that cannot be decoded, by their endings; hidden files and other kinds are left out. */
export const picturesBelow = (dir: string): string[] =>
  listFilesBelow(dir, REMEDY).filter((file) => isPicture(file) || OTHER_IMAGES.has(extname(file).toLowerCase()));

const isPicture = (file: string): boolean => DECODABLE.has(extname(file).toLowerCase());

/** The pictures of each class folder. */
function readClasses(dir: string, names: string[], notes: string[]): Map<string, string[]> {
  if (names.length === 0) fail(`${dir} has no class folders; expected ${join(dir, '<class>', '<picture>.jpg')}`);
  const nameless: string[] = [];
  const classes = names.map((name): [string, string[]] => {
    const files = listFilesBelow(join(dir, name), REMEDY);
    const other = files.filter((file) => OTHER_IMAGES.has(extname(file).toLowerCase()));
    if (other.length > 0) notes.push(`${counted(other.length, 'picture')} in ${join(dir, name)} left out, ${[...new Set(other.map((file) => extname(file).toLowerCase()))].join(' and ')} cannot be decoded; convert them to JPEG or PNG`);
    nameless.push(...files.filter((file) => extname(file) === ''));
    return [name, files.filter(isPicture)];
  });
  if (nameless.length > 0) notes.push(`${counted(nameless.length, 'file')} left out for lack of an ending such as pictures have (.jpg, .png, …): ${firstFew(nameless)}`);
  return new Map(classes);
}

function entriesOf(root: string, pictures: Map<string, string[]>, classes: string[]): Entry[] {
  return classes.flatMap((name, label) => (pictures.get(name) ?? []).map((path) => ({ id: relative(root, path).split(sep).join('/'), label, path, where: path })));
}
