import { readFileSync } from 'node:fs';
import { parseOptions, toConfig } from '../../src/cli/options.js';
import { resultOptions, toTrainConfig, trainOptions, type TrainOptions, withPreset } from '../../src/train/options/train-options.js';
import type { Runtime } from '../../src/kernels/runtime.js';
import { setRandomStep } from '../../src/ops/index.js';
import { tensor } from '../../src/tensor/create.js';
import { keep, scope } from '../../src/tensor/scope.js';
import { saveCheckpoint } from '../../src/train/checkpoint.js';
import type { TrainConfig } from '../../src/train/config.js';
import { createModel, type ModelSession, updateParameters } from '../../src/train/session.js';
import { START } from '../../src/train/trainer.js';
import { batchOf } from '../../src/wsdan/micro-batches.js';
import { portableImages, portableUniform } from './portable.js';

/** The options of `node dist/train.js` with these. */
export const optionsOf = (args: readonly string[]): TrainOptions => withPreset(parseOptions({ name: 'train', summary: '', options: trainOptions }, args));

/** The config of `node dist/train.js` with these options. */
export const configOf = (...args: string[]): TrainConfig => toTrainConfig(optionsOf(args));

/** The bytes of the checkpoint that the command would save, of a network trained for some steps on fixed noise. */
export const trainedBytes = async (runtime: Runtime, path: string, classes: readonly string[], steps: number, ...args: string[]): Promise<Uint8Array> => {
  const options = optionsOf(args);
  const training = fixedTraining(runtime, toTrainConfig(options), classes.length);
  for (let number = 0; number < steps; number++) await training.step(number);
  await saveCheckpoint(path, training.session, toConfig(resultOptions, options), classes, { ...START, step: steps });
  return readFileSync(path);
};

interface FixedTraining {
  readonly session: ModelSession;
  /** One whole step on the same batch. */
  step(number: number): Promise<void>;
}

/** A model as the command makes it, with a batch of fixed noise images. */
export const fixedTraining = (runtime: Runtime, config: TrainConfig, classes: number): FixedTraining => {
  const session = createModel(runtime, config, classes);
  const { batchSize, augment: { imageSize } } = config;
  const images = keep(tensor(portableImages(batchSize, imageSize, 2), [batchSize, imageSize, imageSize, 3]));
  const labels = keep(tensor(Int32Array.from({ length: batchSize }, (_, i) => Math.floor(portableUniform(1, i) * classes)), [batchSize]));
  session.method.module.train();
  const step = async (number: number): Promise<void> => {
    setRandomStep(number);
    scope(() => {
      session.optimizer.zeroGrad();
      session.method.step(batchOf(images, labels), config.microBatch || batchSize, session.scaler);
      updateParameters(session);
    });
    await runtime.endStep();
  };
  return { session, step };
};
