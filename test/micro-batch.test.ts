/** Micro-batches: the gradients of the whole batch, whatever the cut, except for what batch norm sees. */
import t from 'tap';
import { worstError } from '../src/autograd/verify.js';
import { BatchNorm2d, freezeBatchNorm } from '../src/nn/layers.js';
import { getRandomState, manualSeed, nextRandomKey, setRandomStep } from '../src/ops/index.js';
import { tensor, write } from '../src/tensor/create.js';
import { keep, scope } from '../src/tensor/scope.js';
import type { Tensor } from '../src/tensor/tensor.js';
import { createModel, type ModelSession } from '../src/train/session.js';
import { weightsHash } from '../src/train/weights-hash.js';
import { drawMaps, drawTheta } from '../src/wsdan/augment.js';
import { batchOf, microBatches, type Rows } from '../src/wsdan/micro-batches.js';
import { configOf, fixedTraining } from './support/default-training.js';
import { portableImages, portableSigned } from './support/portable.js';
import { openRuntime } from './support/runtime.js';

const runtime = await openRuntime();
const sizesOf = (size: number, most: number): number[] => microBatches(size, most).map(({ from, to }) => to - from);

t.test('a batch is cut into as few parts as possible, equal or one smaller', async (t) => {
  t.same(sizesOf(12, 12), [12]);
  t.same(sizesOf(12, 100), [12]);
  t.same(sizesOf(12, 11), [6, 6]);
  t.same(sizesOf(12, 5), [4, 4, 4]);
  t.same(sizesOf(7, 3), [2, 2, 3]);
  t.same(sizesOf(3, 1), [1, 1, 1]);
  t.same(microBatches(5, 3), [{ from: 0, to: 2, of: 5 }, { from: 2, to: 5, of: 5 }]);
});

t.test('an image draws the same maps and thresholds in any part', (t) => scope(async () => {
  const maps = tensor(portableSigned(3, 7 * 2 * 2 * 6).map(Math.abs), [7, 2, 2, 6]);
  const key = nextRandomKey();
  const joined = async (most: number, draw: (maps: Tensor, rows: Rows) => Tensor): Promise<number[]> => {
    const out: number[] = [];
    for (const rows of microBatches(7, most)) out.push(...await draw(batchOf(maps, tensor(new Int32Array(7))).rows(rows).images, rows).data());
    return out;
  };
  const draws = { maps: (part: Tensor, rows: Rows) => drawMaps(part, key, rows), thetas: (_: Tensor, rows: Rows) => drawTheta(key, rows, [0.4, 0.6]) };
  for (const [name, draw] of Object.entries(draws)) {
    const whole = await joined(7, draw);
    t.ok(new Set(whole).size > 3, `${name}: ${whole.join(' ')}`);
    for (const most of [1, 2, 3, 5]) t.same(await joined(most, draw), whole, `${name}, parts of at most ${most}`);
  }
}));

const SIZE = 7;
const config = configOf('--batch-size', String(SIZE), '--image-size', '32', '--attentions', '8', '--duplicates', 'accumulate', '--freeze-bn');

interface Outcome {
  readonly gradients: Map<string, Float32Array>;
  readonly sums: Record<string, number>;
  readonly centers: Float32Array | null;
  readonly running: number[];
  readonly random: unknown;
}

const images = keep(tensor(portableImages(SIZE, 32, 2), [SIZE, 32, 32, 3]));
/** Class 1 occurs in the first and in the last part. */
const labels = keep(tensor(Int32Array.of(1, 0, 3, 2, 4, 1, 1)));

/** Gradients and everything else that a step changes, from the same beginning each time. */
const step = ({ method, optimizer }: ModelSession, most: number): Promise<Outcome> => scope(async () => {
  const { module, centers, metrics } = method;
  manualSeed(5);
  setRandomStep(9);
  for (const [name, b] of module.namedBuffers()) write(b, new Float32Array(b.size).fill(name.endsWith('var') ? 0.5 : 0.1));
  centers?.load(portableSigned(77, centers.table.size));
  metrics.reset();
  optimizer.zeroGrad();
  module.train();
  method.step(batchOf(images, labels), most);
  const gradients = new Map<string, Float32Array>();
  for (const [name, p] of module.namedParameters()) gradients.set(name, (await p.grad!.data()).slice() as Float32Array);
  const running: number[] = [];
  for (const [, b] of module.namedBuffers()) running.push(...await b.data());
  return {
    gradients, sums: await metrics.read(), centers: centers ? (await centers.table.data()).slice() as Float32Array : null, running,
    random: getRandomState(),
  };
});

/** Largest difference of any gradient, relative to that gradient's largest element. */
const apart = (a: Outcome, b: Outcome): number => Math.max(...[...b.gradients].map(([name, expected]) => worstError(a.gradients.get(name)!, expected).error));

