import { fail } from '../errors.js';
import { formatShape, numel, quadsPerRow, sameShape, type Shape } from '../tensor/shape.js';
import type { DType, Tensor } from '../tensor/tensor.js';
import { checkNames } from './arguments.js';
import { add } from './binary.js';
import { cast } from './cast.js';
import { gemmRows, gemmWeights, rowsGeometry } from './gemm.js';
import { transpose } from './layout.js';
import { type Nd, nd } from './nd.js';
import { allocate, bytesOf, floatOf, type Op, run } from './op.js';
import { sumTo } from './reduce.js';
import { reshape } from './reshape.js';

interface Attrs {
  readonly transposeA: boolean;
  readonly transposeB: boolean;
}

/** A matrix operand: its leading axes are batches. */
const split = (shape: Shape, transposed: boolean): { batch: Shape; rows: number; columns: number } => {
  const [r, c] = [shape[shape.length - 2]!, shape[shape.length - 1]!];
  return { batch: shape.slice(0, -2), rows: transposed ? c : r, columns: transposed ? r : c };
};

/** Batch axes of the result: those of both operands, or of one where the other is a single matrix; null where they do not fit. */
const batchAxes = (a: Shape, b: Shape): Shape | null => {
  if (sameShape(a, b) || (numel(b) === 1 && b.length <= a.length)) return a;
  return numel(a) === 1 && a.length <= b.length ? b : null;
};

const infer = (shapes: readonly Shape[], { transposeA, transposeB }: Attrs): Shape => {
  const [sa, sb] = [shapes[0]!, shapes[1]!];
  if (sa.length < 2 || sb.length < 2) fail(`matmul: both operands need at least two dimensions, got ${formatShape(sa)} and ${formatShape(sb)}; reshape vectors to a row or column`);
  const [a, b] = [split(sa, transposeA), split(sb, transposeB)];
  if (a.columns !== b.rows) fail(`matmul: inner sizes differ: ${formatShape(sa)}${transposeA ? ' transposed' : ''} has ${a.columns} columns, ${formatShape(sb)}${transposeB ? ' transposed' : ''} has ${b.rows} rows`);
  const batch = batchAxes(a.batch, b.batch) ??
    fail(`matmul: batch axes ${formatShape(a.batch)} and ${formatShape(b.batch)} differ; they must be equal, or one operand must be a single matrix`);
  return [...batch, a.rows, b.columns];
};

/**
 * Product of 3-D a [B or 1, ·, ·] and b [B or 1, ·, ·]. A both-transposed product is not needed: callers transpose
 * the result's operands instead.
 */
const product = (a: Tensor, b: Tensor, shape: Shape, { transposeA, transposeB }: Attrs, dtype: DType, into: Tensor | null): Tensor => {
  const y = into ? into.alias(shape) : allocate(a.runtime, shape, 'matmul', dtype);
  const pitch = { xPitch: quadsPerRow(a.shape), wPitch: quadsPerRow(b.shape), wTap: 0, yPitch: quadsPerRow(shape) };
  const strideOf = (s: Shape): number => (s[0] === 1 ? 0 : s[1]! * quadsPerRow(s));
  const batch = { batches: shape[0]!, xBatch: strideOf(a.shape), wBatch: strideOf(b.shape), yBatch: strideOf(shape) };
  if (transposeA) gemmWeights(a, b, y, rowsGeometry(a.shape[1]!), { depth: shape[1]!, width: shape[2]!, ...pitch, ...batch }, { accumulate: into !== null });
  else
    gemmRows(a, b, y, rowsGeometry(shape[1]!), { depth: a.shape[2]!, width: shape[2]!, ...pitch, ...batch },
      { transposed: transposeB, accumulate: into !== null });
  return y;
};

