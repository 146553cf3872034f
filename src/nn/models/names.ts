/**
 * How three programs call the same weights. Pipit takes torchvision's names; WS-DAN.PyTorch puts the stages into a row and numbers
 * them. Inside a stage all agree.
 */
export interface NameTable {
  readonly family: string;
  /** torchvision's name of each stage, and its place in WS-DAN.PyTorch's `features`; null: it stands there as it is. */
  readonly stages: readonly (readonly [torchvision: string, reference: string | null])[];
  /** What torchvision's network has behind the last stage; no backbone needs it. */
  readonly classifiers: readonly string[];
  /** A weight by which the family is recognised: torchvision's name, and that below WS-DAN.PyTorch's `features`. */
  readonly signature: readonly [torchvision: string, reference: string];
  /** WS_DAN_PyTorch has no attention head of its own: its maps are the first channels of this unit of convolution and batch norm. */
  readonly attentionUnit?: string;
  /** WS-DAN.PyTorch's blocks of two convolutions have biases in front of batch norm, where they cancel; torchvision's have none. */
  readonly blockBiases?: true;
}

/** Stages numbered one after the other, from `first` on. */
const numbered = (first: number, names: readonly string[]): (readonly [string, string])[] => names.map((name, i) => [name, String(first + i)] as const);

/** Numbers 3 and 6 are max pools. */
export const inceptionNames: NameTable = {
  family: 'Inception-v3',
  stages: [
    ...numbered(0, ['Conv2d_1a_3x3', 'Conv2d_2a_3x3', 'Conv2d_2b_3x3']),
    ...numbered(4, ['Conv2d_3b_1x1', 'Conv2d_4a_3x3']),
    ...numbered(7, ['Mixed_5b', 'Mixed_5c', 'Mixed_5d', 'Mixed_6a', 'Mixed_6b', 'Mixed_6c', 'Mixed_6d', 'Mixed_6e', 'Mixed_7a', 'Mixed_7b', 'Mixed_7c']),
  ],
  classifiers: ['AuxLogits', 'fc'],
  signature: ['Conv2d_1a_3x3.conv.weight', '0.conv.weight'],
  attentionUnit: 'Mixed_7a.branch3x3_1',
};

/** Numbers 2 and 3 are ReLU and max pool. */
export const resnetNames: NameTable = {
  family: 'ResNet',
  stages: [...numbered(0, ['conv1', 'bn1']), ...numbered(4, ['layer1', 'layer2', 'layer3', 'layer4'])],
  classifiers: ['fc'],
  signature: ['layer1.0.conv1.weight', '4.0.conv1.weight'],
  blockBiases: true,
};

/** torchvision's own `features` is numbered, and WS-DAN.PyTorch takes it as it is. */
export const vggNames: NameTable = {
  family: 'VGG',
  stages: [['features', null]],
  classifiers: ['classifier'],
  signature: ['features.0.bias', '0.bias'],
};

/** Files are compared with these in turn. */
export const nameTables: readonly NameTable[] = [inceptionNames, resnetNames, vggNames];
