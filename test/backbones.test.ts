/** Backbones: published sizes, torchvision's names and values (test/reference/backbones_torch.py), initial weights, memory. */
import t from 'tap';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { noGrad } from '../src/autograd/tape.js';
import { worstError } from '../src/autograd/verify.js';
import { allBackboneFacts, backbonePage } from '../src/cli/backbone-table.js';
import { seedInit, withoutInit } from '../src/nn/init.js';
import { backboneNames, createBackbone } from '../src/nn/models/index.js';
import type { AnyModule } from '../src/nn/module.js';
import { permute, zeros } from '../src/ops/index.js';
import { tensor } from '../src/tensor/create.js';
import { scope } from '../src/tensor/scope.js';
import { WSDAN } from '../src/wsdan/model.js';
import { defaultWsdan } from '../src/wsdan/options.js';
import { configOf } from './support/default-training.js';
import { fillPortable, portableImages, summarise } from './support/portable.js';
import { openRuntime } from './support/runtime.js';

const runtime = await openRuntime({ winograd: 'off' });

interface Features { size: number; order: string[]; shape: number[]; features: [norm: number, projection: number]; head: number[] }
interface Logits { logits: number[]; float32: number }
const fixture = JSON.parse(readFileSync('test/fixtures/backbones-torch.json', 'utf8')) as {
  names: { listed: Record<string, Record<string, number[]>>; hashed: Record<string, string> };
  features: Record<string, Features>;
  resnet50: { size: number; batch: number; classes: number; maps: number; order: string[]; eval: Logits; train: Logits };
};

const releaseAll = (module: AnyModule): void => [...module.namedParameters(), ...module.namedBuffers()].forEach(([, p]) => p.release());

/** As published for the reference: parameters of the extractor and of all, map at 448 and 224, GMAC at 448 and 224. */
const PUBLISHED: Record<string, readonly [number, number, string, string, string, string]> = {
  inception_mixed_6e: [8_965_856, 13_905_696, '768×26×26', '768×12×12', '10.897', '2.419'],
  inception_mixed_7c: [21_785_568, 34_958_368, '2048×12×12', '2048×5×5', '13.172', '2.836'],
  vgg19_bn: [20_035_392, 23_328_640, '512×14×14', '512×7×7', '78.034', '19.508'],
  vgg19: [20_024_384, 23_317_632, '512×14×14', '512×7×7', '78.034', '19.508'],
  // The reference's basic blocks have biases (two for each of 3·64 + 4·128 + 6·256 + 3·512 channels), torchvision's have none.
  resnet34: [21_292_224 - 7_552, 24_585_472 - 7_552, '512×14×14', '512×7×7', '14.653', '3.663'],
  resnet50: [23_508_032, 36_680_832, '2048×14×14', '2048×7×7', '16.349', '4.087'],
  resnet101: [42_500_160, 55_672_960, '2048×14×14', '2048×7×7', '31.197', '7.799'],
  resnet152: [58_143_808, 71_316_608, '2048×14×14', '2048×7×7', '46.046', '11.512'],
};

t.test('parameters, feature maps and multiply-adds are the published ones, and the documentation says so', async (t) => {
  const facts = allBackboneFacts(runtime);
  t.same(facts.map(({ name }) => name), backboneNames);
  for (const { name, parameters, wsdanParameters, at } of facts.filter((f) => f.name in PUBLISHED)) {
    const maps = ([448, 224] as const).map((size) => [at[size].map[2], at[size].map[0], at[size].map[1]].join('×'));
    const macs = ([448, 224] as const).map((size) => (at[size].macs / 1e9).toFixed(3));
    t.same([parameters, wsdanParameters, ...maps, ...macs], PUBLISHED[name], name);
  }
  t.equal(readFileSync('docs/backbones.md', 'utf8'), backbonePage(facts), 'docs/backbones.md is what the command writes');
});

type Shapes = Readonly<Record<string, readonly number[]>>;

/** Tap compares objects of a thousand entries for seconds; sorted lines say the same. */
const linesOf = (shapes: Shapes): string => Object.entries(shapes).map(([key, shape]) => `${key} ${shape.join(',')}`).sort().join('\n');

