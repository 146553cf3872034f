/** Memory over many steps, whom it belongs to, and how rarely a training step talks to the device. */
import t from 'tap';
import { evalTransform, resizedSide } from '../src/data/augment.js';
import { readableBytes } from '../src/device/buffers.js';
import { sizeClass } from '../src/device/idle-stock.js';
import { backward } from '../src/autograd/backward.js';
import { Linear } from '../src/nn/layers.js';
import { Module } from '../src/nn/module.js';
import { BasicBlock, ResNet } from '../src/nn/models/resnet.js';
import { SGD } from '../src/nn/optimizer.js';
import { crossEntropy, globalAvgPool2d } from '../src/ops/index.js';
import { tensor } from '../src/tensor/create.js';
import { scope } from '../src/tensor/scope.js';
import { memoryReport } from '../src/tensor/storage.js';
import type { Tensor } from '../src/tensor/tensor.js';
import { withoutInit } from '../src/nn/init.js';
import type { TrainConfig } from '../src/train/config.js';
import { batchSource } from '../src/train/image-batch.js';
import { checkEvaluation, planEvaluation, planRun, planStep, reportPlan } from '../src/train/memory-plan.js';
import { createModel } from '../src/train/session.js';
import type { BatchSource } from '../src/wsdan/micro-batches.js';
import { configOf, fixedTraining } from './support/default-training.js';
import { portableSigned } from './support/portable.js';
import { openRuntime } from './support/runtime.js';

const runtime = await openRuntime();
const { recorder, device: { pool } } = runtime;
const footprint = () => ({ ...pool.statistics(), bindGroups: recorder.statistics.bindGroups, pipelines: recorder.pipelines.count });

class Classifier extends Module {
  readonly features = new ResNet({ block: BasicBlock, depths: [1, 1], widths: [8, 12], strides: [1, 2], stem: { kind: 'small', width: 8, stride: 2 } });
  readonly fc = new Linear(12, 3);

  protected override forward(x: Tensor): Tensor {
    return this.fc.call(globalAvgPool2d(this.features.call(x)));
  }
}

/**
 * The first step makes buffers; the second finds idle ones of another size that serve as well, and may make a last one where the first
 * took what it needs; from the third on each step begins with the same idle buffers, and so does the same.
 */
const SETTLED = 3;

t.test('a plain training loop: step 50 has the memory of step 3', async (t) => {
  const net = new Classifier();
  const optimizer = new SGD(net.parameters(), { lr: 0.01, momentum: 0.9 });
  const step = async (number: number): Promise<void> => {
    scope(() => {
      const images = tensor(portableSigned(number, 4 * 16 * 16 * 3), [4, 16, 16, 3]);
      const labels = tensor(Int32Array.of(0, 1, 2, number % 3), [4]);
      optimizer.zeroGrad();
      backward(crossEntropy(net.call(images), labels));
      optimizer.step();
    });
    await runtime.endStep();
  };
  for (let number = 1; number <= SETTLED; number++) await step(number);
  const settled = footprint();
  for (let number = SETTLED + 1; number <= 50; number++) await step(number);
  t.same(footprint(), settled, 'live bytes, live and idle buffers, buffers ever created, bind groups, pipelines');
});

/** The default model and image size; fewer images and maps, so that 50 steps take seconds. */
const config = configOf('--batch-size', '2', '--attentions', '8', '--optimizer', 'sgd');
const side = config.augment.imageSize;
const small = fixedTraining(runtime, config, 10);

t.test('a WS-DAN training loop: step 50 has the memory of step 3', async (t) => {
  for (let number = 1; number <= SETTLED; number++) await small.step(number);
  const settled = footprint();
  for (let number = SETTLED + 1; number <= 50; number++) await small.step(number);
  t.same(footprint(), settled);
});

