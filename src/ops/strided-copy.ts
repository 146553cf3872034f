import source from '../../shaders/layout.wgsl';
import { fail } from '../errors.js';
import type { Grid } from '../kernels/grid.js';
import type { ParamValues } from '../kernels/params.js';
import type { Runtime } from '../kernels/runtime.js';
import { type Kernel, Shader } from '../kernels/shader.js';
import { formatShape, quadsPerRow, rowWidth, type Shape } from '../tensor/shape.js';
import { Tensor } from '../tensor/tensor.js';
import { dispatch, forAdapter } from './launch.js';
import { mergedAxes, Plans, planWalk, type Walk, type WalkAxis } from './walk.js';

const shader = new Shader('layout', source);
const MAX_AXES = 6;

/** Where each element of a copy comes from: input element `base` + Σ index · stride, in stored elements. */
interface View {
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

const areFours = (...numbers: readonly number[]): boolean => numbers.every((number) => number % 4 === 0);

/** The last axis is read in order from a multiple of four on, so whole vec4 can be moved. */
const movesWholeRows = ({ shape, base, strides, bounds }: View): boolean =>
  areFours(base, bounds?.[shape.length - 1]?.[0] ?? 0, ...strides.slice(0, -1)) && (strides.at(-1) ?? 1) === 1;

/** The axis whose neighbours lie side by side in the input, where it was exchanged with the last one and the rest of it is whole vec4. */
const exchangedAxis = ({ shape, base, strides, bounds }: View): number => {
  const axis = strides.indexOf(1);
  return !bounds && axis >= 0 && axis < shape.length - 1 && areFours(base, ...strides.filter((_, i) => i !== axis)) ? axis : -1;
};

/** Parameters of copyBlocks alone. */
const unused = { aroundQ: [0, 0, 0, 0], sideQ: 0, walkQ: 0, aroundR: [0, 0, 0, 0], sideR: 0, walkR: 0, apart: 0, highestRow: 0 };

const paramsOf = ({ shape, bounds }: View, { params, around, side, walked }: Walk, baseX: number) => {
  const [lowestElement, highestElement] = bounds?.at(-1) ?? [0, rowWidth(shape)];
  return {
    ...unused, ...params,
    lowest: around.map((axis) => axis.lowest), highest: around.map((axis) => axis.highest), lowestSide: side.lowest, highestSide: side.highest,
    lowestWalk: walked.lowest, highestWalk: walked.highest, lowestElement, highestElement, baseX, quadsPerRow: quadsPerRow(shape),
  };
};

/** What is recorded for a copy. */
interface CopyPlan {
  readonly kernel: Kernel;
  /** What the kernel calls its input. */
  readonly input: 'x' | 'rows';
  readonly params: ParamValues;
  readonly grid: Grid;
}

/** Blocks of four by four elements: `exchanged` is the input's last axis. */
const planBlocks = (op: string, runtime: Runtime, view: View, exchanged: number): CopyPlan => {
  const { shape } = view;
  const strides = storedStrides(shape);
  // How far apart neighbours lie in x and y, in elements, and by how many vec4 they differ in the rows of x and of y.
  const axis = (size: number, inX: number, inY: number, row = 0, column = 0): WalkAxis =>
    ({ size, strides: [inX / 4, inY / 4, row, column], lowest: 0, highest: size });
  const others = mergedAxes(shape.map((size, i) => axis(size, view.strides[i]!, strides[i]!)).filter((_, i) => i !== exchanged && i !== shape.length - 1));
  const [between, apart] = [view.strides.at(-1)!, strides[exchanged]!];
  const rowQuads = Math.ceil(shape[exchanged]! / 4);
  const columns = axis(quadsPerRow(shape), 4 * between, 4, 0, 1);
  // An invocation of a software adapter fills whole cache lines by walking along the longer side. On GPUs a workgroup covers a square, both sides of
  // which are whole lines.
  const walkRow = forAdapter(runtime, { gpu: false, software: rowQuads > columns.size });
  const abreast = forAdapter(runtime, { gpu: rowQuads % 8 === 0 && others.length < 4 ? 8 : rowQuads, software: rowQuads });
  const row = axis(abreast, 4, 4 * apart, 1);
  const far = axis(rowQuads / abreast, 4 * abreast, 4 * apart * abreast, abreast);
  const around = far.size > 1 ? [...others, far] : others;
  const axes = [...around, ...(walkRow ? [row, columns] : [columns, row])];
  const walk = planWalk(op, runtime, ['X', 'Y', 'Q', 'R'], axes, around.length);
  const params = { ...paramsOf(view, walk, view.base / 4), between: between / 4, apart: apart / 4, highestRow: shape[exchanged]! };
  return { kernel: shader.kernel('copyBlocks', walk.constants), input: 'rows', params, grid: walk.grid };
};

const planCopy = (op: string, runtime: Runtime, view: View): CopyPlan => {
  const { shape, strides, bounds } = view;
  const exchanged = exchangedAxis(view);
  if (exchanged >= 0) return planBlocks(op, runtime, view, exchanged);
  const whole = movesWholeRows(view);
  const unit = whole ? 4 : 1;
  const goal = storedStrides(shape);
  const [lowest, highest] = bounds?.at(-1) ?? [0, rowWidth(shape)];
  const masked = highest % 4 !== 0;
  const leading = shape.slice(0, -1).map((size, i): WalkAxis =>
    ({ size, strides: [strides[i]! / unit, goal[i]! / 4], lowest: bounds?.[i]![0] ?? 0, highest: bounds?.[i]![1] ?? size }));
  const size = quadsPerRow(shape);
  // Element by element, a row's part of the place follows from the column.
  const row: WalkAxis = {
    size, strides: [whole ? 1 : 0, 1], ...(whole ? { lowest: lowest / 4, highest: Math.ceil(highest / 4) } : { lowest: 0, highest: size }),
  };
  const walk = planWalk(op, runtime, ['X', 'Y'], mergedAxes([...leading, row], masked || !whole));
  const constants = { ...walk.constants, BOUNDED: bounds ? 1 : 0, ...(whole ? { MASKED: masked ? 1 : 0, HELD_X: walk.held[0] ? 1 : 0 } : {}) };
  const params = { ...paramsOf(view, walk, view.base / unit), between: strides.at(-1) ?? 1 };
  return { kernel: shader.kernel(whole ? 'copyRows' : 'copyElements', constants), input: whole ? 'rows' : 'x', params, grid: walk.grid };
};

const plans = new Plans<CopyPlan>();

/** Gathers `view` of x into a new tensor of the same element type. */
export const stridedCopy = (op: string, x: Tensor, view: View): Tensor => {
  const { shape, base, strides, bounds } = view;
  const { runtime } = x;
  if (shape.length > MAX_AXES) fail(`${op}: ${formatShape(shape)} has ${shape.length} axes; at most ${MAX_AXES} are supported, merge some with reshape()`);
  const y = Tensor.allocate(runtime, shape, x.dtype, op);
  const key = `${shape.join()} ${base} ${strides.join()} ${bounds?.join() ?? ''}`;
  const { kernel, input, params, grid } = plans.get(runtime, key, () => planCopy(op, runtime, view));
  dispatch(runtime, kernel, input === 'x' ? { x, y } : { rows: x, y }, params, grid);
  return y;
};

/** x shown with a larger, compatible shape, as a copy. For kernels and backward formulas; see `expand` for the op. */
export const expanded = (x: Tensor, to: Shape): Tensor => {
  const steps = storedStrides(x.shape).map((step, i) => (x.shape[i] === 1 ? 0 : step));
  return stridedCopy('expand', x, { shape: to, base: 0, strides: [...new Array<number>(to.length - x.rank).fill(0), ...steps] });
};
