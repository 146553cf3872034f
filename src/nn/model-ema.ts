import { fail } from '../errors.js';
import { checkNames } from '../ops/arguments.js';
import { exchange_, lerp_ } from '../ops/index.js';
import { keep, scope } from '../tensor/scope.js';
import type { Shape } from '../tensor/shape.js';
import { withOwner } from '../tensor/storage.js';
import { Tensor } from '../tensor/tensor.js';
import { follows, moveTogether, placesFor, runsOf } from './flat-buffer.js';
import type { AnyModule, StateDict } from './module.js';

export interface ModelEmaOptions {
  /** What stays of the average in an update: about 1 / (1 − decay) updates count. Default 0.9999. */
  readonly decay?: number;
}

const OWNER = 'averages';

/** A tensor of the module, and its average. */
interface Pair {
  readonly present: Tensor;
  readonly average: Tensor;
}

/** Floats are averaged; whole numbers, such as counters, are copied. */
const isAveraged = ({ dtype }: Tensor): boolean => dtype === 'float32';

const inMemory = (a: Tensor, b: Tensor): number => a.range.buffer.id - b.range.buffer.id || a.range.offset - b.range.offset;

/** A vector over some tensors' places, which follow each other. */
const across = (tensors: readonly Tensor[]): Tensor => {
  const [first, last] = [tensors[0]!, tensors.at(-1)!];
  const bytes = last.range.offset + last.range.bytes - first.range.offset;
  return new Tensor([bytes / 4], 'float32', first.storage.part(0, bytes), first.label);
};

/** Pairs that lie side by side, on either side of them, as one. */
const merged = (pairs: readonly Pair[]): Pair[] => {
  const runs: Pair[][] = [];
  for (const pair of pairs) {
    const before = runs.at(-1)?.at(-1);
    if (before && follows(pair.present, before.present) && follows(pair.average, before.average)) runs.at(-1)!.push(pair);
    else runs.push([pair]);
  }
  return runs.map((run) => ({ present: across(run.map(({ present }) => present)), average: across(run.map(({ average }) => average)) }));
};

/**
 * Exponential moving averages of a module's weights (timm's `ModelEmaV3`; PyTorch's `AveragedModel` with `get_ema_multi_avg_fn` and `use_buffers`), which often
 * predict better than the weights of the last step: average ← decay · average + (1 − decay) · weight at each {@link update}, of parameters and of
 * buffers such as running statistics; whole numbers are copied. The averages begin as the weights are at construction.
 *
 * ```js
 * const optimizer = new SGD(net.parameters(), { lr: 0.1 });
 * const ema = new ModelEma(net, { decay: 0.999 });
 * … optimizer.step(); ema.update(); …
 * const accuracy = await ema.averaged(() => evaluate(net));
 * ```
 *
 * Construct it after the optimiser: an update is then one kernel for each of the optimiser's groups and one for the buffers, which move into memory
 * of their own for that. Parameters that are frozen (`requiresGrad_(false)`) by then are left alone, as the optimiser does.
 */
export class ModelEma {
  private readonly decay: number;
  private readonly averages: ReadonlyMap<Tensor, Tensor>;
  private readonly flats: readonly Tensor[];
  /** Whether module and averages have changed places. */
  private exchanged = false;
  private released = false;