t.test('memoryReport names the owners, and between steps nothing else is alive', async (t) => {
  const { owners, liveBytes, liveBuffers } = memoryReport(runtime);
  t.same(Object.keys(owners).filter((owner) => owner !== 'activations').sort(), ['buffers', 'centers', 'gradients', 'metrics', 'optimiser', 'parameters']);
  t.equal(liveBytes, Object.values(owners).reduce((total, { bytes }) => total + bytes, 0));
  t.equal(liveBuffers, Object.values(owners).reduce((total, { tensors }) => total + tensors, 0));
  t.equal(owners.gradients!.bytes, owners.parameters!.bytes, 'a gradient for each weight');
  t.equal(owners.optimiser!.bytes, owners.parameters!.bytes + 2 * sizeClass(16), 'and a momentum; and for both optimisers what a scaler would find');
  t.equal(owners.activations!.tensors, 2, 'of the activations only the batch, which this test keeps');
  let inside = 0;
  scope(() => {
    small.session.method.module.call(tensor(portableSigned(1, 2 * side * side * 3), [2, side, side, 3]));
    inside = memoryReport(runtime).owners.activations!.bytes;
  });
  t.ok(inside > 4 * owners.activations!.bytes, 'during a step they are many more');
});

/** Pictures as decoding hands them on, of noise. */
const pictures = (count: number): BatchSource => {
  const edge = resizedSide(config.augment);
  const rgba = Uint8Array.from({ length: edge * edge * 4 }, (_, i) => (i * 2654435761) >>> 24);
  const images = Array.from({ length: count }, () => ({ rgba, width: edge, height: edge }));
  return batchSource(runtime, { images, labels: Int32Array.from({ length: count }, (_, i) => i) },
    Array.from({ length: count }, () => evalTransform(config.augment, edge, edge)), config.augment);
};

/** Most bytes in use at once while `work` runs, by size class, beyond what was in use before. */
const peakOf = (work: () => void): number => {
  const sizes = new Map<number, number>();
  let [now, peak] = [0, 0];
  const [acquire, release] = [pool.acquire.bind(pool), pool.release.bind(pool)];
  pool.acquire = (bytes, label) => {
    const buffer = acquire(bytes, label);
    sizes.set(buffer.id, sizeClass(bytes));
    peak = Math.max(peak, now += sizeClass(bytes));
    return buffer;
  };
  pool.release = (buffer) => {
    now -= sizes.get(buffer.id) ?? 0;
    release(buffer);
  };
  work();
  Object.assign(pool, { acquire, release });
  return peak;
};

const run = { checkpointing: false, memoryBudgetMegabytes: 0 };
const { method } = small.session;

for (const [most, checkpointing] of [[2, false], [1, false], [2, true]] as const) {
  t.test(`the memory plan equals what a step takes: ${most} images at a time${checkpointing ? ', checkpointing' : ''}`, async (t) => {
    const before = footprint();
    const plan = planStep(runtime, method, config, { most, checkpointing });
    t.same(footprint(), before, 'planning allocates nothing');
    t.equal(method.module.features.checkpointing, false, 'and leaves the network as it was');
    method.module.features.checkpointing = checkpointing;
    await runtime.idle();
    pool.trim();
    const { liveBytes } = pool.statistics();
    const step = async (): Promise<number> => {
      const peak = peakOf(() => scope(() => method.step(pictures(2), most)));
      await runtime.endStep();
      return peak;
    };
    t.equal(await step(), plan.peakBytes, 'in use at once');
    await step();
    const { idleBytes, liveBytes: after } = pool.statistics();
    t.equal(after, liveBytes);
    t.equal(idleBytes, plan.reservedBytes, 'and what the pool holds for the next step');
    method.module.features.checkpointing = false;
  });
}

