/** Chains of layers compute what the layers compute, whatever those are, and take nothing that is not theirs. */
import t from 'tap';
import { noGrad } from '../src/autograd/tape.js';
import { BatchNorm2d, Conv2d, convNorm, Linear, ReLU, Sequential } from '../src/nn/layers.js';
import { type AnyModule, Module, parameter } from '../src/nn/module.js';
import { add, affine, maximum, mul, ones, relu } from '../src/ops/index.js';
import { tensor } from '../src/tensor/create.js';
import { keep, scope } from '../src/tensor/scope.js';
import type { Tensor } from '../src/tensor/tensor.js';
import { openRuntime } from './support/runtime.js';

const runtime = await openRuntime();
t.teardown(() => runtime.device.close());
const values = async (x: Tensor): Promise<number[]> => [...(await x.data())];

class NegatedConv extends Conv2d {
  protected override forward(x: Tensor): Tensor {
    return affine(super.forward(x), -1);
  }
}

class Leaky extends ReLU {
  protected override forward(x: Tensor): Tensor {
    return maximum(x, affine(x, 0.5));
  }
}

class NegatedNorm extends BatchNorm2d {
  protected override forward(x: Tensor): Tensor {
    return affine(super.forward(x), -2);
  }
}

class CallsOtherwise extends ReLU {
  override call(x: Tensor): Tensor {
    return affine(super.call(x), 3);
  }
}

const one = { bias: false, init: (shape: readonly number[]) => new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(1) };
const conv = (): Conv2d => new Conv2d(1, 1, 1, one);

t.test('layers derived from those that are fused are computed by themselves', (t) => scope(async () => {
  const x = tensor([4, -2], [1, 1, 2, 1]);
  const patched = conv();
  Object.assign(patched, { forward: (v: Tensor) => mul(v, v) });
  const cases: Record<string, AnyModule[]> = {
    'a convolution': [new NegatedConv(1, 1, 1, one), new ReLU()], 'a ReLU': [conv(), new Leaky()],
    'a ReLU that is called otherwise': [conv(), new CallsOtherwise()],
    'a norm': [conv(), new NegatedNorm(1)], 'a norm with its ReLU': [conv(), new NegatedNorm(1, { activation: 'relu' })],
    'a convolution before a norm': [new NegatedConv(1, 1, 1, one), new BatchNorm2d(1, { activation: 'relu' })],
    'a forward of the object': [patched, new ReLU()],
  };
  for (const [name, layers] of Object.entries(cases)) {
    const chain = new Sequential(layers).eval();
    const expected = await values(layers.reduce((value, layer) => layer.call(value) as Tensor, x));
    t.same(await values(chain.call(x)), expected, name);
    t.same(await values(noGrad(() => chain.call(x))), expected, `${name}, without gradients`);
  }
  const norm = new NegatedNorm(1).eval() as NegatedNorm;
  const c = conv();
  t.same(await values(noGrad(() => convNorm(c, norm, x, { residual: x, activation: 'relu' }))), await values(relu(add(norm.call(c.call(x)), x))),
    'with a residual');
}));

class Prompt extends Module {
  weight = parameter([1, 2], Float32Array.of(1, 2));
  kept = keep(tensor([[3, 4]]));

  constructor(private readonly what: 'weight' | 'kept') {
    super();
  }

  protected override forward(_: Tensor): Tensor {
    return this[this.what];
  }
}

class Stash extends Module {
  seen: Tensor | null = null;
  made: Tensor | null = null;

  protected override forward(x: Tensor): Tensor {
    this.seen = x;
    return (this.made = affine(x, 2));
  }
}

class Joined extends Module {
  constructor(readonly stash: Stash) {
    super();
  }

  protected override forward(x: Tensor): Tensor {
    return add(x, add(this.stash.seen!, this.stash.made!));
  }
}

t.test('a convolution and its norm are computed apart where one kernel cannot do both', (t) => scope(async () => {
  const image = (channels: number): Tensor => tensor(Float32Array.from({ length: 4 * channels }, (_, i) => (i * 7) % 5), [1, 2, 2, channels]);
  const grouped = [new Conv2d(4, 6, 1, { groups: 2 }), new BatchNorm2d(6)] as const;
  const training = [conv(), new BatchNorm2d(1)] as const;
  for (const [layer, norm] of [grouped, training]) {
    const chain = new Sequential([layer, norm]).train(norm !== grouped[1]);
    const x = image(layer === grouped[0] ? 4 : 1);
    const [apart, together] = noGrad(() => [norm.call(layer.call(x)), chain.call(x)]);
    t.same(await values(together!), await values(apart!), chain.training ? 'the statistics of the batch, without gradients, too' : 'groups');
  }
}));

t.test('a chain leaves alone what others hold', (t) => scope(async () => {
  for (const checkpointing of [false, true]) {
    for (const what of ['weight', 'kept'] as const) {
      const prompt = new Prompt(what);
      const chain = new Sequential([prompt, new Linear(2, 1), new ReLU()]);
      chain.checkpointing = checkpointing;
      for (let i = 0; i < 2; i++) chain.call(ones([1, 2]));
      t.ok(prompt[what].alive, what);
    }
  }
  const stash = new Stash();
  const chain = new Sequential([new ReLU(), stash, new ReLU(), new Joined(stash)]);
  t.same(await values(noGrad(() => chain.call(tensor([[1, 2]])))), [5, 10], 'a skip connection between layers');
}));

t.test('modules of a derived class are children, too', (t) => scope(async () => {
  class Net extends Sequential {
    readonly head = new Linear(2, 1);

    constructor() {
      super([new Linear(2, 2)]);
    }

    protected override forward(x: Tensor): Tensor {
      return this.head.call(super.forward(x));
    }
  }
  const net = new Net();
  t.same(net.namedParameters().map(([name]) => name), ['0.weight', '0.bias', 'head.weight', 'head.bias']);
  t.notOk(net.eval().head.training);
  t.equal((await net.stateDict()).size, 4);
  const clash = new Sequential([['head', new ReLU()]]);
  Object.assign(clash, { head: new Linear(1, 1) });
  t.throws(() => clash.parameters(), /the property "head" has the name of a layer/);
}));

t.test('layers that are none, or of one name, are refused', async (t) => {
  t.throws(() => new Sequential([['1', new ReLU()], new ReLU()]), { name: 'UserError', message: /two layers have the name "1"/ });
  t.throws(() => new Sequential([relu as never]), /layer 0 must be a module, or a name and a module/);
  t.throws(() => new Sequential([['act', relu] as never]), /layer 0 must be a module/);
});
