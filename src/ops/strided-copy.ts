import source from '../../shaders/layout.wgsl';
import { fail } from '../errors.js';
import { linearGrid } from '../kernels/grid.js';
import { Shader } from '../kernels/shader.js';
import { formatShape, quadCount, quadsPerRow, rowWidth, type Shape } from '../tensor/shape.js';
import { Tensor } from '../tensor/tensor.js';
import { dispatch, gridFor } from './op.js';

const shader = new Shader('layout', source);
export const MAX_AXES = 6;
const LEADING = MAX_AXES - 1;

/** Where each element of a copy comes from: input element `base` + Σ index · stride, in stored elements. */
export interface View {
  readonly shape: Shape;
  readonly base: number;
  readonly strides: readonly number[];
  /** Output indices outside [lowest, highest) of any axis become zero. */
  readonly bounds?: readonly (readonly [number, number])[];
}

/** Stored elements between neighbours along each axis of a tensor. */
export const storedStrides = (shape: Shape): number[] => {
  const strides = new Array<number>(shape.length).fill(1);
  let stride = quadsPerRow(shape) * 4;
  for (let axis = shape.length - 2; axis >= 0; axis--) {
    strides[axis] = stride;
    stride *= shape[axis]!;
  }
  return strides;
};

/** The last axis is read in order from a multiple of four on, so whole vec4 can be moved. */
const movesWholeRows = ({ shape, base, strides, bounds }: View): boolean =>
  base % 4 === 0 && (bounds?.[shape.length - 1]?.[0] ?? 0) === 0 && (strides.at(-1) ?? 1) === 1 && strides.slice(0, -1).every((s) => s % 4 === 0);

/** Gathers `view` of x into a new tensor of the same element type. */
export const stridedCopy = (op: string, x: Tensor, view: View): Tensor => {
  const { shape, strides, base } = view;
  if (shape.length > MAX_AXES) fail(`${op}: ${formatShape(shape)} has ${shape.length} axes; at most ${MAX_AXES} are supported, merge some with reshape()`);
  const bounds = view.bounds ?? shape.map((size) => [0, size] as const);
  const lead = <T>(values: readonly T[], missing: T): T[] => [...new Array<T>(LEADING - Math.max(shape.length - 1, 0)).fill(missing), ...values.slice(0, -1)];
  const [sizes, steps] = [lead(shape, 1), lead(strides, 0)];
  const [lowest, highest] = [lead(bounds.map((b) => b[0]), 0), lead(bounds.map((b) => b[1]), 1)];
  const last = bounds.at(-1) ?? [0, 1];
  const y = Tensor.allocate(x.runtime, shape, x.dtype, op);
  const whole = movesWholeRows(view);
  const quads = quadCount(shape);
  const kernel = shader.kernel(whole ? 'copyRows' : 'copyElements', { BOUNDED: view.bounds ? 1 : 0 });
  dispatch(x.runtime, kernel, whole ? { rows: x, y } : { x, y }, {
    sizes: sizes.slice(1), strides: steps.slice(1), lowest: lowest.slice(1), highest: highest.slice(1),
    stride0: steps[0]!, lowest0: lowest[0]!, highest0: highest[0]!, strideLast: strides.at(-1) ?? 1, lowestLast: last[0], highestLast: last[1],
    base, quads, quadsPerRow: quadsPerRow(shape), width: rowWidth(shape),
  }, whole ? linearGrid(Math.ceil(quads / 256)) : gridFor(quads));
  return y;
};
