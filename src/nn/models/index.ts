import { fail } from '../../errors.js';
import { BasicBlock, Bottleneck, ResNet, type ResNetOptions } from './resnet.js';

const standard = (block: ResNetOptions['block'], depths: number[]): ResNetOptions => ({
  block, depths, widths: [64, 128, 256, 512], strides: [1, 2, 2, 2], stem: { kind: 'imagenet', width: 64 },
});

/** Backbones by name. */
export const backbones = {
  /** Small residual network for 64–128 px: the default of the embedded data set. */
  resnet_small: (): ResNetOptions => ({
    block: BasicBlock, depths: [1, 1], widths: [32, 64], strides: [2, 2], stem: { kind: 'small', width: 16, stride: 2 },
  }),
  resnet18: () => standard(BasicBlock, [2, 2, 2, 2]),
  resnet34: () => standard(BasicBlock, [3, 4, 6, 3]),
  resnet50: () => standard(Bottleneck, [3, 4, 6, 3]),
} as const;

export type BackboneName = keyof typeof backbones;
export const backboneNames = Object.keys(backbones) as BackboneName[];

/** Builds a backbone with fresh weights. */
export const createBackbone = (name: string, bnMomentum = 0.1): ResNet => {
  if (!(name in backbones)) fail(`unknown model "${name}"; known: ${backboneNames.join(', ')}`);
  return new ResNet(backbones[name as BackboneName](), bnMomentum);
};