/** Views both operands as 3-D; a single matrix b takes all batches of a as rows. @param into the product is added to what is there */
const multiply = (a: Tensor, b: Tensor, attrs: Attrs, dtype: DType, into: Tensor | null = null): Tensor => {
  const { transposeA, transposeB } = attrs;
  const shape = infer([a.shape, b.shape], attrs);
  const single = numel(b.shape.slice(0, -2)) === 1;
  const b3 = reshape(b, [numel(b.shape.slice(0, -2)), ...b.shape.slice(-2)]);
  if (transposeA && transposeB) return multiply(transpose(a, -2, -1), b, { transposeA: false, transposeB: true }, dtype, into);
  const flat = single && !transposeA;
  const a3 = reshape(a, flat ? [1, a.size / a.shape[a.rank - 1]!, a.shape[a.rank - 1]!] : [numel(a.shape.slice(0, -2)), ...a.shape.slice(-2)]);
  const out3 = flat ? [1, numel(shape.slice(0, -1)), shape[shape.length - 1]!] : [numel(shape.slice(0, -2)), ...shape.slice(-2)];
  return reshape(product(a3, b3, out3, attrs, dtype, into), shape);
};

export const matmulOp: Op<Attrs> = {
  name: 'matmul',
  group: 'Linear algebra',
  precision: 'half',
  infer,
  forward: ({ inputs: [a, b], attrs }) => multiply(a!, b!, attrs, floatOf(a!, b!)),
  keeps: { inputs: [0, 1] },
  backward: ({ grad, inputs: [a, b], attrs: { transposeA: ta, transposeB: tb }, shapes, dtypes, needs, into = [] }) => {
    const [toA, toB] = dtypes as [DType, DType];
    const gradA = (): Tensor =>
      (ta ? multiply(b!, grad, { transposeA: tb, transposeB: true }, toA) : multiply(grad, b!, { transposeA: false, transposeB: !tb }, toA));
    const gradB = (): Tensor =>
      (tb ? multiply(grad, a!, { transposeA: true, transposeB: ta }, toB) : multiply(a!, grad, { transposeA: !ta, transposeB: false }, toB));
    return [
      needs[0] ? sumTo(gradA(), shapes[0]!) : null,
      needs[1] ? weightGradient(a!, b!, grad, { transposeA: ta, transposeB: tb }, toB, into[1] ?? null, gradB) : null,
    ];
  },
  reference: ([a, b], attrs) => referenceProduct(a!, b!, attrs),
  cost: (shapes, { transposeA }, shape) => ({
    flops: 2 * numel(shape) * split(shapes[0]!, transposeA).columns, bytes: bytesOf(...shapes, shape),
  }),
  cases: [
    ...([[false, false], [true, false], [false, true], [true, true]] as const).flatMap(([transposeA, transposeB]) => {
      const oriented = (r: number, c: number, flip: boolean): [number, number] => (flip ? [c, r] : [r, c]);
      const name = `${transposeA ? 'aᵀ' : 'a'}·${transposeB ? 'bᵀ' : 'b'}`;
      const attrs = { transposeA, transposeB };
      return [
        { name: `${name} tiny`, shapes: [oriented(3, 5, transposeA), oriented(5, 2, transposeB)], attrs },
        { name: `${name} ragged`, shapes: [oriented(37, 19, transposeA), oriented(19, 70, transposeB)], attrs },
        { name: `${name} batched`, shapes: [[3, ...oriented(5, 7, transposeA)], [3, ...oriented(7, 6, transposeB)]], attrs },
        { name: `${name} size 1`, shapes: [oriented(1, 1, transposeA), oriented(1, 1, transposeB)], attrs },
      ];
    }),
    { name: 'batch by matrix', shapes: [[2, 3, 4, 5], [5, 6]], attrs: { transposeA: false, transposeB: false } },
    { name: 'matrix by batch', shapes: [[6, 5], [2, 3, 5, 7]], attrs: { transposeA: false, transposeB: false } },
    { name: 'matrixᵀ by batchᵀ', shapes: [[5, 6], [2, 3, 7, 5]], attrs: { transposeA: true, transposeB: true } },
    { name: 'batch of one matrix by batch', shapes: [[1, 4, 5], [3, 5, 2]], attrs: { transposeA: false, transposeB: false } },
    { name: 'great depth', shapes: [[3, 2048], [2048, 9]], attrs: { transposeA: false, transposeB: false } },
    { name: 'great depth, bᵀ', shapes: [[3, 2080], [9, 2080]], attrs: { transposeA: false, transposeB: true } },
    { name: 'great width', shapes: [[3, 5], [5, 2048]], attrs: { transposeA: false, transposeB: false } },
    { name: 'great width, many rows', shapes: [[101, 5], [5, 2048]], attrs: { transposeA: false, transposeB: false } },
    { name: 'great depth, many columns', shapes: [[35, 1024], [1024, 201]], attrs: { transposeA: false, transposeB: false } },
    { name: 'split reduction', shapes: [[3000, 9], [3000, 6]], attrs: { transposeA: true, transposeB: false } },
    ...([[512, true], [1024, true], [4096, 'gpu']] as const).map(([side, bench]) => (
      { name: `${side}³`, shapes: [[side, side], [side, side]], attrs: { transposeA: false, transposeB: false }, bench })),
    { name: '16×2048 · 2048×8', shapes: [[16, 2048], [2048, 8]], attrs: { transposeA: false, transposeB: false }, bench: true },
    { name: '12×24576 · 24576×200', shapes: [[12, 24576], [200, 24576]], attrs: { transposeA: false, transposeB: true }, bench: true },
  ],
};

