/** Training in mixed precision: loss scaling, repeatability, and losses beside those of float32. Needs an adapter with shader-f16. */
import t, { type Test } from 'tap';
import { join } from 'node:path';
import { backward } from '../src/autograd/backward.js';
import { worstError } from '../src/autograd/verify.js';
import type { Runtime } from '../src/kernels/runtime.js';
import { GradScaler } from '../src/nn/grad-scaler.js';
import { AdamW, type Optimizer, SGD } from '../src/nn/optimizer.js';
import { add, autocast, linear, mul, sum } from '../src/ops/index.js';
import { tensor } from '../src/tensor/create.js';
import { keep, scope } from '../src/tensor/scope.js';
import type { Tensor } from '../src/tensor/tensor.js';
import { planStep } from '../src/train/memory-plan.js';
import { readCheckpoint, restore, saveCheckpoint } from '../src/train/checkpoint.js';
import { checkPrecision } from '../src/train/method.js';
import { createModel } from '../src/train/session.js';
import { START } from '../src/train/trainer.js';
import { weightsHash } from '../src/train/weights-hash.js';
import { configOf, fixedTraining } from './support/default-training.js';
import { openRuntime } from './support/runtime.js';

const runtime = await openRuntime();
const { half, name: adapter } = runtime.device.report;
const skip = half ? false : `${adapter} has no float16`;
t.teardown(() => runtime.device.close());

const VALUES = [0.5, -1, 2, 0.25, 3];
/** Gradients of some steps; the middle one cannot be used. */
const GRADIENTS = [[1, -2, 0.5, 3, -1], [0.25, 1, -1, 2, 0.5], [1, Infinity, 0, 0, NaN], [-1, 0.5, 0.75, -0.125, 2], [2, 2, -3, 1, 0.5]];
const BAD = 2;

interface Trained {
  readonly weight: Float32Array;
  readonly state: Map<string, ArrayLike<number>>;
}

type Make = (parameters: Tensor[]) => Optimizer;

/** Steps with the given gradients, through a scaler (which gets them scaled) or plainly. */
const stepped = async (make: Make, gradients: readonly (readonly number[])[], scaler: GradScaler | null): Promise<Trained> => {
  const weight = keep(tensor(VALUES).requiresGrad_());
  const optimizer = make([weight]);
  for (const gradient of gradients) {
    optimizer.zeroGrad();
    scope(() => {
      const loss = sum(mul(weight, tensor([...gradient])));
      backward(scaler ? scaler.scale(loss) : loss);
    });
    if (!scaler) optimizer.step();
    else {
      scaler.step(optimizer);
      scaler.update();
    }
  }
  return { weight: (await weight.data()) as Float32Array, state: new Map((await optimizer.stateDict()).vectors) };
};

const OPTIMIZERS: Record<string, Make> = {
  SGD: (parameters) => new SGD(parameters, { lr: 0.1, weightDecay: 0.01 }),
  'SGD with momentum': (parameters) => new SGD(parameters, { lr: 0.1, momentum: 0.9, dampening: 0.3 }),
  AdamW: (parameters) => new AdamW(parameters, { lr: 0.01 }),
  'AdamW, clipped': (parameters) => new AdamW(parameters, { lr: 0.01, clipGradNorm: 0.5 }),
};

for (const [name, make] of Object.entries(OPTIMIZERS)) {
  t.test(`${name}: a step with an infinite gradient leaves no trace`, async (t) => {
    const good = GRADIENTS.filter((_, i) => i !== BAD);
    for (const [order, gradients] of Object.entries({ 'in the middle': GRADIENTS, 'at first': [GRADIENTS[BAD]!, ...good] })) {
      const scaler = new GradScaler();
      const [with_, without] = [await stepped(make, gradients, scaler), await stepped(make, good, null)];
      // Powers of two scale without rounding; where AdamW's corrections are made on the device, they are rounded to float32.
      t.ok(worstError(with_.weight, without.weight).error < 1e-6, order);
      for (const [vector, values] of without.state) t.ok(worstError(with_.state.get(vector)!, values).error < 1e-6, `${order}: ${vector}`);
      t.same(await scaler.stateDict(), { scale: 32768, growthTracker: order === 'at first' ? 4 : 2, skipped: 1 });
    }
    const scaled = await stepped(make, good, new GradScaler());
    t.same([...scaled.weight], [...(await stepped(make, good, null)).weight], 'without one, the scaler changes no bit');
  });
}

