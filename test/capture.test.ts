/** How commands are kept and given to the adapter again. */
import t from 'tap';
import { backward } from '../src/autograd/backward.js';
import { Captured } from '../src/autograd/captured.js';
import type { PooledBuffer } from '../src/device/buffers.js';
import { Capture, capturing, isCapturing, repeated } from '../src/kernels/capture.js';
import { Linear } from '../src/nn/layers.js';
import { SGD } from '../src/nn/optimizer.js';
import { fill_, sum } from '../src/ops/index.js';
import { tensor } from '../src/tensor/create.js';
import { scope } from '../src/tensor/scope.js';
import { openRuntime } from './support/runtime.js';

const runtime = await openRuntime();

t.test('learning rates of replays that are submitted together', (t) => scope(async () => {
  const linear = new Linear(3, 2, { bias: false });
  linear.nameAll();
  fill_(linear.weight, 3);
  const optimizer = new SGD(linear.parameters(), { lr: 1 });
  backward(sum(linear.call(tensor([1, 1, 1], [1, 3]))));
  const step = new Captured(() => optimizer.step(), runtime);
  for (const lr of [1, 2, 4]) {
    optimizer.lr = lr;
    step.run(() => []);
  }
  t.same([...(await linear.weight.data())], Array.from({ length: 6 }, () => 3 - (1 + 2 + 4)));
}));

t.test('a capture is out of date when what its bind groups name has become another', async (t) => {
  const arena = { resets: 0 };
  const images = { replacements: 0 };
  const capture = new Capture({ arena, images });
  const [held, borrowed] = [{ state: 'in use', uses: 3 }, { state: 'idle', uses: 1 }] as PooledBuffer[];
  for (let i = 0; i < 2; i++) capture.add({ kind: 'weigh', flops: 0 });
  capture.names(Object.fromEntries([held, borrowed].map((buffer, i) => [i, { buffer: buffer!, offset: 0, bytes: 16 }])));
  capture.finish(new Set([borrowed!]));
  t.equal(capture.isCurrent, true);
  for (const [owner, name, value] of [
    [arena, 'resets', 1], [images, 'replacements', 1], [capture, 'unrepeatable', true],
    [held!, 'uses', 4], [held!, 'state', 'idle'], [held!, 'state', 'gone'], [borrowed!, 'state', 'in use'], [borrowed!, 'state', 'gone'],
  ] as const) {
    const before = Reflect.get(owner, name) as unknown;
    Reflect.set(owner, name, value);
    t.equal(capture.isCurrent, false, name);
    Reflect.set(owner, name, before);
  }
  t.equal(capture.isCurrent, true);
  capturing(capture, () => repeated(() => {}));
  repeated(() => {});
  t.same([capture.commands.length, isCapturing()], [3, false], 'what is done after it is not its own');
});
