/** From pixels to classes and boxes. */
import { boxToSource } from '../data/augment.js';
import type { Box } from '../data/types.js';
import type { Runtime } from '../kernels/runtime.js';
import { scope } from '../tensor/scope.js';
import type { Tensor, TypedArray } from '../tensor/tensor.js';
import type { TrainConfig } from './config.js';
import { evalTransforms, type Pixels, uploadImages } from './image-batch.js';
import { boxAt } from './localisation.js';
import type { Method } from './method.js';
import type { Guess } from './report/types.js';

export type { Box };

/** What a network makes of a picture. */
export interface Predicted {
  /** Most probable first. */
  readonly raw: readonly Guess[];
  /** After looking closer; a plain classifier has none, nor a box. */
  readonly refined?: readonly Guess[];
  /** Where it looked a second time, in pixels of the picture. */
  readonly box?: Box;
  /** The attention map was unusable, so the whole picture was taken. */
  readonly degenerate?: boolean;
}

/** A trained network in evaluation mode, and what belongs to it. */
export interface Predictor {
  readonly method: Method;
  readonly config: TrainConfig;
  readonly classes: readonly string[];
}

/** The classes with the largest probabilities of a row. */
export const topGuesses = (probabilities: TypedArray, row: number, classes: readonly string[], count = 5): Guess[] =>
  classes.map((label, i) => ({ label, probability: probabilities[row * classes.length + i]! })).sort((a, b) => b.probability - a.probability).slice(0, count);

/** Keeps a box within its picture: the evaluation window may end a fraction of a pixel outside. */
const inside = (box: Box, { width, height }: Pixels): Box => ({
  x0: Math.max(0, box.x0), y0: Math.max(0, box.y0), x1: Math.min(width, box.x1), y1: Math.min(height, box.y1),
});

const dataOf = async (tensor: Tensor | undefined): Promise<TypedArray | undefined> => tensor?.data();

/**
 * Predicts pictures as one batch. Calls may overlap.
 *
 * @param top how many classes to list
 */
export const predictPixels = async (
  runtime: Runtime, { method, config: { augment }, classes }: Predictor, pictures: readonly Pixels[], top: number,
): Promise<Predicted[]> => {
  const transforms = evalTransforms(augment, pictures);
  // Reading begins at once, so that the scope, which must not be open beside another call's, ends before it is waited for.
  const { reading } = scope(() => {
    const images = uploadImages(runtime, pictures, transforms, augment);
    const { raw, refined, boxes, degenerate } = method.evaluate(images, false);
    return { reading: [raw.data(), dataOf(refined), dataOf(boxes), dataOf(degenerate)] as const };
  });
  const [raw, refined, boxes, degenerate] = await Promise.all(reading);
  return pictures.map((picture, row) => ({
    raw: topGuesses(raw, row, classes, top),
    ...(refined ? { refined: topGuesses(refined, row, classes, top) } : {}),
    ...(boxes ? { box: inside(boxToSource(boxAt(boxes, row), transforms[row]!, augment.imageSize), picture), degenerate: degenerate?.[row] === 1 } : {}),
  }));
};
