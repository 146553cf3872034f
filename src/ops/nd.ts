import { formatShape, numel, type Shape } from '../tensor/shape.js';

/** A plain float64 array on the host: what the references of ops compute with. Row-major, no padding. */
export interface Nd {
  readonly shape: Shape;
  readonly data: Float64Array;
}

export const nd = (shape: Shape, data?: ArrayLike<number>): Nd => {
  const values = data ? new Float64Array(data) : new Float64Array(numel(shape));
  if (values.length !== numel(shape)) throw new Error(`nd: ${values.length} numbers for shape ${formatShape(shape)}`);
  return { shape, data: values };
};

/** Elements between neighbours along each axis. */
export const strides = (shape: Shape): number[] => {
  const out = new Array<number>(shape.length).fill(1);
  for (let i = shape.length - 2; i >= 0; i--) out[i] = out[i + 1]! * shape[i + 1]!;
  return out;
};

/** Calls `visit(index, flat)` for each element in row-major order. `index` is reused between calls. */
export const forEachIndex = (shape: Shape, visit: (index: readonly number[], flat: number) => void): void => {
  const index = new Array<number>(shape.length).fill(0);
  const total = numel(shape);
  for (let flat = 0; flat < total; flat++) {
    visit(index, flat);
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      if (++index[axis]! < shape[axis]!) break;
      index[axis] = 0;
    }
  }
};

/** Position in an array of shape `shape` of an index of the shape it is broadcast to. */
export const broadcastOffset = (shape: Shape, index: readonly number[]): number => {
  let offset = 0;
  const skip = index.length - shape.length;
  for (let axis = 0; axis < shape.length; axis++) offset = offset * shape[axis]! + (shape[axis] === 1 ? 0 : index[axis + skip]!);
  return offset;
};

/** A new array computed element by element from the flat index. */
export const mapNd = (shape: Shape, value: (flat: number) => number): Nd => {
  const out = nd(shape);
  for (let i = 0; i < out.data.length; i++) out.data[i] = value(i);
  return out;
};
