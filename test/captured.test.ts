/** Captured work gives what plain calls give, to the bit, and is run anew where a replay would not. */
import t from 'tap';
import { backward } from '../src/autograd/backward.js';
import { Captured } from '../src/autograd/captured.js';
import { checkpoint } from '../src/autograd/checkpoint.js';
import { NanTracer } from '../src/autograd/nan-tracer.js';
import { BatchNorm2d, Conv2d, Linear } from '../src/nn/layers.js';
import { seedInit } from '../src/nn/init.js';
import { Module } from '../src/nn/module.js';
import { AdamW } from '../src/nn/optimizer.js';
import { accumulate } from '../src/ops/binary.js';
import { affine, conv2d, crossEntropy, dropout, fill_, globalAvgPool2d, manualSeed, matmul, relu, setRandomStep, zeros } from '../src/ops/index.js';
import { addScalars_ } from '../src/ops/scalar-sums.js';
import { tensor } from '../src/tensor/create.js';
import { keep, scope } from '../src/tensor/scope.js';
import type { Tensor } from '../src/tensor/tensor.js';
import { batchOf } from '../src/wsdan/micro-batches.js';
import { createModel, updateParameters } from '../src/train/session.js';
import { configOf } from './support/default-training.js';
import { portableImages } from './support/portable.js';
import { openRuntime } from './support/runtime.js';

const runtime = await openRuntime();
const SIDE = 9;
const STEPS = 5;

class Net extends Module<[Tensor]> {
  readonly conv = new Conv2d(3, 12, 3);
  readonly norm = new BatchNorm2d(12, { activation: 'relu' });
  readonly fc = new Linear(12, 4);

  constructor(private readonly checkpointing: boolean) {
    super();
  }

  protected override forward(x: Tensor): Tensor {
    const features = (input: Tensor): Tensor => dropout(this.norm.call(this.conv.call(input)), 0.3);
    return this.fc.call(dropout(globalAvgPool2d(this.checkpointing ? checkpoint(features, x) : features(x)), 0.2));
  }
}

interface Fixture {
  readonly work: (images: Tensor, labels: Tensor) => void;
  readonly optimizer: AdamW;
  /** Losses and weights, by name. */
  result(): Promise<Record<string, number[]>>;
  calls: number;
}

const fixture = (checkpointing = false): Fixture => {
  seedInit(4);
  manualSeed(5);
  const net = new Net(checkpointing);
  net.nameAll();
  const optimizer = new AdamW(net.parameters(), { lr: 0.01, clipGradNorm: 1 });
  const sums = keep(zeros([1], { runtime }));
  const made: Fixture = {
    optimizer, calls: 0,
    work: (images, labels) => {
      made.calls++;
      optimizer.zeroGrad();
      const loss = crossEntropy(net.call(images), labels);
      backward(loss);
      optimizer.step();
      addScalars_(sums, [[loss.detach(), 1]]);
    },
    result: async () => {
      const found: Record<string, number[]> = { losses: [...(await sums.data())] };
      for (const [name, value] of net.namedParameters()) found[name] = [...(await value.data())];
      for (const [name, vector] of (await optimizer.stateDict()).vectors) found[name] = [...vector];
      return found;
    },
  };
  return made;
};

/** Another batch for each step. */
const batchAt = (step: number, count = 2): [Tensor, Tensor] => [
  tensor(portableImages(count, SIDE, 20 + step), [count, SIDE, SIDE, 3]),
  tensor(Int32Array.from({ length: count }, (_, i) => (i + step) % 4), [count]),
];

/** The rate changes, so that a replay that kept the first one would be found out. */
const begin = ({ optimizer }: Fixture, step: number): void => {
  setRandomStep(step);
  optimizer.lr = 0.01 / (1 + step);
};

const plainly = async (checkpointing = false, count: (step: number) => number = () => 2): Promise<Record<string, number[]>> => {
  const made = fixture(checkpointing);
  for (let step = 0; step < STEPS; step++) {
    begin(made, step);
    scope(() => made.work(...batchAt(step, count(step))));
  }
  return made.result();
};

