import source from '../../shaders/binary.wgsl';
import { Shader } from '../kernels/shader.js';
import { broadcastShapes, quadCount, quadsPerRow, rowWidth, sameShape, type Shape } from '../tensor/shape.js';
import { type DType, Tensor } from '../tensor/tensor.js';
import { broadcastPlan } from './broadcast.js';
import { awayFrom, type Fill, type OpCase, uniform } from './cases.js';
import { broadcastOffset, forEachIndex, nd } from './nd.js';
import { allocate, type BackwardCall, bytesOf, type Call, dispatch, floatOf, isRagged, type Op, run, stretchesFor } from './op.js';
import { sumTo } from './reduce.js';
import { affine, neg } from './unary.js';

const shader = new Shader('binary', source);
type None = Record<string, never>;
const SHARE_OF_MAXIMUM = 12;
const FIRST = 13;

const launch = (code: number, name: string, a: Tensor, b: Tensor, shape: Shape, dtype: DType = floatOf(a, b)): Tensor => {
  const y = allocate(a.runtime, shape, name, dtype);
  const plain = sameShape(a.shape, shape) && sameShape(b.shape, shape);
  const { axes, ...plan } = broadcastPlan(name, a.shape, b.shape, shape);
  const { steps, grid } = stretchesFor(a.runtime, quadCount(shape));
  dispatch(a.runtime, shader.kernel('forward', { OP: code, RAGGED: isRagged(shape), ...(plain ? { BROADCAST: 0 } : { BROADCAST: 1, AXES: axes }) }), { a, b, y },
    { ...plan, quads: quadCount(shape), steps, quadsPerRow: quadsPerRow(shape), width: rowWidth(shape) }, grid);
  return y;
};

interface Row {
  readonly code: number;
  readonly formula: (a: number, b: number) => number;
  readonly backward: ((call: BackwardCall<None>) => readonly (Tensor | null)[]) | null;
  readonly keeps?: Op['keeps'];
  readonly dtype?: DType;
  readonly fill?: readonly (Fill | undefined)[];
}

const shapePairs: readonly (readonly [Shape, Shape])[] = [
  [[2, 3, 5], [2, 3, 5]], [[2, 3, 5], [5]], [[2, 3, 4], [2, 1, 4]], [[3, 1], [1, 6]], [[], [3, 2]], [[2, 5, 3], [2, 5, 1]], [[1], [1]],
  [[2, 1, 3, 1, 2], [1, 4, 1, 2, 2]], [[40, 9, 33], [33]],
];

const casesFor = (fill?: Row['fill']): OpCase<None>[] => [
  ...shapePairs.map(([a, b]) => ({ name: `[${a.join('×')}] with [${b.join('×')}]`, shapes: [a, b], attrs: {}, ...(fill ? { fill } : {}) })),
  { name: '2×26×26×768', shapes: [[2, 26, 26, 768], [2, 26, 26, 768]], attrs: {}, bench: true, ...(fill ? { fill } : {}) },
];

const binaryOp = (name: string, row: Row): Op<None> => ({
  name,
  group: row.backward ? 'Arithmetic' : 'Comparison',
  precision: 'any',
  infer: ([a, b]) => broadcastShapes(name, a!, b!),
  ...(row.dtype ? { dtype: row.dtype } : {}),
  forward: ({ inputs, shape }: Call<None>) => launch(row.code, name, inputs[0]!, inputs[1]!, shape, row.dtype),
  ...(row.keeps ? { keeps: row.keeps } : {}),
  backward: row.backward,
  reference: ([a, b]) => {
    const out = nd(broadcastShapes(name, a!.shape, b!.shape));
    forEachIndex(out.shape, (index, flat) => {
      out.data[flat] = row.formula(a!.data[broadcastOffset(a!.shape, index)]!, b!.data[broadcastOffset(b!.shape, index)]!);
    });
    return out;
  },
  cost: ([a, b], _, shape) => ({ flops: 0, bytes: bytesOf(a!, b!, shape) }),
  cases: casesFor(row.fill),
});

export const addOp = binaryOp('add', {
  code: 0, formula: (a, b) => a + b, backward: ({ grad, shapes }) => [sumTo(grad, shapes[0]!), sumTo(grad, shapes[1]!)],
});
export const subOp = binaryOp('sub', {
  code: 1, formula: (a, b) => a - b,
  backward: ({ grad, shapes, needs }) => [sumTo(grad, shapes[0]!), needs[1] ? neg(sumTo(grad, shapes[1]!)) : null],
});
export const mulOp = binaryOp('mul', {
  code: 2, formula: (a, b) => a * b, keeps: { inputs: [0, 1] },
  backward: ({ grad, inputs: [a, b], shapes, needs }) => [
    needs[0] ? sumTo(mul(grad, b!), shapes[0]!) : null, needs[1] ? sumTo(mul(grad, a!), shapes[1]!) : null,
  ],
});
export const divOp = binaryOp('div', {
  code: 3, formula: (a, b) => a / b, keeps: { inputs: [0, 1] }, fill: [undefined, awayFrom([0], 0.3)],
  backward: ({ grad, inputs: [a, b], shapes, needs }) => [
    needs[0] ? sumTo(div(grad, b!), shapes[0]!) : null,
    needs[1] ? sumTo(neg(div(mul(grad, a!), mul(b!, b!))), shapes[1]!) : null,
  ],
});

