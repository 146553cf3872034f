import { counted, fail, UserError } from '../errors.js';
import { BadImageError } from './decode.js';
import { DecodeCancelled, type DecodePool } from './decode-pool.js';
import type { ImageCache } from './image-cache.js';
import { turnBox } from './orientation.js';
import { sourceName } from './produce-image.js';
import { permutation } from './random.js';
import type { Box, DecodedImage, Sample, Split } from './types.js';

export interface Batch {
  /** Position within the epoch, 0-based; resume with `epoch(e, number + 1)`. Numbers are left out where no picture was usable. */
  number: number;
  /** Positions in `split.samples`; also the keys of the augmentation draws. */
  indices: number[];
  labels: Int32Array;
  /** Shared with the cache: read only. */
  images: { rgba: Uint8Array; width: number; height: number }[];
  /** True boxes in pixels of `images` (already divided by their shrink factor). */
  boxes: (Box | undefined)[];
  ids: string[];
}

export interface LoaderOptions {
  batchSize: number;
  /** A new order each epoch, from (seed, epoch); else the order of the split. */
  shuffle: boolean;
  seed: number;
  /** Leaves out the last batch of an epoch where it is not full. */
  dropLast?: boolean;
  /** Batches decoded ahead of the one in use; default 2. */
  prefetch?: number;
  pool: DecodePool;
  cache?: ImageCache;
  /**
   * Passes over unusable pictures instead of failing: while shuffling (training) the next good picture of the
   * same batch takes the place, so batches keep their size; otherwise (evaluation) the picture is left out, so
   * none counts twice. A batch without any good picture is not delivered, and the others keep their numbers: an
   * epoch may end with fewer than `batchesPerEpoch`. One that delivers nothing at all fails.
   */
  skipBadImages?: boolean;
  /** Called once for each picture passed over. */
  onBad?: (sample: Sample, error: BadImageError) => void;
  /** Called for each true box that lies outside its picture, which is then without one. */
  onBoxOutside?: (sample: Sample) => void;
}

/** Batches of an epoch over so many images. */
export const batchesIn = (images: number, { batchSize, dropLast = false }: Pick<LoaderOptions, 'batchSize' | 'dropLast'>): number =>
  (dropLast ? Math.floor(images / batchSize) : Math.ceil(images / batchSize));

/** A picture of a batch, or why it is missing. */
interface Slot {
  index: number;
  image?: DecodedImage;
  error?: Error;
}

const ORDER = 201;

/**
 * Batches of decoded pictures. What an epoch delivers depends only on the split, the options and (seed, epoch),
 * never on the number of workers, the cache or where iteration started.
 */
export class Loader {
  readonly batchesPerEpoch: number;
  private readonly prefetch: number;
  /** Pictures passed over. Looking again may take minutes, and would find the same. */
  private readonly bad = new Map<number, BadImageError>();

  constructor(
    private readonly split: Split,
    private readonly options: LoaderOptions,
  ) {
    const { batchSize } = options;
    const count = split.samples.length;
    if (!Number.isInteger(batchSize) || batchSize < 1) fail(`batch size must be a whole number, 1 or more, got ${batchSize}`);
    if (count === 0) fail('the split is empty; there is nothing to load');
    this.prefetch = options.prefetch ?? 2;
    if (!Number.isInteger(this.prefetch) || this.prefetch < 0) fail(`prefetch must be a whole number, 0 or more, got ${this.prefetch}`);
    this.batchesPerEpoch = batchesIn(count, options);
    if (this.batchesPerEpoch === 0) fail(`the split has ${counted(count, 'image')}, fewer than one batch of ${batchSize}; choose a smaller batch size`);
  }

  /** Order in which an epoch visits `split.samples`. */
  order(epoch: number): Int32Array {
    const count = this.split.samples.length;
    return this.options.shuffle ? permutation(count, this.options.seed, ORDER, epoch) : Int32Array.from({ length: count }, (_, i) => i);
  }

