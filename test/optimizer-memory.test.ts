/** Whose memory parameters and gradients lie in: optimisers one after another, gradients put elsewhere, tied parameters, states read while training goes on. */
import t from 'tap';
import { backward } from '../src/autograd/backward.js';
import { GradScaler } from '../src/nn/grad-scaler.js';
import { Linear, Sequential } from '../src/nn/layers.js';
import { Module, parameter } from '../src/nn/module.js';
import { AdamW, type Optimizer, SGD } from '../src/nn/optimizer.js';
import { add, affine, fill_, mul, ones, reshape, sum } from '../src/ops/index.js';
import { tensor } from '../src/tensor/create.js';
import { keep, scope } from '../src/tensor/scope.js';
import type { Tensor } from '../src/tensor/tensor.js';
import { openRuntime } from './support/runtime.js';

const runtime = await openRuntime();
t.teardown(() => runtime.device.close());
const live = (): number => runtime.device.pool.statistics().liveBytes;

const leaf = (values: number[]): Tensor => tensor(values).requiresGrad_();
const values = async (x: Tensor): Promise<number[]> => [...(await x.data())];

t.test('who looks at a gradient does not cut it off from the optimiser', (t) => scope(async () => {
  const w = leaf([1, 1]);
  const optimizer = new SGD([w], { lr: 1 });
  const view = w.grad!.detach();
  for (let i = 1; i <= 3; i++) {
    optimizer.zeroGrad();
    backward(sum(w));
    reshape(w.grad!, [1, 2]);
    backward(sum(affine(w, 2)));
    t.same(await values(view), [3, 3]);
    optimizer.step();
    t.same(await values(w), [1 - 3 * i, 1 - 3 * i]);
  }
}));

t.test('a gradient that was taken away, or another one put there', (t) => scope(async () => {
  const [w, other] = [leaf([1, 1]), leaf([0])];
  const optimizer = new SGD([w, other], { lr: 1 });
  backward(sum(w));
  w.grad = null;
  optimizer.step();
  t.same(await values(w), [1, 1], 'none is zero');
  w.grad = null;
  backward(sum(w));
  optimizer.step();
  t.same(await values(w), [0, 0], 'the next backward makes one');
  const mine = tensor([2, 3]);
  w.grad = mine;
  optimizer.step();
  t.same([await values(w), await values(w.grad)], [[-2, -3], [2, 3]]);
  backward(sum(w));
  t.same([await values(mine), await values(w.grad)], [[3, 4], [3, 4]], 'it is the gradient from now on');
  other.grad = tensor([1]);
  const third = leaf([0]);
  third.grad = other.grad;
  third.grad = null;
  t.same(await values(other.grad), [1], 'who shared a gradient and let it go leaves it to the other');
  w.grad = tensor([5, 5]);
  optimizer.zeroGrad();
  optimizer.step();
  t.same([await values(w), await values(w.grad)], [[-2, -3], [0, 0]]);
}));

t.test('one gradient for two parameters', (t) => scope(async () => {
  const [a, b, c] = [leaf([1]), leaf([2]), leaf([3])];
  const optimizer = new SGD([a, b, c], { lr: 1 });
  for (const assigned of [tensor([0.5]), c.grad!]) {
    optimizer.zeroGrad();
    fill_(c.grad!, 0.5);
    a.grad = assigned;
    b.grad = assigned;
    scope(() => { optimizer.step(); });
    optimizer.zeroGrad();
  }
  t.same([await values(a), await values(b), await values(c)], [[0], [1], [2]]);
  backward(sum(a));
  t.same([await values(a.grad!), await values(b.grad!), await values(c.grad!)], [[1], [0], [0]], 'afterwards each has its own');
}));

t.test('gradients from before an optimiser count', (t) => scope(async () => {
  const w = leaf([1, 2]);
  backward(sum(w));
  const before = w.grad!;
  new SGD([w], { lr: 1 }).step();
  t.same(await values(w), [0, 1]);
  const next = new SGD([w], { lr: 0.5 });
  backward(sum(w));
  next.step();
  t.same([await values(w), await values(before)], [[-1, 0], [2, 2]], 'nor does another optimiser lose them');
}));

t.test('what cannot be trained is refused, and left as it was', (t) => scope(async () => {
  const w = leaf([1, 2]);
  t.throws(() => new SGD([mul(w, w)], { lr: 1 }), { name: 'UserError', message: /tensor "mul" was computed from others \(by "mul"\); pass the leaves/ });
  if (runtime.device.report.half) {
    const half = tensor([1, 2, 3], [3], { dtype: 'float16' }).requiresGrad_();
    t.throws(() => new SGD([w, half], { lr: 1 }), /parameter "tensor" is float16; only float32 ones can be trained/);
    t.same(await values(half), [1, 2, 3]);
  }
  t.equal(w.grad, null, 'none was moved');
}));

class Tied extends Module {
  first = new Linear(2, 2, { bias: false });
  weight = this.first.weight;
  last = this.first;

  protected override forward(x: Tensor): Tensor {
    return this.last.call(this.first.call(x));
  }
}

