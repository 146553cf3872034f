import { Captured } from '../autograd/captured.js';
import type { ImageTransform } from '../data/augment.js';
import type { Batch } from '../data/loader.js';
import type { Runtime } from '../kernels/runtime.js';
import { scope } from '../tensor/scope.js';
import { batchOf, type BatchSource, wholeBatch } from '../wsdan/micro-batches.js';
import type { TrainConfig } from './config.js';
import { batchSource } from './image-batch.js';
import { type ModelSession, updateParameters } from './session.js';

/**
 * Steps of training: pictures up, losses, gradients, update. All steps do the same, so the first is captured and the others replay it; not with
 * micro-batches, whose pictures are uploaded in the midst of a step.
 */
export class TrainingStep {
  private readonly captured: Captured | null;
  private readonly mostImages: number;

  constructor(private readonly runtime: Runtime, private readonly model: ModelSession, private readonly config: TrainConfig) {
    this.mostImages = config.microBatch || config.batchSize;
    this.captured = this.mostImages < config.batchSize ? null : new Captured((images, labels) => this.compute(batchOf(images!, labels!)), runtime);
  }

  /** Records a step; nothing is waited for. Its random draws are those of the current random step. */
  run(batch: Pick<Batch, 'images' | 'labels'>, transforms: readonly ImageTransform[]): void {
    const source = batchSource(this.runtime, batch, transforms, this.config.augment);
    if (!this.captured) {
      scope(() => this.compute(source));
      return;
    }
    this.captured.run(() => {
      const { images, labels } = source.rows(wholeBatch(source.size));
      return [images, labels];
    });
  }

  private compute(batch: BatchSource): void {
    const { method, optimizer, scaler } = this.model;
    optimizer.zeroGrad();
    method.step(batch, this.mostImages, scaler);
    updateParameters(this.model);
  }
}
