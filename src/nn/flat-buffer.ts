import { accumulate, fill_ } from '../ops/index.js';
import { keep, untrack } from '../tensor/scope.js';
import { type Shape, storageBytes } from '../tensor/shape.js';
import { withOwner } from '../tensor/storage.js';
import { Tensor } from '../tensor/tensor.js';

/** Kernels bind parts of a buffer at multiples of this. */
const ALIGNMENT = 256;

/** Bytes at `offset` of a flat tensor, seen with a shape. */
const part = (flat: Tensor, offset: number, shape: Shape, label: string): Tensor => {
  const view = new Tensor(shape, 'float32', flat.storage.part(offset, storageBytes(shape)), label);
  untrack(view);
  return view;
};

/** A run of parameters that lie in one buffer, with their gradients in another. */
export interface FlatBuffer {
  readonly parameters: readonly Tensor[];
  /** All weights as one vector, gaps of alignment (always zero) included. */
  readonly weights: Tensor;
  readonly gradients: Tensor;
  /** Position of each parameter in the vector, in elements. */
  readonly offsets: readonly number[];
}

const slotBytes = (shape: Shape): number => Math.ceil(storageBytes(shape) / ALIGNMENT) * ALIGNMENT;

/** Parameters in runs that fit the largest buffer the adapter can bind. */
const runsOf = (parameters: readonly Tensor[], limit: number): Tensor[][] => {
  const runs: Tensor[][] = [];
  let used = Infinity;
  for (const parameter of parameters) {
    const bytes = slotBytes(parameter.shape);
    if (used + bytes > limit) {
      runs.push([]);
      used = 0;
    }
    runs[runs.length - 1]!.push(parameter);
    used += bytes;
  }
  return runs;
};

/**
 * Moves parameters into few large buffers, so that an optimiser updates them all with one kernel each,
 * and gives every parameter a gradient that backward adds to in place.
 */
export const flatten = (parameters: readonly Tensor[]): FlatBuffer[] => {
  if (parameters.length === 0) return [];
  const { maxStorageBufferBindingSize: limit } = parameters[0]!.runtime.device.limits;
  return runsOf(parameters, limit).map((run) => {
    const total = run.reduce((sum, p) => sum + slotBytes(p.shape), 0);
    const { runtime } = run[0]!;
    const make = (owner: string): Tensor => withOwner(owner, () => fill_(keep(Tensor.allocate(runtime, [total / 4], 'float32', `flat ${owner}`)), 0));
    const weights = make('parameters');
    const gradients = make('gradients');
    const offsets: number[] = [];
    let offset = 0;
    for (const parameter of run) {
      const place = part(weights, offset, parameter.shape, parameter.label);
      accumulate(place, parameter);
      parameter.rebase(place.storage);
      parameter.grad = part(gradients, offset, parameter.shape, `${parameter.label}.grad`);
      offsets.push(offset / 4);
      offset += slotBytes(parameter.shape);
    }
    return { parameters: run, weights, gradients, offsets };
  });
};

/** Whether the parameters still lie in the buffer: a later one may have taken them. */
export const ownsParameters = ({ parameters, weights }: FlatBuffer): boolean => parameters.every((p) => p.range.buffer === weights.range.buffer);
