import { fail } from '../errors.js';
import { BadImageError, decodeFile } from './decode.js';
import { generateImage } from './synthetic.js';
import type { DecodedImage, DecodeLimits, Sample, SyntheticSource } from './types.js';

/** The part of a sample that says where its picture comes from. */
export type ImageSource = Pick<Sample, 'path' | 'synthetic'>;

/** Decodes or draws a picture; what a worker does for each job, and the main thread where there are no workers. */
export async function produceImage(source: ImageSource, limits: DecodeLimits): Promise<DecodedImage> {
  if (source.path !== undefined) return decodeFile(source.path, limits);
  if (source.synthetic) return drawSynthetic(source.synthetic);
  return fail('a sample has neither a file nor a recipe; give it a path');
}

/** Names a source in messages and caches; different pictures have different names. */
export function sourceName(source: ImageSource): string {
  if (source.path !== undefined) return source.path;
  const { seed, split, index } = source.synthetic ?? { seed: 0, split: 'none', index: 0 };
  return `synthetic:${seed}:${split}:${index}`;
}

function drawSynthetic({ seed, split, index }: SyntheticSource): DecodedImage {
  const { pixels, width, height, box } = generateImage(seed, split, index);
  const rgba = new Uint8Array(4 * width * height);
  for (let from = 0, to = 0; from < pixels.length; from += 3, to += 4) {
    rgba[to] = pixels[from]!;
    rgba[to + 1] = pixels[from + 1]!;
    rgba[to + 2] = pixels[from + 2]!;
    rgba[to + 3] = 255;
  }
  return { rgba, width, height, shrink: [1, 1], box };
}

/** A failure in a form that survives the way between threads. */
export interface Failure {
  message: string;
  bad?: { path: string; reason: string };
}

export function toFailure(error: unknown): Failure {
  if (error instanceof BadImageError) return { message: error.message, bad: { path: error.path, reason: error.reason } };
  return { message: error instanceof Error ? (error.stack ?? error.message) : String(error) };
}

export function fromFailure({ message, bad }: Failure): Error {
  return bad ? new BadImageError(bad.path, bad.reason) : new Error(message);
}
