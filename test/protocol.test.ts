/** The test protocol against PyTorch on a trained network and 32 pictures, from files on: test/reference/protocol_torch.py. */
import t from 'tap';
import { join } from 'node:path';
import { worstError } from '../src/autograd/verify.js';
import { readSafetensors } from '../src/io/safetensors.js';
import { BasicBlock, ResNet, type ResNetOptions } from '../src/nn/models/resnet.js';
import { tensor } from '../src/tensor/create.js';
import { scope } from '../src/tensor/scope.js';
import { evaluate } from '../src/train/evaluate.js';
import type { Method } from '../src/train/method.js';
import { openData } from '../src/train/session.js';
import { fromFileLayout } from '../src/train/state-layout.js';
import { localiseAndRefine } from '../src/wsdan/localise.js';
import { WSDAN } from '../src/wsdan/model.js';
import { defaultWsdan, type WsdanOptions } from '../src/wsdan/options.js';
import { encodePng, scratch, write } from './data-helpers.js';
import { configOf } from './support/default-training.js';
import { portableUniform } from './support/portable.js';
import { openRuntime } from './support/runtime.js';

const runtime = await openRuntime();
const file = readSafetensors('test/fixtures/protocol-torch.safetensors');
const meta = <T>(name: string): T => JSON.parse(file.metadata[name]!) as T;
const [side, size, classes, maps] = ['side', 'size', 'classes', 'maps'].map((name) => meta<number>(name)) as [number, number, number, number];
const numbers = meta<number[]>('numbers');

/** The pixels that the script draws for a number. */
const picture = (number: number): Uint8Array => {
  const label = number % classes;
  const u = (k: number): number => portableUniform(5000 + number, k);
  const [cy, cx, radius] = [12 + Math.floor(24 * u(200)), 12 + Math.floor(24 * u(201)), 5 + Math.floor(5 * u(202))];
  return Uint8Array.from({ length: side * side * 3 }, (_, i) => {
    const [c, x, y] = [i % 3, Math.floor(i / 3) % side, Math.floor(i / (3 * side))];
    const ground = 40 + Math.floor(150 * u((Math.floor(y / 8) * 6 + Math.floor(x / 8)) * 3 + c));
    const [upper, lower] = [60 + 35 * ((label + c) % 5), 220 - 40 * ((Math.floor(label / 2) + 2 * c) % 5)];
    const value = (y - cy) ** 2 + (x - cx) ** 2 <= radius ** 2 ? (y < cy ? upper : lower) + Math.floor(50 * u(210 + c)) : ground;
    return Math.min(255, value);
  });
};

const model = new WSDAN(new ResNet({ block: BasicBlock, ...meta<Omit<ResNetOptions, 'block'>>('backbone') }), classes,
  { ...defaultWsdan, attentions: maps, scale: 10 }).nameAll();
model.loadStateDict(new Map([...file.tensors].filter(([name]) => !name.startsWith('predicted.'))
  .map(([name, { shape, data }]) => [name, fromFileLayout(name, { shape, data: data as Float32Array })])));
model.eval();

const optionsWith = (average: WsdanOptions['average']): WsdanOptions =>
  ({ ...defaultWsdan, testTheta: meta<number>('theta'), testPadding: meta<number>('padding'), average });

t.test('boxes and probabilities of each picture, averaged both ways', (t) => scope(async () => {
  const drawn = numbers.map(picture);
  t.equal(drawn.reduce((sum, pixels) => sum + pixels.reduce((a, b) => a + b, 0), 0), meta<number>('checksum'), 'the pictures are the script’s');
  const first = (side - size) / 2;
  const { mean, std } = configOf().augment;
  const pixels = Float32Array.from({ length: numbers.length * size * size * 3 }, (_, i) => {
    const [c, x, y, n] = [i % 3, Math.floor(i / 3) % size, Math.floor(i / (3 * size)) % size, Math.floor(i / (3 * size * size))];
    return (drawn[n]![((y + first) * side + x + first) * 3 + c]! / 255 - mean[c]!) / std[c]!;
  });
  const images = tensor(pixels, [numbers.length, size, size, 3]);
  for (const average of ['probabilities', 'logits'] as const) {
    const { raw, crop, refined, boxes } = localiseAndRefine(model, images, optionsWith(average));
    t.same([...(await boxes.data())], meta<number[][]>('boxes').flat(), 'boxes to the pixel');
    for (const [name, values] of [['raw', raw], ['crop', crop], [average, refined]] as const) {
      const { error } = worstError(await values.data(), Float64Array.from(file.tensors.get(`predicted.${name}`)!.data as Float64Array));
      // Six layers in float32, whose logits, of up to 20, the exponential of the softmax turns into relative errors.
      t.ok(error < 2e-5, `${name}: ${error.toExponential(1)}`);
    }
  }
}));

t.test('top-1 and top-5 of the whole evaluation', async (t) => {
  const folder = scratch(t);
  for (const part of ['train', 'test']) {
    for (const number of numbers) write(join(folder, part, `class-${number % classes}`, `${number}.png`), encodePng(picture(number), side, side));
  }
  const config = configOf('--dataset', 'folder', '--data', folder, '--image-size', String(size), '--eval-batch-size', '10');
  const data = await openData(config, { workers: 0, cacheMegabytes: 16 });
  const counts = meta<Record<string, [number, number]>>('counts');
  const percent = (name: string): { top1: number; top5: number } =>
    ({ top1: (100 * counts[name]![0]) / numbers.length, top5: (100 * counts[name]![1]) / numbers.length });
  t.equal(new Set(Object.values(counts).map(([top1]) => top1)).size, 4, 'on these pictures all four predictions differ in top-1');
  for (const average of ['probabilities', 'logits'] as const) {
    const method: Pick<Method, 'module' | 'evaluate'> = { module: model,
      evaluate: (images, withDrop) => localiseAndRefine(model, images, optionsWith(average), withDrop) };
    const { images, raw, crop, refined } = await evaluate(runtime, data, { ...method, centers: {} } as Method, config, data.dataset.test, { withDrop: false });
    t.equal(images, numbers.length);
    t.same({ raw, crop, refined }, { raw: percent('raw'), crop: percent('crop'), refined: percent(average) }, average);
  }
  await data.close();
});

t.teardown(() => runtime.device.close());
