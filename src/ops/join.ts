import source from '../../shaders/join.wgsl';
import { fail } from '../errors.js';
import { Shader } from '../kernels/shader.js';
import { broadcastShapes, formatShape, normalizeAxis, numel, quadCount, quadsPerRow, rowCount, rowWidth, sameShape, type Shape } from '../tensor/shape.js';
import { type DType, isFloat, Tensor } from '../tensor/tensor.js';
import { type Fill, integers, type OpCase } from './cases.js';
import { bitsOf, full } from './fill.js';
import { narrow } from './layout.js';
import { broadcastOffset, forEachIndex, type Nd, nd } from './nd.js';
import { type BackwardCall, bytesOf, type Call, dispatch, floatOf, gridFor, isRagged, type Op, run, stretchesFor } from './op.js';
import { sumTo } from './reduce.js';
import { reshape } from './reshape.js';
import { expanded } from './strided-copy.js';

const shader = new Shader('join', source);
const none = { items: 0, steps: 1, inner: 1, stride: 0, offset: 0, width: 0, span: 0, splatA: 0, splatB: 0, splatCondition: 0, value: 0 };

/** The type of tensors that are brought together: that of the first, but float32 where only some floats are float16. */
const commonType = (tensors: readonly Tensor[]): DType => (isFloat(tensors[0]!.dtype) ? floatOf(...tensors) : tensors[0]!.dtype);

interface CatAttrs {
  readonly axis: number;
}

/** Copies a piece to its place; `offset` is in entries of the axis. */
const place = (piece: Tensor, y: Tensor, axis: number, offset: number, isLast: boolean): void => {
  const { runtime, shape } = piece;
  const rowAxis = axis === shape.length - 1;
  if (rowAxis && (offset % 4 !== 0 || (!isLast && rowWidth(shape) % 4 !== 0))) {
    const stride = quadsPerRow(y.shape) * 4;
    const span = isLast ? stride - offset : rowWidth(shape);
    const inner = Math.ceil(span / 4);
    const items = rowCount(shape) * inner;
    dispatch(runtime, shader.kernel('placeElements'), { elements: piece, joined: y }, { ...none, items, inner, stride, offset, width: rowWidth(shape), span }, gridFor(items));
    return;
  }
  const outer = numel(shape.slice(0, axis));
  const perEntry = rowAxis ? 1 / 4 : quadCount(y.shape) / (outer * y.shape[axis]!);
  const items = quadCount(shape);
  const { steps, grid } = stretchesFor(runtime, items);
  dispatch(runtime, shader.kernel('placeQuads'), { x: piece, y },
    { ...none, items, steps, inner: items / outer, stride: quadCount(y.shape) / outer, offset: offset * perEntry }, grid);
};

const catForward = ({ runtime, inputs, attrs: { axis }, shape }: Call<CatAttrs>): Tensor => {
  const y = Tensor.allocate(runtime, shape, commonType(inputs), 'cat');
  let offset = 0;
  inputs.forEach((piece, i) => {
    place(piece, y, axis, offset, i === inputs.length - 1);
    offset += piece.shape[axis]!;
  });
  return y;
};

const catBackward = ({ grad, attrs: { axis }, shapes, needs }: BackwardCall<CatAttrs>) => {
  let offset = 0;
  return shapes.map((shape, i) => {
    const start = offset;
    offset += shape[axis]!;
    return needs[i] ? narrow(grad, axis, start, shape[axis]!) : null;
  });
};

const catReference = (inputs: readonly Nd[], axis: number, shape: Shape): Nd => {
  const outer = numel(shape.slice(0, axis));
  const data: number[] = [];
  for (let o = 0; o < outer; o++) {
    for (const { data: piece } of inputs) data.push(...piece.subarray((o * piece.length) / outer, ((o + 1) * piece.length) / outer));
  }
  return nd(shape, data);
};

const catInfer: Op<CatAttrs>['infer'] = (shapes, { axis }) => {
  const [first] = shapes as [Shape];
  for (const shape of shapes) {
    if (shape.length !== first.length || shape.some((size, i) => i !== axis && size !== first[i])) {
      fail(`cat: shapes ${shapes.map(formatShape).join(', ')} must agree in all axes but ${axis}`);
    }
  }
  return first.map((size, i) => (i === axis ? shapes.reduce((sum, shape) => sum + shape[axis]!, 0) : size));
};

