/** Equal seeds give equal weights to the bit, on fresh devices; another seed gives others. */
import t from 'tap';
import { setDefaultRuntime, tensor } from '../src/tensor/create.js';
import { scope } from '../src/tensor/scope.js';
import { weightsHash } from '../src/train/weights-hash.js';
import { configOf, fixedTraining } from './support/default-training.js';
import { openRuntime } from './support/runtime.js';

const STEPS = 20;

interface Outcome {
  readonly hash: string;
  readonly centers: string;
  readonly loss: number;
}

/** Trains on a device of its own. `disturb` makes the pool hand out other buffers in another order. */
const train = async (args: string[], disturb = false): Promise<Outcome> => {
  const runtime = await openRuntime();
  const { session, step } = fixedTraining(runtime, configOf('--batch-size', '4', '--image-size', '32', '--attentions', '8', ...args), 5);
  for (let number = 0; number < STEPS; number++) {
    if (disturb && number % 3 === 0) scope(() => [4, 100, 1000, 40_000].forEach((count) => tensor(new Float32Array(count).fill(NaN))));
    await step(number);
  }
  const centers = await session.method.centers!.table.data();
  const outcome = { hash: await weightsHash(session.method.module), centers: Buffer.from(centers.buffer).toString('base64'),
    loss: (await session.method.metrics.read()).lossRaw! };
  runtime.device.close();
  setDefaultRuntime(null);
  return outcome;
};

const first = await train(['--seed', '3']);

t.test('the same seed gives the same network, to the bit', async (t) => {
  const second = await train(['--seed', '3'], true);
  t.equal(second.hash, first.hash, 'weights and running statistics, although memory was handed out otherwise');
  t.ok(second.centers === first.centers, 'centers');
  t.equal(second.loss, first.loss, 'sum of the losses');
  t.match(first.hash, /^[0-9a-f]{16}$/);
});

t.test('another seed gives another network', async (t) => {
  const other = await train(['--seed', '4']);
  t.not(other.hash, first.hash);
  t.not(other.loss, first.loss);
});
