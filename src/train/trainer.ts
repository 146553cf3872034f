import { join } from 'node:path';
import { drawTrainTransform } from '../data/augment.js';
import type { Batch } from '../data/loader.js';
import { fail } from '../errors.js';
import { appendJsonLine } from '../io/jsonl.js';
import type { Runtime } from '../kernels/runtime.js';
import type { GradScaler } from '../nn/grad-scaler.js';
import { learningRate } from '../nn/schedule.js';
import { setRandomStep } from '../ops/index.js';
import { NanTracer } from '../autograd/nan-tracer.js';
import { saveCheckpoint } from './checkpoint.js';
import type { Position } from './checkpoint-meta.js';
import type { RunOptions, TrainConfig } from './config.js';
import { diverged } from './diverged.js';
import { type Evaluation, evaluate } from './evaluate.js';
import { type EpochRecord, selectionScore, trainMetrics } from './history.js';
import { compilePlanned } from './memory-plan.js';
import { EpochProgress, type ProgressMetrics } from './progress.js';
import type { DataSession, ModelSession } from './session.js';
import { TrainingStep } from './training-step.js';

/** Where a trainer begins: a fresh run, or a checkpoint's position. */
export const START: Position = { epoch: 0, batch: 0, step: 0, sums: {}, seconds: 0, trainSeconds: 0, trainImages: 0, history: [] };

/** Runs epochs: steps, metrics, evaluation, checkpoints. It stops after the step in which `stop()` was called. */
export class Trainer {
  private epoch: number;
  private step: number;
  private seconds: number;
  private trainSeconds: number;
  private trainImages: number;
  private readonly history: EpochRecord[];
  private stopping = false;
  private since = performance.now();
  private lastSave = performance.now();
  private warm = false;
  private noteFirstStep = (): void => {};
  /** Fulfilled when the first step is done and all kernels are compiled; never, where no step is left to do. */
  readonly firstStep = new Promise<void>((resolve) => { this.noteFirstStep = resolve; });
  /** What the memory plan's dry runs met is compiled while the first pictures are decoded. */
  private kernels = Promise.resolve();
  private readonly tracer: NanTracer | null;
  private readonly training: TrainingStep;

  constructor(
    private readonly runtime: Runtime, private readonly data: DataSession, private readonly model: ModelSession,
    private readonly config: TrainConfig, private readonly run: RunOptions, private start: Position,
  ) {
    ({ epoch: this.epoch, step: this.step, seconds: this.seconds, trainSeconds: this.trainSeconds, trainImages: this.trainImages } = start);
    this.history = [...start.history];
    this.training = new TrainingStep(runtime, model, config);
    this.tracer = run.debugNan ? new NanTracer(runtime) : null;
  }

  /** Asks for an end after the current step; the run is then saved. */
  stop(): void {
    this.stopping = true;
  }

  /** Trains to the last epoch. @returns whether it got there (else it was stopped, and saved) */
  async train(): Promise<boolean> {
    const loader = this.data.loader(this.data.dataset.train, { batchSize: this.config.batchSize, shuffle: true });
    this.model.method.module.train();
    this.kernels = compilePlanned(this.runtime, console.log);
    // Whoever waits for them first is told.
    this.kernels.catch(() => {});
    for (; this.epoch < this.config.epochs; this.epoch++) {
      const finished = await this.trainEpoch(loader.epoch(this.epoch, this.start.batch), loader.batchesPerEpoch);
      if (!finished) return false;
    }
    return true;
  }

  get records(): readonly EpochRecord[] {
    return this.history;
  }

  /** Totals so far, across resumes. Training seconds leave out warm-up and evaluation. */
  get totals(): { seconds: number; steps: number; imagesPerSecond: number } {
    this.addTime();
    return { seconds: this.seconds, steps: this.step, imagesPerSecond: this.trainSeconds > 0 ? this.trainImages / this.trainSeconds : 0 };
  }

  private async trainEpoch(batches: AsyncIterable<Batch>, total: number): Promise<boolean> {
    const { metrics } = this.model.method;
    const first = this.start.batch;
    this.start = { ...START, epoch: this.epoch };
    if (first === 0) metrics.reset();
    const progress = new EpochProgress({ label: `Epoch ${this.epoch + 1}/${this.config.epochs}`, total, done: first });
    const clock = { from: performance.now(), images: 0 };
    let done = first;
    for await (const batch of batches) {
      await this.kernels;
      await this.trainBatch(batch, this.epoch + done / total);
      done++;
      await this.noteWarmUp(progress, clock);
      clock.images += batch.labels.length;
      const read = done % this.run.logEvery === 0 && done < total;
      progress.update(done, read ? this.progressMetrics(await metrics.read(), done * this.config.batchSize) : undefined);
      if (this.stopping && done < total) {
        progress.log('');
        await this.save('last', this.epoch, done);
        return false;
      }
      // The last batch is saved with the epoch: a position behind it would be one that --resume refuses.
      if (done < total && performance.now() - this.lastSave > this.run.saveEveryMinutes * 60_000) await this.save('last', this.epoch, done);
    }
    if (done < total) fail(`epoch ${this.epoch + 1} delivered ${done} of ${total} batches: too many images were unreadable`);
    await this.finishEpoch(progress, clock, total);
    return !this.stopping || this.epoch + 1 === this.config.epochs;
  }

