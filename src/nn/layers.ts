import { checkpoint } from '../autograd/checkpoint.js';
import { isGradEnabled, isRecomputing } from '../autograd/tape.js';
import { fail } from '../errors.js';
import { add, avgPool2d, batchNorm2d, conv2d, convBatchNorm2d, dropout, type FrozenNorm, globalAvgPool2d, linear, maxPool2d, type Pool2dOptions, relu } from '../ops/index.js';
import { checkIntegers, checkNames, type Pair, pair } from '../ops/arguments.js';
import type { ConvOptions } from '../ops/conv-shape.js';
import { endsHere } from '../tensor/scope.js';
import { checkList } from '../tensor/shape.js';
import { Tensor } from '../tensor/tensor.js';
import { constant, defaultUniform } from './init.js';
import { type AnyModule, buffer, computesAs, isObserved, Module, type Named, parameter } from './module.js';

/** What a layer may compute on the way, instead of in a pass of its own: a sum with something, then a ReLU. */
export interface Behind {
  readonly residual?: Tensor | null;
  readonly activation?: 'none' | 'relu';
}

export interface Conv2dLayerOptions extends Omit<ConvOptions, 'activation'> {
  bias?: boolean;
  /** Initial weights for a shape [KH, KW, in / groups, out]; default PyTorch's uniform ±1 / sqrt(fan in). */
  init?: (shape: readonly number[]) => Float32Array;
  /** Initial bias; default likewise. */
  initBias?: (shape: readonly number[]) => Float32Array;
}

/** Convolution: [N, H, W, in] → [N, OH, OW, out]. */
export class Conv2d extends Module<[Tensor, Behind?]> {
  readonly weight: Tensor;
  readonly bias: Tensor | null;
  /** How the window moves. */
  readonly options: Pick<Conv2dLayerOptions, 'stride' | 'padding' | 'dilation' | 'groups'>;

  constructor(inChannels: number, outChannels: number, kernelSize: number | Pair, options: Conv2dLayerOptions = {}) {
    super();
    checkNames('Conv2d', options, ['stride', 'padding', 'dilation', 'groups', 'bias', 'init', 'initBias']);
    checkIntegers('Conv2d', 'channels', [inChannels, outChannels], 1);
    const kernel = pair('Conv2d', 'kernelSize', kernelSize);
    checkIntegers('Conv2d', 'kernelSize', kernel, 1);
    const [kh, kw] = kernel;
    const { bias, init, initBias: ofBias, ...window } = options;
    this.options = window;
    const { groups = 1 } = window;
    if (inChannels % groups !== 0 || outChannels % groups !== 0) fail(`Conv2d: ${inChannels} input and ${outChannels} output channels must both be multiples of ${groups} groups`);
    const shape = [kh, kw, inChannels / groups, outChannels];
    this.weight = parameter(shape, (init ?? defaultUniform)(shape));
    const initBias = ofBias ?? ((s) => defaultUniform(s, kh * kw * shape[2]!));
    this.bias = bias === false ? null : parameter([outChannels], initBias([outChannels]));
  }

  protected override forward(x: Tensor, behind: Behind = {}): Tensor {
    return conv2d(x, this.weight, this.bias, { ...this.options, ...behind });
  }
}

/** Fully connected layer: [..., in] → [..., out]; the weight is stored [in, out]. */
export class Linear extends Module {
  readonly weight: Tensor;
  readonly bias: Tensor | null;

  constructor(inFeatures: number, outFeatures: number, options: { bias?: boolean } = {}) {
    super();
    checkNames('Linear', options, ['bias']);
    checkIntegers('Linear', 'features', [inFeatures, outFeatures], 1);
    this.weight = parameter([inFeatures, outFeatures], defaultUniform([inFeatures, outFeatures]));
    this.bias = options.bias === false ? null : parameter([outFeatures], defaultUniform([outFeatures], inFeatures));
  }

  protected override forward(x: Tensor): Tensor {
    return linear(x, this.weight, this.bias);
  }
}

/** Batch normalisation over all axes but the last, optionally with a ReLU fused behind it. */
export class BatchNorm2d extends Module<[Tensor, Behind?]> {
  readonly weight: Tensor;
  readonly bias: Tensor;
  readonly running_mean: Tensor;
  readonly running_var: Tensor;
  /** Uses and keeps the running statistics in training, too (PyTorch: `bn.eval()` in the training loop). Weight and bias go on learning. */
  keepsStatistics = false;
  /** What is fused behind it. */
  readonly activation: 'none' | 'relu';