export const catOp: Op<CatAttrs> = {
  name: 'cat', group: 'Shape', precision: 'any', infer: catInfer, forward: catForward, backward: catBackward,
  reference: (inputs, attrs) => catReference(inputs, attrs.axis, catInfer(inputs.map((x) => x.shape), attrs)),
  cost: (shapes, _, shape) => ({ flops: 0, bytes: bytesOf(...shapes, shape) }),
  cases: [
    { name: 'rows', shapes: [[2, 5], [3, 5]], attrs: { axis: 0 } },
    { name: 'channels of fours', shapes: [[3, 4], [3, 8], [3, 2]], attrs: { axis: 1 } },
    { name: 'ragged channels', shapes: [[2, 2, 3], [2, 2, 6], [2, 2, 1]], attrs: { axis: 2 } },
    { name: 'ragged after fours', shapes: [[2, 4], [2, 3], [2, 5], [2, 4]], attrs: { axis: 1 } },
    { name: 'middle', shapes: [[2, 1, 3], [2, 4, 3]], attrs: { axis: 1 } },
    { name: 'one piece', shapes: [[3, 3]], attrs: { axis: 1 } },
    { name: 'nine pieces', shapes: new Array<Shape>(9).fill([2, 1]), attrs: { axis: 1 } },
    { name: 'int32', shapes: [[2, 3], [2, 2]], attrs: { axis: 1 }, fill: [integers(9), integers(9)], dtypes: ['int32', 'int32'], gradient: 'none' },
    { name: '35² of 64, 64 and 96 channels', shapes: [[2, 35, 35, 64], [2, 35, 35, 64], [2, 35, 35, 96]], attrs: { axis: 3 }, bench: true },
  ],
};

type None = Record<string, never>;

/** One element is shown by the kernel; other smaller operands are copied to the full shape first. */
const operand = (x: Tensor, shape: Shape): { tensor: Tensor; splat: number } => {
  if (sameShape(x.shape, shape)) return { tensor: x, splat: 0 };
  return x.size === 1 ? { tensor: x, splat: 1 } : { tensor: expanded(x, shape), splat: 0 };
};

const choose = (condition: Tensor, ifTrue: Tensor, ifFalse: Tensor, shape: Shape): Tensor => {
  const y = Tensor.allocate(condition.runtime, shape, commonType([ifTrue, ifFalse]), 'where');
  const [c, a, b] = [operand(condition, shape), operand(ifTrue, shape), operand(ifFalse, shape)];
  const { steps, grid } = stretchesFor(condition.runtime, quadCount(shape));
  dispatch(condition.runtime, shader.kernel('choose', { RAGGED: isRagged(shape) }), { condition: c.tensor, a: a.tensor, b: b.tensor, y }, {
    ...none, items: quadCount(shape), steps, inner: quadsPerRow(shape), width: rowWidth(shape), splatA: a.splat, splatB: b.splat, splatCondition: c.splat,
  }, grid);
  return y;
};

const bits: Fill = (random, count) => Array.from({ length: count }, () => (random.next() < 0.5 ? 0 : 1));
const whereCase = (name: string, shapes: readonly Shape[], bench = false): OpCase<None> =>
  ({ name, shapes, attrs: {}, fill: [bits], dtypes: ['bool'], ...(bench ? { bench } : {}) });

export const whereOp: Op<None> = {
  name: 'where', group: 'Masks', precision: 'any',
  infer: ([c, a, b]) => broadcastShapes('where', c!, broadcastShapes('where', a!, b!)),
  forward: ({ inputs: [c, a, b], shape }) => choose(c!, a!, b!, shape),
  keeps: { inputs: [0] },
  backward: ({ runtime, grad, inputs: [c], needs, shapes, shape }) => {
    const zero = full([], 0, { runtime });
    return [null, needs[1] ? sumTo(choose(c!, grad, zero, shape), shapes[1]!) : null, needs[2] ? sumTo(choose(c!, zero, grad, shape), shapes[2]!) : null];
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
    whereCase('2×26×26×768', [[2, 26, 26, 768], [2, 26, 26, 768], []], true),
  ],
};

