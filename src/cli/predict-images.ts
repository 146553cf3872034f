/** From files to predictions: decoding, one forward, boxes in pixels of the original picture. */
import type { Batch } from '../data/loader.js';
import { BadImageError } from '../data/decode.js';
import type { DecodePool } from '../data/decode-pool.js';
import type { ImageSource } from '../data/produce-image.js';
import type { Box, DecodedImage } from '../data/types.js';
import { UserError } from '../errors.js';
import type { Runtime } from '../kernels/runtime.js';
import { type Predicted, predictPixels, type Predictor } from '../train/predict.js';

/** What is to be predicted; the true class is known of embedded pictures only. */
export interface Request {
  readonly name: string;
  readonly source: ImageSource;
  readonly trueLabel?: string;
}

/** With the box in pixels of the original picture. */
export interface ImagePrediction extends Predicted {
  readonly file: string;
  /** Of the original picture, pixels. */
  readonly width: number;
  readonly height: number;
  readonly trueLabel?: string;
}

/** A picture that could be decoded, and the request it belongs to. */
export interface Loaded {
  readonly request: Request;
  readonly image: DecodedImage;
}

export interface Failed {
  readonly request: Request;
  readonly error: string;
}

/** The message about a picture that cannot be used; anything else is passed on. */
const reason = (error: unknown): string => {
  if (error instanceof BadImageError) return `image ${error.path} ${error.reason}`;
  if (error instanceof UserError) return error.message;
  throw error;
};

/** Decodes pictures side by side; those that cannot be used are told apart instead of ending the rest. */
export const loadImages = async (pool: DecodePool, requests: readonly Request[]): Promise<{ loaded: Loaded[]; failed: Failed[] }> => {
  const settled = await Promise.allSettled(requests.map(({ source }) => pool.decode(source)));
  const loaded: Loaded[] = [];
  const failed: Failed[] = [];
  settled.forEach((result, i) => {
    const request = requests[i]!;
    if (result.status === 'fulfilled') loaded.push({ request, image: result.value });
    else failed.push({ request, error: reason(result.reason) });
  });
  return { loaded, failed };
};

/** The form in which training hands pictures on; labels are unknown and stand at 0. */
export const toBatch = (loaded: readonly Loaded[]): Batch => ({
  number: 0, indices: loaded.map((_, i) => i), labels: new Int32Array(loaded.length), images: loaded.map(({ image }) => image),
  boxes: loaded.map(() => undefined), ids: loaded.map(({ request }) => request.name),
});

const scaled = ({ x0, y0, x1, y1 }: Box, [x, y]: DecodedImage['shrink']): Box => ({ x0: x0 * x, y0: y0 * y, x1: x1 * x, y1: y1 * y });

/**
 * Predicts pictures of one batch.
 *
 * @param top how many classes to list
 */
export const predictBatch = async (runtime: Runtime, predictor: Predictor, loaded: readonly Loaded[], top: number): Promise<ImagePrediction[]> => {
  const predicted = await predictPixels(runtime, predictor, loaded.map(({ image }) => image), top);
  return predicted.map((seen, i) => {
    const { request: { name, trueLabel }, image: { shrink, width, height } } = loaded[i]!;
    return {
      file: name, width: Math.round(width * shrink[0]), height: Math.round(height * shrink[1]), ...seen,
      ...(trueLabel === undefined ? {} : { trueLabel }), ...(seen.box ? { box: scaled(seen.box, shrink) } : {}),
    };
  });
};
