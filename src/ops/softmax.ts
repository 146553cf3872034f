import source from '../../shaders/softmax.wgsl';
import entropySource from '../../shaders/cross-entropy.wgsl';
import { fail } from '../errors.js';
import { type Constants, Shader } from '../kernels/shader.js';
import { formatShape, normalizeAxis, numel, quadCount, quadsPerRow, rowCount, rowWidth, sameShape, type Shape } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { checkChoice, checkLabelled, checkNames } from './arguments.js';
import { div } from './binary.js';
import { type Fill, integers, literal, type OpCase, uniform } from './cases.js';
import { sumOfWeights } from './label-weights.js';
import { type Nd, nd } from './nd.js';
import { transpose } from './layout.js';
import { allocate, type BackwardCall, bytesOf, type Call, dispatch, gridFor, type NoAttrs, type Op, run } from './op.js';
import { mean, sum } from './reduce.js';
import { rowLaunch } from './rows.js';

const shader = new Shader('softmax', source);
const entropyShader = new Shader('cross-entropy', entropySource);

const rowParams = (shape: Shape) => ({ rows: rowCount(shape), quads: quadsPerRow(shape), width: rowWidth(shape) });

/** log Σ exp of a row, in float64. */
const logSumExp = (row: ArrayLike<number>): number => {
  const highest = Math.max(...Array.from(row));
  let total = 0;
  for (let i = 0; i < row.length; i++) total += Math.exp(row[i]! - highest);
  return highest + Math.log(total);
};

const referenceRows = (x: Nd, value: (v: number, logTotal: number) => number): Nd => {
  const out = nd(x.shape);
  const width = rowWidth(x.shape);
  for (let start = 0; start < x.data.length; start += width) {
    const row = x.data.subarray(start, start + width);
    const logTotal = logSumExp(row);
    row.forEach((v, i) => { out.data[start + i] = value(v, logTotal); });
  }
  return out;
};

const softmaxShapes: readonly Shape[] = [[3, 5], [1, 1], [7], [2, 3, 4], [2, 517], [700, 6], [520, 1]];

/** Of softmax, or of its logarithm. */
const softmaxRecord = (name: string, logarithm: boolean): Op<NoAttrs> => ({
  name, group: 'Softmax',
  infer: ([shape]) => shape!,
  forward: ({ runtime, inputs: [x], shape }: Call<NoAttrs>) => {
    const y = allocate(runtime, shape, name);
    const { constants, grid } = rowLaunch(shape);
    dispatch(runtime, shader.kernel('forward', { ...constants, LOGARITHM: logarithm ? 1 : 0 }), { x: x!, y }, rowParams(shape), grid);
    return y;
  },
  keeps: { output: true },
  backward: ({ runtime, grad, output, shape }: BackwardCall<NoAttrs>) => {
    const result = allocate(runtime, shape, `${name} gradient`);
    const { constants, grid } = rowLaunch(shape);
    dispatch(runtime, shader.kernel('backward', { ...constants, LOGARITHM: logarithm ? 1 : 0 }), { x: output!, gradient: grad, result }, rowParams(shape), grid);
    return [result];
  },
  reference: ([x]) => referenceRows(x!, (v, logTotal) => (logarithm ? v - logTotal : Math.exp(v - logTotal))),
  cost: ([shape]) => ({ flops: 4 * numel(shape!), bytes: 2 * bytesOf(shape!) }),
  cases: [
    ...softmaxShapes.map((shape) => ({ name: `[${shape.join('×')}]`, shapes: [shape], attrs: {}, fill: [uniform(-4, 4)] })),
    { name: 'large values', shapes: [[2, 6]], attrs: {}, fill: [uniform(900, 1000)] },
    { name: '16×200', shapes: [[16, 200]], attrs: {}, bench: true },
  ],
  tolerance: { forward: 4e-6, gradient: 1e-5, reason: 'WGSL allows exp an error of 3 + 2|x| ulp, and log 3 ulp' },
});

export const softmaxOp = softmaxRecord('softmax', false);
export const logSoftmaxOp = softmaxRecord('logSoftmax', true);

export type Reduction = 'mean' | 'sum' | 'none';

interface EntropyAttrs {
  readonly labelSmoothing: number;
  readonly reduction: Reduction;
}

const entropyParams = (shape: Shape, { labelSmoothing }: EntropyAttrs, scale: number, perRow: number) =>
  ({ ...rowParams(shape), padded: Math.ceil(shape[0]! / 4) * 4, smoothing: labelSmoothing, scale, perRow });

