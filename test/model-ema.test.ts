/** Exponential moving averages of weights: against float64, in captured steps, in the module's place and out again, to files and back. */
import t from 'tap';
import { backward } from '../src/autograd/backward.js';
import { Captured } from '../src/autograd/captured.js';
import { worstError } from '../src/autograd/verify.js';
import { seedInit } from '../src/nn/init.js';
import { BatchNorm2d, Conv2d, Linear } from '../src/nn/layers.js';
import { ModelEma } from '../src/nn/model-ema.js';
import { Module, type StateDict } from '../src/nn/module.js';
import { AdamW, type Optimizer, SGD } from '../src/nn/optimizer.js';
import { autocast, crossEntropy, exchange_, globalAvgPool2d, lerp_, linear, manualSeed, ones, setRandomStep, sum } from '../src/ops/index.js';
import { tensor, write } from '../src/tensor/create.js';
import { keep, scope } from '../src/tensor/scope.js';
import { memoryReport } from '../src/tensor/storage.js';
import type { Tensor } from '../src/tensor/tensor.js';
import { portableImages } from './support/portable.js';
import { dispatchesOf, openRuntime } from './support/runtime.js';

const runtime = await openRuntime();
t.teardown(() => runtime.device.close());
const DECAY = 0.7;

class Net extends Module<[Tensor]> {
  readonly conv = new Conv2d(3, 5, 3, { bias: false });
  readonly norm = new BatchNorm2d(5, { activation: 'relu' });
  readonly fc = new Linear(5, 4);
  /** Whole numbers, as PyTorch's count of batches. */
  readonly count = keep(tensor([0], [1], { dtype: 'int32' }));

  protected override forward(x: Tensor): Tensor {
    return this.fc.call(globalAvgPool2d(this.norm.call(this.conv.call(x))));
  }
}

const make = (): Net => {
  seedInit(3);
  return new Net().nameAll();
};
const groupsOf = (net: Net): Optimizer =>
  new SGD([{ params: [...net.norm.parameters(), net.fc.bias!], lr: 0.5 }, { params: [net.conv.weight, net.fc.weight] }], { lr: 0.1, momentum: 0.9 });
const batchAt = (step: number): [Tensor, Tensor] => [tensor(portableImages(2, 7, 20 + step), [2, 7, 7, 3]), tensor(Int32Array.of(step % 4, 1), [2])];
const work = (net: Net, optimizer: Optimizer, ema: ModelEma | null) => (images: Tensor, labels: Tensor): void => {
  optimizer.zeroGrad();
  backward(crossEntropy(net.call(images), labels));
  optimizer.step();
  ema?.update();
};
const bitsOf = (state: StateDict): Record<string, number[]> =>
  Object.fromEntries([...state].map(([name, { data }]) => [name, [...new Uint32Array(data.buffer, data.byteOffset, data.length)]]));

t.test('averages of parameters and running statistics are those of float64; integers are copied, frozen parameters left alone', async (t) => {
  const net = make();
  net.fc.bias!.requiresGrad_(false);
  const optimizer = groupsOf(net);
  const ema = new ModelEma(net, { decay: DECAY });
  const expected = new Map([...(await net.stateDict())].map(([name, { data }]) => [name, Float64Array.from(data)]));
  for (let step = 0; step < 6; step++) {
    write(net.count, Int32Array.of(step + 1));
    scope(() => work(net, optimizer, ema)(...batchAt(step)));
    for (const [name, { data }] of await net.stateDict()) {
      const average = expected.get(name)!;
      if (name === 'count') average.set(data);
      else average.forEach((before, i) => { average[i] = DECAY * before + (1 - DECAY) * data[i]!; });
    }
  }
  const [found, trained] = [await ema.stateDict(), await net.stateDict()];
  t.same([...found.keys()], [...trained.keys()]);
  for (const [name, { data }] of found) {
    // Two roundings of 6e-8 of values up to about 1 in each of six updates.
    const { error } = worstError(data, expected.get(name)!);
    t.ok(error < 1e-6, `${name}: ${error.toExponential(1)}`);
    if (name !== 'count' && name !== 'fc.bias') t.ok(worstError(data, trained.get(name)!.data).error > 1e-4, `${name} differs from what was trained`);
  }
  t.same([...found.get('count')!.data], [6]);
  t.same(bitsOf(new Map([['fc.bias', found.get('fc.bias')!]])), bitsOf(new Map([['fc.bias', trained.get('fc.bias')!]])));
});

