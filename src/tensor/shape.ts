import { fail } from '../errors.js';

export type Shape = readonly number[];

/** Number of elements; 1 for a scalar. */
export const numel = (shape: Shape): number => shape.reduce((a, b) => a * b, 1);

/** Elements of the last axis; 1 for a scalar. */
export const rowWidth = (shape: Shape): number => (shape.length === 0 ? 1 : shape[shape.length - 1]!);

/** vec4f per row: the storage layout pads the last axis to a multiple of four. */
export const quadsPerRow = (shape: Shape): number => Math.ceil(rowWidth(shape) / 4);

/** Rows, i.e. the product of all axes but the last. */
export const rowCount = (shape: Shape): number => (shape.length === 0 ? 1 : numel(shape.slice(0, -1)));

/** vec4f of the whole tensor in storage. */
export const quadCount = (shape: Shape): number => rowCount(shape) * quadsPerRow(shape);

/** Bytes of the whole tensor in storage, where a quad of elements takes 16 (float16: 8). */
export const storageBytes = (shape: Shape, quadBytes = 16): number => quadCount(shape) * quadBytes;

export const formatShape = (shape: Shape): string => `[${shape.join(', ')}]`;

export const sameShape = (a: Shape, b: Shape): boolean => a.length === b.length && a.every((size, i) => size === b[i]);

/** The shape two shapes broadcast to (NumPy's rule). `op` names the caller in the error. */
export const broadcastShapes = (op: string, a: Shape, b: Shape): Shape => {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, i) => {
    const x = a[i - rank + a.length] ?? 1;
    const y = b[i - rank + b.length] ?? 1;
    if (x !== y && x !== 1 && y !== 1) {
      fail(`${op}: shapes ${formatShape(a)} and ${formatShape(b)} do not broadcast: axis ${i - rank} has sizes ${x} and ${y}; sizes must be equal or 1`);
    }
    return x === 1 ? y : x;
  });
};

/** Turns a possibly negative axis into 0…rank−1. */
export const normalizeAxis = (op: string, axis: number, rank: number): number => {
  if (rank === 0) fail(`${op}: the tensor is a scalar, which has no axes; reshape(x, [1]) gives it one`);
  const at = axis < 0 ? axis + rank : axis;
  if (!Number.isInteger(axis) || at < 0 || at >= rank) fail(`${op}: axis ${axis} is out of range for a tensor of ${rank} dimensions (${-rank} … ${rank - 1})`);
  return at;
};

/** Refuses what is no list: JavaScript's callers have no compiler to tell them. */
export const checkList = (op: string, what: string, list: unknown): void => {
  if (!Array.isArray(list)) fail(`${op}: ${what} must be a list, as in [a, b], got ${typeof list === 'number' ? list : typeof list}`);
};

/** Axes normalised, sorted and checked for duplicates; `undefined` means all. */
export const normalizeAxes = (op: string, axes: number | readonly number[] | undefined, rank: number): number[] => {
  if (axes === undefined) return Array.from({ length: rank }, (_, i) => i);
  if (typeof axes !== 'number') checkList(op, 'axes', axes);
  const list = (typeof axes === 'number' ? [axes] : axes).map((a) => normalizeAxis(op, a, rank));
  if (new Set(list).size !== list.length) fail(`${op}: axes ${formatShape(axes as number[])} name one axis twice`);
  return list.sort((a, b) => a - b);
};

export const checkShape = (op: string, shape: Shape): void => {
  checkList(op, 'the shape', shape);
  if (shape.some((size) => !Number.isInteger(size) || size < 1)) fail(`${op}: shape ${formatShape(shape)} must hold integers of at least 1`);
};