t.test('the plan of a run in words', async (t) => {
  const { fixed, step, evaluation } = planRun(runtime, method, config, run);
  const needed = Object.values(fixed).reduce((sum, bytes) => sum + bytes, 0) + Math.max(step.reservedBytes, evaluation.reservedBytes);
  const dryRuns = t.capture(runtime, 'planMemory', runtime.planMemory.bind(runtime));
  const [network, ...lines] = reportPlan(runtime, method, config, run).split('\n');
  t.equal(dryRuns().length, 2, 'a step and an evaluation');
  t.equal(network, `Network: WS-DAN on resnet_small, ${side} px, 8 attention maps of ${Math.ceil(side / 8)}×${Math.ceil(side / 8)} over 64 channels`);
  t.equal(lines[0], `Memory: ${readableBytes(needed)}`);
  t.match(lines[1], /^ {2}kept: .*buffers .* KiB, centers .*, gradients .*, metrics .*, optimiser .*, parameters /);
  t.match(lines[2], /^ {2}step of 2 images at once, checkpointing off: activations and workspace .* MiB \(.* MiB in use at once\)$/);
  t.match(lines[3], /^ {2}evaluation of 4 images at once: .* MiB/);
  t.match(lines[4], /^ {2}largest tensor: .*iB of .* MiB that this adapter binds \(.*\[.*\]\)$/);
  t.not(readableBytes(step.largestBytes), readableBytes(evaluation.largestBytes));
  t.match(lines[4], `largest tensor: ${readableBytes(Math.max(step.largestBytes, evaluation.largestBytes))} of `);
  const cut = reportPlan(runtime, method, { ...config, batchSize: 5, microBatch: 2 }, { ...run, checkpointing: true, memoryBudgetMegabytes: 4000 });
  t.match(cut, /\nMemory: .* of a budget of 4000\.0 MiB\n/);
  t.match(cut, /step of 5 images in 3 micro-batches of 2, checkpointing on:/);
});

/** Runs `fn` as if the adapter bound no more than so many bytes. */
const bindingAtMost = <T>(bytes: number, fn: () => T): T => {
  const before = pool.largestBuffer;
  Object.assign(pool, { largestBuffer: bytes });
  try {
    return fn();
  } finally {
    Object.assign(pool, { largestBuffer: before });
  }
};

/** A limit or a budget that this adapter may not have. */
const refusal = (limits: { binding?: number; budget?: number }, config: TrainConfig, checkpointing = false, of = method): string => {
  try {
    bindingAtMost(limits.binding ?? pool.largestBuffer,
      () => reportPlan(runtime, of, config, { checkpointing, memoryBudgetMegabytes: (limits.budget ?? 0) / 2 ** 20 }));
    return '';
  } catch (error) {
    return (error as Error).message;
  }
};

t.test('what does not fit is refused, with the largest sizes that do', async (t) => {
  const large = { ...config, batchSize: 12, evalBatchSize: 7 };
  const largestOf = (most: number): number => planStep(runtime, method, large, { most, checkpointing: false }).largestBytes;
  const binding = largestOf(4);
  t.ok(largestOf(6) > binding && largestOf(12) > largestOf(6), 'micro-batches of 6 exceed it, those of 4 just fit');
  const tight = refusal({ binding }, large);
  t.match(tight, /a step of 12 images at once needs .*iB in one buffer \(.*\[.*\]\), but this adapter binds at most .*iB\. --micro-batch 4 is the largest that fits \(12 images in 3 micro-batches of 4\)\./);
  t.notMatch(tight, /--checkpointing/, 'which would not make tensors smaller');
  t.equal(refusal({ binding }, { ...large, microBatch: 4, evalBatchSize: 2 }), '', 'and it does fit');
  t.match(refusal({ binding }, { ...large, microBatch: 6 }), /a step of 12 images in 2 micro-batches of 6 needs/);
  t.match(refusal({ binding: 4096 }, large), /Not even one image at a time fits, with --checkpointing either: use a smaller --image-size or another --model\./);

  const evaluation = (n: number): number => planEvaluation(runtime, method, large, n).largestBytes;
  t.match(refusal({ binding: evaluation(7) - 1 }, { ...large, microBatch: 1 }),
    /evaluation of 7 images at once needs .* in one buffer .*--eval-batch-size 6 is the largest that fits\./);
  t.throws(() => bindingAtMost(evaluation(5), () => checkEvaluation(runtime, method, large, '--batch-size')),
    /^7 images at once: this needs .* in one buffer .*--batch-size 5 is the largest that fits\.$/);
});

