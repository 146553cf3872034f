import { fail } from '../errors.js';
import { formatShape, numel, quadCount, quadsPerRow, type Shape } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { mul } from './binary.js';
import type { OpCase } from './cases.js';
import { permute, slice } from './layout.js';
import { matmul } from './matmul.js';
import { forEachIndex, nd } from './nd.js';
import { bytesOf, type Op, run } from './op.js';
import { sum } from './reduce.js';
import { reshape } from './reshape.js';
import { expanded } from './strided-copy.js';

interface Attrs {
  readonly equation: string;
}

/** Labels of the operands and the result, one letter per axis. */
interface Labels {
  readonly a: string;
  readonly b: string;
  readonly out: string;
}

const parse = (equation: string): Labels => {
  const [, a, b, out] = /^([a-zA-Z]*),([a-zA-Z]*)->([a-zA-Z]*)$/.exec(equation.replace(/\s/g, '')) ??
    fail(`einsum: "${equation}" is not of the form "ij,jk->ik": two operands with a letter per axis, and the result's letters`);
  for (const labels of [a!, b!, out!]) {
    const twice = [...labels].find((label, i) => labels.indexOf(label) !== i);
    if (twice) fail(`einsum: "${equation}" names ${twice} twice in one operand; diagonals are not supported`);
  }
  const unknown = [...out!].find((label) => !a!.includes(label) && !b!.includes(label));
  if (unknown) fail(`einsum: "${equation}" has ${unknown} in the result but in neither operand`);
  return { a: a!, b: b!, out: out! };
};

const sizesOf = (equation: string, { a, b }: Labels, [shapeA, shapeB]: readonly Shape[]): Map<string, number> => {
  const sizes = new Map<string, number>();
  for (const [labels, shape] of [[a, shapeA!], [b, shapeB!]] as const) {
    if (labels.length !== shape.length) fail(`einsum: "${equation}" gives ${labels.length} letters to an operand of shape ${formatShape(shape)}`);
    [...labels].forEach((label, i) => {
      const known = sizes.get(label);
      if (known !== undefined && known !== shape[i]) fail(`einsum: ${label} of "${equation}" has size ${known} in the first operand and ${shape[i]} in the second`);
      sizes.set(label, shape[i]!);
    });
  }
  return sizes;
};

const shared = (x: string, ...others: readonly string[]): string => [...x].filter((label) => others.every((other) => other.includes(label))).join('');
const without = (x: string, ...others: readonly string[]): string => [...x].filter((label) => !others.some((other) => other.includes(label))).join('');

/** Sums over axes that neither the other operand nor the result has. */
const dropPrivate = (x: Tensor, labels: string, kept: string): [Tensor, string] => {
  const own = [...labels].map((_, i) => i).filter((i) => !kept.includes(labels[i]!));
  return own.length ? [sum(x, own), shared(labels, kept)] : [x, labels];
};

/** Reorders labelled axes; labels of `to` that x lacks become axes of size 1. */
const arrange = (x: Tensor, labels: string, to: string): Tensor => {
  const present = shared(to, labels);
  const ordered = present === labels ? x : permute(x, [...present].map((label) => labels.indexOf(label)));
  return present === to ? ordered : reshape(ordered, [...to].map((label) => (labels.includes(label) ? x.shape[labels.indexOf(label)]! : 1)));
};

/** Products without sums, or with sums over everything that is not shared with the result: no matrix product to gain from. */
const elementwise = (a: Tensor, b: Tensor, { a: la, b: lb, out }: Labels): Tensor => {
  const all = out + without(la, out);
  const product = mul(arrange(a, la, all), arrange(b, lb, all));
  return all === out ? product : sum(product, [...all].map((_, i) => i).slice(out.length));
};

/** Whether an operand lies as [batch, columns, rows]. */
const isTurned = (labels: string, batch: string, rows: string, columns: string): boolean =>
  labels === batch + columns + rows && labels !== batch + rows + columns;

/**
 * A batched matrix product; operands that already lie in one of its orders are not copied. Several axes at the end of both operands that are
 * summed over, or of one that become columns, are taken for one axis as they are stored, with the zeros behind each row.
 */
