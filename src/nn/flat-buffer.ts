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

/** Bytes at `offset` of a flat tensor, seen with a shape. */
const part = (flat: Tensor, offset: number, shape: Shape, label: string): Tensor => {
  const view = new Tensor(shape, 'float32', flat.storage.part(offset, storageBytes(shape)), label);
  untrack(view);
  return view;
};

/** A vector, and a place in it for each of some tensors. */
export interface Places {
  /** Gaps of alignment, always zero, included. */
  readonly flat: Tensor;
  readonly slots: readonly Tensor[];
}

/** Zeros with a place for each of some tensors, in their order. @param label of a place, from the tensor's own */
export const placesFor = (tensors: readonly Tensor[], owner: string, label = (own: string): string => own): Places => {
  let end = 0;
  const starts = tensors.map(({ shape }) => (end += slotBytes(shape)) - slotBytes(shape));
  const flat = withOwner(owner, () => fill_(keep(Tensor.allocate(tensors[0]!.runtime, [end / 4], 'float32', `flat ${owner}`)), 0));
  return { flat, slots: tensors.map(({ shape, label: own }, i) => part(flat, starts[i]!, shape, label(own))) };
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
  /** Each parameter's place among the gradients. */
  private readonly slots: readonly Tensor[];

  constructor(readonly parameters: readonly Tensor[]) {
    const places = placesFor(parameters, 'parameters');
    this.weights = places.flat;
    ({ flat: this.gradients, slots: this.slots } = placesFor(parameters, 'gradients', (own) => `${own}.grad`));
    parameters.forEach((parameter, i) => this.take(parameter, places.slots[i]!, this.slots[i]!));
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

  private take(parameter: Tensor, place: Tensor, slot: Tensor): void {
    const before = homes.get(parameter);
    moveTo(place, parameter);
    place.release();
    if (parameter.grad?.alive) moveTo(slot, parameter.grad);
    else parameter.grad = slot.alias();
    homes.set(parameter, this);
    // The last one to leave a buffer frees it.
    if (before?.parameters.every((other) => homes.get(other) !== before)) before.release();
  }
}

/** Moves tensors that nobody else moves, such as running statistics, into one buffer. */
export const moveTogether = (tensors: readonly Tensor[], owner: string): void => {
  for (const run of runsOf(tensors)) {
    const { flat, slots } = placesFor(run, owner);
    run.forEach((tensor, i) => moveTo(slots[i]!, tensor));
    // They alone hold it from now on.
    for (const place of [...slots, flat]) place.release();
  }
};

/** Where one tensor's place ends, the next one's begins. */
export const follows = (tensor: Tensor, before: Tensor): boolean =>
  tensor.range.buffer === before.range.buffer && tensor.range.offset === before.range.offset + slotBytes(before.shape);

/** Tensors in runs that fit the largest buffer the adapter can bind. */
export const runsOf = (tensors: readonly Tensor[]): Tensor[][] => {
  const runs: Tensor[][] = [];
  const limit = tensors[0]?.runtime.device.limits.maxStorageBufferBindingSize ?? 0;
  let used = Infinity;
  for (const tensor of tensors) {
    const bytes = slotBytes(tensor.shape);
    if (used + bytes > limit) {
      runs.push([]);
      used = 0;
    }
    runs[runs.length - 1]!.push(tensor);
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
