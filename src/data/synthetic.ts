/**
 * The embedded data set: pictures of birds that differ only in small parts, painted on demand.
 *
 * A picture is a function of (seed, split, index) alone, so nothing is stored or downloaded, and the true box and
 * part positions are known, which is what makes localisation measurable.
 */
import { fail } from '../errors.js';
import { mix32 } from '../mix32.js';
import { Body, drawPlumage, drawPose, paintBird, perchPoint, type Part } from './synthetic/bird.js';
import { HABITATS } from './synthetic/palette.js';
import { Canvas, type Colour, pixelBox } from './synthetic/raster.js';
import { keyOf, Rng } from './synthetic/rng.js';
import { paintClutter, paintDistance, paintLeaf, paintPerch } from './synthetic/scene.js';
import { at } from './synthetic/shapes.js';
import { SPECIES } from './synthetic/species.js';

/** The two parts of the embedded data set: no picture is in both. */
export type SyntheticSplit = 'train' | 'test';

export interface SyntheticImage {
  /** RGB, row-major, height × width × 3. */
  pixels: Uint8Array;
  width: number;
  height: number;
  /** Index into {@link SYNTHETIC_CLASSES}. */
  label: number;
  /** The bird with bill, tail and feet, in pixels, x1 and y1 exclusive. */
  box: { x0: number; y0: number; x1: number; y1: number };
  /** Positions of the parts that matter, in pixels. */
  parts: Part[];
}

/** Class names, in label order. */
export const SYNTHETIC_CLASSES: string[] = SPECIES.map((s) => s.name);

/** Width and height of a picture, in pixels. */
const SIZE = 128;
/** Width of a bird in its own units, needle bill and tail included: turns the wanted width into a scale. */
const BIRD_WIDTH = 2.45;

/**
 * Paints picture `index` of a split. Labels go round: index modulo the number of classes.
 *
 * @param label paint this class instead of the one that is due; nothing else about the picture changes
 */
export function generateImage(seed: number, split: SyntheticSplit, index: number, label = index % SPECIES.length): SyntheticImage {
  if (!Number.isInteger(index) || index < 0) fail(`synthetic data: index is ${index}, but must be a whole number from 0 up.`);
  const key = keyOf(seed, split === 'train' ? 1 : 2, index);
  const rng = new Rng(key);
  const canvas = new Canvas(SIZE);
  const habitat = rng.pick(HABITATS);
  paintDistance(canvas, habitat, rng);
  paintClutter(canvas, habitat, rng);

  // Birds are between 0.36 and 0.54 of the picture wide.
  const scale = (rng.range(0.36, 0.54) * SIZE) / BIRD_WIDTH;
  // The border stays free: the usual evaluation crop takes the central 7/8 of the picture.
  const margin = 1.45 * scale + 0.07 * SIZE;
  const centre = at(rng.range(margin, SIZE - margin), rng.range(margin, SIZE - margin));
  const body = new Body(drawPose(rng, centre, scale));
  paintPerch(canvas, perchPoint(body), rng.range(0.1, 0.3) * scale + 1, rng);
  const parts = paintBird(canvas, body, SPECIES[label]!, drawPlumage(rng), rng);
  if (rng.chance(0.5)) paintLeaf(canvas, habitat, at(centre.x + rng.range(-2.2, 2.2) * scale, centre.y + rng.range(1.0, 1.6) * scale), rng);

  return { pixels: develop(canvas, key, rng), width: SIZE, height: SIZE, label, box: pixelBox(body.outline, SIZE), parts };
}

/** From painted light to bytes: exposure, colour cast, contrast and sensor noise. */
function develop(canvas: Canvas, key: number, rng: Rng): Uint8Array {
  const exposure = rng.range(0.78, 1.15);
  const cast: Colour = [exposure * rng.range(0.9, 1.1), exposure * rng.range(0.94, 1.06), exposure * rng.range(0.88, 1.12)];
  const contrast = rng.range(0.75, 1.1);
  const noise = rng.range(2, 8);
  const bytes = new Uint8Array(canvas.pixels.length);
  for (let i = 0; i < bytes.length; i++) {
    const value = 0.5 + (canvas.pixels[i]! * cast[i % 3]! - 0.5) * contrast;
    const grain = (mix32(key ^ Math.imul(i + 1, 0x9e3779b1)) / 0xffffffff - 0.5) * noise;
    bytes[i] = Math.max(0, Math.min(255, Math.round(value * 255 + grain)));
  }
  return bytes;
}
