import { fail } from '../errors.js';
import { copyOf } from '../ops/convert.js';
import { accumulate, fill_ } from '../ops/index.js';
import { keep, untrack } from '../tensor/scope.js';
import { type Shape, storageBytes } from '../tensor/shape.js';
import { withOwner } from '../tensor/storage.js';
import { Tensor } from '../tensor/tensor.js';

/** Kernels bind parts of a buffer at multiples of this. */
const ALIGNMENT = 256;

const slotBytes = (shape: Shape): number => Math.ceil(storageBytes(shape) / ALIGNMENT) * ALIGNMENT;

const flatZeros = (parameters: readonly Tensor[], owner: string): Tensor => {
  const total = parameters.reduce((sum, { shape }) => sum + slotBytes(shape), 0);
  return withOwner(owner, () => fill_(keep(Tensor.allocate(parameters[0]!.runtime, [total / 4], 'float32', `flat ${owner}`)), 0));
};

/** Bytes at `offset` of a flat tensor, seen with a shape. */
const part = (flat: Tensor, offset: number, shape: Shape, label: string): Tensor => {
  const view = new Tensor(shape, 'float32', flat.storage.part(offset, storageBytes(shape)), label);
  untrack(view);
  return view;
};

/** Copies a tensor's elements to a place that holds zeros, and lets it lie there from now on. */
const moveTo = (place: Tensor, tensor: Tensor): void => {
  accumulate(place, tensor);
  tensor.rebase(place.storage.retain());
};

/** Where parameters lie: in the buffer of the optimiser that was made last. */
const homes = new WeakMap<Tensor, FlatBuffer>();

/** A run of parameters that lie in one buffer, with their gradients in another. */
export class FlatBuffer {
  /** All weights as one vector, gaps of alignment (always zero) included. */
  readonly weights: Tensor;
  readonly gradients: Tensor;
  /** Position of each parameter in the vector, in elements. */
  readonly offsets: readonly number[];
  /** Each parameter's place among the gradients. */
  private readonly slots: readonly Tensor[];

  constructor(readonly parameters: readonly Tensor[]) {
    this.weights = flatZeros(parameters, 'parameters');
    this.gradients = flatZeros(parameters, 'gradients');
    let end = 0;
    const starts = parameters.map(({ shape }) => (end += slotBytes(shape)) - slotBytes(shape));
    this.offsets = starts.map((bytes) => bytes / 4);
    this.slots = parameters.map(({ shape, label }, i) => part(this.gradients, starts[i]!, shape, `${label}.grad`));
    parameters.forEach((parameter, i) => this.take(parameter, starts[i]!, this.slots[i]!));
  }

  /** Whether all parameters still lie here: a later buffer may have taken some. */
  get isCurrent(): boolean {
    return this.parameters.every((parameter) => homes.get(parameter) === this);
  }

  /**
   * Brings gradients to their places that somebody put elsewhere: what was assigned is copied and lies here from now on; where there is none, it is zero.
   *
   * @param wanted false where all become zeros anyway
   */
  gather(wanted = true): void {
    this.parameters.forEach((parameter, i) => {
      const slot = this.slots[i]!;
      const { grad } = parameter;
      if (grad?.alive && grad.storage === slot.storage) return;
      if (wanted) fill_(slot, 0);
      if (!grad?.alive) {
        parameter.grad = slot.alias();
        return;
      }
      // Another parameter's gradient may have been assigned, which lies in this buffer, too.
      if (wanted) accumulate(slot, grad.storage.range.buffer === slot.range.buffer ? copyOf(grad) : grad);
      grad.rebase(slot.storage.retain());
    });
  }

  /** Gives back the gradients; the parameters' memory stays until they are released. */
  release(): void {
    if (!this.weights.alive) return;
    this.parameters.forEach((parameter, i) => {
      const { grad } = parameter;
      if (grad?.alive && grad.storage === this.slots[i]!.storage) {
        parameter.grad = null;
        grad.release();
      }
      if (homes.get(parameter) === this) homes.delete(parameter);
    });
    for (const tensor of [...this.slots, this.weights, this.gradients]) tensor.release();
  }

  private take(parameter: Tensor, start: number, slot: Tensor): void {
    const before = homes.get(parameter);
    const place = part(this.weights, start, parameter.shape, parameter.label);
    moveTo(place, parameter);
    place.release();
    if (parameter.grad?.alive) moveTo(slot, parameter.grad);
    else parameter.grad = slot.alias();
    homes.set(parameter, this);
    // The last one to leave a buffer frees it.
    if (before?.parameters.every((other) => homes.get(other) !== before)) before.release();
  }
}

/** Parameters in runs that fit the largest buffer the adapter can bind. */
const runsOf = (parameters: readonly Tensor[]): Tensor[][] => {
  const runs: Tensor[][] = [];
  const limit = parameters[0]?.runtime.device.limits.maxStorageBufferBindingSize ?? 0;
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

const checkParameter = (parameter: Tensor): void => {
  if (parameter.gradNode) fail(`optimizer: tensor "${parameter.label}" was computed from others (by "${parameter.gradNode.op}"); pass the leaves that it was computed from`);
  if (parameter.dtype !== 'float32') fail(`optimizer: parameter "${parameter.label}" is ${parameter.dtype}; only float32 ones can be trained (autocast converts them where they are read)`);
};

/**
 * Moves parameters into few large buffers, so that an optimiser updates a group of them with one kernel each,
 * and gives every parameter a gradient that backward adds to in place. Gradients from before are kept. A parameter that a group names twice counts once.
 *
 * @returns the buffers of each group
 * @throws UserError for tensors that are no leaves or not float32; nothing is moved then
 */
export const flatten = (groups: readonly (readonly Tensor[])[]): FlatBuffer[][] => {
  groups.flat().forEach(checkParameter);
  return groups.map((parameters) => runsOf([...new Set(parameters)]).map((run) => new FlatBuffer(run)));
};
