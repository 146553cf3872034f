/** Parameter groups of optimisers: trajectories of torch.optim, what all groups share, states, memory, refusals. */
import t, { type Test } from 'tap';
import { join } from 'node:path';
import { backward } from '../src/autograd/backward.js';
import { Captured } from '../src/autograd/captured.js';
import { worstError } from '../src/autograd/verify.js';
import { readSafetensors } from '../src/io/safetensors.js';
import { GradScaler } from '../src/nn/grad-scaler.js';
import { Linear } from '../src/nn/layers.js';
import { AdamW, type Optimizer, SGD } from '../src/nn/optimizer.js';
import { learningRate, type ScheduleOptions, setLearningRates } from '../src/nn/schedule.js';
import { add, mul, ones, sum } from '../src/ops/index.js';
import { tensor } from '../src/tensor/create.js';
import { keep, scope } from '../src/tensor/scope.js';
import type { Tensor } from '../src/tensor/tensor.js';
import { readCheckpoint, restore, saveCheckpoint } from '../src/train/checkpoint.js';
import { START } from '../src/train/trainer.js';
import { weightsHash } from '../src/train/weights-hash.js';
import { fixture } from './data-helpers.js';
import { configOf, fixedTraining } from './support/default-training.js';
import { dispatchesOf, openRuntime } from './support/runtime.js';

const runtime = await openRuntime();
t.teardown(() => runtime.device.close());
const live = (): number => runtime.device.pool.statistics().liveBytes;

const leaf = (values: readonly number[], label = 'leaf'): Tensor => {
  const made = keep(tensor([...values]).requiresGrad_());
  made.label = label;
  return made;
};
const values = async (x: Tensor): Promise<number[]> => [...(await x.data())];
/** Steps whose loss has these derivatives. */
const derive = (parameters: readonly Tensor[], gradients: readonly (readonly number[])[]): Tensor =>
  parameters.map((p, i) => sum(mul(p, tensor([...gradients[i]!], p.shape)))).reduce((a, b) => add(a, b));

type Make = (a: Tensor, b: Tensor, c: Tensor) => Optimizer;

/** As in test/reference/optim_torch.py. */
const TORCH: Record<string, Make> = {
  groups_sgd: (a, b, c) =>
    new SGD([{ params: [a, b], lr: 0.02 }, { params: [c], momentum: 0.5, weightDecay: 0, nesterov: true }], { lr: 0.1, momentum: 0.9, weightDecay: 0.05 }),
  groups_sgd_plain: (a, b, c) => new SGD([{ params: [a, b], momentum: 0.9, dampening: 0.2 }, { params: [c], lr: 0.3 }], { lr: 0.1 }),
  groups_adamw: (a, b, c) => new AdamW([{ params: [a, b] }, { params: [c], lr: 0.02, betas: [0.8, 0.9], eps: 1e-3, weightDecay: 0.3 }], { lr: 0.1, eps: 1e-6 }),
  groups_clipped: (a, b, c) => new SGD([{ params: [a, b], lr: 0.02 }, { params: [c] }], { lr: 0.1, momentum: 0.9, clipGradNorm: 1.5 }),
};
const HALVED: ScheduleOptions = { kind: 'step', stepSize: 2, gamma: 0.5, warmupEpochs: 0, epochs: 5 };

t.test('groups follow torch.optim, and a schedule scales the rate of each', (t) => scope(async () => {
  const { tensors } = readSafetensors(fixture('optim-torch.safetensors'));
  const numbers = (name: string): number[] => [...(tensors.get(name)!.data as Float32Array)];
  for (const [name, make] of Object.entries(TORCH)) {
    const parameters = [0, 1, 2].map((k) => leaf(numbers(`groups.start.${k}`))) as [Tensor, Tensor, Tensor];
    const optimizer = make(...parameters);
    for (let step = 0; step < 5; step++) {
      setLearningRates(optimizer, step, HALVED);
      optimizer.zeroGrad();
      backward(derive(parameters, [0, 1, 2].map((k) => numbers(`groups.gradient.${step}.${k}`))));
      optimizer.step();
      for (const [k, parameter] of parameters.entries()) {
        const { error } = worstError(await parameter.data(), numbers(`${name}.${step}.${k}`));
        // A few roundings of 6e-8 per step.
        t.ok(error < 2e-6, `${name}, step ${step + 1}, parameter ${k}: ${error.toExponential(1)}`);
      }
    }
  }
}));