/** Gradient of maximum and minimum: the larger (smaller) operand takes it, a tie halves it, as in PyTorch. */
const extremumBackward = (aWinsWhenLarger: boolean) => ({ grad, inputs: [a, b], shapes, shape }: BackwardCall<None>) => {
  const share = aWinsWhenLarger ? launch(SHARE_OF_MAXIMUM, 'share', a!, b!, shape) : launch(SHARE_OF_MAXIMUM, 'share', b!, a!, shape);
  const toA = mul(grad, share);
  return [sumTo(toA, shapes[0]!), sumTo(sub(grad, toA), shapes[1]!)];
};
const apart: Row['fill'] = [uniform(-1, 1), (random, count) => Array.from({ length: count }, () => (random.next() < 0.5 ? -2 : 2) + random.uniform(-0.5, 0.5))];

export const maximumOp = binaryOp('maximum', { code: 4, formula: Math.max, keeps: { inputs: [0, 1] }, fill: apart, backward: extremumBackward(true) });
export const minimumOp = binaryOp('minimum', { code: 5, formula: Math.min, keeps: { inputs: [0, 1] }, fill: apart, backward: extremumBackward(false) });

const few: Fill = (random, count) => Array.from({ length: count }, () => Math.floor(random.next() * 3));
const comparison = (name: string, code: number, holds: (a: number, b: number) => boolean): Op<None> =>
  binaryOp(name, { code, formula: (a, b) => (holds(a, b) ? 1 : 0), backward: null, dtype: 'bool', fill: [few, few] });

export const eqOp = comparison('eq', 6, (a, b) => a === b);
export const neOp = comparison('ne', 7, (a, b) => a !== b);
export const ltOp = comparison('lt', 8, (a, b) => a < b);
export const leOp = comparison('le', 9, (a, b) => a <= b);
export const gtOp = comparison('gt', 10, (a, b) => a > b);
export const geOp = comparison('ge', 11, (a, b) => a >= b);

type Operand = Tensor | number;
const apply = (op: Op<None>, a: Tensor, b: Tensor): Tensor => run(op, [a, b], {});

/** a + b with broadcasting; b may be a number. */
export const add = (a: Tensor, b: Operand): Tensor => (b instanceof Tensor ? apply(addOp, a, b) : affine(a, 1, b));
/** a − b with broadcasting; b may be a number. */
export const sub = (a: Tensor, b: Operand): Tensor => (b instanceof Tensor ? apply(subOp, a, b) : affine(a, 1, -b));
/** a · b with broadcasting; b may be a number. */
export const mul = (a: Tensor, b: Operand): Tensor => (b instanceof Tensor ? apply(mulOp, a, b) : affine(a, b));
/** a / b with broadcasting; b may be a number. */
export const div = (a: Tensor, b: Operand): Tensor => (b instanceof Tensor ? apply(divOp, a, b) : affine(a, 1 / b));
/** Element-wise maximum; NaN of either side stays NaN, a tie halves the gradient. */
export const maximum = (a: Tensor, b: Tensor): Tensor => apply(maximumOp, a, b);
/** Element-wise minimum; NaN of either side stays NaN, a tie halves the gradient. */
export const minimum = (a: Tensor, b: Tensor): Tensor => apply(minimumOp, a, b);
/** 1 where a = b, else 0 (dtype bool); likewise the other comparisons. */
export const eq = (a: Tensor, b: Tensor): Tensor => apply(eqOp, a, b);
export const ne = (a: Tensor, b: Tensor): Tensor => apply(neOp, a, b);
export const lt = (a: Tensor, b: Tensor): Tensor => apply(ltOp, a, b);
export const le = (a: Tensor, b: Tensor): Tensor => apply(leOp, a, b);
export const gt = (a: Tensor, b: Tensor): Tensor => apply(gtOp, a, b);
export const ge = (a: Tensor, b: Tensor): Tensor => apply(geOp, a, b);

/** x seen with a larger, compatible shape, as a copy. For backward formulas; see `expand` for the op. */
export const spread = (x: Tensor, shape: Shape): Tensor => launch(FIRST, 'spread', x, x, shape);

/** total += x in place; both of one shape. For gradients, outside the tape. */
export const accumulate = (total: Tensor, x: Tensor): void => {
  const { shape } = total;
  const zeros = [0, 0, 0, 0];
  const { steps, grid } = stretchesFor(total.runtime, quadCount(shape));
  dispatch(total.runtime, shader.kernel('accumulate'), { a: x, total },
    { sizes: zeros, stridesA: zeros, stridesB: zeros, quads: quadCount(shape), steps, quadsPerRow: 1, width: 4, splatA: 0, splatB: 0 }, grid);
};
