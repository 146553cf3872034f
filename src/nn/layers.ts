import { checkpoint } from '../autograd/checkpoint.js';
import { isRecomputing } from '../autograd/tape.js';
import { avgPool2d, batchNorm2d, conv2d, dropout, globalAvgPool2d, linear, maxPool2d, relu } from '../ops/index.js';
import type { Pair } from '../ops/conv-shape.js';
import { Tensor } from '../tensor/tensor.js';
import { constant, defaultUniform } from './init.js';
import { type AnyModule, buffer, Module, type Named, parameter } from './module.js';

export interface Conv2dLayerOptions {
  stride?: number | Pair;
  padding?: number | Pair;
  dilation?: number | Pair;
  groups?: number;
  bias?: boolean;
  /** Initial weights for a shape [KH, KW, in / groups, out]; default PyTorch's uniform ±1 / sqrt(fan in). */
  init?: (shape: readonly number[]) => Float32Array;
  /** Initial bias; default likewise. */
  initBias?: (shape: readonly number[]) => Float32Array;
}

/** Convolution: [N, H, W, in] → [N, OH, OW, out]. */
export class Conv2d extends Module {
  readonly weight: Tensor;
  readonly bias: Tensor | null;

  constructor(inChannels: number, outChannels: number, kernelSize: number | Pair, private readonly options: Conv2dLayerOptions = {}) {
    super();
    const [kh, kw] = typeof kernelSize === 'number' ? [kernelSize, kernelSize] : kernelSize;
    const shape = [kh, kw, inChannels / (options.groups ?? 1), outChannels];
    this.weight = parameter(shape, (options.init ?? defaultUniform)(shape));
    const initBias = options.initBias ?? ((s) => defaultUniform(s, kh * kw * shape[2]!));
    this.bias = options.bias === false ? null : parameter([outChannels], initBias([outChannels]));
  }

  protected override forward(x: Tensor): Tensor {
    return conv2d(x, this.weight, this.bias, this.options);
  }
}

/** Fully connected layer: [..., in] → [..., out]; the weight is stored [in, out]. */
export class Linear extends Module {
  readonly weight: Tensor;
  readonly bias: Tensor | null;

  constructor(inFeatures: number, outFeatures: number, options: { bias?: boolean } = {}) {
    super();
    this.weight = parameter([inFeatures, outFeatures], defaultUniform([inFeatures, outFeatures]));
    this.bias = options.bias === false ? null : parameter([outFeatures], defaultUniform([outFeatures], inFeatures));
  }

  protected override forward(x: Tensor): Tensor {
    return linear(x, this.weight, this.bias);
  }
}

/** Batch normalisation over all axes but the last, optionally with a ReLU fused behind it. */
export class BatchNorm2d extends Module {
  readonly weight: Tensor;
  readonly bias: Tensor;
  readonly running_mean: Tensor;
  readonly running_var: Tensor;
  /** Uses and keeps the running statistics in training, too (PyTorch: `bn.eval()` in the training loop). Weight and bias go on learning. */
  frozen = false;
  /** What is fused behind it. */
  readonly activation: 'none' | 'relu';

  constructor(channels: number, private readonly options: { eps?: number; momentum?: number; activation?: 'none' | 'relu' } = {}) {
    super();
    this.activation = options.activation ?? 'none';
    this.weight = parameter([channels], constant([channels], 1));
    this.bias = parameter([channels], constant([channels], 0));
    this.running_mean = buffer([channels], constant([channels], 0));
    this.running_var = buffer([channels], constant([channels], 1));
  }

  protected override forward(x: Tensor): Tensor {
    const training = this.training && !this.frozen;
    // Backward that calls a checkpointed function again must not count its batch a second time.
    const statistics = [this.running_mean, this.running_var].map((s) => (training && isRecomputing() ? Tensor.allocate(s.runtime, s.shape, 'float32', 'unused statistics') : s));
    return batchNorm2d(x, this.weight, this.bias, statistics[0]!, statistics[1]!, { ...this.options, training });
  }
}

/** Sets whether the batch norms in a module keep their running statistics; see {@link BatchNorm2d.frozen}. */
export const freezeBatchNorm = (module: AnyModule, frozen = true): void => {
  if (module instanceof BatchNorm2d) module.frozen = frozen;
  for (const [, child] of module.namedChildren()) freezeBatchNorm(child, frozen);
};

export class ReLU extends Module {
  protected override forward(x: Tensor): Tensor {
    return relu(x);
  }
}

export interface PoolOptions {
  stride?: number | Pair;
  padding?: number | Pair;
  ceilMode?: boolean;
}

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

/** Layers one after the other. */
const chain = (layers: readonly Named<AnyModule>[], x: Tensor): Tensor => {
  let value = x;
  for (const [, layer] of layers) {
    const next = layer.call(value) as Tensor;
    // The tape has handles of its own on what it needs; without it, a layer's input would stay until the last layer is done.
    if (value !== x && value !== next) value.release();
    value = next;
  }
  return value;
};

/** Children one after the other, named by their positions or as given. */
export class Sequential extends Module {
  private readonly layers: readonly Named<AnyModule>[];
  /** Keeps only what enters each segment; backward computes the rest again (see `checkpoint`). */
  checkpointing = false;

  /** @param endsSegment which layers are the last of a segment; default: each is a segment of its own */
  constructor(layers: readonly (AnyModule | Named<AnyModule>)[], private readonly endsSegment: (name: string, layer: AnyModule) => boolean = () => true) {
    super();
    this.layers = layers.map((layer, i) => (layer instanceof Module ? [String(i), layer] : layer));
  }

  override namedChildren(): Named<AnyModule>[] {
    return [...this.layers];
  }

  protected override forward(x: Tensor): Tensor {
    if (!this.checkpointing) return chain(this.layers, x);
    let value = x;
    for (const segment of this.segments()) {
      const next = checkpoint((start) => chain(segment, start), value);
      if (value !== x && value !== next) value.release();
      value = next;
    }
    return value;
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
