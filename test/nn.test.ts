/** Modules, initialisation, schedules, and residual networks against torchvision. */
import t from 'tap';
import { readFileSync } from 'node:fs';
import { backward } from '../src/autograd/backward.js';
import { worstError } from '../src/autograd/verify.js';
import { readSafetensors } from '../src/io/safetensors.js';
import { constant, defaultUniform, kaimingNormal, normal, seedInit, truncatedNormal } from '../src/nn/init.js';
import { AvgPool2d, BatchNorm2d, Conv2d, Dropout, GlobalAvgPool2d, Linear, MaxPool2d, ReLU, Sequential } from '../src/nn/layers.js';
import { backboneNames, createBackbone } from '../src/nn/models/index.js';
import { type AnyModule, Module, parameter } from '../src/nn/module.js';
import { AdamW, SGD } from '../src/nn/optimizer.js';
import { learningRate, type ScheduleOptions } from '../src/nn/schedule.js';
import { add, affine, manualSeed, mul, ones, permute, sum } from '../src/ops/index.js';
import { modulePath } from '../src/tensor/module-path.js';
import { tensor } from '../src/tensor/create.js';
import { scope } from '../src/tensor/scope.js';
import { numel } from '../src/tensor/shape.js';
import type { Tensor } from '../src/tensor/tensor.js';
import { toFileLayout } from '../src/train/state-layout.js';
import { fillPortable, portableImages, portableSigned, portableUniform, summarise } from './support/portable.js';
import { openRuntime } from './support/runtime.js';

// The tolerances of this file are those of direct convolutions.
const runtime = await openRuntime({ winograd: 'off' });

type Summaries = Record<string, [norm: number, projection: number]>;
const fixture = JSON.parse(readFileSync('test/fixtures/resnet-torch.json', 'utf8')) as {
  models: Record<string, Record<string, number[]>>;
  resnet18: {
    size: number; batch: number; order: string[]; loss: number; shape: number[]; eval: Summaries; train: Summaries; evalHead: number[]; trainHead: number[];
    gradients: Summaries; running: Summaries;
  };
};

t.test('the portable generator gives its published values', async (t) => {
  t.same([0, 1, 2].map((k) => portableUniform(0, k)), [0.5733975800685585, 0.5883937727194279, 0.7041337329428643]);
  t.same([portableUniform(1, 0), portableUniform(1000, 0).toFixed(14)], [0.23765396769158542, '0.33490717317909']);
});

const namesAndShapes = async (module: AnyModule): Promise<Record<string, readonly number[]>> =>
  Object.fromEntries([...(await module.stateDict())].map(([name, value]) => [name, toFileLayout(name, value).shape] as const)
    .sort(([a], [b]) => (a < b ? -1 : 1)));

t.test('residual networks have torchvision’s names, shapes and sizes', (t) => scope(async () => {
  const counts: Record<string, number> = { resnet18: 11_176_512, resnet34: 21_284_672, resnet50: 23_508_032 };
  for (const [name, expected] of Object.entries(fixture.models)) {
    const net = createBackbone(name);
    const sorted = Object.fromEntries(Object.entries(expected).sort(([a], [b]) => (a < b ? -1 : 1)));
    t.same(await namesAndShapes(net), sorted, name);
    t.equal(net.parameters().reduce((total, p) => total + p.size, 0), counts[name], `${name}: parameters without the classifier`);
    t.same([net.channels, net.stride], [name === 'resnet50' ? 2048 : 512, 32]);
    [...net.namedParameters(), ...net.namedBuffers()].forEach(([, p]) => p.release());
  }
  t.throws(() => createBackbone('resnet19'), new RegExp(`unknown model "resnet19"; known: ${backboneNames.join(', ')}`));
}));

