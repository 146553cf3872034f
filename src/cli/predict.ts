import { DecodePool } from '../data/decode-pool.js';
import { picturesBelow } from '../data/layouts/folder.js';
import { leadsToFolder } from '../data/list-file.js';
import { fail } from '../errors.js';
import { makeFolder } from '../io/output.js';
import type { Runtime } from '../kernels/runtime.js';
import { checkEvaluation, compilePlanned } from '../train/memory-plan.js';
import { checkPrecision, type Method } from '../train/method.js';
import { describeBatch } from '../train/image-cases.js';
import type { Guess } from '../train/report/types.js';
import { decodeLimits } from '../train/session.js';
import { buildTrained } from '../train/trained-model.js';
import { openRuntime } from './open-runtime.js';
import { adapterOption, flag, int, type OptionValues, parseOptions, text, workersOption } from './options.js';
import { type Failed, type ImagePrediction, loadBatches, predictBatch, type Request, toBatch } from './predict-images.js';
import { pictureNames, writePictures } from './predict-pictures.js';
import { printable } from '../train/printable.js';
import { runCommand } from './run-command.js';
import { checkpointOptions, describeSaved, readSavedModel, refinementOptions, type SavedModel } from './saved-model.js';

const spec = {
  name: 'predict',
  summary: 'Tells what images show: the most probable classes of the whole image and after looking closer, and where it looked.',
  positional: { name: 'IMAGE', help: 'files to predict (JPEG, PNG, GIF, BMP or TIFF), or folders of them' },
  options: {
    ...checkpointOptions,
    synthetic: int({ help: 'predict this many test images of the embedded data set', placeholder: 'N', min: 1, max: 10000 }),
    top: int({ help: 'classes to list', min: 1, default: 5 }),
    pictures: text({ help: 'write pictures of the box, heat map, attention maps, crop and drop to this folder', placeholder: 'DIR' }),
    json: flag({ help: 'print one JSON array instead' }),
    ...refinementOptions,
    workers: workersOption,
    adapter: adapterOption,
  },
  examples: ['node dist/predict.js heron.jpg gull.png --out runs/folder-1 --pictures looked', 'node dist/predict.js --synthetic 4 --out runs/synthetic-1 --pictures looked'],
};

type Values = OptionValues<typeof spec.options>;

/** Embedded test images, as the run that wrote the checkpoint saw them. */
const syntheticRequests = (count: number, { config, classes }: SavedModel): Request[] => {
  if (config.dataset !== 'synthetic') fail(`--synthetic: this network was trained on ${config.dataset}, whose classes are others than the embedded birds; name image files instead`);
  return Array.from({ length: count }, (_, index) => ({
    name: `embedded-${index}`, source: { synthetic: { seed: config.seed, split: 'test' as const, index } }, trueLabel: classes[index % classes.length]!,
  }));
};

/** Files as they are named, and the pictures in folders; what cannot be used is told by decoding, with the others unharmed. */
const fileRequests = (paths: readonly string[]): Request[] => paths.flatMap((path) => {
  const pictures = leadsToFolder(path) ? picturesBelow(path) : [];
  return pictures.length > 0 ? pictures : [path];
}).map((path) => ({ name: path, source: { path } }));

const percent = ({ label, probability }: Guess): string => `${(100 * probability).toFixed(1).padStart(5)} %  ${printable(label)}`;

/** Two lists side by side; the columns are as wide as the longest class. */
const describe = ({ file, width, height, trueLabel, raw, refined, box, degenerate }: ImagePrediction): string => {
  const head = printable(`${file}, ${width} × ${height} pixels${trueLabel ? `, truly ${trueLabel}` : ''}`);
  if (!refined || !box) return [head, ...raw.map((guess) => `  ${percent(guess)}`)].join('\n');
  const across = Math.max(...raw.map((guess) => percent(guess).length), 'raw'.length) + 3;
  const [x0, y0, x1, y1] = [box.x0, box.y0, box.x1, box.y1].map(Math.round);
  return [
    head,
    `  looked closer at x ${x0} to ${x1}, y ${y0} to ${y1}${degenerate ? ' (its attention map was unusable)' : ''}`,
    `  ${'raw'.padEnd(across)}refined`,
    ...raw.map((guess, i) => `  ${percent(guess).padEnd(across)}${percent(refined[i]!)}`),
  ].join('\n');
};

interface Outcome {
  readonly predictions: ImagePrediction[];
  readonly failed: Failed[];
}

/** Predicts in batches, so that many large photographs need no more memory than a few. */
const predictAll = async (runtime: Runtime, method: Method, saved: SavedModel, requests: readonly Request[], values: Values): Promise<Outcome> => {
  const pool = new DecodePool({ ...(values.workers === undefined ? {} : { workers: values.workers }), ...decodeLimits(saved.config.augment) });
  const names = pictureNames(requests.map(({ name }) => name));
  const nameOf = new Map(requests.map((request, i) => [request, names[i]!]));
  const outcome: Outcome = { predictions: [], failed: [] };
  try {
    for await (const { loaded, failed } of loadBatches(pool, requests, saved.config.evalBatchSize)) {
      for (const { error } of failed) console.error(printable(error));
      outcome.failed.push(...failed);
      if (loaded.length === 0) continue;
      const results = await predictBatch(runtime, { ...saved, method }, loaded, values.top);
      const seen = values.pictures ? await describeBatch(runtime, method, toBatch(loaded), saved.config, saved.classes) : [];
      for (const [i, prediction] of results.entries()) {
        outcome.predictions.push(prediction);
        if (!values.json) console.log(`\n${describe(prediction)}`);
        if (!values.pictures || !prediction.box) continue;
        const files = await writePictures(values.pictures, nameOf.get(loaded[i]!.request)!, loaded[i]!, prediction.box, seen[i]!);
        if (!values.json) console.log(`  pictures: ${files.join(', ')}`);
      }
    }
  } finally {
    await pool.close();
  }
  return outcome;
};

const predict = async (): Promise<number> => {
  const { values, positional } = parseOptions(spec, process.argv.slice(2));
  if (positional.length === 0 && values.synthetic === undefined) fail('name at least one IMAGE, or try --synthetic 4 with a network trained on the embedded data set');
  const { testTheta, testPadding, average, precision, batchSize } = values;
  const saved = await readSavedModel(values, { testTheta, testPadding, average, precision, evalBatchSize: batchSize });
  const requests: Request[] = fileRequests(positional);
  if (values.synthetic !== undefined) requests.push(...syntheticRequests(values.synthetic, saved));
  if (values.pictures && saved.config.method === 'plain') fail('--pictures: a plain classifier has no attention to show; leave the option out');
  if (values.pictures) makeFolder(values.pictures);
  const runtime = await openRuntime(values.adapter, values.json);
  checkPrecision(runtime, saved.config);
  if (!values.json) console.log(describeSaved(saved));
  try {
    const method = buildTrained(runtime, saved);
    checkEvaluation(runtime, method, { ...saved.config, evalBatchSize: Math.min(saved.config.evalBatchSize, requests.length) }, '--batch-size');
    await compilePlanned(runtime, values.json ? () => {} : console.log);
    const { predictions, failed } = await predictAll(runtime, method, saved, requests, values);
    if (values.json) console.log(JSON.stringify([...predictions, ...failed.map(({ request, error }) => ({ file: request.name, error }))], null, 2));
    return failed.length === 0 ? 0 : 1;
  } finally {
    runtime.device.close();
  }
};

await runCommand(predict);