/** @param between runs before each step */
const captured = async (checkpointing = false, between: (step: number) => Promise<void> | void = () => {}, count: (step: number) => number = () => 2) => {
  const made = fixture(checkpointing);
  const step = new Captured(made.work, runtime);
  for (let number = 0; number < STEPS; number++) {
    await between(number);
    begin(made, number);
    step.run(() => batchAt(number, count(number)));
  }
  const result = await made.result();
  step.release();
  return { result, calls: made.calls };
};

void t.test('steps are those of plain calls, with other inputs, rates and random numbers each time', async (t) => {
  const { result, calls } = await captured();
  t.same(result, await plainly());
  t.ok(calls < STEPS, `the function ran ${calls} times`);
});

void t.test('what is computed twice draws the same numbers twice', async (t) => {
  const { result, calls } = await captured(true);
  t.same(result, await plainly(true));
  t.ok(calls < STEPS, `the function ran ${calls} times`);
});

void t.test('the whole step of WS-DAN', async (t) => {
  for (const args of [[], ['--optimizer', 'sgd', '--lr', '0.01', '--clip-grad-norm', '5'], ['--class-weights', 'balanced'], ...(runtime.device.report.half ? [['--precision', 'mixed'], ['--precision', 'mixed', '--class-weights', 'balanced']] : [])]) {
    const config = configOf('--batch-size', '2', '--image-size', '33', ...args);
    const weights = async (run: (work: (images: Tensor, labels: Tensor) => void, step: number) => void): Promise<Float32Array[]> => {
      const session = createModel(runtime, config, 4, config.classWeights === 'balanced' ? [0.5, 2, 1, 4] : null);
      session.method.module.train();
      for (let step = 0; step < STEPS; step++) {
        setRandomStep(step);
        run((images, labels) => {
          session.optimizer.zeroGrad();
          session.method.step(batchOf(images, labels), 2, session.scaler);
          updateParameters(session);
        }, step);
      }
      return Promise.all(session.method.module.parameters().map(async (p) => (await p.data()) as Float32Array));
    };
    const batch = (step: number): [Tensor, Tensor] => [tensor(portableImages(2, 33, step), [2, 33, 33, 3]), tensor(Int32Array.of(step % 4, 1), [2])];
    const plain = await weights((work, step) => scope(() => work(...batch(step))));
    let [calls, work] = [0, (_images: Tensor, _labels: Tensor): void => {}];
    const step = new Captured((images, labels) => {
      calls++;
      work(images!, labels!);
    }, runtime);
    const replayed = await weights((own, number) => {
      work = own;
      step.run(() => batch(number));
    });
    t.same(replayed, plain, `weights with ${args.join(' ') || 'the defaults'}`);
    t.ok(calls < STEPS, `the function ran ${calls} times`);
    step.release();
  }
});

void t.test('memory given away in between', async (t) => {
  const plain = await plainly();
  await t.test('the pool is emptied', async (t) => {
    const { result, calls } = await captured(false, async (step) => {
      if (step !== 3) return;
      await runtime.idle();
      runtime.device.pool.trim();
    });
    t.same(result, plain);
    t.ok(calls > 1 && calls < STEPS, `the function ran ${calls} times`);
  });
  await t.test('somebody holds what the work had used', async (t) => {
    const held: Tensor[] = [];
    const { result } = await captured(false, (step) => {
      if (step < 2) return;
      for (const size of [8, 100, 1000, 1944, 5000]) for (let i = 0; i < 4; i++) held.push(keep(fill_(zeros([size], { runtime }), 7)));
    });
    t.same(result, plain);
    for (const tensor of held) {
      t.ok((await tensor.data()).every((v) => v === 7), 'it is left alone');
      tensor.release();
    }
  });
  await t.test('more different parameters than there is room for', async (t) => {
    const { result, calls } = await captured(false, (step) => {
      if (step === 3) scope(() => { for (let i = 0; i < 5000; i++) affine(zeros([1], { runtime }), i).release(); });
    });
    t.same(result, plain);
    t.ok(calls < STEPS, `the function ran ${calls} times`);
  });
});