  constructor(channels: number, private readonly options: { eps?: number; momentum?: number; activation?: 'none' | 'relu' } = {}) {
    super();
    checkNames('BatchNorm2d', options, ['eps', 'momentum', 'activation']);
    checkIntegers('BatchNorm2d', 'channels', [channels], 1);
    this.activation = options.activation ?? 'none';
    this.weight = parameter([channels], constant([channels], 1));
    this.bias = parameter([channels], constant([channels], 0));
    this.running_mean = buffer([channels], constant([channels], 0));
    this.running_var = buffer([channels], constant([channels], 1));
  }

  protected override forward(x: Tensor, behind: Behind = {}): Tensor {
    const training = this.training && !this.keepsStatistics;
    // Backward that calls a checkpointed function again must not count its batch a second time.
    const statistics = [this.running_mean, this.running_var].map((s) => (training && isRecomputing() ? Tensor.allocate(s.runtime, s.shape, 'float32', 'unused statistics') : s));
    return batchNorm2d(x, this.weight, this.bias, statistics[0]!, statistics[1]!, { ...this.options, ...behind, training });
  }

  /** What evaluation reads of it. */
  get frozen(): FrozenNorm {
    return { mean: this.running_mean, variance: this.running_var, weight: this.weight, bias: this.bias, eps: this.options.eps ?? 1e-5 };
  }
}

/** Sets whether the batch norms in a module keep their running statistics; see {@link BatchNorm2d.keepsStatistics}. */
export const freezeBatchNorm = (module: AnyModule, frozen = true): void => {
  if (module instanceof BatchNorm2d) module.keepsStatistics = frozen;
  for (const [, child] of module.namedChildren()) freezeBatchNorm(child, frozen);
};

/**
 * A convolution and the batch norm behind it, then a sum with a residual and a ReLU (default: the norm's own). In evaluation this
 * is one kernel; while somebody looks at the single modules, or where one computes something of its own, each is computed by itself.
 */
export const convNorm = (conv: Conv2d, norm: BatchNorm2d, x: Tensor, behind: Behind = {}): Tensor => {
  const { residual = null, activation = norm.activation } = behind;
  const ownNorm = !computesAs(norm, BatchNorm2d);
  if (ownNorm || (isObserved() && norm.activation === 'none')) {
    const y = norm.call(conv.call(x));
    const sum = residual ? add(y, residual) : y;
    // A norm's own activation is part of what it computes.
    return (ownNorm ? behind.activation : activation) === 'relu' ? relu(sum) : sum;
  }
  const { groups = 1, ...options } = conv.options;
  if (!computesAs(conv, Conv2d) || norm.training || groups > 1 || isGradEnabled() || isObserved()) return norm.call(conv.call(x), { residual, activation });
  return convBatchNorm2d(x, conv.weight, conv.bias, norm.frozen, { ...options, residual, activation });
};

export class ReLU extends Module {
  protected override forward(x: Tensor): Tensor {
    return relu(x);
  }
}

export type PoolOptions = Omit<Pool2dOptions, 'kernelSize'>;

export class MaxPool2d extends Module {
  constructor(private readonly kernelSize: number | Pair, private readonly options: PoolOptions = {}) {
    super();
  }

  protected override forward(x: Tensor): Tensor {
    return maxPool2d(x, { kernelSize: this.kernelSize, ...this.options });
  }
}

export class AvgPool2d extends Module {
  constructor(private readonly kernelSize: number | Pair, private readonly options: PoolOptions & { countIncludePad?: boolean } = {}) {
    super();
  }

  protected override forward(x: Tensor): Tensor {
    return avgPool2d(x, { kernelSize: this.kernelSize, ...this.options });
  }
}

/** Mean over height and width: [N, H, W, C] → [N, C]. */
export class GlobalAvgPool2d extends Module {
  protected override forward(x: Tensor): Tensor {
    return globalAvgPool2d(x);
  }
}

/** Zeroes elements with probability p in training and scales the others by 1 / (1 − p). */
export class Dropout extends Module {
  constructor(private readonly p = 0.5) {
    super();
  }

  protected override forward(x: Tensor): Tensor {
    return dropout(x, this.p, { training: this.training });
  }
}