/** Errors relative to the norm. */
const close = (
  t: { fail(message: string): boolean }, name: string, [norm, projection]: [number, number],
  [wantedNorm, wantedProjection]: [number, number], tolerance: number,
): boolean => {
  const error = Math.max(Math.abs(norm / wantedNorm - 1), Math.abs(projection - wantedProjection) / wantedNorm);
  return error <= tolerance || t.fail(`${name}: norm ${norm}, projection ${projection}; torchvision has ${wantedNorm}, ${wantedProjection} (error ${error.toExponential(1)})`);
};

t.test('ResNet-18 forward and backward equal torchvision’s in float64', (t) => scope(async () => {
  const { size, batch, order, shape, ...expected } = fixture.resnet18;
  const net = createBackbone('resnet18').nameAll();
  fillPortable(net, order);
  const images = tensor(portableImages(batch, size, 2), [batch, size, size, 3]);
  const nchw = async (y: Tensor): Promise<Float32Array> => (await permute(y, [0, 3, 1, 2]).data()) as Float32Array;
  net.eval();
  const evaluated = await nchw(net.call(images));
  // 20 convolutions in a row, each adding a rounding of 6e-8 times the root of its up to 4,608 terms.
  t.ok(close(t, 'eval', summarise(evaluated, 2000), expected.eval.features!, 1e-6), 'evaluation');
  expected.evalHead.forEach((value, i) => t.ok(Math.abs(evaluated[i]! - value) < 3e-5 * 28, `eval element ${i}: ${evaluated[i]}`));

  net.train();
  const y = net.call(images);
  t.same(permute(y, [0, 3, 1, 2]).shape, shape);
  const trained = await nchw(y);
  // Batch statistics of the last stage come from 8 values: dividing by their deviation multiplies errors a few times per layer.
  t.ok(close(t, 'train', summarise(trained, 2000), expected.train.features!, 1e-5), 'training');
  expected.trainHead.forEach((value, i) => t.ok(Math.abs(trained[i]! - value) < 2e-4, `train element ${i}: ${trained[i]} against ${value}`));
  const weights = permute(tensor(portableSigned(1001, numel(shape)), shape), [0, 2, 3, 1]);
  const loss = sum(mul(y, weights));
  t.ok(Math.abs(await loss.item() - expected.loss) < 1e-3, `loss ${await loss.item()} against ${expected.loss}`);
  backward(loss);

  const named = new Map(net.namedParameters());
  for (const [i, [name, wanted]] of Object.entries(expected.gradients).entries()) {
    const grad = named.get(name)!.grad!;
    // The way back multiplies the same factors once more, and ReLUs switch where a value lies within rounding of 0.
    close(t, name, summarise(toFileLayout(name, { shape: grad.shape, data: (await grad.data()) as Float32Array }).data, 2000 + i), wanted, 2e-4);
  }
  t.equal(Object.keys(expected.gradients).length, named.size, 'gradients of all parameters');
  const buffers = new Map(net.namedBuffers());
  for (const [i, [name, wanted]] of Object.entries(expected.running).entries()) {
    close(t, name, summarise(await buffers.get(name)!.data(), 2000 + i), wanted, 1e-5);
  }
  t.equal(Object.keys(expected.running).length, buffers.size, 'running statistics of all layers');
  for (const p of [...named.values(), ...buffers.values()]) {
    p.grad?.release();
    p.release();
  }
}));

class Net extends Module {
  readonly conv = new Conv2d(3, 4, 3, { padding: 1 });
  readonly block = new Sequential([new BatchNorm2d(4), new ReLU(), new Dropout(0.5)]);
  readonly fc = new Linear(4, 2, { bias: false });
  private readonly pool = new GlobalAvgPool2d();
  path = '';

  protected override forward(x: Tensor): Tensor {
    this.path = modulePath();
    return this.fc.call(this.pool.call(this.block.call(this.conv.call(x))));
  }
}