  constructor(private readonly module: AnyModule, options: ModelEmaOptions = {}) {
    checkNames('ModelEma', options, ['decay']);
    const { decay = 0.9999 } = options;
    if (!(typeof decay === 'number' && decay >= 0 && decay < 1)) fail(`ModelEma: decay must be a number from 0 to below 1, got ${String(decay)}`);
    this.decay = decay;
    const buffers = module.namedBuffers().map(([, tensor]) => tensor);
    const half = buffers.find(({ dtype }) => dtype === 'float16');
    if (half) fail(`ModelEma: buffer "${half.label}" is float16; averages are kept of float32, and copies of whole numbers`);
    moveTogether(buffers.filter(isAveraged), 'buffers');
    const tensors = [...module.parameters().filter((p) => p.requiresGrad), ...buffers];
    if (tensors.length === 0) fail('ModelEma: the module has neither parameters to train nor buffers');
    const places = runsOf(tensors.filter(isAveraged).sort(inMemory)).map((run) => ({ run, ...placesFor(run, OWNER) }));
    this.flats = places.map(({ flat }) => flat);
    this.averages = new Map([
      ...places.flatMap(({ run, slots }) => run.map((tensor, i) => [tensor, slots[i]!] as const)),
      ...tensors.filter((tensor) => !isAveraged(tensor)).map((tensor) =>
        [tensor, withOwner(OWNER, () => keep(Tensor.allocate(tensor.runtime, tensor.shape, tensor.dtype, tensor.label)))] as const),
    ]);
    this.set();
  }

  /** Moves the averages towards the weights. Call it after the optimiser's step, within the same captured function if there is one. */
  update(): void {
    this.checkReady('update');
    scope(() => {
      for (const { present, average } of this.pairs()) {
        if (isAveraged(present)) lerp_(average, present, 1 - this.decay);
        else copy(present, average);
      }
    });
  }

  /** Begins anew with the weights as they are. */
  set(): void {
    this.checkReady('set');
    scope(() => {
      for (const { present, average } of this.pairs()) copy(present, average);
    });
  }

  /**
   * Runs `work` with the averages in the module's place: an evaluation, for example. When it ends, by an exception too, the trained weights are back
   * to the bit. The weights must not be trained meanwhile.
   */
  async averaged<T>(work: () => T | Promise<T>): Promise<T> {
    this.checkReady('averaged');
    this.exchange();
    try {
      return await work();
    } finally {
      this.exchange();
    }
  }

  /** The averages by the module's names, as they are at the call: for `loadStateDict` of a module, or for `save`. */
  stateDict(): Promise<StateDict> {
    return this.inPlace(() => this.module.stateDict());
  }

  /**
   * Replaces the averages, and leaves the module's weights as they are.
   *
   * @throws UserError as `loadStateDict` of the module does; nothing is changed then
   */
  loadStateDict(state: ReadonlyMap<string, { shape: Shape; data: ArrayLike<number> }>): void {
    this.inPlace(() => this.module.loadStateDict(state));
  }

  /** Gives back the averages' memory. Within {@link averaged} it is too early for that. */
  release(): void {
    if (this.released) return;
    this.checkReady('release');
    this.released = true;
    for (const tensor of [...this.averages.values(), ...this.flats]) tensor.release();
  }

  /** Whether the averages stand in the module or not, does something while they do. What it reads it must ask for at once. */
  private inPlace<T>(work: () => T): T {
    if (this.exchanged) return work();
    this.checkReady('stateDict');
    this.exchange();
    try {
      return work();
    } finally {
      this.exchange();
    }
  }

  private exchange(): void {
    this.exchanged = !this.exchanged;
    scope(() => {
      for (const { present, average } of this.pairs()) exchange_(present, average);
    });
    for (const tensor of this.averages.keys()) tensor.storage.changed();
  }

  /** What lies side by side is one: the optimiser keeps parameters so. It may be another one than before. */
  private pairs(): Pair[] {
    const pairs = [...this.averages].map(([present, average]): Pair => ({ present, average }));
    return [...merged(pairs.filter(({ present }) => isAveraged(present))), ...pairs.filter(({ present }) => !isAveraged(present))];
  }

  private checkReady(method: string): void {
    if (this.released) fail('ModelEma: it was released; make a new one');
    if (this.exchanged) fail(`ModelEma: ${method}() within averaged(): the averages stand in the module's place; wait until that has ended`);
  }
}

const copy = (from: Tensor, to: Tensor): void => {
  to.storage.changed();
  to.runtime.recorder.copy(from.range, to.range);
};
