import { JITTER_ORDERS, type AugmentOptions, type ImageTransform } from '../src/data/augment.js';

/** A source picture for the reference: 4 bytes a pixel. */
export interface ReferenceSource {
  rgba: Uint8Array;
  width: number;
  height: number;
}

/**
 * float64 reference of the image transform: PIL's antialiased bilinear resize and torchvision's jitter,
 * without their rounding to 8 bits in between. Returns [S, S, 3], normalised.
 */
export function referenceTransform(image: ReferenceSource, transform: ImageTransform, options: AugmentOptions): Float64Array {
  const size = options.imageSize;
  const pixels = resample(image, transform, size);
  for (const op of JITTER_ORDERS[transform.order]!) jitter(pixels, op, transform[op]);
  for (let i = 0; i < pixels.length; i++) {
    const channel = i % 3;
    pixels[i] = (pixels[i]! - options.mean[channel]!) / options.std[channel]!;
  }
  return pixels;
}

/** The resampled picture in [0, 1] before jitter and normalisation, [S, S, 3]. */
function resample(image: ReferenceSource, transform: ImageTransform, size: number): Float64Array {
  const { rgba, width, height } = image;
  const output = new Float64Array(size * size * 3);
  for (let y = 0; y < size; y++) {
    const rows = taps(transform.y0 + (y + 0.5) * transform.scaleY, transform.scaleY, height);
    for (let x = 0; x < size; x++) {
      const unflipped = transform.flip ? size - 1 - x : x;
      const columns = taps(transform.x0 + (unflipped + 0.5) * transform.scaleX, transform.scaleX, width);
      for (const row of rows) {
        for (const column of columns) {
          const source = 4 * (row.at * width + column.at);
          const weight = (row.weight * column.weight) / 255;
          for (let c = 0; c < 3; c++) output[3 * (y * size + x) + c]! += weight * rgba[source + c]!;
        }
      }
    }
  }
  return output;
}

/** Source pixels and normalised triangle weights for one output position along one axis. */
function taps(centre: number, scale: number, length: number): { at: number; weight: number }[] {
  const support = Math.max(1, scale);
  const first = Math.max(0, Math.floor(centre - support + 0.5));
  const end = Math.min(length, Math.floor(centre + support + 0.5));
  const found = [];
  let sum = 0;
  for (let at = first; at < end; at++) {
    const weight = Math.max(0, 1 - Math.abs(at + 0.5 - centre) / support);
    found.push({ at, weight });
    sum += weight;
  }
  return found.map(({ at, weight }) => ({ at, weight: weight / sum }));
}

function jitter(pixels: Float64Array, op: 'brightness' | 'contrast' | 'saturation', factor: number): void {
  if (factor === 1) return;
  const grey = (i: number) => 0.299 * pixels[i]! + 0.587 * pixels[i + 1]! + 0.114 * pixels[i + 2]!;
  let mean = 0;
  if (op === 'contrast') {
    for (let i = 0; i < pixels.length; i += 3) mean += grey(i);
    mean /= pixels.length / 3;
  }
  for (let i = 0; i < pixels.length; i += 3) {
    const pivot = op === 'brightness' ? 0 : op === 'contrast' ? mean : grey(i);
    for (let c = i; c < i + 3; c++) pixels[c] = Math.min(1, Math.max(0, pivot + factor * (pixels[c]! - pivot)));
  }
}
