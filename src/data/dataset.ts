import { counted, fail } from '../errors.js';
import { readAircraft, type AircraftLevel } from './layouts/aircraft.js';
import { readCars } from './layouts/cars.js';
import { readCsv } from './layouts/csv.js';
import { readCub } from './layouts/cub.js';
import { readDogs } from './layouts/dogs.js';
import { readEmbedded } from './layouts/embedded.js';
import { readFolder } from './layouts/folder.js';
import { balancedSubset, checkListing, checkSplits, firstFew, holdOut, missingFiles, type Entry, type Listing } from './split.js';
import { DATASET_NAMES, type DatasetName, type EmbeddedSize, type Sample, type Split } from './types.js';

export type { Box, DatasetName, DecodedImage, Sample, Split, SyntheticSource } from './types.js';
export type { AircraftLevel };

export interface DatasetOptions {
  /** The dataset's folder, or the table of `csv`; not for `synthetic`. */
  dir?: string;
  /** FGVC-Aircraft: what counts as a class; default variant. */
  level?: AircraftLevel;
  /** Decides the hold-out, the subsets, a folder's test share and the synthetic pictures. */
  seed: number;
  /** Share of each training class set aside as `val` for model selection; default 0. */
  valFraction?: number;
  /** Class-balanced subsets of at most so many pictures; drawn after the hold-out. */
  limitTrain?: number;
  limitTest?: number;
  /** Size of the embedded dataset. */
  embedded?: EmbeddedSize;
  /** Leaves out listed pictures that are not on disk instead of failing. */
  skipBadImages?: boolean;
}

export interface Dataset {
  /** For people, e.g. "FGVC-Aircraft (variant)". */
  name: string;
  classes: string[];
  train: Split;
  /** Held out of train; present with `valFraction`, or where the folder has train, val and test. */
  val?: Split;
  test: Split;
  /** Remarks worth a line of output each. */
  notes: string[];
  /** Files named by the lists but not on disk (only with `skipBadImages`). */
  missing: string[];
}

/**
 * Opens a dataset: reads its lists, checks them, splits off `val` and takes subsets. Pictures are not decoded here
 * (see DecodePool and Loader: `pool.decode(sample)` works for every sample). Throws UserError naming file and remedy.
 */
export async function openDataset(name: DatasetName, options: DatasetOptions): Promise<Dataset> {
  checkOptions(options);
  const listing = readListing(name, options);
  checkListing(listing);
  const missing = dropMissing(listing, options.skipBadImages ?? false, name === 'csv' ? 'Correct the paths, which begin at the table\'s folder' : 'Unpack the dataset completely');
  checkSplits(listing);
  const notes = [...(listing.notes ?? [])];
  if (missing.length > 0) notes.push(`${counted(missing.length, 'listed image')} not on disk, left out: ${firstFew(missing)}`);
  const { train: all, val } = holdOutVal(listing, options);
  const train = balancedSubset(all, options.limitTrain, options.seed);
  notes.push(...classesWithout('training', listing.classes, train), ...classesWithout('test', listing.classes, listing.test));
  return {
    name: listing.name,
    classes: listing.classes,
    train: toSplit(train),
    val: val && toSplit(val),
    test: toSplit(balancedSubset(listing.test, options.limitTest, options.seed)),
    notes,
    missing,
  };
}

function checkOptions({ seed, valFraction = 0, limitTrain, limitTest }: DatasetOptions): void {
  if (!Number.isSafeInteger(seed) || seed < 0) fail(`the seed must be a whole number, 0 or more, got ${seed}`);
  if (!(valFraction >= 0 && valFraction < 1)) fail(`the validation fraction must lie in [0, 1), got ${valFraction}`);
  for (const [option, limit] of Object.entries({ limitTrain, limitTest })) {
    if (limit !== undefined && (!Number.isInteger(limit) || limit < 1)) fail(`${option} must be a whole number, 1 or more, got ${limit}`);
  }
}

function readListing(name: DatasetName, options: DatasetOptions): Listing {
  switch (name) {
    case 'synthetic':
      return readEmbedded(options.seed, options.embedded);
    case 'aircraft':
      return readAircraft(options.dir, options.level);
    case 'cub':
      return readCub(options.dir);
    case 'cars':
      return readCars(options.dir);
    case 'dogs':
      return readDogs(options.dir);
    case 'folder':
      return readFolder(options.dir, options.seed);
    case 'csv':
      return readCsv(options.dir, options.seed);
    default:
      return fail(`unknown dataset "${String(name)}"; choose one of ${DATASET_NAMES.join(', ')}`);
  }
}

/** Takes files that are not on disk out of the listing, or fails naming the first of them. */
function dropMissing(listing: Listing, skip: boolean, remedy: string): string[] {
  const entries = [...listing.train, ...(listing.val ?? []), ...listing.test];
  const missing = new Set(missingFiles(entries));
  if (missing.size === 0) return [];
  const paths = Array.from(missing, (entry) => entry.path!);
  if (!skip) {
    const [first] = missing;
    fail(
      `${missing.size} of ${entries.length} listed images are not on disk: ${firstFew(paths)} (${first!.where}). ` +
        `${remedy}, or pass over missing images with --skip-bad-images`,
    );
  }
  const there = (list: Entry[]) => list.filter((entry) => !missing.has(entry));
  listing.train = there(listing.train);
  listing.test = there(listing.test);
  if (listing.val) listing.val = there(listing.val);
  return paths;
}

function holdOutVal(listing: Listing, { valFraction = 0, seed }: DatasetOptions): { train: Entry[]; val?: Entry[] } {
  if (valFraction === 0) return { train: listing.train, val: listing.val?.length ? listing.val : undefined };
  const { kept, held } = holdOut([...listing.train, ...(listing.val ?? [])], valFraction, seed);
  if (held.length === 0) fail(`no image can be held out of ${listing.name}: every class has one training image only; use a validation fraction of 0`);
  return { train: kept, val: held };
}

function classesWithout(kind: 'training' | 'test', classes: string[], entries: Entry[]): string[] {
  const met = new Set(entries.map((entry) => entry.label));
  const without = classes.filter((_, label) => !met.has(label));
  return without.length === 0 ? [] : [`${without.length} of ${classes.length} classes ${without.length === 1 ? 'has' : 'have'} no ${kind} image: ${firstFew(without)}`];
}

/** Drops what only the checks needed. */
function toSplit(entries: Entry[]): Split {
  return { samples: entries.map(({ where: _, ...sample }): Sample => sample) };
}