  private async trainBatch(batch: Batch, at: number): Promise<void> {
    const { config, model: { optimizer } } = this;
    setRandomStep(this.step);
    this.tracer?.start();
    optimizer.lr = learningRate(config.lr, at, { ...config.schedule, epochs: config.epochs });
    const transforms = batch.images.map(({ width, height }, i) => drawTrainTransform(config.augment, config.seed, this.epoch, batch.indices[i]!, width, height));
    this.training.run(batch, transforms);
    await this.tracer?.check(this.step);
    this.step++;
    await this.runtime.endStep();
  }

  /** The first step compiles all kernels; it is timed apart. */
  private async noteWarmUp(progress: EpochProgress, clock: { from: number }): Promise<void> {
    if (this.warm) return;
    await this.runtime.idle();
    this.warm = true;
    this.noteFirstStep();
    const now = performance.now();
    progress.log(`Warm-up: ${this.runtime.recorder.pipelines.count} pipelines compiled, first step done in ${((now - clock.from) / 1000).toFixed(1)} s`);
    clock.from = now;
  }

  private progressMetrics(sums: Readonly<Record<string, number>>, samples: number): ProgressMetrics {
    const { loss, raw, crop, drop } = trainMetrics(sums, samples, this.model.method.meanLoss(sums, samples));
    if (!Number.isFinite(loss)) diverged(this.run.out, this.step, `the loss is ${loss}`);
    return { loss, raw, ...(crop ? { crop } : {}), ...(drop ? { drop } : {}) };
  }

  private async finishEpoch(progress: EpochProgress, clock: { from: number; images: number }, total: number): Promise<void> {
    const { method, optimizer, scaler } = this.model;
    const samples = Math.min(total * this.config.batchSize, this.data.dataset.train.samples.length);
    const sums = await method.metrics.read();
    const metrics = this.progressMetrics(sums, samples);
    const train = trainMetrics(sums, samples, metrics.loss!);
    const seconds = (performance.now() - clock.from) / 1000;
    progress.finish({ ...metrics, terms: train.terms });
    if (train.degenerate > 0) console.log(`  ${train.degenerate} of ${2 * samples} crops and drops had an unusable attention map; the whole image was taken`);
    this.trainSeconds += seconds;
    this.trainImages += clock.images;
    const evaluation = this.evaluationDue() ? await this.evaluateEpoch() : undefined;
    const record: EpochRecord = {
      epoch: this.epoch + 1, step: this.step, lr: optimizer.lr, seconds, imagesPerSecond: clock.images / seconds,
      train, ...(scaler ? { scaler: await scalerRecord(scaler) } : {}), ...(evaluation ? { eval: evaluation } : {}),
    };
    const best = Math.max(-1, ...this.history.map((r) => (r.eval ? selectionScore(r.eval) : -1)));
    this.history.push(record);
    if (evaluation && selectionScore(evaluation) > best) await this.save('best', this.epoch + 1, 0);
    await this.save('last', this.epoch + 1, 0);
    // After the checkpoint, which holds the history: a resumed run writes missing lines again.
    appendJsonLine(join(this.run.out, 'metrics.jsonl'), record);
  }

  private evaluationDue(): boolean {
    const { evalEvery, epochs } = this.config;
    return (this.epoch + 1) % evalEvery === 0 || this.epoch + 1 === epochs;
  }

  private async evaluateEpoch(): Promise<Evaluation & { split: 'val' | 'test' }> {
    const { dataset } = this.data;
    const split = dataset.val ? 'val' : 'test';
    const result = await evaluate(this.runtime, this.data, this.model.method, this.config, dataset.val ?? dataset.test, { withDrop: false });
    console.log(`  ${split}: ${describeEvaluation(result)}`);
    if (!Number.isFinite(result.loss)) diverged(this.run.out, this.step, `the loss on the ${split} images is ${result.loss}`);
    return { ...result, split };
  }

  /** @param epoch epochs completed; @param batch batches completed in the next one */
  private async save(name: 'last' | 'best', epoch: number, batch: number): Promise<void> {
    this.addTime();
    const sums = await this.model.method.metrics.read();
    if (batch > 0) this.progressMetrics(sums, batch * this.config.batchSize);
    const position: Position = {
      epoch, batch, step: this.step, sums,
      seconds: this.seconds, trainSeconds: this.trainSeconds, trainImages: this.trainImages, history: this.history,
    };
    await saveCheckpoint(join(this.run.out, `${name}.safetensors`), this.model, this.run.options, this.data.dataset.classes, position);
    if (name === 'last') this.lastSave = performance.now();
  }

  private addTime(): void {
    const now = performance.now();
    this.seconds += (now - this.since) / 1000;
    this.since = now;
  }
}

const scalerRecord = async (scaler: GradScaler): Promise<EpochRecord['scaler'] & object> => {
  const { scale, skipped } = await scaler.stateDict();
  return { scale, skipped };
};

/** One line: raw, crop and refined top-1, localisation. */
export const describeEvaluation = ({ raw, crop, drop, refined, localisation, degenerate }: Evaluation): string => {
  const parts = [`raw ${raw.top1.toFixed(1)} %`];
  if (crop) parts.push(`crop ${crop.top1.toFixed(1)} %`);
  if (drop) parts.push(`drop ${drop.top1.toFixed(1)} %`);
  if (refined) parts.push(`refined ${refined.top1.toFixed(1)} %`);
  if (localisation) parts.push(`box IoU ${localisation.meanIoU.toFixed(3)}`);
  if (degenerate > 0) parts.push(`${degenerate} unusable attention maps (whole image taken)`);
  return parts.join(', ');
};
