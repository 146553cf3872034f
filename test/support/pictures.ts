import type { Picture } from '../../src/train/picture.js';

/** Stripes and a disc in colours that depend on `number`, the same on every machine. */
export const patternPicture = (width: number, height: number, number: number): Picture => {
  const data = new Uint8ClampedArray(4 * width * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const inside = (x - 0.4 * width) ** 2 + (y - 0.6 * height) ** 2 < (0.25 * Math.min(width, height)) ** 2;
      data.set(inside ? [220 - 20 * number, 40, 25 * number, 255] : [(7 * x * (number + 1)) % 256, (5 * y) % 256, 90, 255], 4 * (y * width + x));
    }
  }
  return { width, height, data };
};
