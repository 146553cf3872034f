/** Single elements of products and convolutions, in float64 and straight from the definition: real layers are too large to be computed whole. */
import type { ConvAttrs } from '../src/ops/conv-shape.js';
import { CaseRandom } from '../src/ops/cases.js';
import type { Nd } from '../src/ops/nd.js';
import type { Shape } from '../src/tensor/shape.js';
import type { ProductDirection } from './results.js';

/** The value at one index of a result. */
type Element = (index: readonly number[]) => number;

/** Element of an array of four axes; spelled out, as a weight's gradient calls it millions of times. */
const at = ({ shape, data }: Nd, i: number, j: number, k: number, l: number): number => data[((i * shape[1]! + j) * shape[2]! + k) * shape[3]! + l]!;

const inside = (i: number, size: number): boolean => i >= 0 && i < size;

/** Input position under tap r of output position o. */
const under = (o: number, r: number, axis: 0 | 1, a: ConvAttrs): number => o * a.stride[axis] - a.padding[axis] + r * a.dilation[axis];

const convForward = ([x, w]: readonly Nd[], a: ConvAttrs): Element => {
  const [, height, width] = x!.shape as [number, number, number];
  const [kh, kw, groupIn, outs] = w!.shape as [number, number, number, number];
  return ([n, oy, ox, o]) => {
    const first = Math.floor(o! / (outs / a.groups)) * groupIn;
    let total = 0;
    for (let r = 0; r < kh; r++) for (let s = 0; s < kw; s++) {
      const [iy, ix] = [under(oy!, r, 0, a), under(ox!, s, 1, a)];
      if (!inside(iy, height) || !inside(ix, width)) continue;
      for (let c = 0; c < groupIn; c++) total += at(x!, n!, iy, ix, first + c) * at(w!, r, s, c, o!);
    }
    return total;
  };
};

/** Output position whose tap r lies over input position i, or −1. */
const over = (i: number, r: number, axis: 0 | 1, size: number, a: ConvAttrs): number => {
  const o = (i + a.padding[axis] - r * a.dilation[axis]) / a.stride[axis];
  return Number.isInteger(o) && inside(o, size) ? o : -1;
};

const convGradInput = ([, w]: readonly Nd[], grad: Nd, a: ConvAttrs): Element => {
  const [, oh, ow] = grad.shape as [number, number, number];
  const [kh, kw, groupIn, outs] = w!.shape as [number, number, number, number];
  const groupOut = outs / a.groups;
  return ([n, iy, ix, c]) => {
    const first = Math.floor(c! / groupIn) * groupOut;
    let total = 0;
    for (let r = 0; r < kh; r++) for (let s = 0; s < kw; s++) {
      const [oy, ox] = [over(iy!, r, 0, oh, a), over(ix!, s, 1, ow, a)];
      if (oy < 0 || ox < 0) continue;
      for (let o = first; o < first + groupOut; o++) total += at(grad, n!, oy, ox, o) * at(w!, r, s, c! % groupIn, o);
    }
    return total;
  };
};

const convGradWeight = ([x, w]: readonly Nd[], grad: Nd, a: ConvAttrs): Element => {
  const [images, height, width] = x!.shape as [number, number, number];
  const [, oh, ow, outs] = grad.shape as [number, number, number, number];
  const groupIn = w!.shape[2]!;
  return ([r, s, c, o]) => {
    const channel = Math.floor(o! / (outs / a.groups)) * groupIn + c!;
    let total = 0;
    for (let n = 0; n < images; n++) for (let oy = 0; oy < oh; oy++) for (let ox = 0; ox < ow; ox++) {
      const [iy, ix] = [under(oy, r!, 0, a), under(ox, s!, 1, a)];
      if (inside(iy, height) && inside(ix, width)) total += at(x!, n, iy, ix, channel) * at(grad, n, oy, ox, o!);
    }
    return total;
  };
};

interface Flips {
  readonly transposeA: boolean;
  readonly transposeB: boolean;
}

/** Element (row, column) of a matrix that may be stored transposed. */
const entry = ({ shape, data }: Nd, flipped: boolean, row: number, column: number): number =>
  data[flipped ? column * shape[1]! + row : row * shape[1]! + column]!;

const matmulForward = ([a, b]: readonly Nd[], { transposeA, transposeB }: Flips): Element => {
  const depth = a!.shape[transposeA ? 0 : 1]!;
  return ([i, j]) => {
    let total = 0;
    for (let k = 0; k < depth; k++) total += entry(a!, transposeA, i!, k) * entry(b!, transposeB, k, j!);
    return total;
  };
};

const matmulGradient = (side: 0 | 1, [a, b]: readonly Nd[], grad: Nd, { transposeA, transposeB }: Flips): Element => (index) => {
  const [row, column] = (side === 0 ? transposeA : transposeB) ? [index[1]!, index[0]!] : [index[0]!, index[1]!];
  const depth = grad.shape[side === 0 ? 1 : 0]!;
  let total = 0;
  for (let k = 0; k < depth; k++) {
    total += side === 0 ? entry(grad, false, row, k) * entry(b!, transposeB, column, k) : entry(a!, transposeA, k, row) * entry(grad, false, k, column);
  }
  return total;
};

type Products = Readonly<Record<ProductDirection, (inputs: readonly Nd[], grad: Nd, attrs: never) => Element>>;

/** The ops whose elements are cheap to compute one by one. */
export const products: Readonly<Record<string, Products>> = {
  conv2d: {
    forward: (inputs, _, attrs: ConvAttrs) => convForward(inputs, attrs),
    gradInput: (inputs, grad, attrs: ConvAttrs) => convGradInput(inputs, grad, attrs),
    gradWeight: (inputs, grad, attrs: ConvAttrs) => convGradWeight(inputs, grad, attrs),
  },
  matmul: {
    forward: (inputs, _, attrs: Flips) => matmulForward(inputs, attrs),
    gradInput: (inputs, grad, attrs: Flips) => matmulGradient(0, inputs, grad, attrs),
    gradWeight: (inputs, grad, attrs: Flips) => matmulGradient(1, inputs, grad, attrs),
  },
};

/** The corners of a shape, then pseudo-random places: edges are where kernels go wrong. */
export const sampleIndices = (shape: Shape, count: number): number[][] => {
  const random = new CaseRandom(9);
  const corners = Array.from({ length: 2 ** shape.length }, (_, bits) => shape.map((size, axis) => ((bits >> axis) & 1 ? size - 1 : 0)));
  const others = Array.from({ length: Math.max(0, count - corners.length) }, () => shape.map((size) => Math.floor(random.next() * size)));
  return [...corners, ...others];
};

/** Row-major position of an index. */
export const flatIndex = (shape: Shape, index: readonly number[]): number => index.reduce((offset, i, axis) => offset * shape[axis]! + i, 0);
