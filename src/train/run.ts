import { join } from 'node:path';
import { checkAugment } from '../data/augment.js';
import { batchesIn } from '../data/loader.js';
import { counted } from '../errors.js';
import { writeFileAtomic } from '../io/atomic.js';
import type { Runtime } from '../kernels/runtime.js';
import { learningRate } from '../nn/schedule.js';
import { microBatches } from '../wsdan/micro-batches.js';
import { accuracies, accuracyTable } from './accuracy-table.js';
import { restore } from './checkpoint.js';
import type { Checkpoint } from './checkpoint-meta.js';
import type { RunOptions, TrainConfig } from './config.js';
import { classWeightsLine, classWeightsOf } from './class-weights.js';
import { ClassResults, classTable, meanOfClasses } from './class-results.js';
import { type Evaluation, evaluate } from './evaluate.js';
import { bestEpoch, type EvaluatedEpoch, isOutOfPatience } from './history.js';
import { reportPlan } from './memory-plan.js';
import { checkPrecision } from './method.js';
import { printNotes } from './printable.js';
import { reportCases } from './image-cases.js';
import type { EpochPoint, ReportData } from './report/types.js';
import { checkData, checkEpochs, configNotes, dataNotes, keptOptions, resumeNotes, withWayOn } from './resume.js';
import { badLine, checkBatchSize, createModel, type DataSession, type ModelSession, openData, withCountingWeights } from './session.js';
import { START, Trainer } from './trainer.js';
import { scratchNotes, startFrom } from './start-weights.js';
import { weightsHash } from './weights-hash.js';

interface RunResult {
  /** False when it was interrupted; the state is saved then. */
  readonly finished: boolean;
}

/**
 * A whole training run: data, model, memory plan, epochs, final evaluation, `summary.json` and `report.html`.
 *
 * @param onTrainer is given the trainer before the first step, so that Ctrl-C can stop it
 */
export const runTraining = async (
  runtime: Runtime, config: TrainConfig, given: RunOptions, checkpoint: Checkpoint | null, onTrainer: (trainer: Trainer) => void,
): Promise<RunResult> => {
  const run = checkpoint ? { ...given, options: keptOptions(checkpoint, config, given.options) } : given;
  checkPrecision(runtime, config);
  if (checkpoint) checkEpochs(checkpoint, config);
  else checkAugment(config.augment);
  const data = await openData(config, run);
  try {
    const { dataset } = data;
    console.log(`Data: ${dataset.name}, ${dataset.classes.length} classes, ${dataset.train.samples.length} training` +
      `${dataset.val ? `, ${dataset.val.samples.length} held-out` : ''} and ${dataset.test.samples.length} test images`);
    printNotes(dataset.notes);
    checkBatchSize(dataset.train, config);
    if (checkpoint) checkData(checkpoint, config, dataset);
    if (checkpoint) printNotes([...resumeNotes(checkpoint, config), ...dataNotes(checkpoint, dataset), ...configNotes(checkpoint, run.out)]);
    const images = dataset.train.samples.length;
    printNotes([...scratchNotes(config), ...warmUpNotes(config), ...batchNormNotes(config, images), ...averagesNotes(config, images)]);
    for (const id of checkpoint?.position.bad ?? []) data.bad.add(id);
    const classWeights = classWeightsOf(config, dataset);
    if (classWeights) console.log(classWeightsLine(classWeights, dataset));
    const model = createModel(runtime, config, dataset.classes.length, classWeights);
    model.method.module.features.checkpointing = run.checkpointing;
    if (checkpoint) restore(model, checkpoint);
    else if (config.weights) await startFrom(config.weights, model, config, dataset.classes);
    if (model.ema) console.log(averagesLine(config));
    console.log(reportPlan(runtime, model.method, config, run));
    const start = checkpoint?.position ?? START;
    writeFileAtomic(join(run.out, 'config.json'), `${JSON.stringify(run.options, null, 2)}\n`);
    writeFileAtomic(join(run.out, 'metrics.jsonl'), start.history.map((record) => `${JSON.stringify(record)}\n`).join(''));
    const trainer = new Trainer(runtime, data, model, config, run, start);
    onTrainer(trainer);
    // Not at the start, which the report's image codecs would delay, and not at the end: a long run shall not need files that were built anew meanwhile.
    trainer.firstStep.then(loadReport).catch(() => {});
    try {
      if (!(await trainer.train())) return { finished: false };
      await finish(runtime, data, model, trainer, config, run);
      return { finished: true };
    } catch (error) {
      if (error === trainer.signal.reason) return { finished: false };
      throw withWayOn(error, run.out);
    }
  } finally {
    await data.close();
  }
};

