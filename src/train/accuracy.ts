/** Percent of the images whose class is the best guess, or among the best five. */
export interface Accuracy {
  readonly top1: number;
  readonly top5: number;
}
