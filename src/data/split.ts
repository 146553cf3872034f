import { existsSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fail } from '../errors.js';
import { byCodeUnit, listFolder } from './list-file.js';
import { hashText, permutation } from './random.js';
import type { Box, Sample } from './types.js';

/** A sample as a layout reader found it; `where` names file and line for error messages. */
export interface Entry extends Sample {
  where: string;
}

/** What a layout reader returns: everything listed, unchecked. */
export interface Listing {
  name: string;
  classes: string[];
  train: Entry[];
  test: Entry[];
  /** Only where the layout itself has a third split. */
  val?: Entry[];
  /** Remarks for the user: what was left out and why. */
  notes?: string[];
}

/** What parts are called, in any case. */
export const PART_NAMES = { train: ['train', 'training'], val: ['val', 'valid', 'validation'], test: ['test', 'testing'] };
/** Of each class, where nothing says which pictures are for testing. */
const TEST_SHARE = 0.2;

/** Sets a part of each class aside for testing, and says so. @param lack what there is none of */
export function splitByChance(entries: Entry[], seed: number, lack: string): Pick<Listing, 'train' | 'test'> & { note: string } {
  const { kept, held } = holdOut(entries, TEST_SHARE, seed);
  if (kept.length > 0 && held.length === 0) fail(`${lack}, and no class has two pictures, so that one could be set aside for testing; add pictures`);
  return { train: kept, test: held, note: `${lack}: ${held.length} of ${entries.length} pictures were set aside for testing (seed ${seed})` };
}

// Keys that keep the draws of the hold-out, the subset and the folder split independent.
const HOLD_OUT = 101;
const SUBSET = 102;

/** Checks labels, duplicates (by id, and by file across splits or labels) and class counts. Errors name file and line. */
export function checkListing(listing: Listing): void {
  const count = listing.classes.length;
  if (count < 2) {
    fail(`${listing.name} has ${count === 1 ? `one class only ("${listing.classes[0]}")` : 'no classes'}; a classifier needs at least two`);
  }
  const [ids, files] = [new Map<string, string>(), new Map<string, { entry: Entry; split: Entry[] }>()];
  for (const { entry, split } of [listing.train, listing.val ?? [], listing.test].flatMap((list) => list.map((entry) => ({ entry, split: list })))) {
    const before = ids.get(entry.id);
    if (before) fail(`image ${entry.id} is listed twice (${before} and ${entry.where}); remove one of the two lines`);
    ids.set(entry.id, entry.where);
    const same = entry.path === undefined ? undefined : files.get(entry.path);
    if (same && (same.split !== split || same.entry.label !== entry.label)) {
      fail(`${entry.path} is listed in two splits or with two labels (${same.entry.where} and ${entry.where}); remove one of the two lines`);
    }
    if (entry.path !== undefined) files.set(entry.path, { entry, split });
    if (!Number.isInteger(entry.label) || entry.label < 0 || entry.label >= count) {
      fail(`${entry.where}: label ${entry.label} of image ${entry.id} is out of range 0…${count - 1} (0-based); the lists do not fit together, unpack the dataset again`);
    }
  }
}

/** Checks what is left after missing files were dropped: no empty split, at least two classes to train on. */
export function checkSplits(listing: Listing): void {
  for (const [name, entries] of Object.entries({ train: listing.train, test: listing.test })) {
    if (entries.length === 0) fail(`the ${name} split of ${listing.name} is empty; check its list file or folder`);
  }
  const trained = new Set(listing.train.map((entry) => entry.label));
  if (trained.size < 2) {
    fail(`all ${listing.train.length} training images of ${listing.name} are of one class ("${listing.classes[listing.train[0]!.label]}"); a classifier needs at least two`);
  }
}

/**
 * Entries whose file is not on disk. Reads each folder once instead of asking for each file,
 * which is what makes opening a set of 12,000 pictures quick.
 */
export function missingFiles(entries: Entry[]): Entry[] {
  const folders = new Map<string, Set<string>>();
  return entries.filter(({ path }) => {
    if (path === undefined) return false;
    const folder = dirname(path);
    let names = folders.get(folder);
    if (!names) {
      names = new Set(existsSync(folder) ? listFolder(folder, 'check its permissions') : []);
      folders.set(folder, names);
    }
    return !names.has(basename(path));
  });
}