t.test('an update is one kernel for each group and one for the buffers', (t) => {
  for (const [optimizerOf, kernels] of [[groupsOf, 3], [(net: Net) => new AdamW(net.parameters(), { lr: 0.1 }), 2]] as const) {
    const net = make();
    const optimizer = optimizerOf(net);
    const ema = new ModelEma(net);
    t.equal(dispatchesOf(runtime, () => ema.update()), kernels);
    optimizer.release();
  }
  const early = make();
  const ema = new ModelEma(early);
  groupsOf(early);
  t.ok(dispatchesOf(runtime, () => ema.update()) > 3, 'made before the optimiser, it takes more');
  t.end();
});

t.test('captured steps are plain ones, to the bit', async (t) => {
  const train = async (captured: boolean): Promise<[unknown, unknown, number]> => {
    manualSeed(2);
    const net = make();
    const optimizer = groupsOf(net);
    const ema = new ModelEma(net, { decay: DECAY });
    let calls = 0;
    const step = new Captured((images, labels) => {
      calls++;
      work(net, optimizer, ema)(images!, labels!);
    }, runtime);
    for (let number = 0; number < 6; number++) {
      setRandomStep(number);
      if (captured) step.run(() => batchAt(number));
      else scope(() => work(net, optimizer, ema)(...batchAt(number)));
      // An evaluation with the averages in between changes nothing.
      if (number === 2) await ema.averaged(() => scope(() => net.call(batchAt(9)[0]).data()));
    }
    step.release();
    return [bitsOf(await net.stateDict()), bitsOf(await ema.stateDict()), calls];
  };
  const [plain, replayed] = [await train(false), await train(true)];
  t.same(replayed.slice(0, 2), plain.slice(0, 2));
  t.ok(replayed[2] < 6, `the function ran ${replayed[2]} times`);
});

/** A network, some steps old. */
const trained = (steps = 2): { net: Net; optimizer: Optimizer; ema: ModelEma } => {
  const net = make();
  const optimizer = groupsOf(net);
  const ema = new ModelEma(net, { decay: DECAY });
  for (let step = 0; step < steps; step++) scope(() => work(net, optimizer, ema)(...batchAt(step)));
  return { net, optimizer, ema };
};

t.test('the averages take the module’s place, and give it back to the bit, after an exception too', async (t) => {
  const { net, ema } = trained();
  write(net.fc.bias!, Float32Array.of(-0, 1e-42, 3e38, -1));
  const [weights, averages] = [bitsOf(await net.stateDict()), bitsOf(await ema.stateDict())];
  t.notSame(averages, weights);
  t.same(await ema.averaged(async () => bitsOf(await net.stateDict())), averages, 'within, the module has the averages');
  t.same(bitsOf(await net.stateDict()), weights);
  t.equal(await ema.averaged(() => 3), 3, 'work may be synchronous');
  for (const fail of [() => { throw new Error('in vain'); }, () => Promise.reject(new Error('in vain'))]) {
    await t.rejects(ema.averaged(fail), /in vain/);
    t.same(bitsOf(await net.stateDict()), weights);
  }
  t.same(bitsOf(await ema.stateDict()), averages, 'nor did the averages change');
  const misuse: Record<string, () => unknown> = { update: () => ema.update(), set: () => ema.set(), release: () => ema.release() };
  await ema.averaged(async () => {
    for (const [name, use] of Object.entries(misuse)) {
      t.throws(use, { name: 'UserError', message: new RegExp(`ModelEma: ${name}\\(\\) within averaged\\(\\)`) });
    }
    await t.rejects(ema.averaged(() => 0), /averaged\(\) within averaged\(\)/);
    t.same(bitsOf(await ema.stateDict()), averages, 'their state can be read');
  });
  t.same(bitsOf(await net.stateDict()), weights);
});