const asMatrices = (a: Tensor, b: Tensor, { a: la, b: lb, out }: Labels, sizes: ReadonlyMap<string, number>): Tensor => {
  const batch = shared(out, la, lb);
  const [left, right] = [without(shared(out, la), lb), without(shared(out, lb), la)];
  // Rows and columns of the result the other way round: so are the operands, and the result need not be turned.
  if (right && out === batch + right + left) return asMatrices(b, a, { a: lb, b: la, out }, sizes);
  const inner = without(la, out);
  const [transposeA, transposeB] = [isTurned(la, batch, left, inner), isTurned(lb, batch, inner, right)];
  const atEnd = transposeB ? (transposeA ? '' : inner) : right;
  const shapeOf = (labels: string): number[] => [...labels].map((label) => sizes.get(label)!);
  const count = (labels: string): number => (labels.length > 1 && labels === atEnd ? 4 * quadCount(shapeOf(labels)) : numel(shapeOf(labels)));
  const matrix = (x: Tensor, labels: string, rows: string, columns: string): Tensor => {
    const lying = arrange(x, labels, batch + rows + columns);
    const shape = [...(batch ? [count(batch)] : []), count(rows), count(columns)];
    return numel(shape) === x.size ? reshape(lying, shape) : lying.alias(shape);
  };
  const first = transposeA ? matrix(a, la, inner, left) : matrix(a, la, left, inner);
  const second = transposeB ? matrix(b, lb, right, inner) : matrix(b, lb, inner, right);
  const labels = batch + left + right;
  return arrange(withoutTails(matmul(first, second, { transposeA, transposeB }), shapeOf(labels)), labels, out);
};

/** A product whose columns are the rows of `shape` and the zeros behind them. Where a factor was infinite these are NaN, so that they are cut off. */
const withoutTails = (product: Tensor, shape: Shape): Tensor => {
  if (product.size === numel(shape)) return reshape(product, shape);
  const whole = [...shape.slice(0, -1), 4 * quadsPerRow(shape)];
  return slice(reshape(product, whole), [], shape);
};

const contract = (equation: string, inputs: readonly [Tensor, Tensor]): Tensor => {
  const given = parse(equation);
  const sizes = sizesOf(equation, given, inputs.map((t) => t.shape));
  const [a, la] = dropPrivate(inputs[0], given.a, given.b + given.out);
  const [b, lb] = dropPrivate(inputs[1], given.b, given.a + given.out);
  const labels = { a: la, b: lb, out: given.out };
  const contracted = without(shared(la, lb), labels.out);
  const outer = without(la, lb) !== '' || without(lb, la) !== '';
  return contracted && outer ? asMatrices(a, b, labels, sizes) : elementwise(a, b, labels);
};

/** The gradient of one operand is itself an einsum of the result's gradient and the other operand. */
const gradientOf = (grad: Tensor, out: string, other: Tensor, otherLabels: string, labels: string, shape: Shape): Tensor => {
  const known = shared(labels, out + otherLabels);
  const gradient = contract(`${out},${otherLabels}->${known}`, [grad, other]);
  return known === labels ? gradient : expanded(reshape(gradient, shape.map((size, i) => (known.includes(labels[i]!) ? size : 1))), shape);
};

const reference: Op<Attrs>['reference'] = ([a, b], { equation }) => {
  const { a: la, b: lb, out } = parse(equation);
  const sizes = sizesOf(equation, { a: la, b: lb, out }, [a!.shape, b!.shape]);
  const all = [...sizes.keys()];
  const result = nd([...out].map((label) => sizes.get(label)!));
  const offset = (labels: string, index: readonly number[]): number =>
    [...labels].reduce((at, label) => at * sizes.get(label)! + index[all.indexOf(label)]!, 0);
  forEachIndex([...sizes.values()], (index) => { result.data[offset(out, index)]! += a!.data[offset(la, index)]! * b!.data[offset(lb, index)]!; });
  return result;
};

