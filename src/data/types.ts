import type { SyntheticSplit } from './synthetic.js';

/** The data sets whose layouts are known. */
export const DATASET_NAMES = ['synthetic', 'aircraft', 'cub', 'cars', 'dogs', 'folder', 'csv'] as const;
export type DatasetName = (typeof DATASET_NAMES)[number];

/** Half-open box in pixels of the original image: x0 ≤ x < x1, y0 ≤ y < y1. */
export interface Box {
  x0: number;
  y0: number;
  x1: number;
  y1: number;
}

/** One labelled picture. It has either a file (`path`) or, in the embedded dataset, a recipe (`synthetic`). */
export interface Sample {
  /** Unique within the dataset. */
  id: string;
  /** 0-based index into `Dataset.classes`. */
  label: number;
  path?: string;
  /** True object box; used to measure localisation, never to train. Embedded pictures: see `DecodedImage.box`. */
  box?: Box;
  /** File and line that give the box. */
  boxFrom?: string;
  synthetic?: SyntheticSource;
}

/** How many pictures the embedded dataset has. */
export interface EmbeddedSize {
  readonly train: number;
  readonly test: number;
}

export const EMBEDDED_SIZE: EmbeddedSize = { train: 1024, test: 400 };

/** What a worker needs to draw a picture of the embedded dataset. */
export interface SyntheticSource {
  seed: number;
  split: SyntheticSplit;
  index: number;
}

/** Ordered samples of one part of a dataset. */
export interface Split {
  samples: Sample[];
}

/** What becomes of pictures much larger than the network's input, to bound memory and uploads. */
export interface DecodeLimits {
  /** Pictures whose shorter side is at least twice this long are shrunk; Infinity: none. */
  readonly maxSide: number;
  /**
   * They are then resized to this square, as the network's transform would do it (to the bit as PIL does). Without it, for
   * transforms that choose a window of the picture, whole blocks of pixels are averaged.
   */
  readonly square?: number;
}

/** A decoded picture: 4 bytes a pixel (R, G, B, 255), rows from the top, upright (EXIF applied). */
export interface DecodedImage {
  rgba: Uint8Array;
  width: number;
  height: number;
  /** Factors by which the picture was shrunk after decoding, across and down (1 = not). */
  shrink: readonly [x: number, y: number];
  /** Where EXIF turned it upright: how (2 to 8), and its size as stored, before it was shrunk. */
  turned?: { readonly orientation: number; readonly width: number; readonly height: number };
  /** The true object box where drawing the picture is what reveals it (embedded dataset). */
  box?: Box;
}