t.test('AdamW after many skipped steps: the corrections count what was done', async (t) => {
  const scaler = new GradScaler({ initScale: 2 ** 100 });
  const bad = new Array<readonly number[]>(40).fill(GRADIENTS[BAD]!);
  const good = Array.from({ length: 60 }, (_, i) => GRADIENTS[(i % 2) * 3]!);
  const make = OPTIMIZERS.AdamW!;
  t.ok(worstError((await stepped(make, [...bad, ...good], scaler)).weight, (await stepped(make, good, null)).weight).error < 1e-6);
  t.equal((await scaler.stateDict()).skipped, 40);
});

t.test('the scale grows after enough good steps, and its state goes to another scaler', async (t) => {
  const scaler = new GradScaler({ initScale: 8, growthInterval: 3, growthFactor: 4, backoffFactor: 0.25 });
  const seen: number[] = [];
  const optimizer = new SGD([keep(tensor(VALUES).requiresGrad_())], { lr: 0.1 });
  const go = async (times: number, on = scaler): Promise<number> => {
    for (let i = 0; i < times; i++) {
      on.step(optimizer);
      on.update();
    }
    return (await on.stateDict()).scale;
  };
  for (let i = 0; i < 6; i++) seen.push(await go(1));
  t.same(seen, [8, 8, 32, 32, 32, 128]);
  await go(2);
  const copy = new GradScaler({ growthInterval: 3, growthFactor: 4 });
  copy.loadStateDict(await scaler.stateDict());
  t.same(await copy.stateDict(), { scale: 128, growthTracker: 2, skipped: 0 });
  t.equal(await go(1, copy), 512, 'one step later the copy grows, too');
  t.equal((await scaler.stateDict()).scale, 128);
  const largest = new GradScaler({ initScale: 2 ** 127, growthInterval: 1 });
  t.equal(await go(2, largest), 2 ** 127, 'never to infinity');
  t.throws(() => new GradScaler({ growthFactor: 1 }), /growthFactor must be above 1, got 1/);
  t.throws(() => new GradScaler({ backoffFactor: 1 }), /backoffFactor must be between 0 and 1/);
  t.throws(() => new GradScaler({ initScale: 0 }), /initScale must be above 0/);
  t.throws(() => new GradScaler({ growthInterval: 0.5 }), /growthInterval must be a whole number/);
});

t.test('gradients too large for float16 are found, and the scale goes down until they fit', { skip }, async (t) => {
  const weight = keep(tensor(new Float32Array(64).fill(1), [8, 8]).requiresGrad_());
  const optimizer = new SGD([weight], { lr: 2 ** -20 });
  const scaler = new GradScaler();
  for (let i = 0; i < 8; i++) {
    optimizer.zeroGrad();
    // The gradient of the hidden row is 8 times the scale, and that of the input 64 times.
    scope(() => backward(scaler.scale(autocast(() => sum(linear(linear(tensor(new Float32Array(8).fill(1), [1, 8]), weight), weight))))));
    scaler.step(optimizer);
    scaler.update();
  }
  const { scale, skipped } = await scaler.stateDict();
  t.equal(scale, 65536 / 2 ** skipped);
  t.ok(skipped >= 1 && skipped < 8, `${skipped} steps were skipped`);
  t.ok((await weight.data()).every((w) => Number.isFinite(w) && w < 1), 'the others moved the weights');
});

const leafOf = (value: number): Tensor => keep(tensor([value]).requiresGrad_());
const near = async (t: Test, x: Tensor, expected: number, message: string): Promise<void> => {
  const value = await x.item();
  t.ok(Math.abs(value - expected) < 1e-6, `${message}: ${value}`);
};

t.test('optimisers that share a scaler are judged each by itself', async (t) => {
  const BOTH: Record<string, (parameters: Tensor[]) => Optimizer> = {
    AdamW: (parameters) => new AdamW(parameters, { lr: 0.1, weightDecay: 0 }),
    SGD: (parameters) => new SGD(parameters, { lr: 0.1, momentum: 0.9, dampening: 0.5 }),
  };
  for (const [name, make] of Object.entries(BOTH)) {
    for (const badFirst of [true, false]) {
      const scaler = new GradScaler({ initScale: 4 });
      const [a, b, alone] = [leafOf(1), leafOf(1), leafOf(1)];
      const [bad, good, reference] = [make([a]), make([b]), make([alone])];
      for (let step = 0; step < 3; step++) {
        for (const optimizer of [bad, good, reference]) optimizer.zeroGrad();
        scope(() => backward(scaler.scale(add(sum(mul(a, step < 2 ? Infinity : 1)), sum(b)))));
        scope(() => backward(sum(alone)));
        for (const optimizer of badFirst ? [bad, good] : [good, bad]) scaler.step(optimizer);
        scaler.update();
        reference.step();
      }
      await near(t, b, await alone.item(), `${name}: the other goes on`);
      await near(t, a, 0.9, `${name}: the first counted step`);
      t.same(await scaler.stateDict(), { scale: 1, growthTracker: 1, skipped: 2 });
      t.same([(await bad.stateDict()).skipped, (await good.stateDict()).skipped], [2, 0]);
    }
  }
});

