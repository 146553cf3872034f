import source from '../../shaders/topk.wgsl';
import { fail } from '../errors.js';
import { Shader } from '../kernels/shader.js';
import { formatShape, quadsPerRow, rowCount, rowWidth, sameShape, type Shape } from '../tensor/shape.js';
import { Tensor } from '../tensor/tensor.js';
import { checkLabelled } from './arguments.js';
import { type Fill, integers, literal } from './cases.js';
import { type Nd, nd } from './nd.js';
import { allocate, bytesOf, dispatch, gridFor, type NoAttrs, type Op, run } from './op.js';

const shader = new Shader('topk', source);
/** Each entry costs a pass over its row. */
const MAX_K = 16;
const MAX_KS = 4;

const paramsOf = (shape: Shape, k = 0, ks: readonly number[] = []) => {
  const rows = rowCount(shape);
  return { rows, padded: Math.ceil(rows / 4) * 4, quads: quadsPerRow(shape), width: rowWidth(shape), k, ks };
};

const rankOf = (logits: Tensor, labels: Tensor): Tensor => {
  const ranks = allocate(logits.runtime, labels.shape, 'labelRank', 'int32');
  const params = paramsOf(logits.shape);
  dispatch(logits.runtime, shader.kernel('labelRank'), { x: logits, labels, ranks }, params, gridFor(params.padded));
  return ranks;
};

const asOrder = (v: number): number => (Number.isNaN(v) ? Infinity : v);

/** Positions of a row's elements from the largest to the smallest: a stable sort, NaN first. */
const sortedPositions = (row: ArrayLike<number>): number[] =>
  Array.from(row, (_, i) => i).sort((a, b) => {
    const [u, v] = [row[a]!, row[b]!];
    const nan = Number(Number.isNaN(v)) - Number(Number.isNaN(u));
    return nan || (asOrder(v) > asOrder(u) ? 1 : asOrder(v) < asOrder(u) ? -1 : 0) || a - b;
  });

const rows = (x: Nd): Float64Array[] => {
  const width = rowWidth(x.shape);
  return Array.from({ length: x.data.length / width }, (_, i) => x.data.subarray(i * width, (i + 1) * width));
};

const referenceRanks = (logits: Nd, labels: Nd): number[] => rows(logits).map((row, i) => {
  const label = labels.data[i]!;
  const at = sortedPositions(row).indexOf(label);
  return at < 0 || Number.isNaN(row[label]!) ? row.length : at;
});

/** Few different values, so that there are ties. */
const tied: Fill = (random, count) => Array.from({ length: count }, () => Math.floor(random.next() * 4) - 2);
const odd: Fill = literal([NaN, 1, 2, 3, 0, -0, 0, -1, Infinity, NaN, -Infinity, 2]);
const labelled = (name: string, shape: Shape, fill: Fill, labels: Fill = integers(shape[1]!)) =>
  ({ name, shapes: [shape, [shape[0]!]], fill: [fill, labels], dtypes: [undefined, 'int32'] as const });

const labelledCases = [
  labelled('ties', [9, 7], tied), labelled('one class', [3, 1], tied), labelled('more classes than four', [66, 130], tied),
  labelled('NaN, infinities and zeros', [3, 4], odd, literal([1, 1, 0])), labelled('label of NaN', [3, 4], odd, literal([0, 0, 1])),
  labelled('labels outside', [3, 4], odd, literal([4, -1, 2])),
];

export const labelRankOp: Op<NoAttrs> = {
  name: 'labelRank', takes: ['float', 'int32'], group: 'Selection', dtype: 'int32', backward: null,
  infer: (shapes) => {
    checkLabelled('labelRank', shapes);
    return shapes[1]!;
  },
  forward: ({ inputs: [logits, labels] }) => rankOf(logits!, labels!),
  reference: ([logits, labels]) => nd(labels!.shape, referenceRanks(logits!, labels!)),
  cost: ([logits, labels]) => ({ flops: 0, bytes: bytesOf(logits!, labels!, labels!) }),
  cases: [...labelledCases.map((c) => ({ ...c, attrs: {} })), { ...labelled('64×200', [64, 200], tied), attrs: {}, bench: true }],
};

interface KsAttrs {
  readonly ks: readonly number[];
}

export const topKCorrectOp: Op<KsAttrs> = {
  name: 'topKCorrect', takes: ['float', 'int32'], group: 'Selection', backward: null,
  infer: (shapes, { ks }) => {
    checkLabelled('topKCorrect', shapes);
    if (ks.length < 1 || ks.length > MAX_KS || !ks.every((k) => Number.isInteger(k) && k > 0)) fail(`topKCorrect: ks [${ks.join(', ')}] must be one to ${MAX_KS} integers of at least 1`);
    return [ks.length];
  },
  forward: ({ runtime, inputs: [logits, labels], attrs: { ks }, shape }) => {
    const counts = allocate(runtime, shape, 'topKCorrect');
    dispatch(runtime, shader.kernel('countBelow'), { labelRanks: rankOf(logits!, labels!), counts }, paramsOf(logits!.shape, ks.length, ks), [1, 1, 1]);
    return counts;
  },
  reference: ([logits, labels], { ks }) => {
    const ranks = referenceRanks(logits!, labels!);
    return nd([ks.length], ks.map((k) => ranks.filter((rank) => rank < k && rank < rowWidth(logits!.shape)).length));
  },
  cost: ([logits, labels], _, shape) => ({ flops: 0, bytes: bytesOf(logits!, labels!, shape) }),
  cases: [
    ...labelledCases.map((c) => ({ ...c, attrs: { ks: [1, 5] } })), { ...labelled('four counts', [9, 7], tied), attrs: { ks: [1, 2, 3, 4] } },
    { ...labelled('64×200', [64, 200], tied), attrs: { ks: [1, 5] }, bench: true },
  ],
};

