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

interface LoadedBatch {
  readonly loaded: Loaded[];
  readonly failed: Failed[];
}

/** Pictures that cannot be used are told apart instead of ending the rest. */
const sortOut = (requests: readonly Request[], settled: readonly PromiseSettledResult<DecodedImage>[]): LoadedBatch => {
  const batch: LoadedBatch = { loaded: [], failed: [] };
  settled.forEach((result, i) => {
    const request = requests[i]!;
    if (result.status === 'fulfilled') batch.loaded.push({ request, image: result.value });
    else batch.failed.push({ request, error: reason(result.reason) });
  });
  return batch;
};

/** Batches of decoded pictures, in the order given: while one is in use the next is decoded, and no more than that. */
export async function* loadBatches(pool: DecodePool, requests: readonly Request[], batchSize: number): AsyncGenerator<LoadedBatch, void, undefined> {
  const partAt = (from: number): readonly Request[] => requests.slice(from, from + batchSize);
  // Failures wait for their batch's turn: before it nobody listens.
  const decode = (part: readonly Request[]) => Promise.allSettled(part.map(({ source }) => pool.decode(source)));
  let ahead = decode(partAt(0));
  for (let from = 0; from < requests.length; from += batchSize) {
    const settled = await ahead;
    ahead = decode(partAt(from + batchSize));
    yield sortOut(partAt(from), settled);
  }
}

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