const shapesOf = (name: string): Shapes => {
  const shapes: Record<string, readonly number[]> = {};
  runtime.planMemory(() => scope(() => withoutInit(() => {
    const net = createBackbone(name);
    for (const [key, { shape }] of [...net.namedParameters(), ...net.namedBuffers()]) {
      shapes[key] = shape.length === 4 ? [shape[3]!, shape[2]!, shape[0]!, shape[1]!] : shape;
    }
    releaseAll(net);
  })));
  return shapes;
};

t.test('names and shapes are torchvision’s', async (t) => {
  for (const [name, expected] of Object.entries(fixture.names.listed)) t.equal(linesOf(shapesOf(name)), linesOf(expected), name);
  for (const [name, expected] of Object.entries(fixture.names.hashed)) {
    t.equal(createHash('sha256').update(linesOf(shapesOf(name))).digest('hex'), expected, name);
  }
  const to6e = Object.entries(fixture.names.listed.inception_mixed_7c!).filter(([key]) => !key.startsWith('Mixed_7'));
  t.equal(linesOf(shapesOf('inception_mixed_6e')), linesOf(Object.fromEntries(to6e)), '6e is 7c without its last blocks');
});

for (const [name, { size, order, shape, features, head }] of Object.entries(fixture.features)) {
  await t.test(`feature maps of ${name} equal torchvision’s in float64`, (t) => scope(async () => {
    const transformInput = name === 'transformed';
    const net = withoutInit(() => createBackbone(transformInput ? 'inception_mixed_7c' : name, { transformInput })).nameAll().eval();
    fillPortable(net, order);
    const y = permute(noGrad(() => net.call(tensor(portableImages(2, size, 2), [2, size, size, 3]))), [0, 3, 1, 2]);
    t.same(y.shape, shape);
    const values = (await y.data()) as Float32Array;
    const [norm, projection] = summarise(values, 2000);
    // Up to 94 convolutions in a row, each adding a rounding of 6e-8 times the root of its number of terms.
    t.ok(Math.abs(norm / features[0] - 1) < 2e-6 && Math.abs(projection - features[1]) / features[0] < 2e-6,
      `norm ${norm} against ${features[0]}, projection ${projection} against ${features[1]}`);
    const scale = features[0] / Math.sqrt(values.length);
    t.ok(head.every((v, i) => Math.abs(values[i]! - v) < 2e-5 * scale), `first elements ${[...values.subarray(0, 3)].join(', ')}`);
    releaseAll(net);
  }));
}

t.test('WS-DAN on ResNet-50: logits of evaluation and of training equal PyTorch’s', (t) => scope(async () => {
  const { size, batch, classes, maps, order } = fixture.resnet50;
  const model = withoutInit(() => new WSDAN(createBackbone('resnet50'), classes, { ...defaultWsdan, attentions: maps })).nameAll();
  fillPortable(model, order);
  const images = tensor(portableImages(batch, size, 2), [batch, size, size, 3]);
  for (const mode of ['eval', 'train'] as const) {
    model.train(mode === 'train');
    const { logits: expected, float32 } = fixture.resnet50[mode];
    const { error } = worstError(await noGrad(() => model.call(images)).logits.data(), expected);
    // PyTorch's own float32 strays by `float32`; another order of summation is another draw of the same roundings.
    t.ok(error < 2 * float32, `${mode}: ${error.toExponential(1)} of ${(2 * float32).toExponential(1)}`);
  }
  releaseAll(model);
}));

const spread = (values: Float32Array): { mean: number; std: number; max: number } => {
  let [sum, squares, max] = [0, 0, 0];
  for (const v of values) {
    sum += v;
    squares += v * v;
    max = Math.max(max, Math.abs(v));
  }
  const mean = sum / values.length;
  return { mean, std: Math.sqrt(squares / values.length - mean * mean), max };
};

