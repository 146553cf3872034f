/** Gradient checkpointing: the same bits for less memory, and what the function that is called twice must not notice. */
import t from 'tap';
import { backward, retainGrad } from '../src/autograd/backward.js';
import { checkpoint } from '../src/autograd/checkpoint.js';
import { NanTracer } from '../src/autograd/nan-tracer.js';
import { isRecomputing, noGrad } from '../src/autograd/tape.js';
import { withoutInit } from '../src/nn/init.js';
import { BatchNorm2d, Linear, Sequential } from '../src/nn/layers.js';
import { createBackbone } from '../src/nn/models/index.js';
import { type AnyModule, Module } from '../src/nn/module.js';
import { add, affine, dropout, exp, getRandomState, log, manualSeed, mul, nextRandomKey, relu, setRandomStep, slice, sqrt, sum, tanh, zeros } from '../src/ops/index.js';
import { tensor, write } from '../src/tensor/create.js';
import { keep, scope } from '../src/tensor/scope.js';
import type { Tensor } from '../src/tensor/tensor.js';
import { portableImages, portableSigned } from './support/portable.js';
import { openRuntime } from './support/runtime.js';

const runtime = await openRuntime();
const { pool } = runtime.device;
const live = (): number => pool.statistics().liveBytes;
const numbers = (count: number, seed = 1): Float32Array => portableSigned(seed, count);
const leaf = (shape: number[], seed = 1): Tensor => tensor(numbers(shape.reduce((a, b) => a * b, 1), seed), shape).requiresGrad_();
const gradOf = async (x: Tensor): Promise<number[]> => [...(await x.grad!.data())];

/** Long enough that most of what it computes is inner results. */
const curve = (x: Tensor, y: Tensor): Tensor => {
  let value = mul(x, y);
  for (let i = 0; i < 6; i++) value = tanh(add(mul(value, value), x));
  return value;
};

t.test('values and gradients are those of a plain call; only the inputs are kept', (t) => scope(async () => {
  const run = async (call: typeof curve): Promise<{ values: number[]; gradients: number[][]; kept: number }> => {
    const [x, y] = [leaf([64, 64], 1), leaf([64, 64], 2)];
    const before = live();
    const out = scope(() => call(x, y));
    const kept = live() - before;
    const values = [...(await out.data())];
    backward(sum(out));
    return { values, gradients: [await gradOf(x), await gradOf(y)], kept };
  };
  const plain = await run(curve);
  const spared = await run((x, y) => checkpoint(curve, x, y));
  t.same(spared.values, plain.values);
  t.same(spared.gradients, plain.gradients);
  const bytes = 64 * 64 * 4;
  t.equal(spared.kept, bytes, 'in between only the result is alive, besides the inputs');
  t.ok(plain.kept >= 7 * bytes, `a plain call keeps ${plain.kept / bytes} tensors of that size`);
}));

t.test('backward gives everything back', (t) => scope(() => {
  const x = leaf([64, 64]);
  const before = live();
  scope(() => backward(sum(checkpoint((a) => checkpoint((b) => curve(b, b), curve(a, a)), x))));
  x.grad!.release();
  t.equal(live(), before, 'of nested checkpoints, too');
  t.end();
}));

t.test('inputs that want no gradient, or of which nobody does', (t) => scope(async () => {
  const [x, w] = [tensor([1, 2, 3]), leaf([3])];
  const out = checkpoint((input) => mul(input, w), x);
  t.ok(out.requiresGrad, 'a parameter inside is enough');
  backward(sum(out));
  t.same(await gradOf(w), [1, 2, 3]);
  t.equal(x.grad, null);
  t.notOk(checkpoint((input) => mul(input, input), x).requiresGrad, 'no parameter, no graph');
  t.notOk(checkpoint((input) => noGrad(() => mul(input, w)), x).requiresGrad, 'nor one that noGrad hides');
  t.notOk(noGrad(() => checkpoint((input) => mul(input, w), x)).requiresGrad, 'nor under noGrad');
  const y = leaf([3], 2);
  backward(sum(checkpoint((a, b) => mul(a, b), y, x)), tensor(2));
  t.same(await gradOf(y), [2, 4, 6], 'one of two inputs');
  const z = leaf([3], 3);
  backward(sum(checkpoint((a) => a, z)));
  t.same(await gradOf(z), [1, 1, 1], 'a function that returns its input');
  w.grad = null;
  backward(sum(checkpoint(() => w, x)));
  t.same(await gradOf(w), [1, 1, 1], 'a function that returns a parameter');
}));

