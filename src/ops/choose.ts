import source from '../../shaders/choose.wgsl';
import { fail } from '../errors.js';
import type { Constants } from '../kernels/shader.js';
import { Shader } from '../kernels/shader.js';
import { broadcastShapes, formatShape, sameShape, type Shape } from '../tensor/shape.js';
import { type DType, Tensor } from '../tensor/tensor.js';
import { broadcastDispatch } from './broadcast.js';
import { integers, type OpCase } from './cases.js';
import { checkFits, checkTypes, commonType } from './convert.js';
import { bitsOf, full } from './fill.js';
import { broadcastOffset, forEachIndex, nd } from './nd.js';
import { bytesOf, type NoAttrs, type Op, run } from './op.js';
import { sumTo } from './reduce.js';

const shader = new Shader('choose', source);
const OPERANDS = ['c', 'a', 'b'];

interface Operands {
  /** The condition. */
  readonly c: Tensor;
  readonly a: Tensor;
  readonly b?: Tensor;
}

/** Runs an entry of the shader on operands that are broadcast to `shape`; `outputs` have it. */
const launch = (entry: string, shape: Shape, operands: Operands, outputs: Readonly<Record<string, Tensor>>, constants: Constants = {}, value = 0): void =>
  broadcastDispatch(shader, OPERANDS, { op: 'where', entry, constants, params: { value } }, shape, { ...operands }, outputs);

/** x with `bits` where the condition holds, or with KEEPS where it does not. */
const filled = (x: Tensor, condition: Tensor, bits: number, KEEPS: 0 | 1 = 0): Tensor => {
  const y = Tensor.allocate(x.runtime, x.shape, x.dtype, 'maskedFill');
  launch('fillWhere', x.shape, { c: condition, a: x }, { y }, { KEEPS }, bits);
  return y;
};

/** What of a gradient goes where the condition holds, and the rest. */
const split = (grad: Tensor, condition: Tensor): [Tensor, Tensor] => {
  const [y, other] = [0, 1].map(() => Tensor.allocate(grad.runtime, grad.shape, grad.dtype, 'where gradient')) as [Tensor, Tensor];
  launch('split', grad.shape, { c: condition, a: grad }, { y, other });
  return [y, other];
};

const bits = integers(2);
const whereCase = (name: string, shapes: readonly Shape[], bench = false): OpCase<NoAttrs> =>
  ({ name, shapes, attrs: {}, fill: [bits], dtypes: ['bool'], ...(bench ? { bench } : {}) });

export const whereOp: Op<NoAttrs> = {
  name: 'where', takes: ['float', 'any'], group: 'Masks', precision: 'any',
  infer: ([c, a, b]) => broadcastShapes('where', c!, broadcastShapes('where', a!, b!)),
  forward: ({ runtime, inputs: [c, a, b], shape }) => {
    const y = Tensor.allocate(runtime, shape, commonType([a!, b!]), 'where');
    launch('choose', shape, { c: c!, a: a!, b: b! }, { y });
    return y;
  },
  keeps: { inputs: [0] },
  backward: ({ grad, inputs: [c], needs, shapes }) => {
    const [toA, toB] = needs[1] && needs[2] ? split(grad, c!) : [needs[1] ? filled(grad, c!, 0, 1) : null, needs[2] ? filled(grad, c!, 0) : null];
    return [null, toA && sumTo(toA, shapes[1]!), toB && sumTo(toB, shapes[2]!)];
  },
  reference: ([c, a, b]) => {
    const out = nd(broadcastShapes('where', c!.shape, broadcastShapes('where', a!.shape, b!.shape)));
    forEachIndex(out.shape, (index, flat) => {
      const from = c!.data[broadcastOffset(c!.shape, index)] === 0 ? b! : a!;
      out.data[flat] = from.data[broadcastOffset(from.shape, index)]!;
    });
    return out;
  },
  cost: ([c, a, b], _, shape) => ({ flops: 0, bytes: bytesOf(c!, a!, b!, shape) }),
  cases: [
    whereCase('equal shapes', [[2, 3, 5], [2, 3, 5], [2, 3, 5]]), whereCase('scalars', [[3, 5], [], [1]]),
    whereCase('mask of rows', [[3, 1], [3, 6], [6]]), whereCase('one condition', [[], [2, 3], [2, 3]]), whereCase('condition alone is large', [[2, 3, 3], [3], [2, 1, 1]]),
    whereCase('many ragged rows', [[60, 40, 1], [60, 40, 33], [33]]),
    whereCase('2×26×26×768', [[2, 26, 26, 768], [2, 26, 26, 768], []], true),
  ],
};

