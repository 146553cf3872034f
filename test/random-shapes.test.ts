/** Ops at shapes and options that nobody chose: drawn anew for every op from one seed, and proved like the cases of their records. */
import t from 'tap';
import { verifyCase } from '../src/autograd/verify.js';
import { CaseRandom, distinct, literal, type OpCase } from '../src/ops/cases.js';
import { ops } from '../src/ops/registry.js';
import type { Shape } from '../src/tensor/shape.js';
import { guardResults } from './support/guards.js';
import { openRuntime } from './support/runtime.js';

const DRAWS = 24;
const runtime = await openRuntime();
const strayed = guardResults(runtime);
t.teardown(() => runtime.device.close());

/** Draws of one op. Small numbers are likelier than large ones, as edges lie there. */
class Draw {
  constructor(private readonly random: CaseRandom) {}

  int(from: number, to: number): number {
    return from + Math.floor((to - from + 1) * this.random.next() * this.random.next());
  }

  one<T>(values: readonly T[]): T {
    return values[Math.floor(values.length * this.random.next())]!;
  }

  flag(): boolean {
    return this.random.next() < 0.5;
  }

  /** [N, H, W, C]. */
  image(side = 12, channels = 9): [number, number, number, number] {
    return [this.int(1, 3), this.int(1, side), this.int(1, side), this.int(1, channels)];
  }
}

type Drawn = Omit<OpCase, 'name'>;

const convolution = (draw: Draw): Drawn => {
  const groups = draw.one([1, 1, 1, 2, 3]);
  const [kernel, dilation, stride] = [[draw.int(1, 5), draw.int(1, 7)], [draw.int(1, 2), draw.int(1, 2)], [draw.int(1, 3), draw.int(1, 3)]] as const;
  const padding = kernel.map((k) => draw.int(0, k));
  const size = kernel.map((k, i) => Math.max(1, dilation[i]! * (k - 1) + 1 - 2 * padding[i]!) + draw.int(0, 9));
  const [inside, outside] = [draw.one([1, 2, 3, 5, 33]), draw.one([1, 3, 4, 7, 34])];
  return {
    shapes: [
      [draw.int(1, 3), size[0]!, size[1]!, groups * inside], [kernel[0], kernel[1], inside, groups * outside],
      ...(draw.flag() ? [[groups * outside]] : []),
    ],
    attrs: { stride, padding, dilation, groups },
  };
};

const pooling = (draw: Draw): Drawn => {
  const [n, h, w, c] = draw.image();
  const kernel = [Math.min(h, draw.int(1, 4)), Math.min(w, draw.int(1, 4))] as const;
  return {
    shapes: [[n, h, w, c]], fill: [distinct(0.01)],
    attrs: {
      kernel, stride: [draw.int(1, 3), draw.int(1, 3)], padding: kernel.map((k) => draw.int(0, Math.floor(k / 2))),
      ceilMode: draw.flag(), countIncludePad: draw.flag(),
    },
  };
};

const resizing = (draw: Draw): Drawn => {
  const antialias = draw.flag();
  const mode = antialias ? 'bilinear' : draw.one(['bilinear', 'nearest']);
  return { shapes: [draw.image(20)],
    attrs: { size: [draw.int(1, 24), draw.int(1, 24)], mode, antialias, alignCorners: mode === 'bilinear' && !antialias && draw.flag() } };
};

const cropping = (draw: Draw): Drawn => {
  const [n, h, w, c] = draw.image(14);
  // Half a pixel more than whole numbers: see the op's own cases.
  const boxes = Array.from({ length: n }, () => [draw.int(-1, h), draw.int(-1, w), draw.int(0, h + 1), draw.int(0, w + 1)].map((edge) => edge + 0.5)).flat();
  return { shapes: [[n, h, w, c], [n, 4]], fill: [undefined, literal(boxes)], attrs: { size: [draw.int(1, 15), draw.int(1, 15)], alignCorners: draw.flag() } };
};

const product = (draw: Draw): Drawn => {
  const [batch, m, k, n] = [draw.int(1, 3), draw.int(1, 70), draw.int(1, 70), draw.int(1, 70)];
  const [transposeA, transposeB] = [draw.flag(), draw.flag()];
  const a: Shape = transposeA ? [k, m] : [m, k];
  const b: Shape = transposeB ? [n, k] : [k, n];
  return { shapes: [draw.flag() ? [batch, ...a] : a, draw.flag() ? [batch, ...b] : b], attrs: { transposeA, transposeB } };
};

const reduction = (draw: Draw): Drawn => {
  const shape = Array.from({ length: draw.int(1, 4) }, () => draw.int(1, 9));
  return { shapes: [shape], fill: [distinct(0.01)], attrs: { axes: shape.map((_, i) => i).filter(() => draw.flag()), keepdim: draw.flag() } };
};

const part = (draw: Draw): Drawn => {
  const shape = Array.from({ length: draw.int(1, 5) }, () => draw.int(1, 9));
  const starts = shape.map((size) => draw.int(0, size - 1));
  return { shapes: [shape], attrs: { starts, ends: shape.map((size, i) => draw.int(starts[i]! + 1, size)) } };
};

const attention = (draw: Draw): Drawn => {
  const [n, h, w, c] = draw.image(12, 70);
  return { shapes: [[n, h, w, c], [n, h, w, draw.int(1, 40)]], attrs: { pool: 'GAP' } };
};

const makers: Readonly<Record<string, (draw: Draw) => Drawn>> = {
  conv2d: convolution, maxPool2d: pooling, avgPool2d: pooling, interpolate: resizing, cropResize: cropping, matmul: product,
  max: reduction, mean: reduction, slice: part, attentionPool: attention,
};

for (const [name, make] of Object.entries(makers)) {
  const op = ops.find((o) => o.name === name)!;
  await t.test(name, async (t) => {
    const draw = new Draw(new CaseRandom(11));
    for (let i = 0; i < DRAWS; i++) {
      const one = make(draw);
      const called = `${one.shapes.map((shape) => shape.join('×')).join(', ')} ${JSON.stringify(one.attrs)}`;
      for (const { error, tolerance, note, passed } of await verifyCase(runtime, op, { ...one, name: called })) t.ok(passed, `${called}: error ${error.toExponential(1)} (at most ${tolerance}), ${note}`);
      t.same(await strayed(), [], `${called}: no kernel writes past the end of its results`);
    }
  });
}
