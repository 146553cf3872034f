import { existsSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { drawTrainTransform } from '../data/augment.js';
import type { Batch } from '../data/loader.js';
import { copyFileAtomic, keepUnder } from '../io/atomic.js';
import { appendJsonLine } from '../io/jsonl.js';
import type { Runtime } from '../kernels/runtime.js';
import type { GradScaler } from '../nn/grad-scaler.js';
import { setLearningRates } from '../nn/schedule.js';
import { setRandomStep } from '../ops/index.js';
import { NanTracer } from '../autograd/nan-tracer.js';
import { saveCheckpoint } from './checkpoint.js';
import type { Position } from './checkpoint-meta.js';
import type { RunOptions, TrainConfig } from './config.js';
import { diverged } from './diverged.js';
import { type Evaluation, evaluate } from './evaluate.js';
import { bestEpoch, type EpochRecord, isOutOfPatience, trainMetrics } from './history.js';
import { compilePlanned } from './memory-plan.js';
import type { ResultOptions } from './options/train-options.js';
import { EpochProgress, type ProgressMetrics } from './progress.js';
import { belowPublished } from './published-curves.js';
import { checkpointFile, type CheckpointName, keptName } from './run-folder.js';
import { type DataSession, type ModelSession, withCountingWeights } from './session.js';
import { TrainingStep } from './training-step.js';

/** Where a trainer begins: a fresh run, or a checkpoint's position. */
export const START: Position = { epoch: 0, batch: 0, step: 0, sums: {}, seconds: 0, trainSeconds: 0, trainImages: 0, history: [] };

/** How far an epoch is. */
interface EpochState {
  /** Batches behind us, also those of which no image could be read. */
  done: number;
  /** Images trained in the epoch. */
  images: number;
  /** What the speed is taken from: the time since then, and the images trained in it. */
  timedFrom: number;
  timedImages: number;
}

/** Runs epochs: steps, metrics, evaluation, checkpoints. It stops after the step, or the batch of an evaluation, in which `stop()` was called. */
export class Trainer {
  private epoch: number;
  private step: number;
  private seconds: number;
  private trainSeconds: number;
  private trainImages: number;
  private readonly history: EpochRecord[];
  private readonly stopper = new AbortController();
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

  /** Asks for an end after the current step, or the current batch of an evaluation; the run is saved then. */
  stop(): void {
    this.stopper.abort();
  }

  /** Ends evaluations when {@link stop} was called: they throw its reason. */
  get signal(): AbortSignal {
    return this.stopper.signal;
  }

  /** Trains to the last epoch, or until patience ends. @returns whether it got there (else it was stopped, and saved) */
  async train(): Promise<boolean> {
    const loader = this.data.loader(this.data.dataset.train, { batchSize: this.config.batchSize, shuffle: true });
    this.model.method.module.train();
    this.kernels = compilePlanned(this.runtime, console.log);
    // Whoever waits for them first is told.
    this.kernels.catch(() => {});
    const { unevaluated } = this.start;
    if (unevaluated) {
      await this.kernels;
      await this.closeEpoch(unevaluated, true);
    }
    // In the midst of an epoch, which another patience can only find after a resume, that epoch is finished first.
    for (; this.epoch < this.config.epochs && (this.start.batch > 0 || !isOutOfPatience(this.history, this.config.patience)); this.epoch++) {
      await this.trainEpoch(loader.epoch(this.epoch, this.start.batch), loader.batchesPerEpoch);
      if (this.signal.aborted) return false;
    }
    return true;
  }

  get records(): readonly EpochRecord[] {
    return this.history;
  }

  /** Totals so far, across resumes. Training seconds leave out warm-up and evaluation. */
  get totals(): { seconds: number; steps: number; imagesPerSecond: number | null } {
    this.addTime();
    return { seconds: this.seconds, steps: this.step, imagesPerSecond: this.trainImages > 0 ? this.trainImages / this.trainSeconds : null };
  }

  private async trainEpoch(batches: AsyncIterable<Batch>, total: number): Promise<void> {
    const { metrics } = this.model.method;
    const { batch: first, images } = this.start;
    this.start = { ...START, epoch: this.epoch };
    if (first === 0) metrics.reset();
    const progress = new EpochProgress({ label: `Epoch ${this.epoch + 1}/${this.config.epochs}`, total, done: first });
    const state: EpochState = { done: first, images: images ?? first * this.config.batchSize, timedFrom: performance.now(), timedImages: 0 };
    for await (const batch of this.savedAtFailure(batches, state)) {
      await this.kernels;
      await this.trainBatch(batch, this.epoch + batch.number / total);
      // A batch of which no image could be read was not delivered; its place counts all the same.
      const done = batch.number + 1;
      state.done = done;
      state.images += batch.labels.length;
      await this.noteSpeed(progress, state, batch.labels.length);
      const read = done % this.run.logEvery === 0 && done < total;
      progress.update(done, read ? this.progressMetrics(await metrics.read(), state.images) : undefined);
      // The last batch is saved with the epoch: a position behind it would be one that --resume refuses.
      if (done === total) continue;
      if (this.signal.aborted) {
        progress.log('');
        await this.save('last', this.epoch, state);
        return;
      }
      if (performance.now() - this.lastSave > this.run.saveEveryMinutes * 60_000) await this.save('last', this.epoch, state);
    }
    await this.finishEpoch(progress, state);
  }

  /** What ends the loading of batches, such as an unreadable picture, does not cost those that were trained before. */
  private async *savedAtFailure(batches: AsyncIterable<Batch>, state: Readonly<EpochState>): AsyncGenerator<Batch> {
    const first = state.done;
    try {
      yield* batches;
    } catch (error) {
      if (state.done > first) await this.save('last', this.epoch, state);
      throw error;
    }
  }

  private async trainBatch(batch: Batch, at: number): Promise<void> {
    const { config, model: { optimizer } } = this;
    setRandomStep(this.step);
    this.tracer?.start();
    setLearningRates(optimizer, at, { ...config.schedule, epochs: config.epochs });
    const transforms = batch.images.map(({ width, height }, i) =>
      drawTrainTransform(config.augment, config.seed, this.epoch, batch.indices[i]!, width, height));
    this.training.run(batch, transforms);
    await this.tracer?.check(this.step);
    this.step++;
    await this.runtime.endStep();
  }

  /** The first step compiles all kernels: speed is taken from the images behind it. */
  private async noteSpeed(progress: EpochProgress, state: EpochState, images: number): Promise<void> {
    if (this.warm) {
      state.timedImages += images;
      return;
    }
    await this.runtime.idle();
    this.warm = true;
    this.noteFirstStep();
    const now = performance.now();
    progress.log(`Warm-up: ${this.runtime.recorder.pipelines.count} pipelines compiled, first step done in ${((now - state.timedFrom) / 1000).toFixed(1)} s`);
    state.timedFrom = now;
  }

  private progressMetrics(sums: Readonly<Record<string, number>>, samples: number): ProgressMetrics {
    const { loss, raw, crop, drop } = trainMetrics(sums, samples, this.model.method.meanLoss(sums, samples));
    if (!Number.isFinite(loss)) diverged(this.run.out, this.step, `the loss is ${loss}`);
    return { loss, raw, ...(crop ? { crop } : {}), ...(drop ? { drop } : {}) };
  }

  private async finishEpoch(progress: EpochProgress, { images, timedFrom, timedImages }: EpochState): Promise<void> {
    const { method, optimizer, scaler } = this.model;
    const sums = await method.metrics.read();
    const metrics = this.progressMetrics(sums, images);
    const train = trainMetrics(sums, images, metrics.loss!);
    const seconds = (performance.now() - timedFrom) / 1000;
    progress.finish({ ...metrics, terms: train.terms });
    if (train.degenerate > 0) console.log(`  ${train.degenerate} of ${2 * images} crops and drops had an unusable attention map; the whole image was taken`);
    if (timedImages > 0) {
      this.trainSeconds += seconds;
      this.trainImages += timedImages;
    }
    const record: EpochRecord = {
      epoch: this.epoch + 1, step: this.step, lr: optimizer.lr, seconds, imagesPerSecond: timedImages > 0 ? timedImages / seconds : null,
      train, ...(scaler ? { scaler: await scalerRecord(scaler) } : {}),
    };
    const due = this.evaluationDue();
    if (due) await this.saveUnevaluated(record);
    await this.closeEpoch(record, due);
  }

  /** Evaluates an epoch where that is due, and saves it. */
  private async closeEpoch(trained: EpochRecord, due: boolean): Promise<void> {
    const evaluation = due ? await this.evaluateEpoch(trained.epoch) : undefined;
    const record: EpochRecord = { ...trained, ...(evaluation ? { eval: evaluation } : {}) };
    this.history.push(record);
    await this.saveEpoch(record);
    rmSync(this.pathOf('previous'), { force: true });
    // After the checkpoint, which holds the history: a resumed run writes missing lines again.
    appendJsonLine(join(this.run.out, 'metrics.jsonl'), record);
  }

  /** One checkpoint under all names it is due for, `last` behind the others: from there a resumed run would not write them any more. */
  private async saveEpoch(record: EpochRecord): Promise<void> {
    const { keepEvery } = this.config;
    const names: CheckpointName[] = ['last'];
    if (keepEvery > 0 && record.epoch % keepEvery === 0) names.unshift(keptName(record.epoch));
    if (bestEpoch(this.history) === record) names.unshift('best');
    const [first, ...others] = names as [CheckpointName, ...CheckpointName[]];
    await this.save(first, record.epoch);
    // Copies and no links: whoever copies another checkpoint over one of them does not change the others.
    for (const other of others) copyFileAtomic(this.pathOf(first), this.pathOf(other));
  }

  /** Whatever ends the evaluation does not cost the epoch; what was saved before it is kept until the evaluation has shown that the network is sound. */
  private async saveUnevaluated(record: EpochRecord): Promise<void> {
    const [last, previous] = [this.pathOf('last'), this.pathOf('previous')];
    rmSync(previous, { force: true });
    if (existsSync(last)) keepUnder(last, previous);
    await this.save('last', record.epoch, undefined, record);
  }

  /** A network that gives no finite number is nothing to go on from. */
  private takeBackUnevaluated(): void {
    const [last, previous] = [this.pathOf('last'), this.pathOf('previous')];
    if (existsSync(previous)) renameSync(previous, last);
    else rmSync(last, { force: true });
  }

  private evaluationDue(): boolean {
    const { evalEvery, epochs } = this.config;
    return (this.epoch + 1) % evalEvery === 0 || this.epoch + 1 === epochs;
  }

  private async evaluateEpoch(epoch: number): Promise<Evaluation & { split: 'val' | 'test' }> {
    const { dataset } = this.data;
    const split = dataset.val ? 'val' : 'test';
    const result = await withCountingWeights(this.model, () =>
      evaluate(this.runtime, this.data, this.model.method, this.config, dataset.val ?? dataset.test, { withDrop: false, signal: this.signal }));
    console.log(`  ${split}: ${describeEvaluation(result)}`);
    const warning = belowPublished(this.run.options as ResultOptions, dataset, epoch, result);
    if (warning) console.log(`  ${warning}`);
    if (!Number.isFinite(result.loss)) {
      this.takeBackUnevaluated();
      diverged(this.run.out, this.step, `the loss on the ${split} images is ${result.loss}`);
    }
    return { ...result, split };
  }

  private pathOf(name: CheckpointName): string {
    return checkpointFile(this.run.out, name);
  }

  /** @param epoch epochs completed; @param next how far the next one is; @param unevaluated the last one completed, while its evaluation is due */
  private async save(name: CheckpointName, epoch: number, next?: Readonly<EpochState>, unevaluated?: EpochRecord): Promise<void> {
    this.addTime();
    const sums = await this.model.method.metrics.read();
    if (next) this.progressMetrics(sums, next.images);
    const position: Position = {
      epoch, batch: next?.done ?? 0, images: next?.images ?? 0, dataImages: this.data.dataset.train.samples.length, step: this.step, sums,
      seconds: this.seconds, trainSeconds: this.trainSeconds, trainImages: this.trainImages, history: this.history, bad: [...this.data.bad],
      ...(unevaluated ? { unevaluated } : {}),
    };
    await saveCheckpoint(this.pathOf(name), this.model, this.run.options, this.data.dataset.classes, position);
    this.lastSave = performance.now();
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
const describeEvaluation = ({ raw, crop, drop, refined, localisation, degenerate }: Evaluation): string => {
  const parts = [`raw ${raw.top1.toFixed(1)} %`];
  if (crop) parts.push(`crop ${crop.top1.toFixed(1)} %`);
  if (drop) parts.push(`drop ${drop.top1.toFixed(1)} %`);
  if (refined) parts.push(`refined ${refined.top1.toFixed(1)} %`);
  if (localisation) parts.push(`box IoU ${localisation.meanIoU.toFixed(3)}`);
  if (degenerate > 0) parts.push(`${degenerate} unusable attention maps (whole image taken)`);
  return parts.join(', ');
};