/** Computes the layer at `i`, together with the one behind it where one kernel does both. */
const stepOf = (layers: readonly Named<AnyModule>[], i: number, x: Tensor): { readonly next: Tensor; readonly taken: number } => {
  const [layer, behind] = [layers[i]![1], layers[i + 1]?.[1]];
  if (computesAs(layer, Conv2d)) {
    if (computesAs(behind, BatchNorm2d)) return { next: convNorm(layer, behind, x), taken: 2 };
    if (computesAs(behind, ReLU) && !isObserved()) return { next: layer.call(x, { activation: 'relu' }), taken: 2 };
  }
  return { next: layer.call(x) as Tensor, taken: 1 };
};

/**
 * Releases what went from layers to others: the tape has handles of its own on what it needs; without it, a layer's input would stay until the last
 * layer is done. What was made elsewhere, is kept, or stands in one of the layers' properties is left alone.
 */
const letGo = (value: Tensor, layers: readonly Named<AnyModule>[]): void => {
  if (endsHere(value) && !layers.some(([, layer]) => Object.values(layer).includes(value))) value.release();
};

/** Computes one piece of a chain after the other. @param step computes the piece at `i` and tells how many it took */
const along = (
  pieces: number, x: Tensor, layersOf: (from: number, to: number) => readonly Named<AnyModule>[],
  step: (i: number, value: Tensor) => { readonly next: Tensor; readonly taken: number },
): Tensor => {
  let value = x;
  for (let i = 0, before = 0; i < pieces;) {
    const { next, taken } = step(i, value);
    if (value !== x && value !== next) letGo(value, layersOf(before, i + taken));
    value = next;
    before = i;
    i += taken;
  }
  return value;
};

/** Layers one after the other. */
const chain = (layers: readonly Named<AnyModule>[], x: Tensor): Tensor =>
  along(layers.length, x, (from, to) => layers.slice(from, to), (i, value) => stepOf(layers, i, value));

/** The layers with their names, checked. */
const namedLayers = (layers: readonly (AnyModule | Named<AnyModule>)[]): Named<AnyModule>[] => {
  checkList('Sequential', 'the layers', layers);
  const named = layers.map((layer, i): Named<AnyModule> => (layer instanceof Module ? [String(i), layer] : layer));
  const seen = new Set<string>();
  named.forEach((entry: readonly unknown[] | null | undefined, i) => {
    const [name, layer] = Array.isArray(entry) ? entry : [];
    if (typeof name !== 'string' || !(layer instanceof Module)) fail(`Sequential: layer ${i} must be a module, or a name and a module as in ["head", new Linear(…)]`);
    if (seen.has(name)) fail(`Sequential: two layers have the name "${name}"; a layer without a name is called by its position, and each needs one of its own`);
    seen.add(name);
  });
  return named;
};

/**
 * Children one after the other, named by their positions or as given. What one passes to the next is released on the way: a layer that looks at its input or
 * output later has it in a property of its own, or marks it with `keep`.
 */
export class Sequential extends Module {
  private readonly layers: readonly Named<AnyModule>[];
  /** Keeps only what enters each segment; backward computes the rest again (see `checkpoint`). */
  checkpointing = false;

  /** @param endsSegment which layers are the last of a segment; default: each is a segment of its own */
  constructor(layers: readonly (AnyModule | Named<AnyModule>)[], private readonly endsSegment: (name: string, layer: AnyModule) => boolean = () => true) {
    super();
    this.layers = namedLayers(layers);
  }

  /** The layers, and modules that a derived class has as properties. */
  override namedChildren(): Named<AnyModule>[] {
    const others = super.namedChildren();
    const twice = others.find(([name, module]) => this.layers.some(([other, layer]) => name === other && module !== layer));
    if (twice) fail(`Sequential: the property "${twice[0]}" has the name of a layer; call it something else`);
    return [...this.layers, ...others.filter(([name]) => !this.layers.some(([other]) => name === other))];
  }

  protected override forward(x: Tensor): Tensor {
    if (!this.checkpointing || !isGradEnabled()) return chain(this.layers, x);
    const segments = this.segments();
    return along(segments.length, x, (from, to) => segments.slice(from, to).flat(),
      (i, value) => ({ next: checkpoint((start) => chain(segments[i]!, start), value), taken: 1 }));
  }

  private segments(): Named<AnyModule>[][] {
    const segments: Named<AnyModule>[][] = [[]];
    this.layers.forEach((layer, i) => {
      segments.at(-1)!.push(layer);
      if (i + 1 < this.layers.length && this.endsSegment(...layer)) segments.push([]);
    });
    return segments;
  }
}