/**
 * Moves a class-stratified share of `entries` into a second list; at least one per class stays in the first. A hash of seed and
 * id orders each class and the first of it are held out, so that whatever else is added or removed, a class keeps its share
 * and at most one picture changes sides for each that came or went.
 */
export function holdOut<T extends Sample>(entries: T[], fraction: number, seed: number): { kept: T[]; held: T[] } {
  const held = new Set<T>();
  for (const [, members] of byLabel(entries)) {
    const wanted = Math.max(1, Math.round(members.length * fraction));
    for (const entry of byHash(members, seed).slice(0, Math.min(wanted, members.length - 1))) held.add(entry);
  }
  return { kept: entries.filter((e) => !held.has(e)), held: entries.filter((e) => held.has(e)) };
}

/** A class-balanced subset of at most `limit` entries in their original order: one of each class in turn. */
export function balancedSubset<T extends Sample>(entries: T[], limit: number | undefined, seed: number): T[] {
  if (limit === undefined || limit >= entries.length) return entries;
  const queues = byLabel(entries).map(([label, members]) => Array.from(permutation(members.length, seed, SUBSET, label), (i) => members[i]!));
  const chosen = new Set<T>();
  for (let round = 0; chosen.size < limit; round++) {
    for (const queue of queues) {
      if (chosen.size < limit && round < queue.length) chosen.add(queue[round]!);
    }
  }
  return entries.filter((entry) => chosen.has(entry));
}

/** An order in which what comes first of two entries depends on the seed and their ids, not on the other entries. */
function byHash<T extends Sample>(entries: T[], seed: number): T[] {
  return entries
    .map((entry) => ({ entry, rank: hashText(entry.id, seed, HOLD_OUT) }))
    .sort((a, b) => a.rank - b.rank || byCodeUnit(a.entry.id, b.entry.id))
    .map(({ entry }) => entry);
}

/** Of more names, no more are told. */
const FEW = 3;

/** Names the first few of many, for messages. */
export function firstFew(names: string[]): string {
  const shown = names.slice(0, FEW).join(', ');
  return names.length > FEW ? `${shown} and ${names.length - FEW} more` : shown;
}

/** Path of an image below a root, from the "/"-separated form the list files use. */
export function imagePath(root: string, relative: string): string {
  return join(root, ...relative.split('/'));
}

/** The box between two corners (x, y, x, y) as list files have them: 1-based and inclusive. */
export function boxBetween(corners: number[], where: string, remedy: string): Box {
  const [x0, y0, x1, y1] = corners as [number, number, number, number];
  if (!corners.every(Number.isFinite)) fail(`${where}: a box has four numbers, found ${corners.join(', ')}; ${remedy}`);
  if (!(x1 >= x0 && y1 >= y0)) fail(`${where}: the box from ${x0}, ${y0} to ${x1}, ${y1} has no area; ${remedy}`);
  if (x1 < 1 || y1 < 1) fail(`${where}: the box from ${x0}, ${y0} to ${x1}, ${y1} lies outside the picture (pixels count from 1); ${remedy}`);
  return { x0: x0 - 1, y0: y0 - 1, x1, y1 };
}

/** What an entry tells of its box. */
export type TrueBox = Required<Pick<Sample, 'box' | 'boxFrom'>>;

// No set here has anywhere near as many; a label above it is damage, not a class.
const MOST_CLASSES = 100_000;

/** Class names where the layout has no list of them: `nameOf` the first entry of each label. Errors name the entry. */
export function namesByLabel(entries: Entry[], nameOf: (entry: Entry) => string): string[] {
  const names: string[] = [];
  for (const entry of entries) {
    if (!(Number.isInteger(entry.label) && entry.label >= 0 && entry.label < MOST_CLASSES)) {
      fail(`${entry.where}: ${entry.label + 1} of image ${entry.id} is not the number of a class (they count from 1); unpack the dataset again`);
    }
    names[entry.label] ??= nameOf(entry);
  }
  return Array.from(names, (name, i) => name ?? `class ${i + 1}`);
}

function byLabel<T extends Sample>(entries: T[]): [number, T[]][] {
  const groups = new Map<number, T[]>();
  for (const entry of entries) {
    const group = groups.get(entry.label);
    if (group) group.push(entry);
    else groups.set(entry.label, [entry]);
  }
  return [...groups].sort(([a], [b]) => a - b);
}
