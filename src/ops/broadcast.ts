import type { ParamValues } from '../kernels/params.js';
import type { Runtime } from '../kernels/runtime.js';
import type { Constants, Kernel, Shader } from '../kernels/shader.js';
import { valueAt } from '../kernels/value-at.js';
import { quadsPerRow, rowWidth, type Shape } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { dispatch, isRagged } from './launch.js';
import { mergedAxes, Plans, planWalk, type Walk } from './walk.js';

/** vec4f between neighbours along each axis of `out` in a tensor of `shape`, the last being those within a row; 0 where it is broadcast. */
const broadcastStrides = (shape: Shape, out: Shape): number[] => {
  const strides = new Array<number>(Math.max(out.length, 1)).fill(0);
  if (rowWidth(shape) > 1 || rowWidth(out) === 1) strides[strides.length - 1] = 1;
  let stride = quadsPerRow(shape);
  for (let axis = shape.length - 2; axis >= 0; axis--) {
    if (shape[axis] !== 1) strides[axis + out.length - shape.length] = stride;
    stride *= shape[axis]!;
  }
  return strides;
};

interface BroadcastWalk extends Pick<Walk, 'params' | 'grid'> {
  readonly constants: Constants;
  /** What has been compiled for it, by a name of the caller's. */
  readonly kernels: Map<string, Kernel>;
}

type Params = Readonly<Record<string, number | readonly number[]>>;

/** Parameters of operands that a kernel does not get. */
const absent = (names: readonly string[]): Params => Object.fromEntries(names.flatMap((name) => [[`around${name}`, [0, 0, 0, 0]], [`side${name}`, 0], [`walk${name}`, 0]]));

/** All parameters of the walk, for an entry of a shader that does not use it. */
export const withoutWalk = (known: readonly string[]): Params =>
  ({ ...absent(['Y', ...known.map((name) => name.toUpperCase())]), sizes: [0, 0, 0, 0], side: 1, length: 0, turns: 1, stretches: 1, items: 0, quadsPerRow: 1, width: 4 });

const planBroadcast = (op: string, runtime: Runtime, out: Shape, operands: Readonly<Record<string, Tensor>>, known: readonly string[]): BroadcastWalk => {
  const given = ['Y', ...Object.keys(operands).map((name) => name.toUpperCase())];
  const shapes = [out, ...Object.values(operands).map(({ shape }) => shape)];
  const strides = shapes.map((shape) => broadcastStrides(shape, out));
  const sizes = [...out.slice(0, -1), quadsPerRow(out)];
  const axes = sizes.map((size, axis) => ({ size, strides: strides.map((of) => of[axis]!), lowest: 0, highest: size }));
  const { params, grid, held, ...walk } = planWalk(op, runtime, given, mergedAxes(axes, isRagged(out) === 1));
  const constants: Record<string, number> = { ...walk.constants, RAGGED: isRagged(out) };
  given.forEach((name, i) => {
    if (i === 0) return;
    constants[`HELD_${name}`] = held[i] ? 1 : 0;
    constants[`SPLAT_${name}`] = rowWidth(shapes[i]!) === 1 && rowWidth(out) > 1 ? 1 : 0;
  });
  const missing = known.map((name) => name.toUpperCase()).filter((name) => !given.includes(name));
  return { constants, params: { ...absent(missing), ...params, quadsPerRow: quadsPerRow(out), width: rowWidth(out) }, grid, kernels: new Map() };
};

const plans = new Plans<BroadcastWalk>();

/**
 * Runs a kernel of a shader with `//# include walk` on operands that are broadcast to `shape`; `outputs` have it. Constants of the kernel say which
 * operands stand still (HELD), and which show one element (SPLAT).
 *
 * @param known names of all operands that the shader has parameters for
 */
export const broadcastDispatch = (
  shader: Shader, known: readonly string[],
  { op, entry, constants = {}, params = {} }: { op: string; entry: string; constants?: Constants; params?: ParamValues },
  shape: Shape, operands: Readonly<Record<string, Tensor>>, outputs: Readonly<Record<string, Tensor>>,
): void => {
  const { runtime } = Object.values(operands)[0]!;
  let key = `${shader.name} ${shape.join()}`;
  for (const name in operands) key += `${name}${operands[name]!.shape.join()}`;
  const plan = plans.get(runtime, key, () => planBroadcast(op, runtime, shape, operands, known));
  let variant = entry;
  for (const name in constants) variant += ` ${constants[name]}`;
  const kernel = valueAt(plan.kernels, variant, () => shader.kernel(entry, { ...constants, ...plan.constants }));
  dispatch(runtime, kernel, { ...operands, ...outputs }, { ...plan.params, ...params }, plan.grid);
};
