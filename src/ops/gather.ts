import source from '../../shaders/gather.wgsl';
import { fail } from '../errors.js';
import { linearGrid } from '../kernels/grid.js';
import type { Runtime } from '../kernels/runtime.js';
import { Shader } from '../kernels/shader.js';
import { scope } from '../tensor/scope.js';
import { formatShape, quadCount, quadsPerRow, type Shape } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { integers, type OpCase } from './cases.js';
import { mapNd } from './nd.js';
import { ABREAST, allocate, bytesOf, dispatch, gridFor, type NoAttrs, type Op, run, stepsFor } from './op.js';
import { checkTaken } from './taken.js';

const shader = new Shader('gather', source);

const paramsOf = (table: Shape, labels: Shape, beta = 0) =>
  ({ rows: labels[0]!, tableRows: table[0]!, quads: quadsPerRow(table), width: table[1]!, parts: 1, steps: 1, beta });

/** How the kernels with `partOf` go over a tensor: no invocation has parts of two rows, so each looks at labels once. */
const partsOf = (runtime: Runtime, shape: Shape) => {
  const turns = Math.ceil(quadsPerRow(shape) / ABREAST);
  const parts = Math.ceil(turns / stepsFor(runtime, quadCount(shape)));
  return { params: { parts, steps: Math.ceil(turns / parts) }, grid: gridFor(shape[0]! * parts * ABREAST) };
};

const rowsCase = (table: Shape, labels: number, more: Partial<OpCase<NoAttrs>> = {}): OpCase<NoAttrs> => ({
  name: `${labels} rows of ${table.join('×')}`, shapes: [table, [labels]], attrs: {}, fill: [undefined, integers(table[0]!)], dtypes: [undefined, 'int32'], ...more,
});

export const gatherRowsOp: Op<NoAttrs> = {
  name: 'gatherRows',
  takes: ['float', 'int32'],
  group: 'Indexing',
  infer: ([table, labels]) => {
    if (table!.length !== 2 || labels!.length !== 1) fail(`gatherRows: the table must be [K, D] and the labels [B], got ${formatShape(table!)} and ${formatShape(labels!)}`);
    return [labels![0]!, table![1]!];
  },
  forward: ({ runtime, inputs: [table, labels], shape }) => {
    const y = allocate(runtime, shape, 'gatherRows');
    const { params, grid } = partsOf(runtime, shape);
    dispatch(runtime, shader.kernel('gather'), { table: table!, labels: labels!, y }, { ...paramsOf(table!.shape, labels!.shape), ...params }, grid);
    return y;
  },
  keeps: { inputs: [1] },
  backward: ({ runtime, grad, inputs: [, labels], shapes: [table] }) => {
    const y = allocate(runtime, table!, 'gatherRows gradient');
    const { params, grid } = partsOf(runtime, table!);
    dispatch(runtime, shader.kernel('scatterAdd'), { rows: grad, labels: labels!, y }, { ...paramsOf(table!, labels!.shape), ...params }, grid);
    return [y, null];
  },
  reference: ([table, labels]) => {
    const width = table!.shape[1]!;
    return mapNd([labels!.shape[0]!, width], (i) => table!.data[labels!.data[Math.floor(i / width)]! * width + (i % width)]!);
  },
  cost: (_, __, out) => ({ flops: 0, bytes: bytesOf(out, out) }),
  cases: [
    rowsCase([4, 3], 6), rowsCase([1, 1], 1), rowsCase([5, 8], 2), rowsCase([3, 70], 9), rowsCase([3, 12_345], 7),
    rowsCase([200, 24576], 12, { bench: true }),
  ],
};

/**
 * Rows of a table [K, D] by labels (int32 [B]): [B, D]. The gradient of the table sums the rows taken several times,
 * in order. A label outside 0 … K − 1 gives a row of NaN.
 */
export const gatherRows = (table: Tensor, labels: Tensor): Tensor => run(gatherRowsOp, [table, labels], {});

export interface CenterUpdate {
  /** Share of the way to go towards the features. */
  readonly beta: number;
  /** Several rows of one class: all count, each against the old center (the authors' code), or only the last does. */
  readonly duplicates?: 'accumulate' | 'last';
  /** Whether centers are L2-normalised before the difference is taken (default). */
  readonly normalize?: boolean;
}

/**
 * WS-DAN's running centers, in place and outside the tape: centers[label] += beta · (feature − n), where n is the
 * center before the update, divided by max(‖center‖, 1e-12). centers [K, D], features [B, D], labels int32 [B];
 * labels outside 0 … K − 1 are passed over.
 */
export const updateCenters_ = (centers: Tensor, features: Tensor, labels: Tensor, options: CenterUpdate): void => {
  const { beta, duplicates = 'accumulate', normalize = true } = options;
  checkTaken('updateCenters_', [centers, features, labels], ['float', 'float', 'int32']);
  const [batch, width] = features.shape;
  if (centers.rank !== 2 || features.rank !== 2 || labels.rank !== 1 || centers.shape[1] !== width || labels.shape[0] !== batch) {
    fail(`updateCenters_: centers [K, D], features [B, D] and labels [B] do not fit: ${[centers, features, labels].map((t) => formatShape(t.shape)).join(', ')}`);
  }
  const params = paramsOf(centers.shape, labels.shape, beta);
  scope(() => {
    const factors = allocate(centers.runtime, labels.shape, 'center norms');
    if (normalize) dispatch(centers.runtime, shader.kernel('centerNorms'), { table: centers, labels, inverseNorms: factors }, params, linearGrid(batch!));
    const constants = { ACCUMULATE: duplicates === 'accumulate' ? 1 : 0, NORMALIZE: normalize ? 1 : 0 };
    dispatch(centers.runtime, shader.kernel('update', constants), { labels, rows: features, centers, factors }, params, gridFor(quadCount(features.shape)), 'updateCenters_');
  });
};