void t.test('copies of operands from before the work', async (t) => {
  const matrix = (seed: number): Tensor => keep(tensor(portableImages(1, 16, seed).subarray(0, 256), [16, 16]));
  const [a, b, c, d] = [matrix(1), matrix(2), matrix(3), matrix(4)] as [Tensor, Tensor, Tensor, Tensor];
  const result = keep(zeros([16, 16], { runtime }));
  const product = new Captured(() => {
    fill_(result, 0);
    accumulate(result, matmul(a, b));
  }, runtime);
  const expected = await scope(() => matmul(a, b).data());
  for (let i = 0; i < 3; i++) {
    // Nothing is submitted in between: the adapter may hold images of a and b, or of others.
    scope(() => (i === 0 ? [matmul(a, c), matmul(d, b)] : [matmul(c, d), matmul(d, c), matmul(c, c)]).forEach((y) => y.release()));
    product.run(() => []);
    t.same(await result.data(), expected, `run ${i}`);
  }
  for (const tensor of [a, b, c, d, result]) tensor.release();
});

void t.test('copies of operands are made anew when the operand was written, whoever wrote it', async (t) => {
  const numbers = (seed: number, shape: number[]): Float32Array => portableImages(1, 32, seed).subarray(0, shape.reduce((product, size) => product * size, 1));
  const held = (seed: number, shape: number[]): Tensor => keep(tensor(numbers(seed, shape), shape));
  const [x, w, sum] = [held(1, [1, 6, 6, 16]), held(2, [3, 3, 16, 16]), keep(zeros([1, 4, 4, 16], { runtime }))];
  // Other numbers in either operand.
  for (const [role, operand] of [x, w].entries()) {
    const [old, other, changed] = [operand, held(3, [...operand.shape]), keep(zeros(operand.shape, { runtime }))];
    const product = (it: Tensor): Tensor => (role === 0 ? conv2d(it, w) : conv2d(x, it));
    const [before, expected] = [await scope(() => product(old).data()), await scope(() => product(other).data())];
    const after = (write: () => void): Promise<unknown> => scope(() => {
      runtime.recorder.copy(old.range, changed.range);
      product(changed);
      write();
      return product(changed).data();
    });
    t.same(await after(() => runtime.recorder.copy(other.range, changed.range)), expected, 'a copy');
    t.same(await after(() => { fill_(changed, 0); accumulate(changed, other); }), expected, 'kernels');
    t.same(await after(() => runtime.recorder.upload(changed.range, numbers(3, [...operand.shape]))), expected, 'an upload');
    const captured = new Captured(() => {
      fill_(sum, 0);
      accumulate(sum, product(old));
    }, runtime);
    captured.run(() => []);
    runtime.recorder.flush();
    // From here on nothing is submitted, and a replay puts its own operands into the images.
    const again = await scope(() => {
      product(other).release();
      captured.run(() => []);
      return product(other).data();
    });
    t.same(again, expected, 'a replay');
    t.same(await sum.data(), before);
    other.release();
    changed.release();
  }
  for (const tensor of [x, w, sum]) tensor.release();
});

void t.test('all that is recorded is repeated: copies, what ends a submit, work captured before', async (t) => {
  const row = (value: number): Tensor => keep(tensor([value, value], [2], { runtime }));
  const { recorder } = runtime;
  const [sum, one, taken] = [row(0), row(1), row(0)];
  let source = row(1);
  const copying = new Captured(() => {
    recorder.copy(source.range, taken.range);
    accumulate(sum, taken);
  }, runtime);
  for (let i = 0; i < 2; i++) copying.run(() => []);
  fill_(source, 3);
  copying.run(() => []);
  t.same([...(await sum.data())], [5, 5]);
  source.release();
  const other = row(100);
  source = row(10);
  copying.run(() => []);
  t.same([...(await sum.data())], [15, 15], 'what it copied from is another tensor, and its memory somebody else\'s');

  const submits = (fn: () => void): number => {
    const before = recorder.statistics.submits;
    fn();
    return recorder.statistics.submits - before;
  };
  const heavy = new Captured(() => {
    accumulate(sum, one);
    recorder.weigh(5e10);
  }, runtime);
  recorder.flush();
  t.same([0, 1, 2].map(() => submits(() => heavy.run(() => []))), [1, 1, 1]);

  let calls = 0;
  const inner = new Captured(() => { accumulate(sum, one); }, runtime);
  for (let i = 0; i < 2; i++) inner.run(() => []);
  const outer = new Captured(() => {
    calls++;
    inner.run(() => []);
    new Captured(() => { accumulate(sum, one); }, runtime).run(() => []);
    accumulate(sum, one);
  }, runtime);
  fill_(sum, 0);
  for (let i = 0; i < 3; i++) outer.run(() => []);
  t.same([[...(await sum.data())], calls], [[9, 9], 1], 'each of three runs adds three times');
  const reading = new Captured(() => {
    calls++;
    void sum.data();
  }, runtime);
  for (let i = 0; i < 2; i++) reading.run(() => []);
  t.equal(calls, 3, 'who reads wants to be called');
  await runtime.idle();
  for (const tensor of [sum, one, taken, source, other]) tensor.release();
});

