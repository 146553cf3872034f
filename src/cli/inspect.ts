import { readableBytes } from '../device/buffers.js';
import { counted, fail } from '../errors.js';
import { openTensorFile } from '../io/open-tensor-file.js';
import { byteCount, elementCount, type TensorFile } from '../io/tensor-file.js';
import { describeNames, recognise } from '../train/weights/naming.js';
import { weightsIn } from '../train/weights/weights.js';
import { flag, parseOptions } from './options.js';
import { printable } from '../train/printable.js';
import { runCommand } from './run-command.js';

const spec = {
  name: 'inspect',
  summary: 'Lists the tensors of a file (.safetensors, .pth, .pt, .ckpt) with their types, shapes and sizes, and what else it holds. Nothing in it is executed.',
  positional: { name: 'FILE', help: 'the file', atLeast: 1 },
  options: { json: flag({ help: 'print one JSON object instead' }) },
  examples: ['node dist/inspect.js inception_v3_google-0cc3c7bd.pth'],
};

const LONGEST_FACT = 100;

const shapeText = (shape: readonly number[]): string => `[${shape.join(', ')}]`;
const shortened = (value: unknown): string => {
  const text = typeof value === 'string' ? value.replace(/\s+/g, ' ') : String(value);
  return text.length > LONGEST_FACT ? `${text.slice(0, LONGEST_FACT)} … (${text.length} characters)` : text;
};

const lines = (file: TensorFile): string[] => {
  const rows = [...file.tensors].map(([name, { dtype, shape }]) => [printable(name), dtype, shapeText(shape), String(byteCount({ dtype, shape }))] as const);
  const width = (column: number, title: string): number => Math.max(title.length, ...rows.map((row) => row[column]!.length));
  const [names, types, shapes, sizes] = [width(0, 'tensor'), width(1, 'type'), width(2, 'shape'), width(3, 'bytes')];
  const row = (name: string, type: string, shape: string, bytes: string): string => `${name.padEnd(names)}  ${type.padEnd(types)}  ${shape.padEnd(shapes)}  ${bytes.padStart(sizes)}`;
  const total = [...file.tensors.values()].reduce((sum, entry) => sum + byteCount(entry), 0);
  const numbers = [...file.tensors.values()].reduce((sum, { shape }) => sum + elementCount(shape), 0);
  return [
    `${printable(file.path)}: ${file.format}, ${describeNames(recognise(weightsIn(file).keys()))}`,
    row('tensor', 'type', 'shape', 'bytes'),
    ...rows.map((cells) => row(...cells)),
    `${counted(file.tensors.size, 'tensor')}, ${numbers.toLocaleString('en')} numbers, ${readableBytes(total)}`,
    ...[...file.facts].map(([name, value]) => printable(`${name}: ${shortened(value)}`)),
  ];
};

const asJson = (file: TensorFile): object => ({
  path: file.path, format: file.format, naming: recognise(weightsIn(file).keys())?.naming ?? null,
  tensors: [...file.tensors].map(([name, { dtype, shape }]) => ({ name, dtype, shape, bytes: byteCount({ dtype, shape }) })),
  facts: Object.fromEntries(file.facts),
});

const inspect = async (): Promise<void> => {
  const { values, positional } = parseOptions(spec, process.argv.slice(2));
  if (positional.length > 1) fail(`one FILE at a time; ${positional.length} were given`);
  const file = await openTensorFile(positional[0]!);
  console.log(values.json ? JSON.stringify(asJson(file), null, 2) : lines(file).join('\n'));
};

await runCommand(inspect);