t.test('names, parameters and buffers', (t) => scope(async () => {
  const net = new Net();
  t.same(net.namedParameters().map(([name]) => name), ['conv.weight', 'conv.bias', 'block.0.weight', 'block.0.bias', 'fc.weight']);
  t.same(net.namedBuffers().map(([name]) => name), ['block.0.running_mean', 'block.0.running_var']);
  t.same(net.parameters().map((p) => p.requiresGrad), [true, true, true, true, true]);
  net.nameAll();
  t.equal(net.fc.weight.label, 'fc.weight');
  t.throws(() => net.conv.call(ones([1, 4, 4, 5])), /conv2d/, 'errors come from the op');
  t.equal(modulePath(), '', 'and leave the path of modules empty');
  t.same(net.call(ones([2, 4, 4, 3])).shape, [2, 2]);
  t.equal(net.path, 'Net');
}));

t.test('modules and parameters in lists are the module\'s own, as in PyTorch\'s ModuleList', (t) => scope(async () => {
  class Listed extends Module {
    readonly blocks = [new Linear(2, 3), new Sequential([new BatchNorm2d(3)])];
    readonly scales = [parameter([3], Float32Array.of(1, 2, 3))];
    /** What it has seen is no part of its state. */
    readonly seen: Tensor[] = [ones([1])];
    protected forward(x: Tensor): Tensor {
      return this.blocks.reduce((y, block) => block.call(y), x);
    }
  }
  const net = new Listed().nameAll();
  t.same(net.namedParameters().map(([name]) => name), ['scales.0', 'blocks.0.weight', 'blocks.0.bias', 'blocks.1.0.weight', 'blocks.1.0.bias']);
  t.same(net.namedBuffers().map(([name]) => name), ['blocks.1.0.running_mean', 'blocks.1.0.running_var']);
  t.equal(net.eval().blocks[1]!.training, false);
  const optimizer = new SGD(net.parameters(), { lr: 1 });
  const before = await net.parameters()[1]!.data();
  optimizer.zeroGrad();
  backward(sum(net.call(ones([2, 2]))));
  optimizer.step();
  t.not((await net.parameters()[1]!.data())[0], before[0], 'and it is trained');
}));

t.test('train and eval switch the whole tree', (t) => scope(async () => {
  manualSeed(1);
  const net = new Net();
  net.eval();
  t.same([net.training, net.block.training, ...net.block.namedChildren().map(([, c]) => c.training)], [false, false, false, false, false]);
  const x = tensor(portableSigned(7, 2 * 16 * 3), [2, 4, 4, 3]);
  const [first, second] = [await net.call(x).data(), await net.call(x).data()];
  t.same(first, second, 'evaluation is a fixed function');
  t.same(await net.namedBuffers()[1]![1].data(), [1, 1, 1, 1], 'which moves no statistics');
  net.train();
  t.notSame(await net.call(x).data(), await net.call(x).data(), 'training draws dropout anew');
  t.notSame(await net.namedBuffers()[1]![1].data(), [1, 1, 1, 1]);
}));

t.test('layers hand their options on', (t) => scope(async () => {
  const x = ones([1, 7, 9, 4]);
  t.same(new Conv2d(4, 6, [1, 7], { padding: [0, 3] }).call(x).shape, [1, 7, 9, 6]);
  t.same(new Conv2d(4, 8, 3, { groups: 2, stride: 2, dilation: 2 }).call(x).shape, [1, 2, 3, 8]);
  t.same(new MaxPool2d(3, { stride: 2, padding: 1 }).call(x).shape, [1, 4, 5, 4]);
  t.same(new MaxPool2d(2, { stride: 2, ceilMode: true }).call(x).shape, [1, 4, 5, 4]);
  const corner = (y: Tensor) => y.data().then((data) => data[0]);
  t.equal(await corner(new AvgPool2d(2, { padding: 1 }).call(x)), 0.25, 'the padding counts by default, as in PyTorch');
  t.equal(await corner(new AvgPool2d(2, { padding: 1, countIncludePad: false }).call(x)), 1);
  t.same(new Linear(4, 5).call(x).shape, [1, 7, 9, 5]);
}));

