/** What a report is made of. Everything lies on the CPU; nothing here knows tensors. */
import type { Box } from '../../data/types.js';
import type { Accuracy } from '../accuracy.js';
import type { ClassResult } from '../class-results.js';

/** A picture, rows from the top, four bytes (red, green, blue, alpha) a pixel. */
export interface Picture {
  width: number;
  height: number;
  rgba: Uint8Array;
}

/** A map of attention, row-major, at the resolution of the features. */
export interface AttentionMap {
  height: number;
  width: number;
  data: ArrayLike<number>;
}

/** A class and its probability, 0 to 1. */
export interface Guess {
  label: string;
  probability: number;
}

/** One test image with all that the network made of it. */
export interface ImageCase {
  image: Picture;
  /** File name or number, shown small. */
  name?: string;
  trueLabel: string;
  trueBox?: Box;
  /** Mean of the attention maps. */
  meanMap: AttentionMap;
  /** The single maps, all or a choice of them. */
  maps: readonly AttentionMap[];
  /** Where the network looked a second time. */
  cropBox: Box;
  /** Intersection over union of {@link cropBox} or the localised box with {@link trueBox}, 0 to 1. */
  iou?: number;
  /** The picture as the drop branch sees it. */
  dropped?: Picture;
  /** Best guesses from the whole picture, most probable first. */
  rawTop: readonly Guess[];
  /** Best guesses after looking closer, most probable first. */
  refinedTop: readonly Guess[];
}

/** One epoch of the curves; a value that was not measured is left out and leaves a gap. */
export interface EpochPoint {
  epoch: number;
  lr?: number;
  trainLoss?: number;
  testLoss?: number;
  /** Training accuracy of the branches, top-1 in percent. */
  trainRaw?: number;
  trainCrop?: number;
  trainDrop?: number;
  /** Accuracy of what is evaluated each epoch, top-1 in percent: test images, or those held out to choose the best epoch. */
  testRaw?: number;
  testRefined?: number;
}

export interface ReportData {
  /** Such as `WS-DAN on embedded birds`. */
  title: string;
  adapter: string;
  dataset: { name: string; classes: number; trainImages: number; heldOutImages?: number; testImages: number };
  /** All options of the run. */
  config: Readonly<Record<string, unknown>>;
  seconds: number;
  steps: number;
  /** null where a run was too short to tell. */
  imagesPerSecond: number | null;
  weightsHash: string;
  /** A plain classifier has only `raw`. */
  accuracy: { raw: Accuracy; crop?: Accuracy; drop?: Accuracy; refined?: Accuracy };
  /** What became of each class that has test images. */
  classes?: readonly ClassResult[];
  /** Only where true boxes are known: mean IoU 0 to 1, share of boxes with IoU of at least 0.5 in percent. */
  localisation?: { meanIoU: number; corLoc50: number; images: number };
  history: readonly EpochPoint[];
  cases: readonly ImageCase[];
  /** What a reader must know, such as counted bad images or degenerate maps. */
  notes?: readonly string[];
}
