/** A training step as the command makes it, on pictures of noise: what the profile looks at. */
import { parseOptions } from '../src/cli/options.js';
import { toTrainConfig, trainOptions, withPreset } from '../src/train/options/train-options.js';
import { drawTrainTransform, resizedSide } from '../src/data/augment.js';
import type { Batch } from '../src/data/loader.js';
import type { Runtime } from '../src/kernels/runtime.js';
import { CaseRandom } from '../src/ops/cases.js';
import { setRandomStep } from '../src/ops/index.js';
import type { TrainConfig } from '../src/train/config.js';
import { createModel } from '../src/train/session.js';
import { TrainingStep } from '../src/train/training-step.js';
import type { BenchOptions } from './options.js';

/** Classes of each data set: they decide the classifier's size. */
const CLASSES = { synthetic: 8, aircraft: 100, cub: 200, cars: 196, dogs: 120, folder: 100, csv: 100 } as const;

/** The options of `node dist/train.js` that these of the benchmark stand for. */
export const trainArguments = ({ preset, data, model, imageSize, batchSize, precision }: Pick<BenchOptions, 'preset' | 'data' | 'model' | 'imageSize' | 'batchSize' | 'precision'>): string[] => [
  '--dataset', preset, ...(data ? ['--data', data] : []), ...(model ? ['--model', model] : []), ...(imageSize ? ['--image-size', String(imageSize)] : []),
  ...(batchSize ? ['--batch-size', String(batchSize)] : []), ...(precision === 'mixed' ? ['--precision', precision] : []),
];

interface Training {
  readonly config: TrainConfig;
  /** Records a whole step, upload and update included; nothing is waited for. */
  step(): void;
}

const noiseBatch = ({ batchSize, augment }: TrainConfig, classes: number): Batch => {
  const random = new CaseRandom(3);
  const side = resizedSide(augment);
  const rgba = Uint8Array.from({ length: side * side * 4 }, () => Math.floor(256 * random.next()));
  return {
    number: 0, indices: Array.from({ length: batchSize }, (_, i) => i),
    labels: Int32Array.from({ length: batchSize }, () => Math.floor(random.next() * classes)),
    images: Array.from({ length: batchSize }, () => ({ rgba, width: side, height: side })), boxes: [], ids: [],
  };
};

/** @param options those of {@link trainArguments} */
export const prepareTraining = (runtime: Runtime, options: readonly string[]): Training => {
  const config = toTrainConfig(withPreset(parseOptions({ name: 'train', summary: '', options: trainOptions }, options)));
  const model = createModel(runtime, config, CLASSES[config.dataset]);
  const batch = noiseBatch(config, CLASSES[config.dataset]);
  const transforms = batch.images.map(({ width, height }, i) => drawTrainTransform(config.augment, config.seed, 0, i, width, height));
  const training = new TrainingStep(runtime, model, config);
  model.method.module.train();
  let number = 0;
  const step = (): void => {
    setRandomStep(number++);
    training.run(batch, transforms);
  };
  return { config, step };
};