/**
 * The images' own numbers are the same to the bit; a gradient is their sum, in another order: float32's 6e-8 for each of the few terms,
 * more where they cancel.
 */
const ORDER_OF_SUMS = 1e-5;

/** With class 3 alone in a part, its labels' weights are 0 together; the mean of the whole batch is not concerned. */
const WEIGHTS = [1, 3, 0.5, 0, 2];
const WEIGHTED = ['--class-weights', 'balanced', '--label-smoothing', '0.1'] as const;

for (const [title, ...args] of [
  ['WS-DAN'], ['WS-DAN, the last duplicate moves a center', '--duplicates', 'last'], ['a plain classifier', '--method', 'plain'],
  ['WS-DAN with class weights', ...WEIGHTED], ['a plain classifier with class weights', '--method', 'plain', ...WEIGHTED],
]) {
  t.test(`${title!}: with frozen batch norm nothing depends on the cut`, async (t) => {
    const options = configOf('--batch-size', '7', '--image-size', '32', '--attentions', '8', '--freeze-bn', ...args);
    const session = createModel(runtime, { ...config, ...options }, 5, args.includes('--class-weights') ? WEIGHTS : null);
    const whole = await step(session, SIZE);
    t.ok(Math.min(...[...whole.gradients.values()].map((g) => Math.max(...g.map(Math.abs)))) > 0, 'every weight has a gradient');
    for (const most of [1, 3, 4]) {
      const cut = await step(session, most);
      const error = apart(cut, whole);
      t.ok(error < ORDER_OF_SUMS, `parts of ${sizesOf(SIZE, most).join(', ')}: gradients differ by ${error.toExponential(1)}`);
      for (const [name, total] of Object.entries(whole.sums)) {
        t.ok(Math.abs(cut.sums[name]! - total) <= 1e-5 * Math.abs(total), `${name}: ${cut.sums[name]} and ${total}`);
      }
      if (whole.centers) t.ok(worstError(cut.centers!, whole.centers).error < ORDER_OF_SUMS, 'centers');
      t.same(cut.running, whole.running, 'running statistics');
      t.ok(cut.running.every((v) => Math.abs(v - 0.1) < 1e-7 || v === 0.5), 'which are kept');
      t.same(cut.random, whole.random, 'as many random keys are used');
    }
    session.method.metrics.release();
  });
}

t.test('batch norm that is not frozen sees micro-batches, one after the other', async (t) => {
  const session = createModel(runtime, { ...config, freezeBn: false, method: 'plain' }, 5);
  const [whole, cut] = [await step(session, SIZE), await step(session, 4)];
  const effect = apart(cut, whole);
  t.ok(effect > 100 * ORDER_OF_SUMS, `normalising by parts of 3 and 4 images changes gradients by up to ${effect.toFixed(2)} of the largest`);
  // The same as two batches in turn: each moves the running statistics a tenth of the way.
  const { module } = session.method;
  for (const [name, b] of module.namedBuffers()) write(b, new Float32Array(b.size).fill(name.endsWith('var') ? 0.5 : 0.1));
  scope(() => microBatches(SIZE, 4).forEach((rows) => module.call(batchOf(images, labels).rows(rows).images)));
  const expected: number[] = [];
  for (const [, b] of module.namedBuffers()) expected.push(...await b.data());
  t.same(cut.running, expected, 'running statistics');
  freezeBatchNorm(module);
  t.ok(apart(await step(session, 4), await step(session, SIZE)) < ORDER_OF_SUMS, 'frozen later, the effect is gone');
  freezeBatchNorm(module, false);
  t.ok(module.features.namedChildren().some(([, child]) => child instanceof BatchNorm2d && !child.keepsStatistics));
});

t.test('whole training: checkpointing changes no bit, alone or with micro-batches and frozen batch norm', async (t) => {
  const train = async (checkpointing: boolean, ...args: string[]): Promise<string> => {
    const training = fixedTraining(runtime, configOf('--batch-size', '4', '--image-size', '32', '--attentions', '8', ...args), 5);
    training.session.method.module.features.checkpointing = checkpointing;
    for (let number = 0; number < 4; number++) await training.step(number);
    const { method } = training.session;
    const centers = method.centers ? Buffer.from((await method.centers.table.data()).buffer).toString('base64') : '';
    return `${await weightsHash(method.module)} ${(await method.metrics.read()).lossRaw} ${centers}`;
  };
  const hashes = new Set<string>();
  for (const args of [[], ['--micro-batch', '2'], ['--micro-batch', '3', '--freeze-bn'], ['--method', 'plain', '--micro-batch', '1']]) {
    const plain = await train(false, ...args);
    t.ok(await train(true, ...args) === plain, `${args.join(' ') || 'whole batches'}: ${plain.slice(0, 16)}`);
    hashes.add(plain);
  }
  t.equal(hashes.size, 4, 'and these are four different trainings');
});

t.teardown(() => runtime.device.close());