/** Of the kernels: without weights any tensor will do in their place, it is not read. */
const weighting = (x: Tensor, weight: Tensor | null | undefined): { readonly constants: Constants; readonly classWeights: Tensor } =>
  ({ constants: weight ? { WEIGHTED: 1 } : {}, classWeights: weight ?? x });

const entropyForward = ({ runtime, inputs: [x, labels, weight], attrs }: Call<EntropyAttrs>) => {
  const rows = x!.shape[0]!;
  const losses = allocate(runtime, [rows], 'crossEntropy');
  const statistics = allocate(runtime, [weight ? 3 : 2, rows], 'crossEntropy statistics');
  const params = entropyParams(x!.shape, attrs, 1, 1);
  const { constants, grid } = rowLaunch(x!.shape, params.padded);
  const { constants: weighted, classWeights } = weighting(x!, weight);
  dispatch(runtime, entropyShader.kernel('forward', { ...constants, ...weighted }), { x: x!, labels: labels!, losses, statistics, classWeights }, params, grid);
  const saved: Record<string, Tensor> = { statistics };
  if (weight && attrs.reduction === 'mean') {
    saved.total = sumOfWeights(weight, labels!);
    return { output: div(sum(losses), saved.total), saved };
  }
  const output = attrs.reduction === 'none' ? losses : attrs.reduction === 'sum' ? sum(losses) : mean(losses);
  return { output, saved };
};

const entropyBackward = ({ runtime, grad, attrs, inputs: [x, labels, weight], saved: { statistics, total } }: BackwardCall<EntropyAttrs>) => {
  const { shape } = x!;
  const result = allocate(runtime, shape, 'crossEntropy gradient');
  const params = entropyParams(shape, attrs, attrs.reduction === 'mean' && !weight ? 1 / shape[0]! : 1, attrs.reduction === 'none' ? 1 : 0);
  const { constants, classWeights } = weighting(x!, weight);
  const tensors = { x: x!, labels: labels!, kept: statistics!, gradient: total ? div(grad, total) : grad, result, classWeights };
  dispatch(runtime, entropyShader.kernel('backward', constants), tensors, params, gridFor(quadCount(shape)));
  return [result, null, null];
};

const entropyInfer: Op<EntropyAttrs>['infer'] = (shapes, { labelSmoothing, reduction }) => {
  checkLabelled('crossEntropy', shapes);
  const [logits, , weight] = shapes as [Shape, Shape, Shape?];
  if (weight && !sameShape(weight, [logits[1]!])) fail(`crossEntropy: weight must be [${logits[1]}], a number for each class of the logits ${formatShape(logits)}, got ${formatShape(weight)}`);
  if (!(labelSmoothing >= 0 && labelSmoothing <= 1)) fail(`crossEntropy: labelSmoothing ${labelSmoothing} must be between 0 and 1`);
  return reduction === 'none' ? shapes[1]! : [];
};

/** By the definition: the sum over classes of −w q log p with the smoothed target q and weights w; their mean is by the weights of the labels. */
const entropyReference: Op<EntropyAttrs>['reference'] = ([logits, labels, weight], { labelSmoothing, reduction }) => {
  const [rows, k] = logits!.shape as [number, number];
  const losses = nd([rows]);
  for (let row = 0; row < rows; row++) {
    const values = logits!.data.subarray(row * k, (row + 1) * k);
    const logTotal = logSumExp(values);
    const label = labels!.data[row]!;
    values.forEach((v, i) => {
      const target = labelSmoothing / k + (i === label ? 1 - labelSmoothing : 0);
      losses.data[row]! -= (weight?.data[i] ?? 1) * target * (v - logTotal);
    });
    if (label < 0 || label >= k) losses.data[row] = NaN;
  }
  if (reduction === 'none') return losses;
  const total = losses.data.reduce((a, b) => a + b, 0);
  const count = labels!.data.reduce((all, label) => all + (weight?.data[label] ?? 1), 0);
  return nd([], [reduction === 'mean' ? total / count : total]);
};

const entropyCase = (name: string, rows: number, k: number, labelSmoothing = 0, reduction: Reduction = 'mean'): OpCase<EntropyAttrs> =>
  ({ name, shapes: [[rows, k], [rows]], attrs: { labelSmoothing, reduction }, fill: [uniform(-4, 4), integers(k)], dtypes: [undefined, 'int32'] });

/** The same with a number for each class. */
const weightedCase = ({ name, shapes, fill, ...rest }: OpCase<EntropyAttrs>, weights: Fill = uniform(0.2, 3)): OpCase<EntropyAttrs> =>
  ({ ...rest, name: `weights, ${name}`, shapes: [...shapes, [shapes[0]![1]!]], fill: [...fill!, weights] });

