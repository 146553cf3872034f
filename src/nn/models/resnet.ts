import { checkpoint } from '../../autograd/checkpoint.js';
import type { Tensor } from '../../tensor/tensor.js';
import { kaimingNormal } from '../init.js';
import { BatchNorm2d, Conv2d, convNorm, MaxPool2d, Sequential } from '../layers.js';
import { type AnyModule, Module } from '../module.js';
import type { Backbone, BackboneRecord } from './backbone.js';
import { resnetNames } from './names.js';

const conv = (from: number, to: number, kernel: number, stride = 1): Conv2d =>
  new Conv2d(from, to, kernel, { stride, padding: (kernel - 1) / 2, bias: false, init: kaimingNormal });

/** Shared shape of the residual blocks: y = relu(f(x) + shortcut(x)). */
abstract class Block extends Module {
  downsample: Sequential | null = null;

  /** @param momentum weight of new batch statistics */
  protected constructor(private readonly momentum: number) {
    super();
  }

  protected norm(channels: number, activation: 'none' | 'relu' = 'none'): BatchNorm2d {
    return new BatchNorm2d(channels, { activation, momentum: this.momentum });
  }

  /** The block without its shortcut, whose value is added behind the last norm. */
  protected abstract residual(x: Tensor, around: Tensor): Tensor;

  protected shortcut(from: number, to: number, stride: number): void {
    if (stride !== 1 || from !== to) this.downsample = new Sequential([conv(from, to, 1, stride), this.norm(to)]);
  }

  protected override forward(x: Tensor): Tensor {
    const around = this.downsample ? this.downsample.call(x) : x;
    return this.residual(x, around);
  }
}

/** Two 3×3 convolutions (torchvision's BasicBlock). */
export class BasicBlock extends Block {
  static readonly expansion = 1;
  readonly conv1: Conv2d;
  readonly bn1: BatchNorm2d;
  readonly conv2: Conv2d;
  readonly bn2: BatchNorm2d;

  constructor(from: number, width: number, stride: number, momentum = 0.1) {
    super(momentum);
    this.conv1 = conv(from, width, 3, stride);
    this.bn1 = this.norm(width, 'relu');
    this.conv2 = conv(width, width, 3);
    this.bn2 = this.norm(width);
    this.shortcut(from, width, stride);
  }

  protected override residual(x: Tensor, around: Tensor): Tensor {
    return convNorm(this.conv2, this.bn2, convNorm(this.conv1, this.bn1, x), { residual: around, activation: 'relu' });
  }
}

/** 1×1, 3×3, 1×1 with fourfold output (torchvision's Bottleneck: the stride is in the 3×3). */
export class Bottleneck extends Block {
  static readonly expansion = 4;
  readonly conv1: Conv2d;
  readonly bn1: BatchNorm2d;
  readonly conv2: Conv2d;
  readonly bn2: BatchNorm2d;
  readonly conv3: Conv2d;
  readonly bn3: BatchNorm2d;

  constructor(from: number, width: number, stride: number, momentum = 0.1) {
    super(momentum);
    const out = width * Bottleneck.expansion;
    this.conv1 = conv(from, width, 1);
    this.bn1 = this.norm(width, 'relu');
    this.conv2 = conv(width, width, 3, stride);
    this.bn2 = this.norm(width, 'relu');
    this.conv3 = conv(width, out, 1);
    this.bn3 = this.norm(out);
    this.shortcut(from, out, stride);
  }

  protected override residual(x: Tensor, around: Tensor): Tensor {
    const inner = convNorm(this.conv2, this.bn2, convNorm(this.conv1, this.bn1, x));
    return convNorm(this.conv3, this.bn3, inner, { residual: around, activation: 'relu' });
  }
}