t.test('a graph of the trained weights is refused while the averages stand in their place', (t) => scope(async () => {
  const { net, ema } = trained();
  const loss = sum(net.fc.call(ones([1, 5]).requiresGrad_()));
  await t.rejects(ema.averaged(() => { backward(loss); }), { name: 'UserError', message: /needs tensor "fc\.weight" \[5, 4\] as it was in the forward/ });
}));

t.test('float16 copies of weights are those of the averages', { skip: runtime.device.report.half ? false : 'no float16' }, async (t) => {
  const { net, ema } = trained();
  const x = keep(tensor(portableImages(1, 3, 1).subarray(0, 5), [1, 5]));
  const through = (): Promise<ArrayLike<number>> => scope(() => linear(x, net.fc.weight, null).data());
  const alone = await ema.averaged(() => autocast(through));
  await autocast(async () => {
    const before = await through();
    t.same(await ema.averaged(through), alone);
    t.same(await through(), before);
    t.notSame(before, alone);
  });
});

t.test('a state there and back, of one moment', async (t) => {
  const { net, optimizer, ema } = trained(4);
  const reading = [net.stateDict(), ema.stateDict(), optimizer.stateDict()] as const;
  scope(() => work(net, optimizer, ema)(...batchAt(4)));
  const [weights, averages, state] = await Promise.all(reading);
  const other = trained(1);
  other.net.loadStateDict(weights);
  other.ema.loadStateDict(averages);
  other.optimizer.loadStateDict(state);
  t.same(bitsOf(await other.net.stateDict()), bitsOf(weights), 'the weights are left as they are');
  t.same(bitsOf(await other.ema.stateDict()), bitsOf(averages));
  scope(() => work(other.net, other.optimizer, other.ema)(...batchAt(4)));
  t.same(bitsOf(await other.ema.stateDict()), bitsOf(await ema.stateDict()), 'and it goes on to the bit');
  averages.delete('fc.weight');
  t.throws(() => other.ema.loadStateDict(averages), /1 missing: fc\.weight/);
  t.same(bitsOf(await other.net.stateDict()), bitsOf(await net.stateDict()));
  other.ema.set();
  t.same(bitsOf(await other.ema.stateDict()), bitsOf(await net.stateDict()), 'set() begins anew');
});

t.test('it goes on with another optimiser, and beside a second average', async (t) => {
  const { net, ema } = trained();
  const [averages, weights] = [await ema.stateDict(), await net.stateDict()];
  // In its memory the norm's bias lies where, in the other group's, its weight ends.
  const { norm, conv, fc } = net;
  const optimizer = new AdamW([{ params: [norm.weight, conv.weight, fc.weight] }, { params: [fc.bias!, norm.bias] }], { lr: 0.1 });
  const second = new ModelEma(net, { decay: 0 });
  scope(() => work(net, optimizer, second)(...batchAt(7)));
  ema.update();
  const now = await net.stateDict();
  for (const [name, { data }] of await ema.stateDict()) {
    const expected = [...averages.get(name)!.data].map((v, i) => (name === 'count' ? 0 : DECAY * v + (1 - DECAY) * now.get(name)!.data[i]!));
    t.ok(worstError(data, expected).error < 1e-6, name);
  }
  t.same(bitsOf(await second.stateDict()), bitsOf(now), 'a decay of 0 gives the weights, to the bit');
  t.notSame(bitsOf(now), bitsOf(weights));
});

