import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fail } from '../../errors.js';
import { findRoot, parseInteger, readLines } from '../list-file.js';
import { boxBetween, type Entry, type Listing, type TrueBox } from '../split.js';

/** What counts as a class: 100 variants, 70 families or 41 (30 in later releases) manufacturers. */
export type AircraftLevel = 'variant' | 'family' | 'manufacturer';

const CLASS_LIST: Record<AircraftLevel, string> = { variant: 'variants.txt', family: 'families.txt', manufacturer: 'manufacturers.txt' };
const REMEDY = 'unpack the whole FGVC-Aircraft archive and point --data at its folder';
const ID_LENGTH = 7;

/**
 * FGVC-Aircraft: list lines are a 7-character id, a blank and a class name that may hold blanks and slashes.
 * The label is the line of the name in the class list. Trains on trainval, tests on test.
 */
export function readAircraft(dir: string | undefined, level: AircraftLevel = 'variant'): Listing {
  if (!(level in CLASS_LIST)) fail(`unknown level "${level}"; choose variant, family or manufacturer`);
  const root = findRoot(dir, ['data'], [`images_${level}_trainval.txt`, CLASS_LIST[level]], 'FGVC-Aircraft');
  const classes = readClasses(join(root, CLASS_LIST[level]));
  const boxes = readBoxes(join(root, 'images_box.txt'));
  const read = (part: string) => readList(root, `images_${level}_${part}.txt`, CLASS_LIST[level], classes, boxes);
  return { name: `FGVC-Aircraft (${level})`, classes, train: read('trainval'), test: read('test') };
}

function readClasses(path: string): string[] {
  const lineOf = new Map<string, number>();
  for (const { text, number } of readLines(path, REMEDY)) {
    const name = text.trim();
    if (lineOf.has(name)) fail(`${path} line ${number}: class "${name}" stands in line ${lineOf.get(name)} already; ${REMEDY}`);
    lineOf.set(name, number);
  }
  return [...lineOf.keys()];
}

function readList(root: string, file: string, classFile: string, classes: string[], boxes: Map<string, TrueBox>): Entry[] {
  const labels = new Map(classes.map((name, i) => [name, i]));
  const path = join(root, file);
  return readLines(path, REMEDY).map(({ text, number }) => {
    const id = text.slice(0, ID_LENGTH);
    const name = text.slice(ID_LENGTH).trim();
    const where = `${path} line ${number}`;
    if (!/^\S{7}$/.test(id) || !/^\s/.test(text.slice(ID_LENGTH))) {
      fail(`${where}: expected a 7-character id, a blank and a class name, got "${text}"; ${REMEDY}`);
    }
    const label = labels.get(name);
    if (label === undefined) fail(`${where}: class "${name}" is not in ${classFile}; ${REMEDY}`);
    return { id, label, path: join(root, 'images', `${id}.jpg`), where, ...boxes.get(id) };
  });
}

/** `images_box.txt` is optional. */
function readBoxes(path: string): Map<string, TrueBox> {
  const boxes = new Map<string, TrueBox>();
  for (const { text, number } of existsSync(path) ? readLines(path, REMEDY) : []) {
    const [id, ...corners] = text.split(/\s+/) as [string, ...string[]];
    const where = `${path} line ${number}`;
    if (boxes.has(id)) fail(`${where}: image ${id} has a box already; remove one of the two lines`);
    boxes.set(id, { box: boxBetween([0, 1, 2, 3].map((i) => parseInteger(corners[i], where)), where, REMEDY), boxFrom: where });
  }
  return boxes;
}