t.test('random ops draw the same numbers again, and later ones what they would have drawn', (t) => scope(async () => {
  const run = async (call: (fn: (x: Tensor) => Tensor, x: Tensor) => Tensor): Promise<unknown[]> => {
    manualSeed(7);
    setRandomStep(3);
    const x = leaf([10, 10]);
    const out = call((a) => dropout(exp(dropout(a, 0.5)), 0.3), x);
    const between = nextRandomKey();
    backward(sum(out));
    return [await out.data(), await gradOf(x), between, getRandomState()];
  };
  t.same(await run((fn, x) => checkpoint(fn, x)), await run((fn, x) => fn(x)));
}));

t.test('retainGrad inside and on the result', (t) => scope(async () => {
  const run = async (call: (fn: (x: Tensor) => Tensor, x: Tensor) => Tensor): Promise<number[][]> => {
    const x = leaf([3]);
    let hidden: Tensor | null = null;
    const out = retainGrad(call((a) => {
      hidden = retainGrad(exp(a));
      return mul(hidden, hidden);
    }, x));
    scope(() => backward(sum(affine(out, 3))));
    return [await gradOf(hidden!), await gradOf(out), await gradOf(x)];
  };
  t.same(await run((fn, x) => checkpoint(fn, x)), await run((fn, x) => fn(x)));
}));

class Risky extends Module {
  readonly inner = new Linear(4, 4);

  constructor(private readonly end: (x: Tensor) => Tensor) {
    super();
  }

  protected override forward(x: Tensor): Tensor {
    return this.end(this.inner.call(x));
  }
}

t.test('the NaN tracer names modules in the second call as in the first', (t) => scope(async () => {
  const tracer = new NanTracer(runtime);
  const traced = async (end: (x: Tensor) => Tensor): Promise<string> => {
    const stage = new Sequential([['risky', new Risky(end)]]);
    write((stage.parameters()[0]!), new Float32Array(16));
    write((stage.parameters()[1]!), new Float32Array(4));
    stage.checkpointing = true;
    const net = new Sequential([['body', stage]]).nameAll();
    tracer.start();
    backward(sum(net.call(leaf([2, 4]))));
    const error = await tracer.check(5).then(() => '', (e: Error) => e.message);
    for (const p of net.parameters()) p.grad?.release();
    return error;
  };
  // The root's slope at 0 is infinite, its value is fine: only backward shows it.
  t.match(await traced(sqrt), /op "sqrt \(backward\)", in module Sequential\.body\.risky,/);
  t.match(await traced(log), /op "log", in module Sequential\.body\.risky,/);
  t.match(await traced((x) => (isRecomputing() ? log(x) : x)), /op "log", in module Sequential\.body\.risky,/, 'a NaN that only the second call makes');
  tracer.stop();
}));

t.test('what cannot work is refused in a sentence', (t) => scope(async () => {
  const x = leaf([2, 3]);
  const computed = exp(x);
  t.throws(() => checkpoint((a) => mul(a, computed), x),
    /checkpoint: "mul" reads tensor "exp" \[2, 3\], which was computed outside of the checkpointed function; pass it as one of its inputs/);
  t.throws(() => checkpoint(() => computed, x),
    /checkpoint: the function returns tensor "exp", which was computed outside of it; pass it as one of its inputs/);
  t.throws(() => checkpoint((() => [x]) as unknown as () => Tensor, x), /checkpoint: the function must return one tensor, got object/);
  t.throws(() => checkpoint((async () => Promise.resolve(x)) as unknown as () => Tensor, x), /got a promise; async functions cannot be run again in backward/);
  const loosely = checkpoint as (...args: unknown[]) => Tensor;
  const wrongOrder = { name: 'UserError', message: /^checkpoint: the first argument must be a function, as in checkpoint\(\(x\) => …, x\), got a tensor$/ };
  t.throws(() => loosely(x, exp), wrongOrder);
  t.throws(() => noGrad(() => loosely(x, exp)), wrongOrder);
  t.throws(() => loosely(exp, 3), { name: 'UserError', message: /^checkpoint: the inputs must be tensors, as of checkpoint\(\(x\) => …, x\); number 1 is 3/ });
  let calls = 0;
  const moody = checkpoint((a) => (calls++ ? slice(a, [0, 0], [1, 3]) : relu(a)), x);
  t.throws(() => backward(sum(moody)), /the function returned \[2, 3\] first and \[1, 3\] when backward called it again; it must do the same both times/);
  const once = sum(checkpoint((a) => exp(a), x));
  backward(once);
  t.throws(() => backward(once), /graph through "sum" \[\] was already used/);
  const late = scope(() => keep(checkpoint((a) => exp(a), tensor([1]).requiresGrad_())));
  backward(late);
  t.notOk(isRecomputing(), 'errors leave nothing behind');
  late.release();
}));