/** More of the weights at the start in their averages is too much. */
const START_LEFT = 0.01;

const averagesLine = ({ emaDecay }: TrainConfig): string =>
  `Averages of the weights over about ${(1 / (1 - emaDecay)).toFixed(0)} steps (--ema-decay ${emaDecay}) are evaluated, and are the weights of the run’s checkpoints`;

/** Averages that begin as the weights at the start, and have not left them behind at the end. */
const averagesNotes = (config: TrainConfig, images: number): string[] => {
  const steps = config.epochs * batchesIn(images, config);
  const left = config.emaDecay ** steps;
  if (left <= START_LEFT) return [];
  const digits = 10 ** (Math.ceil(Math.log10(steps + 1)) + 1);
  const fitting = Math.floor(START_LEFT ** (1 / steps) * digits) / digits;
  return [`after all ${steps} steps the averages still hold ${(100 * left).toFixed(0)} % of the weights at the start; so few steps ask for --ema-decay ${fitting} or less`];
};

/** A warm-up that the run does not see the end of: nothing else would tell that the rate stays below the one asked for. */
export const warmUpNotes = ({ epochs, lr, schedule: { warmupEpochs } }: TrainConfig): string[] =>
  (warmupEpochs > epochs ? [`the warm-up of ${warmupEpochs} epochs (--warmup-epochs) is longer than the run of ${counted(epochs, 'epoch')}: the learning rate stays below ${learningRate(lr, epochs, { kind: 'constant', warmupEpochs }).toPrecision(2)}, and does not reach the ${lr} of --lr`] : []);

/** What batch norm makes of few images at a time. */
const batchNormNotes = ({ batchSize, dropLast, microBatch, freezeBn, weights }: TrainConfig, images: number): string[] => {
  if (freezeBn) return weights ? [] : ['frozen batch norm keeps the statistics of fresh weights, mean 0 and variance 1; it is made for pretrained weights (--weights)'];
  const [smallest] = microBatches(batchSize, microBatch || batchSize).map(({ from, to }) => to - from) as [number];
  return [
    ...(smallest < 8 ? [`batch norm sees only ${smallest} images at a time; results suffer below about 8, unless it starts from pretrained statistics and keeps them (--freeze-bn)`] : []),
    ...(!dropLast && images % batchSize === 1 ? ['the last batch of each epoch is a single image, by which batch norm then goes; --drop-last leaves it out'] : []),
  ];
};

/** Why a run ended before its last epoch; undefined where it did not. The same is said when such a run is resumed. */
const earlyEnd = (records: Trainer['records'], best: EvaluatedEpoch, { patience, epochs }: TrainConfig): string | undefined => {
  if (records.length === epochs || !isOutOfPatience(records, patience)) return undefined;
  return `Training ended after epoch ${records.length} of ${epochs}: epoch ${best.epoch} was the best, and ${counted(patience, 'evaluation')} since then did not better it (--patience ${patience}). --resume with a larger --patience, or 0, goes on.`;
};

const bestLine = ({ epoch, eval: { raw, refined, split } }: EvaluatedEpoch): string =>
  `The best, epoch ${epoch}, had ${raw.top1.toFixed(2)} % raw${refined ? `, ${refined.top1.toFixed(2)} % refined` : ''} on the ${split === 'test' ? 'test' : 'held-out'} images (best.safetensors).`;

/** At the end of a run; `summary.json` and `eval` have them all. */
const CLASSES_SHOWN = 12;

const loadReport = () => import('./report/write-report.js');

