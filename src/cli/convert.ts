import { existsSync, statSync } from 'node:fs';
import { extname, resolve } from 'node:path';
import { readableBytes } from '../device/buffers.js';
import { counted, fail } from '../errors.js';
import { META } from '../train/checkpoint-meta.js';
import { isResumable } from '../train/checkpoint.js';
import { writeOnnx } from '../train/onnx/export.js';
import { buildTrained } from '../train/trained-model.js';
import { describeNames, namingTitles } from '../train/weights/naming.js';
import { readWeights } from '../train/weights/read-weights.js';
import { OPTIMIZER, TRAINED, type Weights } from '../train/weights/weights.js';
import { weightFormats, type WriteReport, writeWeights } from '../train/weights/write-weights.js';
import { openRuntime } from './open-runtime.js';
import { adapterOption, choice, int, type OptionValues, parseOptions } from './options.js';
import { runCommand } from './run-command.js';
import { networkOptions, readSavedModel } from './saved-model.js';

const ONNX = '.onnx';

const spec = {
  name: 'convert',
  summary: 'Converts weights: reads .safetensors, .pth, .pt and .ckpt files, whoever wrote them, and writes these or .onnx, as the second name ends.',
  positional: { name: 'FILE', help: 'the file to read, then the file to write', atLeast: 2 },
  options: {
    names: choice(['pipit', 'torchvision', 'reference'], { help: 'names of the weights; reference: those of WS-DAN.PyTorch', defaultText: 'pipit for .safetensors, reference for PyTorch, torchvision for a backbone alone' }),
    ...networkOptions,
    imageSize: int({ help: 'for .onnx: side of the input', min: 16, max: 2048, defaultText: 'as trained' }),
    adapter: { ...adapterOption, help: `for .onnx: ${adapterOption.help}` },
  },
  examples: [
    'node dist/convert.js runs/aircraft-1/best.safetensors model.ckpt',
    'node dist/convert.js runs/aircraft-1/best.safetensors model.onnx',
    'node dist/convert.js model.ckpt backbone.pth --names torchvision',
  ],
};

type Values = OptionValues<typeof spec.options>;

const describeSource = ({ file, recognised, tensors, centers }: Weights): string =>
  `Read ${file.path}: ${file.format}, ${tensors.size} weights${centers ? ' and feature centers' : ''}, ${describeNames(recognised)}`;

const describeResult = (path: string, weights: Weights, { written, naming, centers, left, notes }: WriteReport): string[] => {
  const { tensors, facts } = weights.file;
  const holds = (prefix: string): boolean => [...tensors.keys()].some((name) => name.startsWith(prefix));
  const gone = [
    ...left,
    ...(weights.centers && !centers ? ['the feature centers'] : []),
    ...(holds(OPTIMIZER) ? ["the optimiser's state"] : []),
    ...(holds(TRAINED) ? ['the trained weights, whose averages were taken'] : []),
    ...(facts.has(META) && !(naming === 'pipit' && extname(path) === '.safetensors') ? ["the run's options and position"] : []),
  ];
  return [
    `Wrote ${path}: ${counted(written, 'tensor')}${centers ? ' and feature centers' : ''} by ${naming ? `${namingTitles[naming]}'s` : 'their own'} names, ${readableBytes(statSync(path).size)}`,
    ...(gone.length ? [`Left out, having no place there: ${gone.slice(0, 6).join(', ')}${gone.length > 6 ? ` and ${gone.length - 6} more` : ''}`] : []),
    ...notes.map((note) => `Note: ${note}`),
  ];
};

const convertToOnnx = async (from: string, to: string, values: Values): Promise<void> => {
  if (values.names) fail('--names: an ONNX file needs no names of weights; leave the option out');
  const { trainedWith, classes, imageSize } = values;
  const saved = await readSavedModel({ weights: from, trainedWith, classes }, { imageSize });
  console.log(describeSource(saved.weights));
  const runtime = await openRuntime(values.adapter);
  try {
    const { augment, method, model } = saved.config;
    const pictures = { mean: JSON.stringify(augment.mean), std: JSON.stringify(augment.std), resizeRatio: String(augment.resizeRatio) };
    const metadata = { classes: JSON.stringify(saved.classes), ...pictures, model, method };
    const bytes = await writeOnnx(to, runtime, buildTrained(runtime, saved), augment.imageSize, metadata);
    console.log(`Wrote ${to}: ONNX, input images [batch, 3, ${augment.imageSize}, ${augment.imageSize}], ${method === 'wsdan' ? 'results logits, map, features' : 'result logits'}, ${readableBytes(bytes)}`);
  } finally {
    runtime.device.close();
  }
};

const convert = async (): Promise<void> => {
  const { values, positional } = parseOptions(spec, process.argv.slice(2));
  const [from, to] = positional;
  if (positional.length !== 2) fail(`two files are needed, the one to read and the one to write; ${positional.length} ${positional.length === 1 ? 'was' : 'were'} given`);
  const known = [...weightFormats, ONNX];
  if (!(known as string[]).includes(extname(to!))) fail(`${to}: its ending does not name a format; use one of ${known.join(', ')}`);
  if (existsSync(to!) && resolve(from!) === resolve(to!)) fail(`${to} would be replaced by itself; name another file to write`);
  if (existsSync(to!) && isResumable(to!)) fail(`${to} is a checkpoint from which a run goes on; weights alone would take its place. Name another file to write`);
  if (extname(to!) === ONNX) return convertToOnnx(from!, to!, values);
  if (values.trainedWith ?? values.classes ?? values.imageSize) fail('--trained-with, --classes and --image-size describe the network of an .onnx file; weights are converted without them');
  const weights = await readWeights(from!);
  console.log(describeSource(weights));
  for (const line of describeResult(to!, weights, await writeWeights(to!, weights, values.names))) console.log(line);
};

await runCommand(convert);
