import { existsSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fail } from '../../errors.js';
import { findRoot, parseInteger, readLines } from '../list-file.js';
import { imagePath, namesByLabel, type Entry, type Listing, type TrueBox } from '../split.js';

const REMEDY = 'unpack the whole CUB_200_2011 archive and point --data at its folder';

/**
 * CUB-200-2011: "id path", "id class" (1-based) and "id flag" (1 = train) in three files, joined on the id.
 * Class names come from classes.txt by their number, or from the image folders where that file is missing.
 */
export function readCub(dir: string | undefined): Listing {
  const root = findRoot(dir, ['CUB_200_2011'], ['train_test_split.txt', 'image_class_labels.txt'], 'CUB-200-2011');
  const labels = readPairs(join(root, 'image_class_labels.txt'));
  const flags = readPairs(join(root, 'train_test_split.txt'));
  const boxes = readBoxes(join(root, 'bounding_boxes.txt'));
  const imagesFile = join(root, 'images.txt');
  const train: Entry[] = [];
  const test: Entry[] = [];
  for (const { key, value: file, where } of readPairs(imagesFile).values()) {
    const label = parseInteger(lookUp(labels, key, where, 'image_class_labels.txt'), `image_class_labels.txt, image ${key}`) - 1;
    const flag = lookUp(flags, key, where, 'train_test_split.txt');
    if (flag !== '0' && flag !== '1') fail(`${flags.get(key)!.where}: expected 1 (train) or 0 (test) behind the id, got "${flag}"; ${REMEDY}`);
    const entry = { id: key, label, path: imagePath(join(root, 'images'), file), where, ...boxes.get(key) };
    (flag === '1' ? train : test).push(entry);
  }
  return { name: 'CUB-200-2011', classes: readClasses(join(root, 'classes.txt'), [...train, ...test]), train, test };
}

interface Pair {
  key: string;
  value: string;
  where: string;
}

function readPairs(path: string): Map<string, Pair> {
  const pairs = new Map<string, Pair>();
  for (const { text, number } of readLines(path, REMEDY)) {
    const cut = text.indexOf(' ');
    const where = `${path} line ${number}`;
    if (cut < 1) fail(`${where}: expected an image id, a blank and a value, got "${text}"; ${REMEDY}`);
    const key = text.slice(0, cut);
    if (pairs.has(key)) fail(`image ${key} is listed twice (${pairs.get(key)!.where} and ${where}); remove one of the two lines`);
    pairs.set(key, { key, value: text.slice(cut + 1).trim(), where });
  }
  return pairs;
}

function lookUp(pairs: Map<string, Pair>, key: string, where: string, file: string): string {
  return pairs.get(key)?.value ?? fail(`${where}: image ${key} is not in ${file}; ${REMEDY}`);
}

function readClasses(path: string, entries: Entry[]): string[] {
  if (!existsSync(path)) return namesByLabel(entries, (entry) => basename(dirname(entry.path!)));
  const pairs = readPairs(path);
  return Array.from({ length: pairs.size }, (_, i) => pairs.get(String(i + 1))?.value ?? fail(`${path} numbers ${pairs.size} classes, but has no class ${i + 1}; ${REMEDY}`));
}

/** Lines are "id x y width height", in pixels, as decimal numbers. */
function readBoxes(path: string): Map<string, TrueBox> {
  if (!existsSync(path)) return new Map();
  return new Map(
    [...readPairs(path).values()].map(({ key, value, where }) => {
      const [x, y, width, height] = value.split(/\s+/).map(Number) as [number, number, number, number];
      if (!(width > 0 && height > 0 && Number.isFinite(x + y + width + height))) fail(`${where}: expected "id x y width height", got "${key} ${value}"; ${REMEDY}`);
      const box = { x0: Math.round(x), y0: Math.round(y), x1: Math.round(x + width), y1: Math.round(y + height) };
      if (!(box.x1 > Math.max(0, box.x0) && box.y1 > Math.max(0, box.y0))) fail(`${where}: the box "${value}" (x y width height) has no pixel in the picture; ${REMEDY}`);
      return [key, { box, boxFrom: where }];
    }),
  );
}