void t.test('a tensor that the function reads is replaced, and another one gets its memory', async (t) => {
  const row = (value: number): Tensor => keep(tensor([value, value], [2], { runtime }));
  const sum = keep(zeros([2], { runtime }));
  let weight = row(1);
  const adding = new Captured(() => accumulate(sum, weight), runtime);
  for (let i = 0; i < 3; i++) adding.run(() => []);
  weight.release();
  const other = row(100);
  weight = row(10);
  for (let i = 0; i < 2; i++) adding.run(() => []);
  t.same([...(await sum.data())], [23, 23]);
  for (const tensor of [weight, other, sum]) tensor.release();
});

void t.test('backward refuses what a replay has changed since the forward', (t) => {
  const [weight, one] = [1, 1].map((value) => keep(tensor([[value]], [1, 1], { runtime })));
  const adding = new Captured(() => accumulate(weight!, one!), runtime);
  for (let i = 0; i < 3; i++) {
    scope(() => {
      const y = matmul(tensor([[2]], [1, 1], { runtime }).requiresGrad_(), weight!);
      adding.run(() => []);
      t.throws(() => backward(y), /as it was in the forward/, `run ${i}`);
    });
  }
  for (const tensor of [weight!, one!]) tensor.release();
  t.end();
});

void t.test('batches of several sizes', async (t) => {
  const count = (step: number): number => (step === 2 ? 3 : 2);
  t.same((await captured(false, undefined, count)).result, await plainly(false, count));
});

void t.test('what cannot be replayed is run each time', async (t) => {
  const sum = keep(zeros([1], { runtime }));
  let calls = 0;
  const repeat = async (fn: () => void): Promise<number> => {
    fill_(sum, 0);
    calls = 0;
    const work = new Captured(fn, runtime);
    for (let i = 0; i < 3; i++) work.run(() => []);
    return (await sum.item());
  };
  t.equal(await repeat(() => addScalars_(sum, [[tensor([++calls], [1], { runtime }), 1]])), 6, 'numbers uploaded within');
  t.equal(calls, 3);
  const kept: Tensor[] = [];
  t.equal(await repeat(() => {
    calls++;
    kept.push(keep(affine(zeros([1], { runtime }), 1, calls)));
    addScalars_(sum, [[kept.at(-1)!, 1]]);
  }), 6, 'a result that is kept');
  t.same(await Promise.all(kept.map((k) => k.item())), [1, 2, 3], 'each call has its own');
  for (const k of kept) k.release();
  const tracer = new NanTracer(runtime);
  const watched = (): void => {
    calls++;
    addScalars_(sum, [[relu(tensorOne), 1]]);
  };
  const tensorOne = keep(tensor([1], [1], { runtime }));
  tracer.start();
  t.equal(await repeat(watched), 3);
  t.equal(calls, 3, 'while the debug mode looks on');
  tracer.stop();
  t.equal(await repeat(watched), 3);
  t.equal(calls, 1, 'and replayed when it does not');
});

void t.test('an async function is refused', (t) => {
  const work = new Captured((async () => {}) as () => void, runtime);
  t.throws(() => work.run(() => []), /must not be async/);
  t.end();
});
