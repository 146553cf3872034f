import { avgPool2d, batchNorm2d, conv2d, dropout, globalAvgPool2d, linear, maxPool2d, relu } from '../ops/index.js';
import type { Pair } from '../ops/conv-shape.js';
import type { Tensor } from '../tensor/tensor.js';
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
    return batchNorm2d(x, this.weight, this.bias, this.running_mean, this.running_var, { ...this.options, training: this.training });
  }
}

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

/** Children one after the other, named by their positions or as given. */
export class Sequential extends Module {
  private readonly layers: readonly Named<AnyModule>[];

  constructor(layers: readonly (AnyModule | Named<AnyModule>)[]) {
    super();
    this.layers = layers.map((layer, i) => (layer instanceof Module ? [String(i), layer] : layer));
  }

  override namedChildren(): Named<AnyModule>[] {
    return [...this.layers];
  }

  protected override forward(x: Tensor): Tensor {
    let value = x;
    for (const [, layer] of this.layers) {
      const next = layer.call(value) as Tensor;
      // The tape has handles of its own on what it needs; without it, a layer's input would stay until the last layer is done.
      if (value !== x && value !== next) value.release();
      value = next;
    }
    return value;
  }
}
