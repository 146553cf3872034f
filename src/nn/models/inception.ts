import { add, avgPool2d, cat, maxPool2d, mul } from '../../ops/index.js';
import { constantRow } from '../../tensor/create.js';
import { scope } from '../../tensor/scope.js';
import type { Tensor } from '../../tensor/tensor.js';
import { truncatedNormal } from '../init.js';
import { BatchNorm2d, Conv2d, convNorm, MaxPool2d, Sequential } from '../layers.js';
import { type AnyModule, Module, type Named } from '../module.js';
import type { Backbone, BackboneRecord } from './backbone.js';
import { inceptionNames } from './names.js';

// ---------------------------------------------------------------- the description

/** Convolution without bias, batch norm (eps 0.001) and ReLU. Padding keeps the size, except where `valid`. */
interface Unit {
  readonly name: string;
  readonly out: number;
  readonly kernel: readonly [height: number, width: number];
  readonly stride: number;
  readonly valid: boolean;
}

/** `average`: 3×3, size kept, zeros of the padding counted; `max`: 3×3 with stride 2. An array of units splits: all read the same input. */
type Step = Unit | 'average' | 'max' | readonly Unit[];
/** Steps one after the other. */
type Branch = readonly Step[];
/** Branches side by side, joined along the channels. */
interface Block {
  readonly name: string;
  readonly branches: readonly Branch[];
}

const unit = (name: string, out: number, kernel: number | readonly [number, number], options: { stride?: number; valid?: boolean } = {}): Unit =>
  ({ name, out, kernel: typeof kernel === 'number' ? [kernel, kernel] : kernel, stride: options.stride ?? 1, valid: options.valid ?? false });

const halving = { stride: 2, valid: true };
const across = [1, 7] as const;
const down = [7, 1] as const;

const mixed5 = (name: string, pooled: number): Block => ({
  name,
  branches: [
    [unit('branch1x1', 64, 1)],
    [unit('branch5x5_1', 48, 1), unit('branch5x5_2', 64, 5)],
    [unit('branch3x3dbl_1', 64, 1), unit('branch3x3dbl_2', 96, 3), unit('branch3x3dbl_3', 96, 3)],
    ['average', unit('branch_pool', pooled, 1)],
  ],
});

const mixed6a: Block = {
  name: 'Mixed_6a',
  branches: [
    [unit('branch3x3', 384, 3, halving)],
    [unit('branch3x3dbl_1', 64, 1), unit('branch3x3dbl_2', 96, 3), unit('branch3x3dbl_3', 96, 3, halving)],
    ['max'],
  ],
};

const mixed6 = (name: string, inner: number): Block => ({
  name,
  branches: [
    [unit('branch1x1', 192, 1)],
    [unit('branch7x7_1', inner, 1), unit('branch7x7_2', inner, across), unit('branch7x7_3', 192, down)],
    [
      unit('branch7x7dbl_1', inner, 1), unit('branch7x7dbl_2', inner, down), unit('branch7x7dbl_3', inner, across),
      unit('branch7x7dbl_4', inner, down), unit('branch7x7dbl_5', 192, across),
    ],
    ['average', unit('branch_pool', 192, 1)],
  ],
});

const mixed7a: Block = {
  name: 'Mixed_7a',
  branches: [
    [unit('branch3x3_1', 192, 1), unit('branch3x3_2', 320, 3, halving)],
    [unit('branch7x7x3_1', 192, 1), unit('branch7x7x3_2', 192, across), unit('branch7x7x3_3', 192, down), unit('branch7x7x3_4', 192, 3, halving)],
    ['max'],
  ],
};

const mixed7 = (name: string): Block => ({
  name,
  branches: [
    [unit('branch1x1', 320, 1)],
    [unit('branch3x3_1', 384, 1), [unit('branch3x3_2a', 384, [1, 3]), unit('branch3x3_2b', 384, [3, 1])]],
    [unit('branch3x3dbl_1', 448, 1), unit('branch3x3dbl_2', 384, 3), [unit('branch3x3dbl_3a', 384, [1, 3]), unit('branch3x3dbl_3b', 384, [3, 1])]],
    ['average', unit('branch_pool', 192, 1)],
  ],
});

type Stage = Unit | Block | 'maxpool1' | 'maxpool2';

const to6e: readonly Stage[] = [
  unit('Conv2d_1a_3x3', 32, 3, halving), unit('Conv2d_2a_3x3', 32, 3, { valid: true }), unit('Conv2d_2b_3x3', 64, 3), 'maxpool1',
  unit('Conv2d_3b_1x1', 80, 1), unit('Conv2d_4a_3x3', 192, 3, { valid: true }), 'maxpool2',
  mixed5('Mixed_5b', 32), mixed5('Mixed_5c', 64), mixed5('Mixed_5d', 64),
  mixed6a, mixed6('Mixed_6b', 128), mixed6('Mixed_6c', 160), mixed6('Mixed_6d', 160), mixed6('Mixed_6e', 192),
];
const to7c: readonly Stage[] = [...to6e, mixed7a, mixed7('Mixed_7b'), mixed7('Mixed_7c')];