interface KAttrs {
  readonly k: number;
}

export const topkIndicesOp: Op<KAttrs> = {
  name: 'topkIndices', group: 'Selection', dtype: 'int32', backward: null,
  infer: ([shape], { k }) => {
    if (!Number.isInteger(k) || k < 1 || k > Math.min(MAX_K, rowWidth(shape!))) fail(`topk: k = ${k} must be 1 … ${MAX_K} and at most the row length ${rowWidth(shape!)} of ${formatShape(shape!)}`);
    return shape!.length ? [...shape!.slice(0, -1), k] : [];
  },
  forward: ({ runtime, inputs: [x], attrs: { k }, shape }) => {
    const indices = allocate(runtime, shape, 'topk indices', 'int32');
    const params = paramsOf(x!.shape, k);
    dispatch(runtime, shader.kernel('largest'), { x: x!, indices }, params, gridFor(params.rows));
    return indices;
  },
  reference: ([x], { k }) => nd([...x!.shape.slice(0, -1), k], rows(x!).flatMap((row) => sortedPositions(row).slice(0, k))),
  cost: ([x], _, shape) => ({ flops: 0, bytes: bytesOf(x!, shape) }),
  cases: [
    { name: 'ties', shapes: [[5, 9]], attrs: { k: 5 }, fill: [tied] }, { name: 'one of each', shapes: [[2, 3, 6]], attrs: { k: 1 } },
    { name: 'whole rows', shapes: [[3, 4]], attrs: { k: 4 }, fill: [odd] }, { name: 'sixteen', shapes: [[70, 33]], attrs: { k: 16 } },
  ],
};

export const takeAlongLastOp: Op<NoAttrs> = {
  name: 'takeAlongLast', takes: ['float', 'int32'], group: 'Selection',
  infer: ([x, positions]) => {
    if (!sameShape(x!.slice(0, -1), positions!.slice(0, -1)) || x!.length !== positions!.length) {
      fail(`takeAlongLast: input ${formatShape(x!)} and positions ${formatShape(positions!)} must agree in all axes but the last`);
    }
    return positions!;
  },
  forward: ({ runtime, inputs: [x, positions], shape }) => {
    const values = Tensor.allocate(runtime, shape, x!.dtype, 'takeAlongLast');
    const params = paramsOf(x!.shape, rowWidth(shape));
    dispatch(runtime, shader.kernel('take'), { elements: x!, positions: positions!, values }, params, gridFor(params.rows * quadsPerRow(shape)));
    return values;
  },
  keeps: { inputs: [1] },
  backward: ({ runtime, grad, inputs: [, positions], shapes: [x], shape }) => {
    const gradient = allocate(runtime, x!, 'takeAlongLast gradient');
    const params = paramsOf(x!, rowWidth(shape));
    dispatch(runtime, shader.kernel('giveBack'), { positions: positions!, given: grad, gradient }, params, gridFor(params.rows * params.quads));
    return [gradient, null];
  },
  reference: ([x, positions]) => {
    const [from, wanted] = [rows(x!), rows(positions!)];
    return nd(positions!.shape, wanted.flatMap((row, i) => Array.from(row, (at) => from[i]![at] ?? NaN)));
  },
  cost: ([x, positions], _, shape) => ({ flops: 0, bytes: bytesOf(x!, positions!, shape) }),
  cases: [
    { name: 'rows', shapes: [[3, 7], [3, 5]], attrs: {}, fill: [undefined, integers(7)], dtypes: [undefined, 'int32'] },
    { name: 'sixteen', shapes: [[2, 35, 33], [2, 35, 16]], attrs: {}, fill: [undefined, integers(33)], dtypes: [undefined, 'int32'] },
    { name: 'positions outside', shapes: [[1, 3], [1, 4]], attrs: {}, gradient: 'none', fill: [undefined, literal([0, 3, -1, 2])], dtypes: [undefined, 'int32'] },
  ],
};

/**
 * For each row the number of classes before the true one: those with a larger logit, and equal ones of
 * smaller index; so 0 is a correct top-1. NaN counts as larger than any number, as for argmax. Where the
 * true class's logit is NaN, or the label is no class, the rank is the number of classes.
 *
 * @param logits [batch, classes]
 * @param labels int32 [batch]
 * @returns int32 [batch]
 */
export const labelRank = (logits: Tensor, labels: Tensor): Tensor => run(labelRankOp, [logits, labels], {});

/**
 * How many rows have their true class among the k largest logits, for each of up to four k: a float32
 * tensor [ks.length] that stays on the device, so that counts add up over batches without read-back.
 * A row whose true class has NaN is never counted.
 */
export const topKCorrect = (logits: Tensor, labels: Tensor, ks: readonly number[] = [1, 5]): Tensor => run(topKCorrectOp, [logits, labels], { ks });

/** Elements of the last axis at int32 positions of the same leading shape; a position outside gives NaN (PyTorch's `gather` along the last axis). */
export const takeAlongLast = (x: Tensor, positions: Tensor): Tensor => run(takeAlongLastOp, [x, positions], {});

/** The k ≤ 16 largest elements of the last axis, in order, and their positions (int32). NaN counts as largest. Gradients go to the elements that were taken. */
export const topk = (x: Tensor, k: number): { values: Tensor; indices: Tensor } => {
  const indices = run(topkIndicesOp, [x], { k });
  return { values: takeAlongLast(x, indices), indices };
};