/** Where one matrix b served all batches of a, their gradients are one long product, which may be added to `into`. */
const weightGradient = (
  a: Tensor, b: Tensor, grad: Tensor, { transposeA, transposeB }: Attrs, dtype: DType, into: Tensor | null, general: () => Tensor,
): Tensor | null => {
  if (numel(b.shape.slice(0, -2)) > 1 || transposeA) return sumTo(general(), b.shape);
  const flat = (t: Tensor): Tensor => reshape(t, [-1, t.shape[t.rank - 1]!]);
  const [x, y] = transposeB ? [grad, a] : [a, grad];
  const total = multiply(flat(x), flat(y), { transposeA: true, transposeB: false }, dtype, into && flat(into));
  return into ? null : reshape(total, b.shape);
};

const referenceProduct = (a: Nd, b: Nd, attrs: Attrs): Nd => {
  const out = nd(infer([a.shape, b.shape], attrs));
  const [sa, sb] = [split(a.shape, attrs.transposeA), split(b.shape, attrs.transposeB)];
  const [m, k, n] = [sa.rows, sa.columns, sb.columns];
  for (let batch = 0; batch < numel(out.shape.slice(0, -2)); batch++) {
    const [offA, offB] = [numel(sa.batch) === 1 ? 0 : batch * m * k, numel(sb.batch) === 1 ? 0 : batch * k * n];
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < n; j++) {
        let total = 0;
        for (let p = 0; p < k; p++) {
          total += a.data[offA + (attrs.transposeA ? p * m + i : i * k + p)]! * b.data[offB + (attrs.transposeB ? j * k + p : p * n + j)]!;
        }
        out.data[(batch * m + i) * n + j] = total;
      }
    }
  }
  return out;
};

/**
 * Matrix product over the last two axes: [..., M, K] · [..., K, N] → [..., M, N]. Leading axes are batches;
 * either operand may also be a single matrix for all of them. The options read an operand as transposed without copying it.
 * With `transposeA`, an infinity in the last row of b may come out as NaN on software adapters: their kernels multiply it by zeros that fill up a step.
 */
export const matmul = (a: Tensor, b: Tensor, options: Partial<Attrs> = {}): Tensor => {
  checkNames('matmul', options, ['transposeA', 'transposeB']);
  return run(matmulOp, [a, b], { transposeA: options.transposeA ?? false, transposeB: options.transposeB ?? false });
};

/** Fully connected layer: x [..., in] · weight [in, out] + bias [out]; float16 within `autocast`. */
export const linear = (x: Tensor, weight: Tensor, bias: Tensor | null = null): Tensor => {
  const y = matmul(x, weight);
  return bias ? cast(add(y, bias), y.dtype) : y;
};