export const crossEntropyOp: Op<EntropyAttrs> = {
  name: 'crossEntropy', takes: ['float', 'int32', 'float'], constants: [2], group: 'Softmax', infer: entropyInfer, forward: entropyForward, backward: entropyBackward,
  keeps: { inputs: [0, 1, 2] },
  reference: entropyReference,
  cost: ([logits, , ...weight]) => ({ flops: 4 * numel(logits!), bytes: bytesOf(logits!, ...weight) }),
  cases: [
    entropyCase('mean', 4, 7), entropyCase('sum', 5, 3, 0, 'sum'), entropyCase('none', 6, 5, 0, 'none'), entropyCase('one row', 1, 4),
    entropyCase('one class', 3, 1), entropyCase('smoothing', 4, 6, 0.1), entropyCase('full smoothing', 3, 5, 1), entropyCase('smoothing, none', 3, 9, 0.3, 'none'),
    entropyCase('long rows', 3, 1030, 0.1), entropyCase('many rows', 601, 5, 0.1), { ...entropyCase('16×200', 16, 200), bench: true },
    ...[
      entropyCase('mean', 4, 7), entropyCase('sum', 5, 3, 0, 'sum'), entropyCase('none', 6, 5, 0, 'none'), entropyCase('one class', 3, 1),
      entropyCase('smoothing', 4, 6, 0.1), entropyCase('full smoothing', 3, 5, 1), entropyCase('smoothing, sum', 5, 6, 0.2, 'sum'), entropyCase('smoothing, none', 3, 9, 0.3, 'none'),
      entropyCase('long rows', 3, 1030, 0.1), entropyCase('70 rows', 70, 6, 0.1), entropyCase('many rows', 601, 5), entropyCase('many rows, smoothing', 601, 5, 0.1),
    ].map((c) => weightedCase(c)),
    weightedCase(entropyCase('a class that does not count', 6, 3, 0.1), literal([0.5, 0, 2])),
  ],
  tolerance: { forward: 4e-6, gradient: 1e-5, reason: 'WGSL allows exp an error of 3 + 2|x| ulp, and log 3 ulp' },
};

const alongAxis = (op: Op<NoAttrs>, x: Tensor, axis: number): Tensor => {
  if (x.rank === 0) return run(op, [x], {});
  const at = normalizeAxis(op.name, axis, x.rank);
  if (at === x.rank - 1) return run(op, [x], {});
  return transpose(run(op, [transpose(x, at, -1)], {}), at, -1);
};

/** exp(x) / Σ exp(x) along an axis (default: the last). The maximum is subtracted first. */
export const softmax = (x: Tensor, axis = -1): Tensor => alongAxis(softmaxOp, x, axis);

/** log softmax(x) along an axis (default: the last), without overflow. */
export const logSoftmax = (x: Tensor, axis = -1): Tensor => alongAxis(logSoftmaxOp, x, axis);

export interface CrossEntropyOptions {
  /** A number for each class, [k]: how many times a picture of it counts. It has no gradient. */
  readonly weight?: Tensor | null;
  /** Share of the target spread evenly over all classes, 0 … 1. */
  readonly labelSmoothing?: number;
  readonly reduction?: Reduction;
}

/**
 * Cross-entropy of logits with class labels, softmax included (PyTorch's `cross_entropy`).
 * A label outside 0 … k−1 makes the loss of its row, and its gradient, NaN.
 * With `weight` a row is Σ weight·target·(−log p), and the mean divides the sum of the rows by the sum of their labels' weights; where that sum is 0,
 * and where a label is outside the classes, the mean and its gradient are NaN.
 *
 * @param logits [batch, k]
 * @param labels int32 [batch]
 * @returns a scalar, or [batch] with reduction `none`
 * @throws UserError for shapes that disagree, an unknown reduction, a smoothing outside 0 … 1, and weights that require a gradient
 */
export const crossEntropy = (logits: Tensor, labels: Tensor, options: CrossEntropyOptions = {}): Tensor => {
  checkNames('crossEntropy', options, ['weight', 'labelSmoothing', 'reduction']);
  const { weight = null, labelSmoothing = 0, reduction = 'mean' } = options;
  checkChoice('crossEntropy', 'reduction', reduction, ['mean', 'sum', 'none']);
  if (weight?.requiresGrad) fail(`crossEntropy: weight has no gradient, but "${weight.label}" ${formatShape(weight.shape)} requires one; pass weight.detach()`);
  return run(crossEntropyOp, [logits, labels, ...(weight ? [weight] : [])], { labelSmoothing, reduction });
};
