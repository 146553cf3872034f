import { fail } from '../errors.js';
import { BatchNorm2d, Conv2d, convNorm, GlobalAvgPool2d, Linear } from '../nn/layers.js';
import type { Backbone } from '../nn/models/backbone.js';
import { Module } from '../nn/module.js';
import { affine, cat, mul, ones, slice, zeros } from '../ops/index.js';
import type { Runtime } from '../kernels/runtime.js';
import { keep, scope } from '../tensor/scope.js';
import { withOwner } from '../tensor/storage.js';
import type { Tensor } from '../tensor/tensor.js';
import type { WsdanOptions } from './options.js';
import { bilinearAttentionPooling } from './pooling.js';

/** 1×1 convolution without bias, batch norm (eps 0.001) and ReLU: features to attention maps. */
class AttentionHead extends Module {
  readonly conv: Conv2d;
  readonly bn: BatchNorm2d;

  constructor(channels: number, maps: number, momentum: number) {
    super();
    this.conv = new Conv2d(channels, maps, 1, { bias: false });
    this.bn = new BatchNorm2d(maps, { eps: 1e-3, momentum, activation: 'relu' });
  }

  protected override forward(features: Tensor): Tensor {
    return convNorm(this.conv, this.bn, features);
  }
}

export interface WsdanOutput {
  /** [B, classes] */
  readonly logits: Tensor;
  /** Unit-norm feature matrix [B, M·C], before the scale. */
  readonly featureMatrix: Tensor;
  /** Attention maps [B, h, w, M], at least 0. */
  readonly maps: Tensor;
}

/** The attention network of WS-DAN; parameter names are those of GuYuc's checkpoints. */
export class WSDAN extends Module<[Tensor], WsdanOutput> {
  readonly attentions: AttentionHead;
  readonly fc: Linear;
  private readonly rim: Rim;

  constructor(readonly features: Backbone, readonly classes: number, private readonly options: WsdanOptions) {
    super();
    this.rim = new Rim(options.attentionRim);
    if (classes < 2) fail(`WSDAN: at least two classes are needed, got ${classes}`);
    if (options.attentionSource === 'features' && options.attentions > features.channels) {
      fail(`WSDAN: ${options.attentions} attention maps cannot be taken from ${features.channels} feature channels; use fewer, or attention source "head"`);
    }
    this.attentions = new AttentionHead(features.channels, options.attentions, options.bnMomentum);
    // As in the reference, the head is in the checkpoint even where the maps are feature channels; nothing may move it then.
    if (options.attentionSource === 'features') for (const p of this.attentions.parameters()) p.requiresGrad_(false);
    this.fc = new Linear(this.featureSize, classes, { bias: options.classifierBias });
  }

  /** Length of a row of the feature matrix. */
  get featureSize(): number {
    return this.options.attentions * this.features.channels;
  }

  protected override forward(images: Tensor): WsdanOutput {
    const features = this.features.call(images);
    const everywhere = this.options.attentionSource === 'head'
      ? this.attentions.call(features)
      : slice(features, [0, 0, 0, 0], [...features.shape.slice(0, 3), this.options.attentions]);
    const maps = this.rim.cleared(everywhere);
    const featureMatrix = bilinearAttentionPooling(features, maps, this.options.pooling);
    const logits = this.fc.call(affine(featureMatrix, this.options.scale));
    return { logits, featureMatrix, maps };
  }

  override release(): void {
    super.release();
    this.rim.release();
  }
}

/** 1 inside and 0 in the outermost rings, [1, height, width, 1]. */
const rimMask = (runtime: Runtime, height: number, width: number, rim: number): Tensor => {
  if (2 * rim >= Math.min(height, width)) fail(`WSDAN: a rim of ${rim} leaves nothing of ${height}×${width} attention maps; use a smaller rim or larger images`);
  const side = zeros([1, height - 2 * rim, rim, 1], { runtime });
  const edge = zeros([1, rim, width, 1], { runtime });
  const middle = cat([side, ones([1, height - 2 * rim, width - 2 * rim, 1], { runtime }), side], 2);
  return cat([edge, middle, edge], 1);
};

/** Sets the outermost rings of maps to 0. Masks are kept by size: making one takes more dispatches than using it. */
class Rim {
  private readonly masks = new Map<string, Tensor>();

  constructor(private readonly rim: number) {}

  /** @param maps [B, h, w, M] */
  cleared(maps: Tensor): Tensor {
    if (this.rim === 0) return maps;
    const [, height, width] = maps.shape as [number, number, number, number];
    const { runtime } = maps;
    const size = `${height}×${width}`;
    const known = this.masks.get(size);
    if (known) return mul(maps, known);
    const mask = withOwner('buffers', () => scope(() => rimMask(runtime, height, width, this.rim)));
    // In a dry run there is nothing to keep.
    if (!runtime.recorder.dry) this.masks.set(size, keep(mask));
    return mul(maps, mask);
  }

  release(): void {
    for (const mask of this.masks.values()) mask.release();
    this.masks.clear();
  }
}

/** The same backbone with global average pooling and a linear classifier: what WS-DAN is compared with. */
export class PlainClassifier extends Module {
  private readonly pool = new GlobalAvgPool2d();
  readonly fc: Linear;

  constructor(readonly features: Backbone, readonly classes: number) {
    super();
    this.fc = new Linear(features.channels, classes);
  }

  protected override forward(images: Tensor): Tensor {
    return this.fc.call(this.pool.call(this.features.call(images)));
  }
}