t.test('a budget: smaller micro-batches, or checkpointing where that leaves larger ones', async (t) => {
  const deep = configOf('--batch-size', '12', '--eval-batch-size', '1', '--attentions', '8', '--model', 'resnet18');
  const { method } = withoutInit(() => createModel(runtime, deep, 10));
  const { fixed } = planRun(runtime, method, deep, run);
  const kept = Object.values(fixed).reduce((sum, bytes) => sum + bytes, 0);
  const needed = (most: number, checkpointing: boolean): number => kept + planStep(runtime, method, deep, { most, checkpointing }).reservedBytes;
  const sizes = [12, 6, 4, 3, 2, 1];
  const [plain, spared] = [sizes.map((most) => needed(most, false)), sizes.map((most) => needed(most, true))];
  t.ok(spared[0]! < plain[0]! && spared[1]! < plain[1]!, `checkpointing saves memory: ${spared.join(' ')} instead of ${plain.join(' ')}`);
  const largest = (needs: number[], budget: number): number => sizes[needs.findIndex((bytes) => bytes <= budget)]!;
  const refused = (budget: number, checkpointing = false): string => refusal({ budget }, deep, checkpointing, method);

  const half = refused(spared[1]!);
  t.match(half, /a step of 12 images at once needs .* of device memory, above the budget of /);
  t.match(half, new RegExp(`\\. --micro-batch ${largest(plain, spared[1]!)} is the largest that fits \\(12 images in`));
  t.match(half, /; --checkpointing --micro-batch 6 fits \(12 images in 2 micro-batches of 6\)\./);
  t.match(refused(spared[0]!), /; --checkpointing fits \(12 images at once\)\./);
  t.match(refused(spared[2]!, true), /a step of 12 images at once with checkpointing needs .*\. --micro-batch 4 fits \(12 images in 3 micro-batches of 4\)\./);
  t.match(refused(spared[5]! - 1, true), /Not even one image at a time fits: use a smaller/);
});

/** How large workspaces are depends on the kernels: these figures are those of software adapters. */
const kernels = runtime.gemm.kind === 'broadcast' ? '' : 'the figures are those of the broadcast kernels';

t.test('Inception at 448 pixels and batch 12 on an adapter that binds 128 MiB', { skip: kernels }, async (t) => {
  const published = configOf('--dataset', 'cub', '--data', 'unused');
  const session = withoutInit(() => createModel(runtime, published, 200));
  t.throws(() => bindingAtMost(128 * 2 ** 20, () => reportPlan(runtime, session.method, published, run)),
    /a step of 12 images at once needs 143\.\d MiB in one buffer .*binds at most 128\.0 MiB\. --micro-batch 6 is the largest that fits .*\n.*evaluation of 24 images at once needs .*--eval-batch-size 10 is the largest that fits/);
});

t.test('a step of the default model: few submits, no read-back', async (t) => {
  const training = fixedTraining(runtime, configOf(), 10);
  // In the first step images of operands still grow; the second binds those that stay.
  await training.step(1);
  await training.step(2);
  const before = { ...recorder.statistics };
  const steps = 3;
  for (let number = 3; number < 3 + steps; number++) await training.step(number);
  const { dispatches, submits, readBacks, bindGroups } = recorder.statistics;
  t.equal(readBacks - before.readBacks, 0, 'nothing is read back');
  const perStep = (dispatches - before.dispatches) / steps;
  t.ok(perStep > 100 && perStep < 1000, `${perStep} dispatches`);
  t.equal((submits - before.submits) / steps, Math.ceil(perStep / recorder.dispatchesPerSubmit), 'as few submits as may be, and none for anything else');
  t.equal(bindGroups - before.bindGroups, 0, 'no new bind groups');
  const sums = await training.session.method.metrics.read();
  t.ok(Number.isFinite(sums.lossRaw!), 'the metrics are there when they are asked for');
  t.equal(recorder.statistics.readBacks - readBacks, 1, 'at the price of one');
});

t.teardown(() => runtime.device.close());