t.test('loadStateDict: there and back, and what does not fit', (t) => scope(async () => {
  const [a, b] = [new Net(), new Net()];
  const state = await a.stateDict();
  b.loadStateDict(state);
  t.same(await b.stateDict(), state);
  const broken = new Map(state);
  broken.delete('conv.bias');
  broken.set('head.weight', { shape: [1], data: Float32Array.of(1) });
  broken.set('fc.weight', { shape: [4, 3], data: new Float32Array(12) });
  broken.set('conv.weight', { shape: [3, 3, 3, 4], data: new Float32Array(108) });
  t.throws(() => b.loadStateDict(broken), {
    name: 'UserError',
    message: 'the weights do not fit this model:\n  1 missing: conv.bias\n  1 unexpected: head.weight\n  1 wrong shape: fc.weight is [4, 3] instead of [4, 2]\n' +
      'Use the model, class count and number of attention maps the weights were saved with.',
  });
  t.same(await b.stateDict(), state, 'nothing was changed');
}));

t.test('loadStateDict: names that one side lacks are passed over where that is meant', (t) => scope(async () => {
  const [a, b] = [new Net(), new Net()];
  const before = await b.stateDict();
  const part = new Map(await a.stateDict());
  part.delete('fc.weight');
  part.set('head.weight', { shape: [1], data: Float32Array.of(1) });
  t.same(b.loadStateDict(part, { strict: false }), { missing: ['fc.weight'], unexpected: ['head.weight'] });
  const after = await b.stateDict();
  t.same(after.get('fc.weight'), before.get('fc.weight'), 'fresh as it was');
  t.same(after.get('conv.weight'), part.get('conv.weight'));
  part.set('conv.bias', { shape: [1], data: Float32Array.of(1) });
  t.throws(() => b.loadStateDict(part, { strict: false }), /do not fit this model:\n {2}1 wrong shape: conv\.bias is \[1\]/);
  t.throws(() => b.loadStateDict(new Map([['x', { shape: [1], data: Float32Array.of(1) }]]), { strict: false }), /\d+ missing: .*\n {2}1 unexpected: x/, 'nothing at all fits');
  t.throws(() => b.loadStateDict(part, { Strict: false } as never), /loadStateDict: there is no option "Strict"/);
  t.same(await b.stateDict(), after, 'nothing was changed');
}));

const momentsOf = (values: Float32Array) => {
  const mean = values.reduce((total, v) => total + v, 0) / values.length;
  const squares = values.reduce((total, v) => total + (v - mean) ** 2, 0);
  return { mean, std: Math.sqrt(squares / values.length), max: values.reduce((m, v) => Math.max(m, Math.abs(v)), 0) };
};

t.test('initialisation: distributions', async (t) => {
  seedInit(3);
  const close = (value: number, wanted: number, share: number, what: string) =>
    t.ok(Math.abs(value - wanted) <= share * wanted, `${what}: ${value} ≈ ${wanted}`);
  const he = momentsOf(kaimingNormal([3, 3, 64, 128]));
  // Deviations of n samples scatter by 1 / sqrt(2n): 0.3 % of 73,728 samples; four of those are allowed.
  close(he.std, Math.sqrt(2 / (9 * 128)), 0.011, 'He, fan out');
  t.ok(Math.abs(he.mean) < 4 * he.std / Math.sqrt(73_728) && he.max > 3.5 * he.std, 'centred, with tails');
  for (const [inputs, bound] of [[768, 0.036084], [24_576, 0.0063789]] as const) {
    const { std, max } = momentsOf(defaultUniform([inputs, 32]));
    t.ok(max <= bound && max > 0.999 * bound, `uniform ±1/√${inputs}: ±${max}`);
    close(std, bound / Math.sqrt(3), 0.02, 'its deviation');
  }
  const cut = momentsOf(truncatedNormal([100, 400], 0.1));
  t.ok(cut.max <= 0.2 && cut.max > 0.195, 'cut at two deviations');
  close(cut.std, 0.08796, 0.015, 'deviation of the cut normal, 0.8796 σ');
  close(momentsOf(normal([200, 200], 2)).std, 2, 0.015, 'normal');
  t.same([...constant([3], 0.5)], [0.5, 0.5, 0.5]);
});

