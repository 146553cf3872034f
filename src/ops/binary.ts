import source from '../../shaders/binary.wgsl';
import { fail } from '../errors.js';
import type { Constants } from '../kernels/shader.js';
import { Shader } from '../kernels/shader.js';
import { broadcastShapes, formatShape, quadCount, sameShape, type Shape } from '../tensor/shape.js';
import type { DType, Tensor } from '../tensor/tensor.js';
import { broadcastDispatch, withoutWalk } from './broadcast.js';
import { awayFrom, type Fill, integers, literal, type OpCase, uniform } from './cases.js';
import { checkTensor } from './arguments.js';
import { checkFits, checkTypes } from './convert.js';
import { full } from './fill.js';
import { broadcastOffset, forEachIndex, nd } from './nd.js';
import { allocate, type BackwardCall, bytesOf, type Call, dispatch, floatOf, type NoAttrs, type Op, run, stretchesFor } from './op.js';
import { sumTo } from './reduce.js';
import { checkTaken } from './taken.js';
import { affine, affineOp, neg } from './unary.js';

const shader = new Shader('binary', source);
const CODES = { add: 0, sub: 1, mul: 2, div: 3, maximum: 4, minimum: 5, eq: 6, ne: 7, lt: 8, le: 9, gt: 10, ge: 11 } as const;
type Name = keyof typeof CODES;
const OPERANDS = ['a', 'b', 'g'];
const NO_WALK = withoutWalk(OPERANDS);

/** Runs an entry of the shader on operands that are broadcast to `shape`; `outputs` have it. */
const launch = (
  entry: string, name: Name, shape: Shape, operands: Readonly<Record<string, Tensor>>, outputs: Readonly<Record<string, Tensor>>, more: Constants = {},
): void =>
  broadcastDispatch(shader, OPERANDS, { op: name, entry, constants: { OP: CODES[name], ...more } }, shape, operands, outputs);

/** The gradients of both operands of y = name(a, b), summed to their shapes; one pass makes both where both are wanted. */
const gradients = (name: Name) => ({ grad, inputs: [a, b], shapes, shape, needs }: BackwardCall<NoAttrs>): (Tensor | null)[] => {
  const operands = { g: grad, a: a!, b: b! };
  const forOperand = (i: 0 | 1): Tensor | null => (needs[i] ? allocate(grad.runtime, shape, `${name} gradient`, floatOf(grad, a!, b!)) : null);
  const [toA, toB] = [forOperand(0), forOperand(1)];
  if (toA && toB) launch('gradients', name, shape, operands, { y: toA, second: toB });
  else if (toA ?? toB) launch('gradient', name, shape, operands, { y: (toA ?? toB)! }, { TO_B: toB ? 1 : 0 });
  return [toA && sumTo(toA, shapes[0]!), toB && sumTo(toB, shapes[1]!)];
};

/** grad where a equals b, else zero, with broadcasting; not a choice: NaN in `grad` passes everywhere. */
export const whereEqual = (grad: Tensor, a: Tensor, b: Tensor): Tensor => {
  const shape = broadcastShapes('eq', a.shape, b.shape);
  const y = allocate(grad.runtime, shape, 'eq gradient', floatOf(grad, a, b));
  launch('gradient', 'eq', shape, { g: grad, a, b }, { y }, { TO_B: 0 });
  return y;
};

interface Row {
  readonly formula: (a: number, b: number) => number;
  readonly backward: ((call: BackwardCall<NoAttrs>) => readonly (Tensor | null)[]) | null;
  readonly keeps?: Op['keeps'];
  readonly dtype?: DType;
  readonly fill?: readonly (Fill | undefined)[];
}

const shapePairs: readonly (readonly [Shape, Shape])[] = [
  [[2, 3, 5], [2, 3, 5]], [[2, 3, 5], [5]], [[2, 3, 4], [2, 1, 4]], [[3, 1], [1, 6]], [[], [3, 2]], [[2, 5, 3], [2, 5, 1]], [[1], [1]],
  [[2, 1, 3, 1, 2], [1, 4, 1, 2, 2]], [[60, 40, 33], [33]],
];

