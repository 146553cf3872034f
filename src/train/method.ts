import { backward } from '../autograd/backward.js';
import { noGrad } from '../autograd/tape.js';
import { fail } from '../errors.js';
import type { Runtime } from '../kernels/runtime.js';
import type { GradScaler } from '../nn/grad-scaler.js';
import { freezeBatchNorm } from '../nn/layers.js';
import type { Backbone } from '../nn/models/backbone.js';
import { createBackbone } from '../nn/models/index.js';
import { type AnyModule, inEvaluation } from '../nn/module.js';
import { affine, autocast, softmax } from '../ops/index.js';
import { tensor } from '../tensor/create.js';
import { keep, scope } from '../tensor/scope.js';
import { withOwner } from '../tensor/storage.js';
import type { Tensor } from '../tensor/tensor.js';
import { rowsEntropy, type Weighing, weighingOf } from '../wsdan/batch-entropy.js';
import { FeatureCenters } from '../wsdan/centers.js';
import { localiseAndRefine, type Prediction } from '../wsdan/localise.js';
import { MetricSums } from '../wsdan/metric-sums.js';
import { type BatchSource, microBatches, type Rows } from '../wsdan/micro-batches.js';
import { PlainClassifier, WSDAN } from '../wsdan/model.js';
import { correct, scaled, type StepMetric, stepMetrics, trainMicroBatches } from '../wsdan/train-step.js';
import type { TrainConfig } from './config.js';

/** Predictions of the branches; a plain classifier has only the first. */
export type Evaluated = Pick<Prediction, 'raw'> & Partial<Prediction>;

/** What is trained: WS-DAN, or the plain classifier it is compared with. */
export interface Method {
  readonly module: AnyModule & { readonly features: Backbone };
  /** Name of the backbone. */
  readonly model: string;
  readonly metrics: MetricSums<string>;
  readonly centers: FeatureCenters | null;
  /** What features are multiplied by before the classifier; a plain classifier takes them as they are. */
  readonly featureScale?: number;
  /** Forward and backward of a batch, at most `most` images at a time; gradients, scaled by the scaler if any, are added to the parameters'. */
  step(batch: BatchSource, most?: number, scaler?: GradScaler | null): void;
  /** Mean loss and terms from the sums of an epoch. */
  meanLoss(sums: Readonly<Record<string, number>>, samples: number): number;
  /** Puts the module into evaluation mode for as long as it takes. */
  evaluate(images: Tensor, withDrop: boolean): Evaluated;
}

const withPrecision = <T>({ precision }: TrainConfig, fn: () => T): T => autocast(fn, { enabled: precision === 'mixed' });

/** Refuses mixed precision where the adapter has no float16. */
export const checkPrecision = ({ device: { report } }: Runtime, { precision }: Pick<TrainConfig, 'precision'>): void => {
  if (precision === 'mixed' && !report.half) fail(`--precision mixed: the adapter "${report.name}" has no float16 in its shaders (shader-f16); use --precision float32`);
};

class WsdanMethod implements Method {
  readonly module: WSDAN;
  readonly model: string;
  readonly centers: FeatureCenters;
  readonly featureScale: number;
  readonly metrics: MetricSums<StepMetric>;

  constructor(runtime: Runtime, private readonly config: TrainConfig, classes: number, private readonly classWeights: Tensor | null) {
    this.model = config.model;
    this.featureScale = config.wsdan.scale;
    this.module = new WSDAN(backboneOf(config), classes, config.wsdan);
    this.centers = new FeatureCenters(runtime, classes, this.module.featureSize, config.wsdan);
    this.metrics = new MetricSums(runtime, stepMetrics);
  }

  step(batch: BatchSource, most = batch.size, scaler: GradScaler | null = null): void {
    const { module, centers, metrics, classWeights, config } = this;
    withPrecision(config, () => trainMicroBatches(module, centers, batch, most, config.wsdan, metrics, { scaler, classWeights }));
  }

  meanLoss(sums: Readonly<Record<StepMetric, number>>, samples: number): number {
    return ((sums.lossRaw + sums.lossCrop + sums.lossDrop) / 3 + this.config.wsdan.centerWeight * sums.lossCenter) / samples;
  }

  evaluate(images: Tensor, withDrop: boolean): Evaluated {
    return inEvaluation(this.module, () => withPrecision(this.config, () => localiseAndRefine(this.module, images, this.config.wsdan, withDrop)));
  }
}

const plainMetrics = ['lossRaw', 'rawTop1', 'rawTop5'] as const;

class PlainMethod implements Method {
  readonly module: PlainClassifier;
  readonly model: string;
  readonly centers = null;
  readonly metrics: MetricSums<(typeof plainMetrics)[number]>;

  constructor(runtime: Runtime, private readonly config: TrainConfig, classes: number, private readonly classWeights: Tensor | null) {
    this.model = config.model;
    this.module = new PlainClassifier(backboneOf(config), classes);
    this.metrics = new MetricSums(runtime, plainMetrics);
  }

  step(batch: BatchSource, most = batch.size, scaler: GradScaler | null = null): void {
    withPrecision(this.config, () => scope(() => {
      const weighing = weighingOf('training', this.classWeights, () => batch.labels());
      microBatches(batch.size, most).forEach((rows) => scope(() => this.part(batch, rows, scaler, weighing)));
    }));
  }

  private part(batch: BatchSource, rows: Rows, scaler: GradScaler | null, weighing: Weighing | null): void {
    const { images, labels } = batch.rows(rows);
    const logits = this.module.call(images);
    const { loss, share, count } = rowsEntropy(logits, labels, rows, this.config.wsdan.labelSmoothing, weighing);
    backward(scaled(affine(loss, share), scaler));
    const { top1, top5 } = correct(logits, labels);
    this.metrics.add({ lossRaw: [loss.detach(), count], rawTop1: top1, rawTop5: top5 });
  }

  meanLoss(sums: Readonly<Record<string, number>>, samples: number): number {
    return sums.lossRaw! / samples;
  }

  evaluate(images: Tensor): Evaluated {
    return inEvaluation(this.module, () => withPrecision(this.config, () => scope(() => noGrad(() => ({ raw: softmax(this.module.call(images)) })))));
  }
}

const backboneOf = ({ model, transformInput, wsdan: { bnMomentum } }: TrainConfig): Backbone => createBackbone(model, { bnMomentum, transformInput });

/**
 * Builds the network and what belongs to it; initial weights follow from `seedInit`.
 *
 * @param classWeights how much each class counts in training; null: all alike
 */
export const createMethod = (runtime: Runtime, config: TrainConfig, classes: number, classWeights: readonly number[] | null = null): Method => {
  const weight = classWeights && withOwner('class weights', () => keep(tensor(classWeights, [classes], { runtime, label: 'class weights' })));
  const method: Method = config.method === 'wsdan' ? new WsdanMethod(runtime, config, classes, weight) : new PlainMethod(runtime, config, classes, weight);
  method.module.nameAll();
  if (config.freezeBn) freezeBatchNorm(method.module);
  return method;
};