t.test('initialisation follows from the seed and the order of construction', async (t) => {
  const make = (seed: number) => {
    seedInit(seed);
    return [...defaultUniform([2, 3]), ...kaimingNormal([1, 1, 2, 2])];
  };
  t.same(make(5), make(5));
  t.notSame(make(5), make(6));
  seedInit(5);
  t.notSame(defaultUniform([2, 3]), defaultUniform([2, 3]), 'no two parameters are alike');
});

const step: ScheduleOptions = { kind: 'step', stepSize: 2, gamma: 0.9, warmupEpochs: 0, epochs: 160 };

t.test('learning rates of the published schedule', async (t) => {
  const table: [epoch: number, rate: string][] = [
    [1, '1.000e-3'], [2, '1.000e-3'], [3, '9.000e-4'], [4, '9.000e-4'], [10, '6.561e-4'], [20, '3.874e-4'], [30, '2.288e-4'], [40, '1.351e-4'],
    [80, '1.642e-5'], [100, '5.726e-6'], [160, '2.427e-7'],
  ];
  for (const [epoch, rate] of table) {
    t.equal(learningRate(1e-3, epoch - 1, step).toExponential(3), rate, `epoch ${epoch}`);
    t.equal(learningRate(1e-3, epoch - 0.01, step).toExponential(3), rate, 'the whole epoch long');
  }
});

t.test('cosine, constant and warm-up', async (t) => {
  const cosine: ScheduleOptions = { ...step, kind: 'cosine', warmupEpochs: 2, epochs: 10 };
  const rates = [0, 1, 2, 6, 10, 12].map((at) => learningRate(1, at, cosine));
  rates.forEach((rate, i) => t.ok(Math.abs(rate - [0.1, 0.55, 1, 0.5, 0, 0][i]!) < 1e-12, `epoch ${i}: ${rate}`));
  t.equal(learningRate(0.3, 99, { ...step, kind: 'constant' }), 0.3);
  t.equal(learningRate(1, 7, { kind: 'step', stepSize: 3 }).toExponential(3), '1.000e-2', 'gamma is 0.1, as in PyTorch, and there is no warm-up');
  t.same([1, 2, 3].map((at) => learningRate(1, at, { kind: 'step', stepSize: 1, gamma: 0.5 })), [0.5, 0.25, 0.125]);
  t.same([2, 3].map((at) => learningRate(1, at, { ...cosine, epochs: 2 })), [1, 0], 'a warm-up as long as the cosine');
  t.throws(() => learningRate(1, 0, { ...step, stepSize: 0 }), /the step size must be at least 1 epoch, got 0/);
});

t.test('optimisers move parameters into flat buffers without changing them', (t) => scope(async () => {
  const shapes = [[5], [2, 3], [3, 3, 1, 7], []];
  const parameters = shapes.map((shape, i) => parameter(shape, portableSigned(i, numel(shape))));
  const before = await Promise.all(parameters.map((p) => p.data()));
  const optimizer = new SGD(parameters, { lr: 0.5 });
  for (const [i, p] of parameters.entries()) t.same(await p.data(), before[i], `[${shapes[i]!.join(', ')}]`);
  for (const round of [1, 2]) {
    optimizer.zeroGrad();
    backward(parameters.map((p, i) => sum(affine(p, i + 1))).reduce((a, b) => add(a, b)));
    optimizer.step();
    for (const [i, p] of parameters.entries()) {
      const wanted = before[i]!.map((v) => Math.fround(v - 0.5 * (i + 1) * round));
      (await p.data()).forEach((v, k) => { if (Math.abs(v - wanted[k]!) > 1e-6) t.fail(`parameter ${i}, element ${k}: ${v} instead of ${wanted[k]}`); });
    }
  }
  t.throws(() => new SGD([], { lr: 1 }), /there are no parameters to train/);
  t.throws(() => new AdamW(parameters, { lr: -1 }), /lr must be a number of at least 0, got -1/);
}));