const casesFor = (fill: Row['fill']): OpCase<NoAttrs>[] => [
  ...shapePairs.map(([a, b]) => ({ name: `[${a.join('×')}] with [${b.join('×')}]`, shapes: [a, b], attrs: {}, ...(fill ? { fill } : {}) })),
  { name: '2×26×26×768', shapes: [[2, 26, 26, 768], [2, 26, 26, 768]], attrs: {}, bench: true, ...(fill ? { fill } : {}) },
];

/** Rows of the same numbers, to be compared with each of them. −1 would be NaN as a float, and small numbers would be zero. */
const everyPair = (dtype: DType): number[][] => new Array<number[]>(5).fill([0, 1, 2, 2 ** 30, dtype === 'int32' ? -1 : 2 ** 31]);
const integerCases: OpCase<NoAttrs>[] = (['int32', 'uint32'] as const).map((dtype) => ({
  name: dtype, shapes: [[5, 5], [5, 1]], attrs: {}, dtypes: [dtype, dtype], gradient: 'none',
  fill: [literal(everyPair(dtype).flat()), literal(everyPair(dtype)[0]!)],
}));

/** Constants of the shader for operands that hold integers; refuses two types. */
const kindOfIntegers = (name: Name, a: Tensor, b: Tensor): Constants => {
  checkTypes(name, [a, b]);
  return a.dtype === 'int32' || a.dtype === 'uint32' ? { INTEGERS: 1, UNSIGNED: a.dtype === 'uint32' ? 1 : 0 } : {};
};

/** Ops without gradient are comparisons, which take integers, too. */
const binaryOp = (name: Name, row: Row): Op<NoAttrs> => ({
  name,
  ...(row.backward ? { group: 'Arithmetic' } : { group: 'Comparison', takes: ['any'] }),
  precision: 'any',
  infer: ([a, b]) => broadcastShapes(name, a!, b!),
  ...(row.dtype ? { dtype: row.dtype } : {}),
  forward: ({ runtime, inputs: [a, b], shape }: Call<NoAttrs>) => {
    const y = allocate(runtime, shape, name, row.dtype ?? floatOf(a!, b!));
    launch('forward', name, shape, { a: a!, b: b! }, { y }, row.backward ? {} : kindOfIntegers(name, a!, b!));
    return y;
  },
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
  cases: [...casesFor(row.fill), ...(row.backward ? [] : integerCases)],
});

export const addOp = binaryOp('add', {
  formula: (a, b) => a + b, backward: ({ grad, shapes }) => [sumTo(grad, shapes[0]!), sumTo(grad, shapes[1]!)],
});
export const subOp = binaryOp('sub', {
  formula: (a, b) => a - b, backward: ({ grad, shapes, needs }) => [sumTo(grad, shapes[0]!), needs[1] ? neg(sumTo(grad, shapes[1]!)) : null],
});
export const mulOp = binaryOp('mul', { formula: (a, b) => a * b, keeps: { inputs: [0, 1] }, backward: gradients('mul') });
export const divOp = binaryOp('div', {
  formula: (a, b) => a / b, keeps: { inputs: [0, 1] }, fill: [undefined, awayFrom([0], 0.3)], backward: gradients('div'),
});

const apart: Row['fill'] = [uniform(-1, 1), (random, count) => Array.from({ length: count }, () => (random.next() < 0.5 ? -2 : 2) + random.uniform(-0.5, 0.5))];

/** The larger (smaller) operand takes the gradient, a tie halves it, as in PyTorch. */
export const maximumOp = binaryOp('maximum', { formula: Math.max, keeps: { inputs: [0, 1] }, fill: apart, backward: gradients('maximum') });
export const minimumOp = binaryOp('minimum', { formula: Math.min, keeps: { inputs: [0, 1] }, fill: apart, backward: gradients('minimum') });

/** Few different numbers, so that some are equal. */
const few = integers(3);
const comparison = (name: Name, holds: (a: number, b: number) => boolean): Op<NoAttrs> =>
  binaryOp(name, { formula: (a, b) => (holds(a, b) ? 1 : 0), backward: null, dtype: 'bool', fill: [few, few] });

