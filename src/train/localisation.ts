import type { Box } from '../data/types.js';

/** Intersection over union of two half-open boxes in the same pixels; 0 for boxes without overlap. */
export const intersectionOverUnion = (a: Box, b: Box): number => {
  const width = Math.min(a.x1, b.x1) - Math.max(a.x0, b.x0);
  const height = Math.min(a.y1, b.y1) - Math.max(a.y0, b.y0);
  if (width <= 0 || height <= 0) return 0;
  const shared = width * height;
  return shared / (area(a) + area(b) - shared);
};

const area = (box: Box): number => (box.x1 - box.x0) * (box.y1 - box.y0);

/** Row b of boxes holds y0, x0, y1, x1 in pixels of the network's input. */
export const boxAt = (boxes: ArrayLike<number>, row: number): Box =>
  ({ y0: boxes[row * 4]!, x0: boxes[row * 4 + 1]!, y1: boxes[row * 4 + 2]!, x1: boxes[row * 4 + 3]! });

/** Mean overlap of localised with true boxes, and the share of images where it reaches one half. */
export class LocalisationScore {
  private sum = 0;
  private hits = 0;
  private count = 0;

  add(predicted: Box, truth: Box): void {
    const overlap = intersectionOverUnion(predicted, truth);
    this.sum += overlap;
    if (overlap >= 0.5) this.hits++;
    this.count++;
  }

  /** `corLoc50` in percent; null when no box was known. */
  get result(): { meanIoU: number; corLoc50: number; images: number } | null {
    return this.count === 0 ? null : { meanIoU: this.sum / this.count, corLoc50: (100 * this.hits) / this.count, images: this.count };
  }
}