const finish = async (runtime: Runtime, data: DataSession, model: ModelSession, trainer: Trainer, config: TrainConfig, run: RunOptions): Promise<void> => {
  const { method, ema } = model;
  // Some epoch was evaluated: the last one always is.
  const best = bestEpoch(trainer.records)!;
  const early = earlyEnd(trainer.records, best, config);
  if (early) console.log(early);
  const byClass = new ClassResults(data.dataset.classes);
  const options = { withDrop: true, signal: trainer.signal, byClass };
  const result = await withCountingWeights(model, () => evaluate(runtime, data, method, config, data.dataset.test, options));
  const classes = byClass.list;
  const hash = await weightsHash(ema ?? method.module);
  const trainedHash = ema ? await weightsHash(method.module) : null;
  const { seconds, steps, imagesPerSecond } = trainer.totals;
  const summary = {
    ...accuracies(result), ...(result.localisation ? { localisation: result.localisation } : {}), degenerateMaps: result.degenerate, testImages: result.images,
    meanOfClasses: meanOfClasses(classes),
    epochs: trainer.records.length, best: { epoch: best.epoch, split: best.eval.split, raw: best.eval.raw, refined: best.eval.refined },
    imagesPerSecond, seconds, steps, adapter: runtime.device.report.name, weightsHash: hash,
    ...(trainedHash ? { trainedWeightsHash: trainedHash } : {}), badImages: data.bad.size, classes,
  };
  writeFileAtomic(join(run.out, 'summary.json'), `${JSON.stringify(summary, null, 2)}\n`);
  const report: ReportData = {
    title: `${config.method === 'wsdan' ? 'WS-DAN' : 'Plain classifier'} on ${data.dataset.name}`, adapter: summary.adapter, config: run.options,
    dataset: { name: data.dataset.name, classes: data.dataset.classes.length, trainImages: data.dataset.train.samples.length, ...(best.eval.split === 'val' ? { heldOutImages: data.dataset.val!.samples.length } : {}), testImages: result.images },
    seconds, steps, imagesPerSecond, weightsHash: hash, accuracy: accuracies(result), classes, history: trainer.records.map(toPoint),
    cases: await withCountingWeights(model, () => reportCases(runtime, data, method, config, run.reportImages)), notes: [...(ema ? [`${averagesLine(config)}.`] : []), ...notesOf(data, result, best, trainer.records, early)],
    ...(result.localisation ? { localisation: result.localisation } : {}),
  };
  const { writeReport } = await loadReport();
  await writeReport(run.out, report);
  console.log(`\n${accuracyTable(result, 'Test', config.wsdan.average).join('\n')}`);
  console.log(classTable(classes, result.refined ? 'refined' : 'raw', CLASSES_SHOWN).join('\n'));
  if (data.bad.size > 0) console.log(badLine(data));
  if (best.epoch < trainer.records.length) console.log(`These are the last epoch's. ${bestLine(best)}`);
  console.log(`Time ${seconds.toFixed(0)} s, ${imagesPerSecond === null ? '' : `training ${imagesPerSecond.toFixed(1)} images/s, `}weights hash ${hash}${trainedHash ? ` of the averages, ${trainedHash} of the trained weights` : ''}`);
  console.log(`Report: ${join(run.out, 'report.html')}`);
};

const notesOf = (data: DataSession, result: Evaluation, best: EvaluatedEpoch, records: Trainer['records'], early: string | undefined): string[] => [
  ...(data.bad.size ? [badLine(data)] : []),
  ...(result.degenerate ? [`${counted(result.degenerate, 'test image')} had an unusable attention map; the whole image was taken instead.`] : []),
  ...unusableInTraining(records),
  ...(early ? [early] : []),
  ...(best.epoch < records.length ? [bestLine(best)] : []),
  best.eval.split === 'test'
    ? `The figures are those of the last epoch. The best epoch ${early ? 'and the end were' : 'was'} chosen on the test images, as the reference programs do; hold images out with --val-fraction for a fair choice.`
    : 'The figures are those of the last epoch, on test images that chose nothing; the best epoch was chosen on held-out images.',
];

const unusableInTraining = (records: Trainer['records']): string[] => {
  const epochs = records.filter(({ train }) => train.degenerate > 0);
  if (epochs.length === 0) return [];
  const count = epochs.reduce((sum, { train }) => sum + train.degenerate, 0);
  return [`In training ${counted(count, 'crop or drop', 'crops and drops')} (${counted(epochs.length, 'epoch')}, the first of them ${epochs[0]!.epoch}) had an unusable attention map; the whole image was taken instead.`];
};

const toPoint = ({ epoch, lr, train, eval: evaluation }: Trainer['records'][number]): EpochPoint => ({
  epoch, lr, trainLoss: train.loss, trainRaw: train.raw.top1,
  ...(train.crop ? { trainCrop: train.crop.top1, trainDrop: train.drop!.top1 } : {}),
  ...(evaluation ? { testLoss: evaluation.loss, testRaw: evaluation.raw.top1, ...(evaluation.refined ? { testRefined: evaluation.refined.top1 } : {}) } : {}),
});