t.test('an optimiser that begins on a used scaler, or goes on with a new one', async (t) => {
  const skip = (scaler: GradScaler, optimizer: Optimizer, weight: Tensor): void => {
    optimizer.zeroGrad();
    scope(() => backward(scaler.scale(sum(mul(weight, Infinity)))));
    scaler.step(optimizer);
    scaler.update();
  };
  const good = (scaler: GradScaler, optimizer: Optimizer, weight: Tensor): void => {
    optimizer.zeroGrad();
    scope(() => backward(scaler.scale(sum(weight))));
    scaler.step(optimizer);
    scaler.update();
  };
  const make = (weight: Tensor): Optimizer => new AdamW([weight], { lr: 0.1, weightDecay: 0 });
  const [scaler, a, b] = [new GradScaler({ initScale: 4 }), leafOf(1), leafOf(1)];
  const first = make(a);
  for (let i = 0; i < 2; i++) skip(scaler, first, a);
  const late = make(b);
  good(scaler, late, b);
  await near(t, b, 0.9, 'it has skipped nothing');

  const state = await first.stateDict();
  t.same([state.step, state.skipped], [2, 2]);
  const resumed = make(a);
  resumed.loadStateDict(state);
  good(new GradScaler({ initScale: 4 }), resumed, a);
  await near(t, a, 0.9, 'its own state knows what it skipped');

  // As checkpoints keep it: the scaler alone knows.
  const c = leafOf(1);
  const fromFile = make(c);
  fromFile.loadStateDict({ step: state.step, vectors: state.vectors });
  t.equal((await fromFile.stateDict()).skipped, undefined);
  const restored = new GradScaler();
  restored.loadStateDict({ scale: 4, growthTracker: 0, skipped: 2 });
  good(restored, fromFile, c);
  await near(t, c, 0.9, 'the scaler’s count stands for it');
  t.equal((await fromFile.stateDict()).skipped, 2);
});

t.test('after skipped steps, too, what is saved as checkpoints do goes on to the bit', async (t) => {
  for (const make of Object.values(OPTIMIZERS)) {
    const [weight, scaler] = [keep(tensor(VALUES).requiresGrad_()), new GradScaler()];
    const optimizer = make([weight]);
    const go = (on: Tensor, by: Optimizer, through: GradScaler, gradients: readonly (readonly number[])[]): void => {
      for (const gradient of gradients) {
        by.zeroGrad();
        scope(() => backward(through.scale(sum(mul(on, tensor([...gradient]))))));
        through.step(by);
        through.update();
      }
    };
    go(weight, optimizer, scaler, GRADIENTS.slice(0, 4));
    const [{ step, vectors }, scale] = await Promise.all([optimizer.stateDict(), scaler.stateDict()]);
    t.same([step, scale.skipped], [4, 1]);
    const [again, otherScaler] = [keep(tensor(await weight.data()).requiresGrad_()), new GradScaler()];
    const other = make([again]);
    other.loadStateDict({ step, vectors });
    otherScaler.loadStateDict(scale);
    go(weight, optimizer, scaler, GRADIENTS);
    go(again, other, otherScaler, GRADIENTS);
    t.same([...(await again.data())], [...(await weight.data())]);
    t.same(await otherScaler.stateDict(), await scaler.stateDict());
  }
});

const CONFIG = ['--batch-size', '4', '--image-size', '32', '--attentions', '8', '--optimizer', 'adamw', '--lr', '0.002'];

/** Mean losses of some steps on the same images, and the weights behind them. */
const trained = async (runtime: Runtime, steps: number, ...args: string[]): Promise<{ losses: number[]; hash: string; skipped: number }> => {
  const { session, step } = fixedTraining(runtime, configOf(...CONFIG, ...args), 5);
  const losses: number[] = [];
  for (let number = 0; number < steps; number++) {
    await step(number);
    const sums = await session.method.metrics.read();
    losses.push(session.method.meanLoss(sums, 4));
    session.method.metrics.reset();
  }
  return { losses, hash: await weightsHash(session.method.module), skipped: (await session.scaler?.stateDict())?.skipped ?? 0 };
};

// SGD in small steps: AdamW moves each weight by lr whatever its gradient's size.
const GENTLY = ['--optimizer', 'sgd', '--lr', '0.003'];
// Losses differ by float16's rounding in some twenty layers, which adds up like a random walk: sqrt(20) · 2^-11 = 0.2 %.
const ROUNDING = 0.0022;