t.test('memory is booked, and comes back', async (t) => {
  await runtime.idle();
  const { liveBytes: before, owners: { averages: others } } = memoryReport(runtime);
  const { net, optimizer, ema } = trained();
  const { averages, buffers } = memoryReport(runtime).owners;
  t.ok(averages!.bytes > (others?.bytes ?? 0) && buffers!.bytes > 0);
  ema.release();
  ema.release();
  t.same(memoryReport(runtime).owners.averages, others);
  t.throws(() => ema.update(), /ModelEma: it was released/);
  await t.rejects(async () => ema.stateDict(), /it was released/);
  scope(() => work(net, optimizer, null)(...batchAt(5)));
  t.ok([...(await net.norm.running_mean.data())].every(Number.isFinite));
  optimizer.release();
  net.release();
  t.equal(memoryReport(runtime).liveBytes, before);
});

class Half extends Module<[]> {
  readonly odd = keep(tensor([1], [1], { dtype: 'float16' }));

  protected override forward(): Tensor {
    return this.odd;
  }
}

t.test('misuse is refused', (t) => {
  for (const decay of [1, -0.1, NaN, '0.9' as never]) {
    t.throws(() => new ModelEma(make(), { decay }), { name: 'UserError', message: /ModelEma: decay must be a number from 0 to below 1/ });
  }
  t.throws(() => new ModelEma(new Empty()), /neither parameters to train nor buffers/);
  if (runtime.device.report.half) t.throws(() => new ModelEma(new Half().nameAll()), /ModelEma: buffer "odd" is float16/);
  const [a, b] = [tensor([1, 2]), tensor([1, 2, 3])];
  t.throws(() => lerp_(a, b, 0.5), /lerp_: both must have one shape and type/);
  t.throws(() => exchange_(a, b), /exchange_: both must have one shape and type/);
  t.throws(() => lerp_(tensor(Int32Array.of(1)), tensor(Int32Array.of(2)), 0.5), /lerp_: float32 is wanted/);
  t.end();
});

class Empty extends Module<[Tensor]> {
  protected override forward(x: Tensor): Tensor {
    return x;
  }
}

t.test('lerp_ follows float64, exchange_ moves every bit', (t) => scope(async () => {
  const [from, to] = [[1, -2, 3, 0.5, 7], [2, 2, -1e3, 0.5, -7]];
  for (const weight of [0, 1e-4, 0.3, 0.5, 0.9, 1]) {
    const x = lerp_(tensor(from, [5]), tensor(to, [5]), weight);
    // A few roundings of 6e-8 of the distance.
    const { error } = worstError(await x.data(), from.map((v, i) => v + weight * (to[i]! - v)));
    t.ok(error < 3e-7 * 1003, `weight ${weight}: ${error.toExponential(1)}`);
    const stored = new Uint32Array(await runtime.recorder.read(x.range));
    t.same([...stored.subarray(5)], [0, 0, 0], 'padding stays zero');
    if (weight === 0 || weight === 1) t.same([...(await x.data())], weight ? to : from);
  }
  const bits = Uint32Array.of(0x80000000, 1, 0x7fc01234, 0xff800000, 5);
  const [a, b] = [tensor(new Float32Array(bits.buffer)), tensor([1, 2, 3, 4, 5])];
  exchange_(a, b);
  t.same([...(await a.data())], [1, 2, 3, 4, 5]);
  t.same([...new Uint32Array(await runtime.recorder.read(b.range)).subarray(0, 5)], [...bits], 'NaN, −0 and denormal numbers arrive as they were');
  const [i, j] = [tensor(Int32Array.of(-1, 2)), tensor(Int32Array.of(7, 8))];
  exchange_(i, j);
  t.same([[...(await i.data())], [...(await j.data())]], [[7, 8], [-1, 2]]);
}));