export interface ResNetOptions {
  readonly block: typeof BasicBlock | typeof Bottleneck;
  /** Blocks per stage. */
  readonly depths: readonly number[];
  /** Channels of each stage, before the block's expansion. */
  readonly widths: readonly number[];
  /** Stride of each stage. */
  readonly strides: readonly number[];
  /** `imagenet`: 7×7 stride 2 and a 3×3 max-pool, for 224 px and more; `small`: 3×3 with the given stride. */
  readonly stem: { readonly kind: 'imagenet'; readonly width: number } | { readonly kind: 'small'; readonly width: number; readonly stride: number };
}

/**
 * Residual network without its classifier: [N, H, W, 3] → [N, H / stride, W / stride, channels].
 * Parameter names are torchvision's (He et al., arXiv 1512.03385; stride placement of torchvision).
 */
export class ResNet extends Module implements Backbone {
  readonly conv1: Conv2d;
  readonly bn1: BatchNorm2d;
  private readonly pool: MaxPool2d | null;
  readonly layer1: Sequential | null = null;
  readonly layer2: Sequential | null = null;
  readonly layer3: Sequential | null = null;
  readonly layer4: Sequential | null = null;
  readonly channels: number;
  readonly stride: number;

  /** @param bnMomentum weight of new batch statistics in the running averages */
  constructor(options: ResNetOptions, bnMomentum = 0.1) {
    super();
    const { stem } = options;
    const big = stem.kind === 'imagenet';
    this.conv1 = conv(3, stem.width, big ? 7 : 3, big ? 2 : stem.stride);
    this.bn1 = new BatchNorm2d(stem.width, { activation: 'relu', momentum: bnMomentum });
    this.pool = big ? new MaxPool2d(3, { stride: 2, padding: 1 }) : null;
    let from = stem.width;
    const names = ['layer1', 'layer2', 'layer3', 'layer4'] as const;
    options.depths.forEach((depth, stage) => {
      const blocks: AnyModule[] = [];
      for (let i = 0; i < depth; i++) {
        blocks.push(new options.block(from, options.widths[stage]!, i === 0 ? options.strides[stage]! : 1, bnMomentum));
        from = options.widths[stage]! * options.block.expansion;
      }
      (this as { -readonly [K in (typeof names)[number]]: Sequential | null })[names[stage]!] = new Sequential(blocks);
    });
    this.channels = from;
    this.stride = options.strides.reduce((product, s) => product * s, big ? 4 : stem.kind === 'small' ? stem.stride : 1);
  }

  private get stages(): Sequential[] {
    return [this.layer1, this.layer2, this.layer3, this.layer4].filter((stage) => stage !== null);
  }

  get checkpointing(): boolean {
    return this.stages.some((stage) => stage.checkpointing);
  }

  set checkpointing(on: boolean) {
    for (const stage of this.stages) stage.checkpointing = on;
  }

  private stem(x: Tensor): Tensor {
    const value = convNorm(this.conv1, this.bn1, x);
    return this.pool ? this.pool.call(value) : value;
  }

  protected override forward(x: Tensor): Tensor {
    const first = this.checkpointing ? checkpoint((images) => this.stem(images), x) : this.stem(x);
    return this.stages.reduce((value, stage) => stage.call(value), first);
  }
}

const record = (options: ResNetOptions): BackboneRecord => ({ create: ({ bnMomentum }) => new ResNet(options, bnMomentum), names: resnetNames });

const standard = (block: ResNetOptions['block'], depths: number[]): BackboneRecord => record({
  block, depths, widths: [64, 128, 256, 512], strides: [1, 2, 2, 2], stem: { kind: 'imagenet', width: 64 },
});

export const resnets = {
  /** Small residual network for 64–128 px: the default of the embedded data set. */
  resnet_small: record({ block: BasicBlock, depths: [1, 1], widths: [32, 64], strides: [2, 2], stem: { kind: 'small', width: 16, stride: 2 } }),
  resnet18: standard(BasicBlock, [2, 2, 2, 2]),
  resnet34: standard(BasicBlock, [3, 4, 6, 3]),
  resnet50: standard(Bottleneck, [3, 4, 6, 3]),
  resnet101: standard(Bottleneck, [3, 4, 23, 3]),
  resnet152: standard(Bottleneck, [3, 8, 36, 3]),
};
