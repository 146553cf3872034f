/** The tool that compares a network with its recording in PyTorch, on a small one: test/reference/parity_torch.py. */
import t from 'tap';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readSafetensors, type StoredTensor, writeSafetensors } from '../src/io/safetensors.js';
import { createBackbone } from '../src/nn/models/index.js';
import { stateToFile } from '../src/train/state-layout.js';
import { WSDAN } from '../src/wsdan/model.js';
import { defaultWsdan } from '../src/wsdan/options.js';
import { scratch } from './data-helpers.js';
import { call } from './support/command.js';
import { fillPortable } from './support/portable.js';
import { openRuntime } from './support/runtime.js';

const FIXTURE = 'test/fixtures/parity-torch.safetensors';
const runtime = await openRuntime();

/** The weights that the script recorded, with one of them changed where asked for. */
const writeWeights = async (path: string, change?: (tensors: Map<string, StoredTensor>) => void): Promise<string> => {
  const model = new WSDAN(createBackbone('resnet_small'), 3, { ...defaultWsdan, attentions: 4 });
  fillPortable(model, JSON.parse(readSafetensors(FIXTURE).metadata.order!) as string[]);
  const tensors = stateToFile(await model.stateDict());
  change?.(tensors);
  writeSafetensors(path, tensors);
  return path;
};

t.test('a port that agrees', async (t) => {
  const weights = await writeWeights(join(scratch(t), 'w.safetensors'));
  const { code, out, errors } = await call('parity', '--weights', weights, '--fixture', FIXTURE, '--tolerance', '1e-5', '--gradient-tolerance', '1e-4');
  t.equal(errors, '');
  t.equal(code, 0, out);
  t.match(out, /WS-DAN on resnet_small, evaluation mode/);
  t.match(out, /^features\.bn1 +2×16×8×8 +\d\.\de-\d \(rms .*\) +\d\.\de-\d \(rms .*\) +\d\.\de-\d \(rms .*\) +ok$/m, 'a batch norm with its ReLU built in');
  t.match(out, /^features\.layer2\.0\.conv2 +2×64×2×2 .* – +ok$/m, 'a weight whose gradient was not recorded');
  for (const name of ['attentions.conv', 'attentions', 'fc', 'features.layer1.0.downsample.0']) {
    t.match(out, new RegExp(`^${name.replaceAll('.', '\\.')} +\\d.* ok$`, 'm'));
  }
  t.match(out, /25 layers compared\nAll agree\./);
});

t.test('a port that disagrees is told where', async (t) => {
  const folder = scratch(t);
  const twisted = await writeWeights(join(folder, 'twisted.safetensors'), (tensors) => {
    const { shape, data } = tensors.get('features.layer1.0.conv2.weight')!;
    tensors.set('features.layer1.0.conv2.weight', { dtype: 'F32', shape, data: Float32Array.from(data as Float32Array).reverse() });
  });
  const forward = await call('parity', '--weights', twisted, '--fixture', FIXTURE);
  t.equal(forward.code, 1);
  t.match(forward.out, /^features\.layer1\.0\.bn1 .* (ok|DISAGREES: (gradient|weights|gradient, weights))$/m, 'activations in front of it agree');
  t.match(forward.out, /^features\.layer1\.0\.conv2 .* DISAGREES: activations/m);
  t.match(forward.out, /Activations part at features\.layer1\.0\.conv2: look there first\./);

  const { tensors, metadata } = readSafetensors(FIXTURE);
  const stored = tensors.get('gradient:features.layer2.0.bn1')!;
  tensors.set('gradient:features.layer2.0.bn1', { ...stored, data: (stored.data as Float32Array).map((v) => 2 * v) });
  const doubled = join(folder, 'doubled.safetensors');
  writeSafetensors(doubled, tensors, metadata);
  const back = await call('parity', '--weights', await writeWeights(join(folder, 'w.safetensors')), '--fixture', doubled);
  t.equal(back.code, 1);
  t.match(back.out, /Activations agree; gradients part at features\.layer2\.0\.bn1, on the way back: look there first\./);
});

t.test('a recording with the names of WS-DAN.PyTorch', async (t) => {
  const folder = scratch(t);
  const { tensors, metadata } = readSafetensors(FIXTURE);
  const numbers = { conv1: 0, bn1: 1, layer1: 4, layer2: 5 };
  const renamed = new Map([...tensors].map(([name, stored]) =>
    [name.replace(/:features\.(conv1|bn1|layer1|layer2)/, (_, stage: keyof typeof numbers) => `:features.${numbers[stage]}`), stored]));
  t.ok(renamed.has('output:features.4.0.conv1'));
  writeSafetensors(join(folder, 'renamed.safetensors'), renamed, metadata);
  const { code, out } = await call('parity', '--weights', await writeWeights(join(folder, 'w.safetensors')), '--fixture', join(folder, 'renamed.safetensors'));
  t.equal(code, 0, out);
  t.match(out, /25 layers compared\nAll agree\./);
});

t.test('files that do not fit', async (t) => {
  const folder = scratch(t);
  const refused = async (pattern: RegExp, ...args: string[]): Promise<void> => {
    const { code, errors } = await call('parity', ...args);
    t.equal(code, 1);
    t.match(errors, pattern);
    t.notMatch(errors, /\n {4}at /, 'no stack trace');
  };
  const weights = await writeWeights(join(folder, 'w.safetensors'));
  await refused(/name both files: --weights FILE --fixture FILE/, '--weights', weights);
  await refused(/is no recording of a PyTorch network: its metadata lacks "parity"\. Make one with test\/reference\/parity_fixture\.py/, '--weights', weights,
    '--fixture', weights);
  writeFileSync(join(folder, 'text'), 'no tensors here');
  await refused(/text/, '--weights', weights, '--fixture', join(folder, 'text'));
  const short = await writeWeights(join(folder, 'short.safetensors'), (tensors) => void tensors.delete('fc.weight'));
  await refused(/fc\.weight/, '--weights', short, '--fixture', FIXTURE);
});

t.teardown(() => runtime.device.close());
