/** What a report is made of. Everything lies on the CPU; nothing here knows tensors. */

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

/** Pixels of the picture, half-open: columns x0 to x1, rows y0 to y1; fractions are allowed. */
export interface Box {
  x0: number;
  y0: number;
  x1: number;
  y1: number;
}

/** The centre of a part, in pixels of the picture. */
export interface Part {
  x: number;
  y: number;
  name?: string;
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
  parts?: readonly Part[];
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

/** Percent. */
export interface Accuracy {
  top1: number;
  top5: number;
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
  /** Test accuracy, top-1 in percent. */
  testRaw?: number;
  testRefined?: number;
}

export interface ReportData {
  /** Such as `WS-DAN on embedded birds`. */
  title: string;
  /** When the run ended; the report shows nothing when it is left out, so that equal runs give equal reports. */
  finishedAt?: Date;
  adapter: string;
  dataset: { name: string; classes: number; trainImages: number; testImages: number };
  /** All options of the run. */
  config: Readonly<Record<string, unknown>>;
  seconds: number;
  steps: number;
  imagesPerSecond: number;
  weightsHash: string;
  /** A plain classifier has only `raw`. */
  accuracy: { raw: Accuracy; crop?: Accuracy; drop?: Accuracy; refined?: Accuracy };
  /** Only where true boxes are known: mean IoU 0 to 1, share of boxes with IoU of at least 0.5 in percent. */
  localisation?: { meanIoU: number; corLoc50: number; images: number };
  history: readonly EpochPoint[];
  cases: readonly ImageCase[];
  /** What a reader must know, such as counted bad images or degenerate maps. */
  notes?: readonly string[];
}