t.test('rates: initial ones, set ones, scheduled ones', (t) => {
  const optimizer = new SGD([{ params: [leaf([1])], lr: 0.5 }, { params: [leaf([1])] }], { lr: 0.1 });
  const rates = (): number[] => optimizer.paramGroups.map(({ lr }) => lr);
  t.same([rates(), optimizer.lr], [[0.5, 0.1], 0.5]);
  optimizer.paramGroups[1]!.lr = 7;
  setLearningRates(optimizer, 3, HALVED);
  t.same(rates(), [learningRate(0.5, 3, HALVED), learningRate(0.1, 3, HALVED)], 'schedules start from the initial rates');
  t.same(optimizer.paramGroups.map(({ initialLr }) => initialLr), [0.5, 0.1]);
  t.throws(() => { optimizer.lr = 1; }, { name: 'UserError', message: /there are 2 parameter groups, each with a rate of its own/ });
  const single = new SGD([leaf([1])], { lr: 0.1 });
  single.lr = 0.2;
  t.same(single.paramGroups.map(({ lr }) => lr), [0.2]);
  t.end();
});

const GRADIENTS = [[[1, -2], [0.5]], [[0.25, 1], [-1]], [[1, Infinity], [0]], [[-1, 0.5], [0.75]]];

/** Steps through a scaler; the third is skipped, for a gradient of the first parameter. */
const scaledSteps = async (make: (a: Tensor, b: Tensor) => Optimizer): Promise<number[][]> => {
  const [a, b] = [leaf([0.5, -1]), leaf([2])];
  const [optimizer, scaler] = [make(a, b), new GradScaler()];
  for (const gradients of GRADIENTS) {
    optimizer.zeroGrad();
    scope(() => backward(scaler.scale(derive([a, b], gradients))));
    scaler.step(optimizer);
    scaler.update();
  }
  return [await values(a), await values(b)];
};

t.test('two groups with the same options are one group, to the bit: scaled, and skipped as a whole', async (t) => {
  for (const make of [
    (groups: never, lr: number) => new SGD(groups, { lr, momentum: 0.9, dampening: 0.3 }),
    (groups: never, lr: number) => new AdamW(groups, { lr }),
  ]) {
    const apart = await scaledSteps((a, b) => make([{ params: [a] }, { params: [b] }] as never, 0.1));
    t.same(apart, await scaledSteps((a, b) => make([a, b] as never, 0.1)));
    t.same(apart, await scaledSteps((a, b) => make([{ params: [a, b], lr: undefined }] as never, 0.1)), 'an option that says nothing is none');
  }
});

t.test('the norm of all groups is limited', (t) => scope(async () => {
  const [a, b] = [leaf([0]), leaf([0])];
  const optimizer = new SGD([{ params: [a] }, { params: [b], lr: 10 }], { lr: 1, clipGradNorm: 1 });
  backward(derive([a, b], [[3], [4]]));
  optimizer.step();
  // The norm is 5: gradients of 0.6 and 0.8.
  const { error } = worstError([...(await values(a)), ...(await values(b))], [-0.6, -8]);
  t.ok(error < 1e-6, error.toExponential(1));
}));

t.test('captured steps are plain ones, with other rates each time', async (t) => {
  const run = async (captured: boolean): Promise<number[][]> => {
    const [a, b] = [leaf([0.5, -1]), leaf([2])];
    const optimizer = new AdamW([{ params: [a] }, { params: [b], lr: 0.5, betas: [0.5, 0.9] }], { lr: 0.1 });
    let calls = 0;
    const work = (x: Tensor): void => {
      calls++;
      optimizer.zeroGrad();
      backward(add(sum(mul(mul(a, a), x)), sum(mul(b, x))));
      optimizer.step();
    };
    const step = new Captured(work as (...inputs: Tensor[]) => void, runtime);
    for (let i = 0; i < 4; i++) {
      setLearningRates(optimizer, i, HALVED);
      const inputs = (): [Tensor] => [tensor([i + 1, 2])];
      if (captured) step.run(inputs);
      else scope(() => work(...inputs()));
    }
    t.ok(captured ? calls < 4 : calls === 4, `the function ran ${calls} times`);
    step.release();
    return [await values(a), await values(b)];
  };
  // b has one element, x two: broadcasting sums b's derivative.
  t.same(await run(true), await run(false));
});