interface FillAttrs {
  readonly value: number;
}

export const maskedFillOp: Op<FillAttrs> = {
  name: 'maskedFill', takes: ['any', 'float'], group: 'Masks', precision: 'any',
  infer: ([x, mask]) => {
    if (!sameShape(broadcastShapes('maskedFill', x!, mask!), x!)) fail(`maskedFill: mask ${formatShape(mask!)} is larger than the input ${formatShape(x!)}; it must broadcast to the input's shape`);
    return x!;
  },
  forward: ({ inputs: [x, mask], attrs: { value } }) => filled(x!, mask!, bitsOf(value, x!.dtype)),
  keeps: { inputs: [1] },
  backward: ({ grad, inputs: [, mask] }) => [filled(grad, mask!, 0), null],
  reference: ([x, mask], { value }) => {
    const out = nd(x!.shape);
    forEachIndex(out.shape, (index, flat) => { out.data[flat] = mask!.data[broadcastOffset(mask!.shape, index)] === 0 ? x!.data[flat]! : value; });
    return out;
  },
  cost: ([x, mask], _, shape) => ({ flops: 0, bytes: bytesOf(x!, mask!, shape) }),
  cases: [
    { name: 'equal shapes', shapes: [[2, 3, 5], [2, 3, 5]], attrs: { value: -2.5 }, fill: [undefined, bits], dtypes: [undefined, 'bool'] },
    { name: 'mask of pixels', shapes: [[2, 3, 3, 6], [2, 3, 3, 1]], attrs: { value: 0 }, fill: [undefined, bits], dtypes: [undefined, 'bool'] },
    { name: 'infinity', shapes: [[4, 3], [3]], attrs: { value: -Infinity }, fill: [undefined, bits], dtypes: [undefined, 'bool'], gradient: 'none' },
    { name: 'int32', shapes: [[7], [7]], attrs: { value: -3 }, fill: [integers(50), bits], dtypes: ['int32', 'bool'], gradient: 'none' },
    { name: '2×448×448×3', shapes: [[2, 448, 448, 3], [2, 448, 448, 1]], attrs: { value: 0 }, fill: [undefined, bits], dtypes: [undefined, 'bool'], bench: true },
  ],
};

/** The type of a number that meets a tensor: bools hold 0 and 1 alone. */
const typeBeside = (value: number, other: Tensor): DType => {
  checkFits('where', value, other);
  return other.dtype === 'bool' && value !== 0 && value !== 1 ? 'float32' : other.dtype;
};

/**
 * a where the condition is not 0, else b, with broadcasting; a or b may be numbers (PyTorch's `where`).
 *
 * @throws UserError where a number does not fit the integers that it meets
 */
export const where = (condition: Tensor, a: Tensor | number, b: Tensor | number): Tensor => {
  const asTensor = (x: Tensor | number, other: Tensor | number): Tensor =>
    (typeof x === 'number' ? full([], x, { runtime: condition.runtime, dtype: other instanceof Tensor ? typeBeside(x, other) : 'float32' }) : x);
  const [ifTrue, ifFalse] = [asTensor(a, b), asTensor(b, a)];
  checkTypes('where', [ifTrue, ifFalse]);
  return run(whereOp, [condition, ifTrue, ifFalse], {});
};

/**
 * x with `value` where the mask is not 0; the mask broadcasts to x's shape. Filled elements have no gradient.
 *
 * @throws UserError where the value does not fit x's integers
 */
export const maskedFill = (x: Tensor, mask: Tensor, value: number): Tensor => {
  if (x instanceof Tensor) checkFits('maskedFill', value, x);
  return run(maskedFillOp, [x, mask], { value });
};