t.test('losses stay beside those of float32', { skip }, async (t) => {
  // Without crops and masks, of which roundings would soon choose others: one of them may double a step's loss.
  const plain = [...GENTLY, '--method', 'plain'];
  const [exact, mixed] = [await trained(runtime, 6, ...plain), await trained(runtime, 6, ...plain, '--precision', 'mixed')];
  for (let i = 0; i < 6; i++) t.ok(Math.abs(mixed.losses[i]! / exact.losses[i]! - 1) < ROUNDING, `step ${i}: ${mixed.losses[i]} beside ${exact.losses[i]}`);
  t.ok(exact.losses[5]! < exact.losses[0]! * 0.9, 'there was something to learn');
  t.not(mixed.losses[0], exact.losses[0], 'it did compute otherwise');
});

t.test('so do those with crops and masks, and equal runs are equal to the bit', { skip }, async (t) => {
  const mixedRun = () => trained(runtime, 6, ...GENTLY, '--precision', 'mixed');
  const [exact, mixed, again] = [await trained(runtime, 5, ...GENTLY), await mixedRun(), await mixedRun()];
  t.equal(mixed.skipped, 0);
  t.ok(Math.abs(mixed.losses[0]! / exact.losses[0]! - 1) < ROUNDING, `${mixed.losses[0]} beside ${exact.losses[0]}`);
  // What some steps make of it, until roundings choose other crops and masks: those of the sixth step may be others.
  for (let i = 1; i < 5; i++) t.ok(Math.abs(mixed.losses[i]! / exact.losses[i]! - 1) < 0.05, `step ${i}: ${mixed.losses[i]} beside ${exact.losses[i]}`);
  t.ok(mixed.losses[5]! < mixed.losses[0]!, 'it learns');
  t.same(again, mixed);
});

t.test('micro-batches, frozen batch norm and checkpointing in mixed precision', { skip }, async (t) => {
  const args = ['--precision', 'mixed', '--freeze-bn'];
  const [whole, parts] = [await trained(runtime, 3, ...args), await trained(runtime, 3, ...args, '--micro-batch', '2')];
  for (let i = 0; i < 3; i++) t.ok(Math.abs(parts.losses[i]! / whole.losses[i]! - 1) < 0.005, `step ${i}: ${parts.losses[i]} beside ${whole.losses[i]}`);
  const { session, step } = fixedTraining(runtime, configOf(...CONFIG, ...args), 5);
  session.method.module.features.checkpointing = true;
  for (let number = 0; number < 3; number++) await step(number);
  t.equal(await weightsHash(session.method.module), whole.hash, 'what is computed again is the same to the bit');
});

t.test('the memory plan sees half sizes', { skip }, async (t) => {
  const peakOf = (...args: string[]): number => {
    const config = configOf('--method', 'plain', '--batch-size', '32', ...args);
    return planStep(runtime, createModel(runtime, config, 8).method, config, { most: 32, checkpointing: false }).peakBytes;
  };
  const [plain, mixed] = [peakOf(), peakOf('--precision', 'mixed')];
  t.ok(mixed < 0.75 * plain, `${mixed} of ${plain} bytes`);
});

t.test('an adapter without float16 is refused', async (t) => {
  const without = { device: { report: { half: false, name: 'old adapter' } } } as unknown as Runtime;
  t.throws(() => checkPrecision(without, configOf('--precision', 'mixed')),
    /--precision mixed: the adapter "old adapter" has no float16 in its shaders \(shader-f16\); use --precision float32/);
  t.doesNotThrow(() => checkPrecision(without, configOf()));
});

t.test('what is saved goes on to the bit', { skip }, async (t) => {
  const file = join(t.testdir({}), 'last.safetensors');
  const config = configOf(...CONFIG, '--precision', 'mixed');
  const first = fixedTraining(runtime, config, 5);
  first.session.scaler!.loadStateDict({ scale: 1024, growthTracker: 7, skipped: 0 });
  for (let number = 0; number < 2; number++) await first.step(number);
  await saveCheckpoint(file, first.session, {}, ['a', 'b', 'c', 'd', 'e'], { ...START, sums: await first.session.method.metrics.read() });
  const second = fixedTraining(runtime, config, 5);
  restore(second.session, readCheckpoint(file));
  t.same(await second.session.scaler!.stateDict(), { scale: 1024, growthTracker: 9, skipped: 0 });
  for (const { step } of [first, second]) await step(2);
  t.equal(await weightsHash(second.session.method.module), await weightsHash(first.session.method.module));
  t.ok([...readCheckpoint(file).file.tensors.values()].every(({ dtype }) => dtype === 'F32'), 'the file holds float32');
});
