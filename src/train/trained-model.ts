/** A network that training saved, ready to look at pictures: what `predict` is on the command line, for programs and pages. */
import { parseSafetensors, rangesOf } from '../io/safetensors-format.js';
import type { Runtime } from '../kernels/runtime.js';
import { withoutInit } from '../nn/init.js';
import { checkIntegers, checkNames } from '../ops/arguments.js';
import { defaultRuntime } from '../tensor/create.js';
import { checkList } from '../tensor/shape.js';
import { checkpointIn } from './checkpoint-meta.js';
import type { TrainConfig } from './config.js';
import { createMethod, type Method } from './method.js';
import { savedOptions } from './options/saved-options.js';
import { toTrainConfig } from './options/train-options.js';
import { type Drawable, type Picture, toPixels } from './picture.js';
import { type Predicted, predictPixels, type Predictor } from './predict.js';
import { loadWeights } from './weights/load-weights.js';
import { interpret, type Weights } from './weights/weights.js';

/** Builds a network with its weights, in evaluation mode. */
export const buildTrained = (
  runtime: Runtime, { weights, config, classes }: { readonly weights: Weights; readonly config: TrainConfig; readonly classes: readonly string[] },
): Method => {
  const method = withoutInit(() => createMethod(runtime, config, classes.length));
  loadWeights(method, weights);
  method.module.eval();
  return method;
};

/** A trained network; {@link openTrained} makes one. */
export class TrainedModel {
  /** The network itself: a `WSDAN` or a `PlainClassifier`. */
  readonly module: Method['module'];

  /** Names of what it tells apart. */
  readonly classes: readonly string[];

  constructor(private readonly runtime: Runtime, private readonly predictor: Predictor) {
    this.module = predictor.method.module;
    this.classes = predictor.classes;
  }

  /** Side of the network's input, pixels. */
  get imageSize(): number {
    return this.predictor.config.augment.imageSize;
  }

  /**
   * Tells what pictures of any size show: resized and cut as in evaluation, the most probable classes of the whole picture (`raw`), the box that the
   * attention maps point to, in pixels of the picture, and the classes after looking closer there (`refined`; Algorithm 1 of the paper).
   *
   * @param pictures as a canvas's `getImageData` gives them; in a browser also what it can draw: canvases, images, videos,
   *   and of a file `await createImageBitmap(file)`; but a canvas forgets the colour of what is wholly transparent: it becomes
   *   black, where training and the command see the colour in the file
   * @param top how many classes to list
   * @returns as many answers as there are pictures
   * @throws UserError when a picture's numbers disagree or an image is not loaded yet, another server's, or larger than the adapter
   *   takes, or `top` is not a whole number of at least 1
   */
  async predict(pictures: readonly (Picture | Drawable)[], options: { top?: number } = {}): Promise<Predicted[]> {
    checkList('predict', 'the pictures', pictures);
    checkNames('predict', options, ['top']);
    const { top = 5 } = options;
    checkIntegers('predict', 'top', [top], 1);
    const { largestBuffer } = this.runtime.device.pool;
    const pixels = pictures.map((picture, i) => toPixels(picture, i, largestBuffer));
    const found: Predicted[] = [];
    const { evalBatchSize } = this.predictor.config;
    for (let from = 0; from < pixels.length; from += evalBatchSize) {
      found.push(...await predictPixels(this.runtime, this.predictor, pixels.slice(from, from + evalBatchSize), top));
    }
    return found;
  }

  /** Gives the adapter's memory back, where another model takes this one's place. It cannot be used any more. */
  release(): void {
    const { module, centers, metrics } = this.predictor.method;
    module.release();
    centers?.release();
    metrics.release();
  }
}

/**
 * A trained network from the bytes of a checkpoint that `node dist/train.js` wrote (`best.safetensors`, `last.safetensors`):
 *
 * ```js
 * const model = openTrained(new Uint8Array(await (await fetch('best.safetensors')).arrayBuffer()));
 * const [seen] = await model.predict([document.querySelector('img')]);
 * console.log(seen.refined[0].label, seen.box);
 * ```
 *
 * A network of mixed precision is opened in float32 where the adapter has no float16.
 *
 * @throws UserError when the bytes are no such checkpoint, or damaged
 */
export const openTrained = (bytes: Uint8Array | ArrayBuffer, runtime: Runtime = defaultRuntime()): TrainedModel => {
  const checkpoint = checkpointIn(parseSafetensors(rangesOf(bytes, 'the checkpoint')));
  const { classes, file } = checkpoint;
  const options = savedOptions(checkpoint);
  const config = toTrainConfig(runtime.device.report.half ? options : { ...options, precision: 'float32' });
  return new TrainedModel(runtime, { method: buildTrained(runtime, { weights: interpret(file), config, classes }), config, classes });
};
