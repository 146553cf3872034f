import source from '../../shaders/layout.wgsl';
import { fail } from '../errors.js';
import { Shader } from '../kernels/shader.js';
import { formatShape, quadCount, quadsPerRow, rowWidth, type Shape } from '../tensor/shape.js';
import { Tensor } from '../tensor/tensor.js';
import { dispatch, gridFor, isRagged, stretchesFor } from './op.js';

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

interface Axis {
  readonly size: number;
  readonly stride: number;
  /** Indices outside of these become zero. */
  readonly lowest: number;
  readonly highest: number;
}

/** The leading axes, without those of one entry; neighbours that are walked as one are one: finding an axis' index costs a division. */
const leadingAxes = ({ shape, strides, bounds }: View): Axis[] => {
  const axes: Axis[] = [];
  for (let i = 0; i < shape.length - 1; i++) {
    const [lowest, highest] = bounds?.[i] ?? [0, shape[i]!];
    const [size, stride] = [shape[i]!, strides[i]!];
    const whole = lowest <= 0 && highest >= size;
    if (size === 1 && whole) continue;
    const outer = axes.at(-1);
    if (outer && whole && outer.stride === stride * size) axes[axes.length - 1] = { size: outer.size * size, stride, lowest: outer.lowest * size, highest: outer.highest * size };
    else axes.push({ size, stride, lowest, highest });
  }
  return axes;
};

/** Gathers `view` of x into a new tensor of the same element type. */
export const stridedCopy = (op: string, x: Tensor, view: View): Tensor => {
  const { shape, strides, base } = view;
  if (shape.length > MAX_AXES) fail(`${op}: ${formatShape(shape)} has ${shape.length} axes; at most ${MAX_AXES} are supported, merge some with reshape()`);
  const none: Axis = { size: 1, stride: 0, lowest: 0, highest: 1 };
  const [first = none, ...inner] = leadingAxes(view);
  const axes = [...new Array<Axis>(LEADING - 1 - inner.length).fill(none), ...inner];
  const last = view.bounds?.at(-1) ?? [0, rowWidth(shape)];
  const y = Tensor.allocate(x.runtime, shape, x.dtype, op);
  const whole = movesWholeRows(view);
  const quads = quadCount(shape);
  const { steps, grid } = whole ? stretchesFor(x.runtime, quads) : { steps: 1, grid: gridFor(quads) };
  const kernel = shader.kernel(whole ? 'copyRows' : 'copyElements', { BOUNDED: view.bounds ? 1 : 0, AXES: inner.length, ...(whole ? { RAGGED: isRagged(shape) } : {}) });
  dispatch(x.runtime, kernel, whole ? { rows: x, y } : { x, y }, {
    sizes: axes.map((a) => a.size), strides: axes.map((a) => a.stride), lowest: axes.map((a) => a.lowest), highest: axes.map((a) => a.highest),
    stride0: first.stride, lowest0: first.lowest, highest0: first.highest, strideLast: strides.at(-1) ?? 1, lowestLast: last[0], highestLast: last[1],
    base, quads, steps, quadsPerRow: quadsPerRow(shape), width: rowWidth(shape),
  }, grid);
  return y;
};
