import type { Runtime } from '../kernels/runtime.js';
import type { Constants } from '../kernels/shader.js';
import { quadsPerRow, rowWidth, type Shape } from '../tensor/shape.js';
import { isRagged } from './launch.js';
import { mergedAxes, planWalk, type Walk } from './walk.js';

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

/** How a kernel goes over an output and operands that are broadcast to its shape. Its constants say which of them stand still (HELD), and which show one element (SPLAT). */
export const broadcastWalk = (op: string, runtime: Runtime, out: Shape, operands: Readonly<Record<string, Shape>>): Pick<Walk, 'params' | 'grid'> & { constants: Constants } => {
  const names = ['Y', ...Object.keys(operands)];
  const shapes = [out, ...Object.values(operands)];
  const strides = shapes.map((shape) => broadcastStrides(shape, out));
  const sizes = [...out.slice(0, -1), quadsPerRow(out)];
  const axes = sizes.map((size, axis) => ({ size, strides: strides.map((of) => of[axis]!), lowest: 0, highest: size }));
  const { params, grid, held, ...walk } = planWalk(op, runtime, names, mergedAxes(axes, isRagged(out) === 1));
  const constants: Record<string, number> = { ...walk.constants, RAGGED: isRagged(out) };
  names.forEach((name, i) => {
    if (i === 0) return;
    constants[`HELD_${name}`] = held[i] ? 1 : 0;
    constants[`SPLAT_${name}`] = rowWidth(shapes[i]!) === 1 && rowWidth(out) > 1 ? 1 : 0;
  });
  return { constants, params: { ...params, quadsPerRow: quadsPerRow(out), width: rowWidth(out) }, grid };
};
