/** Percent of the images whose class is the best guess, or among the best five. */
export interface Accuracy {
  readonly top1: number;
  readonly top5: number;
}

/** The accuracy of a branch from the images it guessed right, which are counted as `rawTop1`, `rawTop5` and so on. */
export const accuracyOf = (sums: Readonly<Record<string, number>>, branch: string, images: number): Accuracy =>
  ({ top1: (100 * sums[`${branch}Top1`]!) / images, top5: (100 * sums[`${branch}Top5`]!) / images });