/** Bits of gradients and running statistics after a forward and backward in training mode. */
const trained = (net: AnyModule, images: Tensor): Promise<Map<string, Uint8Array>> => scope(async () => {
  for (const [name, b] of net.namedBuffers()) write(b, new Float32Array(b.size).fill(name.endsWith('var') ? 1 : 0));
  backward(sum(tanh(net.call(images) as Tensor)));
  const bits = new Map<string, Uint8Array>();
  for (const [name, p] of net.namedParameters()) {
    bits.set(name, new Uint8Array((await p.grad!.data()).buffer));
    p.grad!.release();
    p.grad = null;
  }
  for (const [name, b] of net.namedBuffers()) bits.set(name, new Uint8Array((await b.data()).buffer));
  return bits;
});

/** Weights of the usual size by the cheapest generator: initialisation proper takes seconds for these networks. */
const fill = (net: AnyModule): void => {
  let state = 1;
  for (const p of net.parameters()) {
    if (p.rank < 4) continue;
    const scale = Math.sqrt(6 / (p.size / p.shape[3]!)) / 2 ** 31;
    write(p, Float32Array.from({ length: p.size }, () => (state = (Math.imul(state, 1664525) + 1013904223) | 0) * scale));
  }
};

for (const [name, size] of [['inception_mixed_6e', 75], ['resnet18', 40], ['resnet_small', 32], ['vgg19_bn', 32]] as const) {
  t.test(`${name}: gradients and running statistics to the bit`, (t) => scope(async () => {
    const net = withoutInit(() => createBackbone(name)).nameAll();
    fill(net);
    const images = tensor(portableImages(2, size, 2), [2, size, size, 3]);
    const plan = (): number => {
      const { peakBytes } = runtime.planMemory(() => scope(() => backward(sum(net.call(zeros([4, 256, 256, 3])) as Tensor))));
      for (const p of net.parameters()) p.grad = null;
      return peakBytes;
    };
    const [plain, plainBytes] = [await trained(net, images), plan()];
    net.checkpointing = true;
    const [spared, sparedBytes] = [await trained(net, images), plan()];
    t.equal(net.checkpointing, true);
    t.same([...spared.keys()], [...plain.keys()]);
    t.ok([...plain.values()].every((bits) => bits.some((byte) => byte !== 0)), 'there is something to compare everywhere');
    t.same([...spared].filter(([key, bits]) => !Buffer.from(bits).equals(plain.get(key)!)).map(([key]) => key), [], 'nothing differs');
    t.ok(sparedBytes < 0.85 * plainBytes, `${(sparedBytes / 2 ** 20).toFixed(1)} instead of ${(plainBytes / 2 ** 20).toFixed(1)} MiB`);
    for (const [, x] of [...net.namedParameters(), ...net.namedBuffers()]) x.release();
  }));
}

t.test('a batch norm inside counts its batch once', (t) => scope(async () => {
  const bn = new BatchNorm2d(3);
  const x = leaf([8, 3]);
  backward(sum(tanh(checkpoint((a) => bn.call(a), x))));
  const mean = await bn.running_mean.data();
  const own = [0, 1, 2].map((c) => numbers(24).filter((_, i) => i % 3 === c).reduce((a, b) => a + b) / 8);
  // Once: 0.9 · 0 + 0.1 · mean. Twice would be 0.19 of it.
  t.ok(own.every((m, c) => Math.abs(mean[c]! - 0.1 * m) < 1e-7), `${[...mean].join(' ')} of ${own.join(' ')}`);
}));

t.teardown(() => runtime.device.close());