t.test('states go on where they were, and tell a state of other groups', async (t) => {
  const make = (start: readonly number[][]) => {
    const [a, b, c] = start.map((v) => leaf(v)) as [Tensor, Tensor, Tensor];
    return { parameters: [a, b, c], optimizer: new SGD([{ params: [a] }, { params: [b, c], lr: 0.2, momentum: 0.9 }], { lr: 0.1 }) };
  };
  const go = ({ parameters, optimizer }: ReturnType<typeof make>): void => scope(() => {
    optimizer.zeroGrad();
    backward(derive(parameters, [[1, 2], [3], [4]]));
    optimizer.step();
  });
  const first = make([[0, 0], [0], [0]]);
  go(first);
  const state = await first.optimizer.stateDict();
  t.same([...state.vectors.keys()], ['momentum.1'], 'where there is no momentum, there is no vector');
  const second = make(await Promise.all(first.parameters.map(values)));
  second.optimizer.loadStateDict(state);
  for (const training of [first, second]) go(training);
  t.same(await Promise.all(second.parameters.map(values)), await Promise.all(first.parameters.map(values)));
  const [a, b, c] = first.parameters as [Tensor, Tensor, Tensor];
  t.throws(() => { new SGD([a, b, c], { lr: 1 }).loadStateDict(state); }, { name: 'UserError', message: /the saved state has "momentum\.1", which has no place here; .* parameter groups/ });
  t.throws(() => { new SGD([a, b, c], { lr: 1, momentum: 0.9 }).loadStateDict(state); }, /the saved state has no "momentum\.0"/);
});

t.test('each group takes a kernel; one group takes what a list takes', (t) => {
  const [a, b, c] = [leaf([1, 2]), leaf([3]), leaf([4])];
  const counts = (optimizer: Optimizer): number[] => [dispatchesOf(runtime, () => optimizer.zeroGrad()), dispatchesOf(runtime, () => optimizer.step())];
  t.same(counts(new SGD([a, b, c], { lr: 0.1 })), [1, 1]);
  t.same(counts(new SGD([{ params: [a, b, c] }], { lr: 0.1 })), [1, 1]);
  t.same(counts(new SGD([{ params: [a, b] }, { params: [c] }], { lr: 0.1 })), [2, 2]);
  c.requiresGrad_(false);
  t.same(counts(new SGD([{ params: [a, b] }, { params: [c] }], { lr: 0.1 })), [1, 1], 'a frozen group takes none');
  t.end();
});

t.test('memory comes back, and belongs to the optimiser that was made last', async (t) => {
  const before = live();
  const net = new Linear(64, 64);
  const optimizer = new AdamW([{ params: [net.weight] }, { params: [net.bias!], weightDecay: 0 }], { lr: 0.1 });
  const newer = new SGD([net.bias!], { lr: 0.1 });
  t.throws(() => { optimizer.step(); }, /a newer optimiser has taken over some of the parameters/);
  optimizer.release();
  t.throws(() => { optimizer.step(); }, /optimizer: it was released/);
  scope(() => { backward(sum(net.call(ones([1, 64])))); });
  newer.step();
  t.ok((await values(net.weight)).every(Number.isFinite));
  newer.release();
  net.release();
  t.equal(live(), before);
});

