import type { Dataset, Split } from '../data/dataset.js';
import { counted, fail } from '../errors.js';
import { writeFileAtomic } from '../io/atomic.js';
import { checkOutputs } from '../io/output.js';
import { accuracies, accuracyTable } from '../train/accuracy-table.js';
import { checkClasses } from '../train/check-classes.js';
import { type ClassResult, ClassResults, classTable, meanOfClasses } from '../train/class-results.js';
import { type Evaluation, evaluate } from '../train/evaluate.js';
import { checkEvaluation, compilePlanned } from '../train/memory-plan.js';
import { checkPrecision } from '../train/method.js';
import { checkFolder } from '../train/options/train-options.js';
import { printNotes } from '../train/printable.js';
import { badLine, openData } from '../train/session.js';
import { buildTrained } from '../train/trained-model.js';
import { openRuntime } from './open-runtime.js';
import { adapterOption, choice, flag, int, parseOptions, text, workersOption } from './options.js';
import { runCommand } from './run-command.js';
import { checkpointOptions, describeSaved, readSavedModel, refinementOptions } from './saved-model.js';

const spec = {
  name: 'eval',
  summary: 'Measures a trained network: top-1 and top-5 of the whole image, crop, drop and refined prediction, what became of each class, and the localisation. Everything else is as it was trained.',
  options: {
    ...checkpointOptions,
    data: text({ help: 'folder of the data set', placeholder: 'DIR', defaultText: 'as trained' }),
    split: choice(['test', 'val', 'train'], { help: 'images to measure on', default: 'test' }),
    ...refinementOptions,
    limitTest: int({ help: 'use at most this many test images', min: 1, defaultText: 'as trained' }),
    limitTrain: int({ help: 'use at most this many training images', min: 1, defaultText: 'as trained' }),
    skipBadImages: flag({ help: 'count unreadable images and go on' }),
    workers: workersOption,
    adapter: adapterOption,
    json: text({ help: 'write the figures to this file', placeholder: 'FILE' }),
  },
  examples: ['node dist/eval.js --out runs/synthetic-1', 'node dist/eval.js --weights model.ckpt --trained-with cub.json', 'node dist/eval.js --out runs/aircraft-1 --best --test-theta 0.2 --json figures.json'],
};

const chosenSplit = (dataset: Dataset, name: 'test' | 'val' | 'train'): Split =>
  dataset[name] ?? fail('--split val: this run held no images out; use test or train, or train with --val-fraction');

const progress = (done: number, total: number): void => {
  if (process.stdout.isTTY) process.stdout.write(done < total ? `\rBatch ${done} of ${total}` : '\r\x1b[K');
};

const titles = { test: 'Test', val: 'Held-out', train: 'Training' } as const;

const figures = (result: Evaluation, classes: readonly ClassResult[]) => ({
  ...accuracies(result), ...(result.localisation ? { localisation: result.localisation } : {}),
  loss: result.loss, degenerateMaps: result.degenerate, images: result.images,
  meanOfClasses: meanOfClasses(classes), classes,
});

const evaluateCommand = async (): Promise<void> => {
  const { values, source } = parseOptions(spec, process.argv.slice(2));
  const { data: folder, testTheta, testPadding, average, precision, batchSize, limitTest, limitTrain } = values;
  const skip = source.skipBadImages === 'default' ? {} : { skipBadImages: values.skipBadImages };
  const saved = await readSavedModel(values, {
    data: folder, testTheta, testPadding, average, precision, evalBatchSize: batchSize, limitTest, limitTrain, ...skip,
  });
  if (folder) checkFolder(saved.config);
  checkOutputs({ '--json': values.json });
  const runtime = await openRuntime(values.adapter);
  checkPrecision(runtime, saved.config);
  console.log(describeSaved(saved));
  const data = await openData(saved.config, { workers: values.workers ?? -1, cacheMegabytes: 0 });
  try {
    const { dataset } = data;
    const split = chosenSplit(dataset, values.split);
    checkClasses(saved, dataset.classes);
    console.log(`Data: ${dataset.name}, ${counted(split.samples.length, `${titles[values.split].toLowerCase()} image`)}`);
    printNotes(dataset.notes);
    const method = buildTrained(runtime, saved);
    checkEvaluation(runtime, method, saved.config, '--batch-size');
    await compilePlanned(runtime, console.log);
    const start = performance.now();
    const byClass = new ClassResults(dataset.classes);
    const result = await evaluate(runtime, data, method, saved.config, split, { withDrop: true, onBatch: progress, byClass });
    const seconds = (performance.now() - start) / 1000;
    console.log(['', ...accuracyTable(result, titles[values.split], saved.config.wsdan.average)].join('\n'));
    console.log(classTable(byClass.list, result.refined ? 'refined' : 'raw').join('\n'));
    if (result.degenerate > 0) console.log(`${counted(result.degenerate, 'image')} had an unusable attention map; the whole image was taken instead.`);
    if (data.bad.size > 0) console.log(badLine(data));
    console.log(`Time ${seconds.toFixed(1)} s, ${(result.images / seconds).toFixed(1)} images/s`);
    const about = { split: values.split, checkpoint: saved.path, epoch: saved.epochs, adapter: runtime.device.report.name, badImages: data.bad.size };
    if (values.json) writeFileAtomic(values.json, `${JSON.stringify({ ...figures(result, byClass.list), ...about, seconds, imagesPerSecond: result.images / seconds }, null, 2)}\n`);
  } finally {
    await data.close();
    runtime.device.close();
  }
};

await runCommand(evaluateCommand);