t.test('tied parameters train once, and are saved under each name', (t) => scope(async () => {
  const net = new Tied().nameAll();
  t.same(net.namedParameters().map(([name]) => name), ['weight']);
  t.equal(net.weight.label, 'weight');
  fill_(net.weight, 0.5);
  const optimizer = new SGD([...net.parameters(), ...net.parameters()], { lr: 1 });
  backward(sum(net.call(ones([1, 2]))));
  optimizer.step();
  // y = 1·W·W·1 with W of halves: a derivative of 2 for each element.
  t.same(await values(net.weight), [-1.5, -1.5, -1.5, -1.5]);
  const state = await net.stateDict();
  t.same([...state.keys()], ['weight', 'first.weight', 'last.weight']);
  fill_(net.weight, 0);
  net.loadStateDict(state);
  t.same(await values(net.first.weight), [-1.5, -1.5, -1.5, -1.5]);
}));

t.test('states are of one moment, whatever happens before they arrive', (t) => scope(async () => {
  const net = new Sequential([new Linear(2, 2), new Linear(2, 2)]);
  const optimizer = new AdamW(net.parameters(), { lr: 1 });
  const scaler = new GradScaler({ initScale: 4, growthInterval: 1 });
  const setAll = (value: number): void => { for (const p of net.parameters()) fill_(p, value); };
  setAll(1);
  const reading = [net.stateDict(), optimizer.stateDict(), scaler.stateDict()] as const;
  for (const p of net.parameters()) fill_(p.grad!, 1);
  scaler.step(optimizer);
  scaler.update();
  setAll(2);
  const [weights, { step, vectors }, { scale, growthTracker }] = await Promise.all(reading);
  t.same([...weights.values()].flatMap(({ data }) => [...data]), new Array(12).fill(1));
  t.equal(step, 0);
  t.ok([...vectors.values()].every((vector) => vector.every((v) => v === 0)));
  t.same([scale, growthTracker], [4, 0]);
}));

t.test('a state that does not fit changes nothing', (t) => scope(async () => {
  const net = new Linear(2, 2);
  const before = await values(net.weight);
  const short = new Map([['weight', { shape: [2, 2], data: new Float32Array(4) }], ['bias', { shape: [2], data: new Float32Array(1) }]]);
  t.throws(() => { net.loadStateDict(short); }, { name: 'UserError', message: /1 wrong count of numbers: bias has 1 instead of 2/ });
  t.throws(() => { net.loadStateDict({ weight: 1 } as never); }, /the state must be a Map of names/);
  t.same(await values(net.weight), before);
  const optimizer = new AdamW(net.parameters(), { lr: 1 });
  const { step, vectors } = await optimizer.stateDict();
  t.throws(() => { optimizer.loadStateDict({ step, vectors: new Map([['m.0', vectors.get('m.0')!.map(() => 7)]]) }); }, /no "v\.0"/);
  t.throws(() => { optimizer.loadStateDict({} as never); }, /must be what stateDict\(\) gave/);
  t.ok((await optimizer.stateDict()).vectors.get('m.0')!.every((v) => v === 0));
}));

const train = (net: Linear, optimizer: Optimizer): void => scope(() => {
  backward(sum(net.call(ones([1, 64]))));
  optimizer.step();
});

t.test('what optimisers, scalers and networks hold can be given back', async (t) => {
  const before = live();
  for (const order of ['network first', 'optimiser first']) {
    const net = new Linear(64, 64);
    const optimizer = new AdamW(net.parameters(), { lr: 0.1 });
    const scaler = new GradScaler();
    train(net, optimizer);
    if (order === 'network first') net.release();
    optimizer.release();
    scaler.release();
    net.release();
    t.equal(live(), before, order);
    t.throws(() => { optimizer.step(); }, /optimizer: it was released; make a new one/);
    t.throws(() => { optimizer.zeroGrad(); }, /it was released/);
  }
  const bare = new Linear(64, 64);
  scope(() => { backward(sum(bare.call(ones([1, 64])))); });
  bare.release();
  t.equal(live(), before, 'gradients go with the network');
});

t.test('one optimiser after another takes no more memory; what was released leaves the network usable', async (t) => {
  const net = new Linear(64, 64);
  let optimizer: Optimizer = new SGD(net.parameters(), { lr: 0.1 });
  const one = live();
  for (let i = 0; i < 3; i++) {
    const next: Optimizer = new SGD(net.parameters(), { lr: 0.1 });
    optimizer.release();
    optimizer = next;
    train(net, optimizer);
    t.equal(live(), one);
  }
  const leftBehind = new SGD([net.bias!], { lr: 0.1 });
  leftBehind.release();
  optimizer.release();
  t.equal(net.weight.grad, null);
  train(net, new SGD(net.parameters(), { lr: 0.1 }));
  t.ok((await values(net.weight)).every(Number.isFinite));
  net.release();
});

t.test('a newer optimiser frees the buffers that it empties', async (t) => {
  const w = keep(parameter([4096], new Float32Array(4096)));
  const first = new SGD([w], { lr: 1 });
  const one = live();
  const second = new SGD([w], { lr: 1 });
  // What is left of the first is its verdict.
  t.ok(live() - one < 4096, `${live() - one} bytes more`);
  t.throws(() => { first.zeroGrad(); }, /a newer optimiser has taken over some of the parameters/);
  scope(() => { backward(sum(add(w, w))); });
  second.step();
  t.ok((await values(w)).every((v) => v === -2));
  for (const optimizer of [first, second]) optimizer.release();
  w.release();
});