t.test('optimisers follow torch.optim', (t) => scope(async () => {
  const { tensors } = readSafetensors('test/fixtures/optim-torch.safetensors');
  const numbers = (name: string): Float32Array => tensors.get(name)!.data as Float32Array;
  const makers: Record<string, (p: Tensor[]) => SGD | AdamW> = {
    nesterov: (p) => new SGD(p, { lr: 1, momentum: 0.9, weightDecay: 0.01, nesterov: true }),
    dampening: (p) => new SGD(p, { lr: 1, momentum: 0.8, dampening: 0.3 }),
    clipped: (p) => new SGD(p, { lr: 1, momentum: 0.9, clipGradNorm: 1.5 }),
    adamw: (p) => new AdamW(p, { lr: 1, betas: [0.9, 0.99], eps: 1e-6, weightDecay: 0.1 }),
  };
  for (const [name, make] of Object.entries(makers)) {
    const p = parameter([2, 5], numbers('start'));
    const optimizer = make([p]);
    for (const [step, lr] of [0.1, 0.1, 0.05, 0.05, 0.02].entries()) {
      optimizer.lr = lr;
      optimizer.zeroGrad();
      backward(sum(mul(p, tensor(numbers(`gradient.${step}`), [2, 5]))));
      optimizer.step();
      const { error } = worstError(await p.data(), numbers(`${name}.${step}`));
      // A few roundings of 6e-8 per step.
      t.ok(error < 2e-6, `${name}, step ${step + 1}: ${error.toExponential(1)}`);
    }
  }
}));

t.test('defaults are PyTorch’s', (t) => scope(async () => {
  const run = async (make: (p: Tensor[]) => SGD | AdamW, gradients: number[]): Promise<number> => {
    const p = parameter([1], Float32Array.of(2));
    const optimizer = make([p]);
    for (const gradient of gradients) {
      optimizer.zeroGrad();
      backward(affine(sum(p), gradient));
      optimizer.step();
    }
    return (await p.data())[0]!;
  };
  const adam = (p: Tensor[]) => new AdamW(p, { lr: 0.5 });
  const close = (value: number, wanted: number, what: string) => t.ok(Math.abs(value - wanted) < 1e-6, `${what}: ${value} ≈ ${wanted}`);
  // The first step goes by the gradient over its size and eps; before it, 0.01 · lr of the weight decays.
  close(await run(adam, [1e-8]), 2 * (1 - 0.005) - 0.5 * (1e-8 / (1e-8 + 1e-8)), 'AdamW, eps and weight decay');
  const second = (0.09 / (1 - 0.9 ** 2)) / Math.sqrt(0.000999 / (1 - 0.999 ** 2));
  close(await run(adam, [1, 0]), (2 * (1 - 0.005) - 0.5) * (1 - 0.005) - 0.5 * second, 'AdamW, betas');
  close(await run((p) => new SGD(p, { lr: 0.5 }), [1, 1]), 2 - 0.5 - 0.5, 'SGD: neither momentum nor decay');
}));

t.test('optimiser state: there and back', (t) => scope(async () => {
  const make = () => new AdamW([parameter([3], Float32Array.of(1, 2, 3))], { lr: 0.1 });
  const state = await make().stateDict();
  t.same([...state.vectors.keys()], ['m.0', 'v.0']);
  t.throws(() => new SGD([parameter([3], new Float32Array(3))], { lr: 1, momentum: 0.9 }).loadStateDict(state),
    /the saved state has no "momentum\.0" of 64 numbers; resume with the model and optimiser/);
  const other = make();
  other.loadStateDict({ step: 7, vectors: new Map([...state.vectors].map(([name, v]) => [name, v.map(() => 0.25)])) });
  const back = await other.stateDict();
  t.same([back.step, [...back.vectors.values()].map((v) => v[0])], [7, [0.25, 0.25]]);
}));

t.teardown(() => runtime.device.close());