t.test('--backbone-lr-factor: the backbone learns at another rate, and what is saved goes on to the bit', async (t) => {
  const names = ['--image-size', '32', '--batch-size', '4', '--attentions', '4', '--weight-decay', '0'];
  const begin = (...args: string[]) => fixedTraining(runtime, configOf(...names, ...args), 3);
  const changes = async (factor: string): Promise<Map<string, Float64Array>> => {
    const { session, step } = begin('--optimizer', 'sgd', '--lr', '0.1', '--momentum', '0', '--backbone-lr-factor', factor);
    const before = await session.method.module.stateDict();
    await step(0);
    const after = await session.method.module.stateDict();
    const names = session.method.module.namedParameters().map(([name]) => name);
    return new Map(names.map((name) => [name, Float64Array.from(after.get(name)!.data, (v, i) => v - before.get(name)!.data[i]!)]));
  };
  const [one, half] = [await changes('1'), await changes('0.5')];
  for (const [name, change] of half) {
    const factor = name.startsWith('features.') ? 0.5 : 1;
    // A weight's own rounding, 6e-8 of values up to about 1, on either side.
    const worst = Math.max(...change.map((v, i) => Math.abs(v - factor * one.get(name)![i]!)));
    t.ok(worst < 3e-7, `${name}: ${worst.toExponential(1)}`);
  }
  t.ok(one.get('features.conv1.weight')!.some((v) => Math.abs(v) > 1e-4), 'it learns');
  t.same([...(await begin().session.optimizer.stateDict()).vectors.keys()], ['m.0', 'v.0'], 'a factor of 1 makes one group');

  const path = join(t.testdir({}), 'last.safetensors');
  const args = ['--optimizer', 'adamw', '--lr', '0.01', '--backbone-lr-factor', '0.1'];
  const [first, second] = [begin(...args), begin(...args)];
  await first.step(0);
  await saveCheckpoint(path, first.session, {}, ['a', 'b', 'c'], { ...START, step: 1 });
  restore(second.session, readCheckpoint(path));
  for (const { step } of [first, second]) await step(1);
  t.equal(await weightsHash(second.session.method.module), await weightsHash(first.session.method.module));
  const schedule = configOf('--backbone-lr-factor', '0.1', '--lr', '0.01').schedule;
  setLearningRates(first.session.optimizer, 0, { ...schedule, epochs: 2 });
  const [rest, backbone] = first.session.optimizer.paramGroups.map(({ lr }) => lr) as [number, number];
  t.ok(Math.abs(backbone / rest - 0.1) < 1e-12, 'the schedule keeps the factor');
});

const refused = (t: Test, make: () => unknown, message: RegExp): void => {
  t.throws(make, { name: 'UserError', message });
};

t.test('misuse is refused, and nothing moved', async (t) => {
  const [a, b] = [leaf([1], 'features.weight'), leaf([2], 'fc.weight')];
  const never = (list: readonly unknown[]): never => list as never;
  refused(t, () => new SGD([{ params: [b, a] }, { params: [b] }, { params: [b, a] }], { lr: 1 }), /SGD: parameter "fc\.weight", number 0 of group 1, is in group 0 as well/);
  refused(t, () => new AdamW([{ params: [a] }, { params: [] }], { lr: 1 }), /AdamW, group 1: there are no parameters in it/);
  refused(t, () => new SGD([{ params: [a] }, { params: [b], weight_decay: 1 } as never], { lr: 1 }), /SGD, group 1: there is no option "weight_decay"; there are params, lr, momentum, dampening, nesterov, weightDecay$/);
  refused(t, () => new SGD([{ params: [a], clipGradNorm: 1 } as never], { lr: 1 }), /SGD, group 0: there is no option "clipGradNorm"/);
  refused(t, () => new SGD([{ params: [a] }], { lr: 1, beta: 1 } as never), /SGD: there is no option "beta"/);
  refused(t, () => new SGD([{ params: [a], lr: 1 }, { params: [b] }]), /SGD, group 1: neither the group nor the options for all groups say lr/);
  refused(t, () => new SGD([{ params: [a], lr: -1 }], { lr: 1 }), /SGD, group 0: lr must be a number of at least 0, got -1/);
  refused(t, () => new SGD([{ params: [a], nesterov: true }], { lr: 1 }), /SGD, group 0: Nesterov needs momentum above 0/);
  refused(t, () => new AdamW([{ params: [a], betas: [1, 1] }], { lr: 1 }), /AdamW, group 0: betas must be two numbers/);
  refused(t, () => new SGD([{ params: [a] }], { lr: 1, clipGradNorm: -1 }), /SGD: clipGradNorm must be a number of at least 0/);
  refused(t, () => new SGD(never([{ params: [a] }, b]), { lr: 1 }), /SGD, group 1: a group must be an object, as in \{ params.*got tensor "fc\.weight"/);
  refused(t, () => new SGD(never([{ parameters: [a] }]), { lr: 1 }), /SGD, group 0: there is no option "parameters"/);
  refused(t, () => new SGD(never([{ lr: 1 }]), { lr: 1 }), /SGD, group 0: the params must be a list of tensors, as of module\.parameters\(\), got undefined/);
  refused(t, () => new SGD([{ params: [a] }], null as never), /SGD: the options for all groups must be an object/);
  refused(t, () => new SGD([{ params: [a] }, { params: [mul(b, b)] }], { lr: 1 }), /tensor "mul" was computed from others/);
  t.ok(a.grad === null && b.grad === null);
  for (const p of [a, b]) p.requiresGrad_(false);
  refused(t, () => new SGD([{ params: [a] }, { params: [b] }], { lr: 1 }), /all parameters are frozen/);
});