// ---------------------------------------------------------------- the network

class BasicConv2d extends Module {
  readonly conv: Conv2d;
  readonly bn: BatchNorm2d;

  constructor(from: number, { out, kernel, stride, valid }: Unit, momentum: number) {
    super();
    const padding = valid ? 0 : ([(kernel[0] - 1) / 2, (kernel[1] - 1) / 2] as const);
    this.conv = new Conv2d(from, out, kernel, { stride, padding, bias: false, init: (shape) => truncatedNormal(shape, 0.1) });
    this.bn = new BatchNorm2d(out, { eps: 1e-3, momentum, activation: 'relu' });
  }

  protected override forward(x: Tensor): Tensor {
    return convNorm(this.conv, this.bn, x);
  }
}

/** Branches side by side. Its units are its direct children, as in torchvision. */
class Mixed extends Module {
  readonly channels: number;
  private readonly units = new Map<Unit, BasicConv2d>();

  constructor(from: number, private readonly block: Block, momentum: number) {
    super();
    this.channels = block.branches.map((branch) => branch.reduce((channels, step) => this.add(channels, step, momentum), from)).reduce((a, b) => a + b);
  }

  override namedChildren(): Named<AnyModule>[] {
    return [...this.units].map(([{ name }, made]) => [name, made]);
  }

  /** Makes the units of a step. @returns the step's channels */
  private add(from: number, step: Step, momentum: number): number {
    if (typeof step === 'string') return from;
    const units = 'name' in step ? [step] : step;
    for (const one of units) this.units.set(one, new BasicConv2d(from, one, momentum));
    return units.reduce((channels, { out }) => channels + out, 0);
  }

  private step(x: Tensor, step: Step): Tensor {
    if (step === 'average') return avgPool2d(x, { kernelSize: 3, stride: 1, padding: 1, countIncludePad: true });
    if (step === 'max') return maxPool2d(x, { kernelSize: 3, stride: 2 });
    if ('name' in step) return this.units.get(step)!.call(x);
    return cat(step.map((one) => this.units.get(one)!.call(x)), 3);
  }

  protected override forward(x: Tensor): Tensor {
    // A scope for each branch: its inner results are gone before the next one begins.
    return cat(this.block.branches.map((branch) => scope(() => branch.reduce((value, step) => this.step(value, step), x))), 3);
  }
}

/** Per channel: x · std + mean with ImageNet's figures gives colours in 0 … 1; those are brought to −1 … 1. */
const INPUT_SCALE = [0.229 / 0.5, 0.224 / 0.5, 0.225 / 0.5];
const INPUT_SHIFT = [(0.485 - 0.5) / 0.5, (0.456 - 0.5) / 0.5, (0.406 - 0.5) / 0.5];

const layersOf = (stages: readonly Stage[], momentum: number): { layers: Named<AnyModule>[]; channels: number } => {
  let channels = 3;
  const layers = stages.map((stage): Named<AnyModule> => {
    if (typeof stage === 'string') return [stage, new MaxPool2d(3, { stride: 2 })];
    if ('branches' in stage) {
      const mixed = new Mixed(channels, stage, momentum);
      channels = mixed.channels;
      return [stage.name, mixed];
    }
    const conv = new BasicConv2d(channels, stage, momentum);
    channels = stage.out;
    return [stage.name, conv];
  });
  return { layers, channels };
};

/** Checkpoints lie where few numbers pass, and in the middle of the first convolutions, whose maps are the largest. */
const endsSegment = (name: string): boolean => name === 'Conv2d_2a_3x3' || /^(maxpool|Mixed)/.test(name);

/** Inception-v3 without its classifiers (Szegedy et al., arXiv 1512.00567), up to one of its last blocks. */
class Inception extends Sequential implements Backbone {
  readonly channels: number;

  constructor(stages: readonly Stage[], readonly stride: number, momentum: number, private readonly transformInput: boolean) {
    const { layers, channels } = layersOf(stages, momentum);
    super(layers, endsSegment);
    this.channels = channels;
  }

  protected override forward(x: Tensor): Tensor {
    const { runtime } = x;
    return super.forward(this.transformInput ? add(mul(x, constantRow(INPUT_SCALE, runtime)), constantRow(INPUT_SHIFT, runtime)) : x);
  }
}

const record = (stages: readonly Stage[], stride: number): BackboneRecord =>
  ({ create: ({ bnMomentum, transformInput }) => new Inception(stages, stride, bnMomentum, transformInput), names: inceptionNames, transformsInput: true });

export const inceptions = {
  inception_mixed_6e: record(to6e, 16),
  /** As the reference trains Dogs: the maps are the first feature channels. */
  inception_mixed_7c: { ...record(to7c, 32), attentionSource: 'features' },
} as const satisfies Record<string, BackboneRecord>;