t.test('fresh weights are drawn as the references draw them, from the seed', (t) => scope(async () => {
  const weights = async (name: string, key: string, seed = 1): Promise<Float32Array> => {
    seedInit(seed);
    const net = createBackbone(name);
    const found = new Map(net.namedParameters()).get(key)!;
    const data = (await found.data()) as Float32Array;
    releaseAll(net);
    return data;
  };
  const inception = await weights('inception_mixed_6e', 'Mixed_6a.branch3x3.conv.weight');
  const cut = spread(inception);
  // A deviation of n samples scatters by 1 / sqrt(2n) of itself, 0.07 % of this million.
  t.ok(Math.abs(cut.std / 0.08796 - 1) < 0.003 && cut.max <= 0.2 && cut.max > 0.1999, `Inception: normal of 0.1 cut at two deviations, ${JSON.stringify(cut)}`);
  const vgg = spread(await weights('vgg19', 'features.34.weight'));
  t.ok(Math.abs(vgg.std / Math.sqrt(2 / (9 * 512)) - 1) < 0.003 && Math.abs(vgg.mean) < 1e-4, `VGG: He, fan out, ${JSON.stringify(vgg)}`);
  t.same(spread(await weights('vgg19', 'features.34.bias')), { mean: 0, std: 0, max: 0 }, 'its biases are 0');
  const small = async (seed: number): Promise<string> => (await weights('resnet_small', 'conv1.weight', seed)).join();
  t.equal(await small(7), await small(7), 'the same seed');
  t.not(await small(7), await small(8), 'another seed');
}));

t.test('evaluation keeps one stage at a time in memory', async (t) => {
  const peak = (name: string, size: number): number => runtime.planMemory(() => scope(() => noGrad(() => withoutInit(() => {
    const net = createBackbone(name).eval();
    net.call(zeros([1, size, size, 3]));
  })))).peakBytes;
  const weights = (name: string): number => runtime.planMemory(() => scope(() => withoutInit(() => void createBackbone(name)))).peakBytes;
  // The largest pair of neighbours is 2b's convolution and its batch norm, 12.5 MB each; their input 2a has 6.3 MB. All layers together have 152 MB.
  const inception = peak('inception_mixed_6e', 448) - weights('inception_mixed_6e');
  t.ok(inception < 36e6, `Inception: ${(inception / 1e6).toFixed(1)} MB`);
  // 64 × 448 × 448 is 51 MB: a convolution and what stands before and behind it.
  const vgg = peak('vgg19', 448) - weights('vgg19');
  t.ok(vgg < 3.3 * 51.4e6, `VGG: ${(vgg / 1e6).toFixed(1)} MB`);
});

t.test('choices: maps of 7c, input transform, unknown names', async (t) => {
  t.equal(configOf('--dataset', 'dogs', '--data', 'x').model, 'inception_mixed_7c');
  t.equal(configOf('--dataset', 'dogs', '--data', 'x').wsdan.attentionSource, 'features', 'the maps of 7c are feature channels');
  t.equal(configOf('--dataset', 'dogs', '--data', 'x', '--attention-source', 'head').wsdan.attentionSource, 'head', 'unless the head is asked for');
  t.equal(configOf('--dataset', 'cub', '--data', 'x').model, 'inception_mixed_6e');
  t.equal(configOf('--dataset', 'cub', '--data', 'x').wsdan.attentionSource, 'head');
  t.equal(configOf('--dataset', 'cub', '--data', 'x', '--transform-input').transformInput, true);
  t.throws(() => configOf('--dataset', 'cub', '--data', 'x', '--transform-input', '--normalize', 'inception'),
    { name: 'UserError', message: /both bring pixels to −1 … 1; use one of them/ });
  t.throws(() => createBackbone('resnet50', { transformInput: true }),
    { name: 'UserError', message: /model "resnet50": the input transform belongs to Inception.s weights; leave it out/ });
  t.throws(() => createBackbone('vgg16'), { name: 'UserError', message: /unknown model "vgg16"; known: .*inception_mixed_6e/ });
});

t.test('the unused head of 7c is saved but not trained', (t) => scope(async () => {
  const model = withoutInit(() => new WSDAN(createBackbone('resnet_small'), 4, { ...defaultWsdan, attentions: 8, attentionSource: 'features' }));
  t.ok(model.namedParameters().some(([name]) => name === 'attentions.conv.weight'));
  t.same(model.namedParameters().filter(([, p]) => !p.requiresGrad).map(([name]) => name),
    ['attentions.conv.weight', 'attentions.bn.weight', 'attentions.bn.bias']);
  releaseAll(model);
}));

t.teardown(() => runtime.device.close());