const CASES: readonly (readonly [string, Shape, Shape])[] = [
  ['ijkm,ijkn->imn', [2, 3, 2, 5], [2, 3, 2, 6]], ['bhwc,bhwm->bmc', [1, 2, 3, 3], [1, 2, 3, 2]], ['imjk,injk->imn', [2, 3, 2, 5], [2, 4, 2, 5]],
  ['ij,jk->ik', [3, 5], [5, 2]], ['ij,kj->ik', [3, 5], [7, 5]], ['ji,jk->ki', [4, 3], [4, 5]], ['bij,bjk->bik', [2, 3, 4], [2, 4, 5]], ['bij,bkj->bik', [2, 3, 4], [2, 5, 4]],
  ['i,i->', [7], [7]], ['ij,ij->i', [3, 5], [3, 5]], ['ij,ij->', [3, 5], [3, 5]], ['bhwc,c->bhwc', [2, 2, 3, 5], [5]], ['i,j->ij', [3], [5]], ['i,j->ji', [3], [5]],
  ['bhwc,cd->bhwd', [2, 2, 3, 5], [5, 3]], ['ij,k->k', [2, 3], [4]], ['abc,cad->bd', [2, 3, 4], [4, 2, 3]], ['bhqd,bhkd->bhqk', [2, 2, 3, 5], [2, 2, 4, 5]], ['ij,jk->', [2, 3], [3, 4]],
  [',ij->ij', [], [2, 3]], ['bij,bjkl->bikl', [2, 3, 4], [2, 4, 3, 5]], ['jkl,ij->ikl', [4, 3, 5], [2, 4]], ['ikl,jkl->ij', [3, 2, 3], [4, 2, 3]],
];

const caseOf = ([equation, a, b]: (typeof CASES)[number], bench = false): OpCase<Attrs> =>
  ({ name: `${equation} [${a.join('×')}] [${b.join('×')}]`, shapes: [a, b], attrs: { equation }, ...(bench ? { bench } : {}) });

const productsOf = (shapes: readonly Shape[], { equation }: Attrs): number => numel([...sizesOf(equation, parse(equation), shapes).values()]);

export const einsumOp: Op<Attrs> = {
  name: 'einsum',
  group: 'Linear algebra',
  infer: (shapes, { equation }) => {
    const labels = parse(equation);
    const sizes = sizesOf(equation, labels, shapes);
    return [...labels.out].map((label) => sizes.get(label)!);
  },
  forward: ({ inputs, attrs: { equation } }) => contract(equation, inputs as [Tensor, Tensor]),
  keeps: { inputs: [0, 1] },
  backward: ({ grad, inputs: [a, b], attrs: { equation }, shapes, needs }) => {
    const { a: la, b: lb, out } = parse(equation);
    return [needs[0] ? gradientOf(grad, out, b!, lb, la, shapes[0]!) : null, needs[1] ? gradientOf(grad, out, a!, la, lb, shapes[1]!) : null];
  },
  reference,
  cost: (shapes, attrs, out) => ({ flops: 2 * productsOf(shapes, attrs), bytes: bytesOf(...shapes, out) }),
  // Each operand's gradient is a sum of as many products.
  backwardCost: (shapes, attrs) => ({ flops: 4 * productsOf(shapes, attrs) }),
  cases: [...CASES.map((c) => caseOf(c)), caseOf(['ijkm,ijkn->imn', [12, 26, 26, 32], [12, 26, 26, 768]], true), caseOf(['imjk,injk->imn', [12, 32, 26, 26], [12, 768, 26, 26]], true)],
};

/**
 * Einstein summation of two tensors, `einsum('ij,jk->ik', a, b)`: a letter per axis, axes with one letter are multiplied,
 * letters absent from the result are summed over. Runs as a batched matrix product, or elementwise where nothing is
 * summed; operands that lie in one of the orders of a product, as in `ijkm,ijkn->imn`, are not copied.
 *
 * @throws UserError for an equation that does not fit the shapes, or that repeats a letter within an operand
 */
export const einsum = (equation: string, a: Tensor, b: Tensor): Tensor => run(einsumOp, [a, b], { equation });