interface FillAttrs {
  readonly value: number;
}

export const maskedFillOp: Op<FillAttrs> = {
  name: 'maskedFill', group: 'Masks', precision: 'any',
  infer: ([x, mask]) => {
    if (!sameShape(broadcastShapes('maskedFill', x!, mask!), x!)) fail(`maskedFill: mask ${formatShape(mask!)} is larger than the input ${formatShape(x!)}; it must broadcast to the input's shape`);
    return x!;
  },
  forward: ({ runtime, inputs: [x, mask], attrs: { value }, shape }) => {
    const y = Tensor.allocate(runtime, shape, x!.dtype, 'maskedFill');
    const condition = sameShape(mask!.shape, shape) ? mask! : expanded(mask!, shape);
    const { steps, grid } = stretchesFor(runtime, quadCount(shape));
    dispatch(runtime, shader.kernel('fillWhere', { RAGGED: isRagged(shape) }), { x: x!, y, condition },
      { ...none, items: quadCount(shape), steps, inner: quadsPerRow(shape), width: rowWidth(shape), value: bitsOf(value, x!.dtype) }, grid);
    return y;
  },
  keeps: { inputs: [1] },
  backward: ({ runtime, grad, inputs: [, mask], shape }) => [choose(mask!, full([], 0, { runtime }), grad, shape), null],
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

const kind = (dtype: DType): DType => (dtype === 'bool' || dtype === 'float16' ? 'float32' : dtype);
const checkTypes = (op: string, tensors: readonly Tensor[]): void => {
  const other = tensors.find((x) => kind(x.dtype) !== kind(tensors[0]!.dtype));
  if (other) fail(`${op}: all tensors must have one type; "${tensors[0]!.label}" is ${tensors[0]!.dtype}, "${other.label}" is ${other.dtype}`);
};

/**
 * Tensors joined along an existing axis (PyTorch's `cat`); all other sizes must agree.
 *
 * @throws UserError for an empty list, or shapes or types that disagree
 */
export const cat = (tensors: readonly Tensor[], axis = 0): Tensor => {
  if (tensors.length === 0) fail('cat: the list of tensors is empty');
  checkTypes('cat', tensors);
  return run(catOp, tensors, { axis: normalizeAxis('cat', axis, tensors[0]!.rank) });
};

/** Tensors of one shape joined along a new axis (PyTorch's `stack`). */
export const stack = (tensors: readonly Tensor[], axis = 0): Tensor => {
  if (tensors.length === 0) fail('stack: the list of tensors is empty');
  const at = normalizeAxis('stack', axis, tensors[0]!.rank + 1);
  const other = tensors.find((x) => !sameShape(x.shape, tensors[0]!.shape));
  if (other) fail(`stack: shapes ${formatShape(tensors[0]!.shape)} and ${formatShape(other.shape)} differ; all must be equal`);
  return cat(tensors.map((x) => reshape(x, [...x.shape.slice(0, at), 1, ...x.shape.slice(at)])), at);
};

/** a where the condition is not 0, else b, with broadcasting; a or b may be numbers (PyTorch's `where`). */
export const where = (condition: Tensor, a: Tensor | number, b: Tensor | number): Tensor => {
  const dtype = a instanceof Tensor ? a.dtype : b instanceof Tensor ? b.dtype : 'float32';
  const asTensor = (x: Tensor | number): Tensor => (x instanceof Tensor ? x : full([], x, { runtime: condition.runtime, dtype }));
  const [ifTrue, ifFalse] = [asTensor(a), asTensor(b)];
  checkTypes('where', [ifTrue, ifFalse]);
  return run(whereOp, [condition, ifTrue, ifFalse], {});
};

/** x with `value` where the mask is not 0; the mask broadcasts to x's shape. Filled elements have no gradient. */
export const maskedFill = (x: Tensor, mask: Tensor, value: number): Tensor => run(maskedFillOp, [x, mask], { value });