  /**
   * The batches of an epoch from `startBatch` on. Leaving the loop early cancels what was being decoded ahead.
   * Throws BadImageError at the batch that holds an unusable picture (see `skipBadImages`).
   */
  async *epoch(epoch: number, startBatch = 0): AsyncGenerator<Batch, void, undefined> {
    const order = this.order(epoch);
    const cancel = new AbortController();
    const ahead: Promise<Slot[]>[] = [];
    let next = startBatch;
    let delivered = 0;
    try {
      for (let number = startBatch; number < this.batchesPerEpoch; number++) {
        while (next < this.batchesPerEpoch && ahead.length <= this.prefetch) ahead.push(this.load(order, next++, cancel.signal));
        const slots = await ahead.shift()!;
        const batch = this.assemble(slots, number);
        if (!batch) continue;
        delivered++;
        yield batch;
      }
    } finally {
      cancel.abort();
    }
    if (delivered === 0 && startBatch === 0) throw new UserError('not one image of the split could be decoded; check the data folder');
  }

  /** Never rejects: failures wait in their slots until their batch's turn. */
  private load(order: Int32Array, number: number, signal: AbortSignal): Promise<Slot[]> {
    const { batchSize } = this.options;
    const indices = order.subarray(number * batchSize, (number + 1) * batchSize);
    return Promise.all(Array.from(indices, (index) => this.loadOne(index, signal)));
  }

  private async loadOne(index: number, signal: AbortSignal): Promise<Slot> {
    const { pool, cache } = this.options;
    const sample = this.split.samples[index]!;
    const key = sourceName(sample);
    const cached = cache?.get(key);
    if (cached) return { index, image: cached };
    const bad = this.bad.get(index);
    if (bad) return { index, error: bad };
    try {
      const image = await pool.decode(sample, signal);
      cache?.put(key, image);
      return { index, image };
    } catch (error) {
      return { index, error: error instanceof Error ? error : new Error(String(error)) };
    }
  }

  private assemble(slots: Slot[], number: number): Batch | undefined {
    for (const slot of slots) this.inspect(slot);
    const good = slots.filter((slot) => slot.image);
    if (good.length === 0) return undefined;
    const chosen = this.options.shuffle ? slots.map((slot, at) => (slot.image ? slot : nextGood(slots, at))) : good;
    const samples = chosen.map((slot) => this.split.samples[slot.index]!);
    return {
      number,
      indices: chosen.map((slot) => slot.index),
      labels: Int32Array.from(samples, (sample) => sample.label),
      images: chosen.map((slot) => slot.image!),
      boxes: chosen.map((slot, i) => this.boxIn(slot.image!, samples[i]!)),
      ids: samples.map((sample) => sample.id),
    };
  }

  /** Throws what may not be passed over; reports the rest once. */
  private inspect({ index, error }: Slot): void {
    if (error === undefined) return;
    const { skipBadImages, onBad } = this.options;
    const sample = this.split.samples[index]!;
    if (error instanceof DecodeCancelled) throw new Error(`loading ${sample.id} was cancelled: the decode pool was closed during an epoch`);
    if (!(skipBadImages && error instanceof BadImageError)) throw error;
    if (this.bad.has(index)) return;
    this.bad.set(index, error);
    onBad?.(sample, error);
  }

  /** The true box in pixels of the decoded picture, which may be turned and shrunk; lists cannot be checked against pictures before. */
  private boxIn(image: DecodedImage, sample: Sample): Box | undefined {
    const box = image.box ?? (sample.box && image.turned ? turnBox(sample.box, image.turned) : sample.box);
    if (!box) return undefined;
    const shrunk = shrinkBox(box, image);
    if (shrunk.x0 < image.width && shrunk.y0 < image.height && shrunk.x1 > 0 && shrunk.y1 > 0) return shrunk;
    this.options.onBoxOutside?.(sample);
    return undefined;
  }
}

function nextGood(slots: Slot[], at: number): Slot {
  for (let step = 1; ; step++) {
    const slot = slots[(at + step) % slots.length]!;
    if (slot.image) return slot;
  }
}

function shrinkBox(box: Box, { shrink: [x, y], width, height }: DecodedImage): Box {
  if (x === 1 && y === 1) return box;
  return {
    x0: Math.floor(box.x0 / x),
    y0: Math.floor(box.y0 / y),
    x1: Math.min(width, Math.ceil(box.x1 / x)),
    y1: Math.min(height, Math.ceil(box.y1 / y)),
  };
}
