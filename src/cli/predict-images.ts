/** From files to predictions: decoding, one forward, boxes in pixels of the original picture. */
import { boxToSource } from '../data/augment.js';
import type { Batch } from '../data/loader.js';
import { BadImageError } from '../data/decode.js';
import type { DecodePool } from '../data/decode-pool.js';
import type { ImageSource } from '../data/produce-image.js';
import type { Box, DecodedImage } from '../data/types.js';
import { UserError } from '../errors.js';
import type { Runtime } from '../kernels/runtime.js';
import { scope } from '../tensor/scope.js';
import { boxAt } from '../train/evaluate.js';
import { uploadBatch } from '../train/image-batch.js';
import type { Method } from '../train/method.js';
import { topGuesses } from '../train/report-cases.js';
import type { Guess } from '../train/report/types.js';
import { evalTransforms } from '../train/session.js';
import type { SavedModel } from './saved-model.js';

/** What is to be predicted; the true class is known of embedded pictures only. */
export interface Request {
  readonly name: string;
  readonly source: ImageSource;
  readonly trueLabel?: string;
}

export interface ImagePrediction {
  readonly file: string;
  /** Of the original picture, pixels. */
  readonly width: number;
  readonly height: number;
  readonly trueLabel?: string;
  /** Most probable first. */
  readonly raw: readonly Guess[];
  /** After looking closer; a plain classifier has none, nor a box. */
  readonly refined?: readonly Guess[];
  /** Where it looked a second time, in pixels of the original picture. */
  readonly box?: Box;
  /** The attention map was unusable, so the whole picture was taken. */
  readonly degenerate?: boolean;
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

/** Keeps a box within its picture: the evaluation window may end a fraction of a pixel outside. */
const inside = (box: Box, width: number, height: number): Box => ({
  x0: Math.max(0, box.x0), y0: Math.max(0, box.y0), x1: Math.min(width, box.x1), y1: Math.min(height, box.y1),
});

const scaled = ({ x0, y0, x1, y1 }: Box, [x, y]: DecodedImage['shrink']): Box => ({ x0: x0 * x, y0: y0 * y, x1: x1 * x, y1: y1 * y });

/**
 * Predicts pictures of one batch.
 *
 * @param top how many classes to list
 * @returns for each picture its prediction, and the box in pixels of the decoded (perhaps shrunk) picture
 */
export const predictBatch = (runtime: Runtime, method: Method, { config, classes }: SavedModel, loaded: readonly Loaded[], top: number): Promise<{ prediction: ImagePrediction; decodedBox: Box | null }[]> =>
  scope(async () => {
    const { augment } = config;
    const transforms = evalTransforms(augment, loaded.map(({ image }) => image));
    const { images } = uploadBatch(runtime, toBatch(loaded), transforms, augment);
    const result = method.evaluate(images, false);
    const [raw, refined, boxes, degenerate] = [await result.raw.data(), await result.refined?.data(), await result.boxes?.data(), await result.degenerate?.data()];
    return loaded.map(({ request, image }, row) => {
      const { shrink, width, height } = image;
      const decodedBox = boxes ? inside(boxToSource(boxAt(boxes, row), transforms[row]!, augment.imageSize), width, height) : null;
      const prediction: ImagePrediction = {
        file: request.name, width: Math.round(width * shrink[0]), height: Math.round(height * shrink[1]), raw: topGuesses(raw, row, classes, top),
        ...(request.trueLabel === undefined ? {} : { trueLabel: request.trueLabel }),
        ...(refined ? { refined: topGuesses(refined, row, classes, top) } : {}),
        ...(decodedBox ? { box: scaled(decodedBox, shrink), degenerate: degenerate?.[row] === 1 } : {}),
      };
      return { prediction, decodedBox };
    });
  });
