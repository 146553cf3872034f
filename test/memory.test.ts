/** Memory over many steps, whom it belongs to, and how rarely a training step talks to the device. */
import t from 'tap';
import { sizeClass } from '../src/device/buffers.js';
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
import { planStep, reportPlan } from '../src/train/memory-plan.js';
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

t.test('a plain training loop: step 50 has the memory of step 2', async (t) => {
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
  await step(1);
  await step(2);
  const second = footprint();
  for (let number = 3; number <= 50; number++) await step(number);
  t.same(footprint(), second, 'live bytes, live and idle buffers, buffers ever created, bind groups, pipelines');
});

/** The default model and image size; fewer images and maps, so that 50 steps take seconds. */
const config = configOf('--batch-size', '2', '--attentions', '8', '--optimizer', 'sgd');
const side = config.augment.imageSize;
const small = fixedTraining(runtime, config, 10);

t.test('a WS-DAN training loop: step 50 has the memory of step 2', async (t) => {
  await small.step(1);
  await small.step(2);
  const second = footprint();
  for (let number = 3; number <= 50; number++) await small.step(number);
  t.same(footprint(), second);
});

t.test('memoryReport names the owners, and between steps nothing else is alive', async (t) => {
  const { owners, liveBytes, liveBuffers } = memoryReport(runtime);
  t.same(Object.keys(owners).filter((owner) => owner !== 'activations').sort(), ['buffers', 'centers', 'gradients', 'metrics', 'optimiser', 'parameters']);
  t.equal(liveBytes, Object.values(owners).reduce((total, { bytes }) => total + bytes, 0));
  t.equal(liveBuffers, Object.values(owners).reduce((total, { tensors }) => total + tensors, 0));
  t.equal(owners.gradients!.bytes, owners.parameters!.bytes, 'a gradient for each weight');
  t.equal(owners.optimiser!.bytes, owners.parameters!.bytes, 'and a momentum');
  t.equal(owners.activations!.tensors, 2, 'of the activations only the batch, which this test keeps');
  let inside = 0;
  scope(() => {
    small.session.method.module.call(tensor(portableSigned(1, 2 * side * side * 3), [2, side, side, 3]));
    inside = memoryReport(runtime).owners.activations!.bytes;
  });
  t.ok(inside > 4 * owners.activations!.bytes, 'during a step they are many more');
});

t.test('the memory plan equals what a step takes', async (t) => {
  const before = footprint();
  const plan = planStep(runtime, small.session, config);
  t.same(footprint(), before, 'planning allocates nothing');
  const base = pool.statistics().liveBytes;
  let peak = 0;
  const acquire = pool.acquire.bind(pool);
  pool.acquire = (bytes, label) => {
    const buffer = acquire(bytes, label);
    peak = Math.max(peak, pool.statistics().liveBytes - base);
    return buffer;
  };
  await small.step(51);
  pool.acquire = acquire;
  // The plan counts the batch itself, which lives outside of this test's steps.
  const batch = sizeClass(2 * side * side * 4 * 4) + 256;
  t.equal(plan.activations - batch, peak);
  t.match(reportPlan(plan, runtime, config, 0), /^Memory: parameters .* optimiser .* activations and workspace .*; largest tensor .*\[.*\].* of .* allowed$/);
  t.throws(() => reportPlan(plan, runtime, config, 1), /a step needs .* of device memory, above the budget of 1\.0 MiB/);
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
  t.equal((submits - before.submits) / steps, Math.ceil(perStep / 256), 'one submit for 256 dispatches, and none for anything else');
  t.equal(bindGroups - before.bindGroups, 0, 'no new bind groups');
  const sums = await training.session.method.metrics.read();
  t.ok(Number.isFinite(sums.lossRaw!), 'the metrics are there when they are asked for');
  t.equal(recorder.statistics.readBacks - readBacks, 1, 'at the price of one');
});

t.teardown(() => runtime.device.close());