export const eqOp = comparison('eq', (a, b) => a === b);
export const neOp = comparison('ne', (a, b) => a !== b);
export const ltOp = comparison('lt', (a, b) => a < b);
export const leOp = comparison('le', (a, b) => a <= b);
export const gtOp = comparison('gt', (a, b) => a > b);
export const geOp = comparison('ge', (a, b) => a >= b);

type Operand = Tensor | number;
const apply = (op: Op<NoAttrs>, a: Tensor, b: Tensor): Tensor => run(op, [a, b], {});

/** scale · a + shift in the name of the op that was called. */
const scaled = (op: string, a: Tensor, scale: number, shift = 0): Tensor => run(affineOp, [a], { a: scale, b: shift }, op);

/** By a number whose reciprocal float32 has not in full, it goes in two steps, the first by a power of two. */
const divideBy = (a: Tensor, b: number): Tensor => {
  const size = Math.abs(b);
  const first = size > 0 && size < 2 ** -126 ? 2 ** 64 : size > 2 ** 126 && size < Infinity ? 2 ** -64 : 1;
  return first === 1 ? scaled('div', a, 1 / b) : affine(scaled('div', a, first), 1 / (b * first));
};

/** a + b with broadcasting; b may be a number. */
export const add = (a: Tensor, b: Operand): Tensor => (typeof b === 'number' ? scaled('add', a, 1, b) : apply(addOp, a, b));
/** a − b with broadcasting; b may be a number. */
export const sub = (a: Tensor, b: Operand): Tensor => (typeof b === 'number' ? scaled('sub', a, 1, -b) : apply(subOp, a, b));
/** a · b with broadcasting; b may be a number. */
export const mul = (a: Tensor, b: Operand): Tensor => (typeof b === 'number' ? scaled('mul', a, b) : apply(mulOp, a, b));
/** a / b with broadcasting; b may be a number. */
export const div = (a: Tensor, b: Operand): Tensor => (typeof b === 'number' ? divideBy(a, b) : apply(divOp, a, b));
/** Element-wise maximum; NaN of either side stays NaN, a tie halves the gradient. */
export const maximum = (a: Tensor, b: Tensor): Tensor => apply(maximumOp, a, b);
/** Element-wise minimum; NaN of either side stays NaN, a tie halves the gradient. */
export const minimum = (a: Tensor, b: Tensor): Tensor => apply(minimumOp, a, b);
/** float16 would round the number, and integers would lose its fraction. */
const compare = (op: Op<NoAttrs>, a: Tensor, b: Operand): Tensor => {
  if (typeof b !== 'number') return apply(op, a, b);
  checkTensor(op.name, a, 0);
  checkFits(op.name, b, a);
  return apply(op, a, full([], b, { runtime: a.runtime, dtype: a.dtype === 'int32' || a.dtype === 'uint32' ? a.dtype : 'float32' }));
};

/** 1 where a = b, else 0 (dtype bool), with broadcasting; both of one type, integers included; b may be a number. Likewise the other comparisons. */
export const eq = (a: Tensor, b: Operand): Tensor => compare(eqOp, a, b);
export const ne = (a: Tensor, b: Operand): Tensor => compare(neOp, a, b);
export const lt = (a: Tensor, b: Operand): Tensor => compare(ltOp, a, b);
export const le = (a: Tensor, b: Operand): Tensor => compare(leOp, a, b);
export const gt = (a: Tensor, b: Operand): Tensor => compare(gtOp, a, b);
export const ge = (a: Tensor, b: Operand): Tensor => compare(geOp, a, b);

/**
 * total += x in place; both of one shape. For gradients, outside the tape.
 *
 * @throws UserError for two shapes, or where both lie in one buffer
 */
export const accumulate = (total: Tensor, x: Tensor): void => {
  checkTaken('accumulate', [total, x]);
  if (!sameShape(total.shape, x.shape)) fail(`accumulate: shapes ${formatShape(total.shape)} and ${formatShape(x.shape)} must be equal`);
  const { shape, runtime } = total;
  const items = quadCount(shape);
  const { steps, grid } = stretchesFor(runtime, items);
  total.storage.changed();
  dispatch(runtime, shader.kernel('accumulate'), { a: x, total },
    { ...NO_WALK, turns: steps, items }, grid, 'accumulate');
};
