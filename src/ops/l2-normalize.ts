import source from '../../shaders/l2-normalize.wgsl';
import { fail } from '../errors.js';
import { Shader } from '../kernels/shader.js';
import { numel, quadsPerRow, rowCount, rowWidth, type Shape } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { literal, type OpCase } from './cases.js';
import { nd } from './nd.js';
import { allocate, type BackwardCall, bytesOf, type Call, dispatch, type Op, run } from './op.js';
import { rowLaunch } from './rows.js';

const shader = new Shader('l2-normalize', source);

interface Attrs {
  readonly eps: number;
}

const paramsOf = (shape: Shape, { eps }: Attrs) => {
  const rows = rowCount(shape);
  return { rows, padded: Math.ceil(rows / 4) * 4, quads: quadsPerRow(shape), eps };
};

const forward = ({ runtime, inputs: [x], attrs, shape }: Call<Attrs>) => {
  const y = allocate(runtime, shape, 'l2Normalize');
  const params = paramsOf(shape, attrs);
  const lengths = allocate(runtime, [params.rows], 'l2Normalize lengths');
  const { constants, grid } = rowLaunch(shape, params.padded);
  dispatch(runtime, shader.kernel('forward', constants), { x: x!, y, lengths }, params, grid);
  return { output: y, saved: { lengths } };
};

const backward = ({ runtime, grad, attrs, output, saved, shape }: BackwardCall<Attrs>) => {
  const result = allocate(runtime, shape, 'l2Normalize gradient');
  const { constants, grid } = rowLaunch(shape);
  dispatch(runtime, shader.kernel('backward', constants), { x: output!, gradient: grad, kept: saved.lengths!, result }, paramsOf(shape, attrs), grid);
  return [result];
};

const reference: Op<Attrs>['reference'] = ([x], { eps }) => {
  const out = nd(x!.shape);
  const width = rowWidth(x!.shape);
  for (let start = 0; start < x!.data.length; start += width) {
    const length = Math.hypot(...x!.data.subarray(start, start + width));
    for (let i = start; i < start + width; i++) out.data[i] = x!.data[i]! / Math.max(length, eps);
  }
  return out;
};

const shapes: readonly Shape[] = [[3, 5], [1, 1], [7], [2, 3, 4], [2, 1033], [600, 3]];
const cases: OpCase<Attrs>[] = [
  ...shapes.map((shape) => ({ name: `[${shape.join('×')}]`, shapes: [shape], attrs: { eps: 1e-12 } })),
  { name: 'a row shorter than eps', shapes: [[3, 3]], attrs: { eps: 0.5 }, fill: [literal([1, -2, 0.5, 0.1, 0.2, -0.1, 0, 0, 0])] },
  // Wide rows of small gradients: the scale of finite differences is lost, the forward alone is compared.
  { name: '2×65,536', shapes: [[2, 65536]], attrs: { eps: 1e-12 }, gradient: 'none' },
  { name: '16×24,576', shapes: [[16, 24576]], attrs: { eps: 1e-12 }, bench: true },
];

export const l2NormalizeOp: Op<Attrs> = {
  name: 'l2Normalize', group: 'Normalisation',
  infer: ([shape], { eps }) => (eps > 0 ? shape! : fail(`l2Normalize: eps ${eps} must be positive, or rows of zeros would become NaN`)),
  forward, backward, reference, cases,
  keeps: { output: true },
  cost: ([shape]) => ({ flops: 3 * numel(shape!), bytes: 2 * bytesOf(shape!) }),
};

/** x / max(‖x‖₂, eps) along the last axis (PyTorch's `normalize`), eps by default 1e-12. Rows of zeros stay zeros. */
export const l2Normalize = (x: Tensor, eps = 1e-12): Tensor => run(l2NormalizeOp, [x], { eps });
