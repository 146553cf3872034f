/** What the documentation says about backbones, found by building them and passing an image through, without computing anything. */
import type { Runtime } from '../kernels/runtime.js';
import { withoutInit } from '../nn/init.js';
import { Conv2d } from '../nn/layers.js';
import { type BackboneName, backboneNames, createBackbone } from '../nn/models/index.js';
import { type AnyModule, withModuleHook } from '../nn/module.js';
import { zeros } from '../ops/index.js';
import { noGrad } from '../autograd/tape.js';
import { scope } from '../tensor/scope.js';
import type { Shape } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { WSDAN } from '../wsdan/model.js';
import { defaultWsdan } from '../wsdan/options.js';

const CLASSES = 200;
const SIZES = [448, 224] as const;

export interface BackboneFacts {
  readonly name: BackboneName;
  /** Of the feature extractor, and of WS-DAN with 32 maps and 200 classes on it. */
  readonly parameters: number;
  readonly wsdanParameters: number;
  /** By image size: the feature map of one image, and multiply-adds of the convolutions. */
  readonly at: Readonly<Record<(typeof SIZES)[number], { readonly map: Shape; readonly macs: number }>>;
}

const countOf = (module: AnyModule): number => module.parameters().reduce((sum, { size }) => sum + size, 0);

const passThrough = (network: AnyModule, runtime: Runtime, size: number): { map: Shape; macs: number } => {
  let macs = 0;
  const count = (_path: string, module: AnyModule, output: unknown): void => {
    // A weight [kh, kw, in, out] is used once for each pixel of the output.
    if (module instanceof Conv2d) macs += (module.weight.size * (output as Tensor).size) / (output as Tensor).shape[3]!;
  };
  const { shape } = withModuleHook(count, () => network.call(zeros([1, size, size, 3], { runtime })) as Tensor);
  return { map: shape.slice(1), macs };
};

/** Builds a backbone in a dry run: nothing is allocated on the device. */
const backboneFacts = (runtime: Runtime, name: BackboneName): BackboneFacts => {
  let facts: BackboneFacts;
  runtime.planMemory(() => scope(() => noGrad(() => withoutInit(() => {
    const network = createBackbone(name).eval();
    const [large, small] = SIZES.map((size) => passThrough(network, runtime, size));
    facts = {
      name, parameters: countOf(network), wsdanParameters: countOf(new WSDAN(network, CLASSES, defaultWsdan)), at: { 448: large!, 224: small! },
    };
  }))));
  return facts!;
};

export const allBackboneFacts = (runtime: Runtime): BackboneFacts[] => backboneNames.map((name) => backboneFacts(runtime, name));

const thousands = (value: number): string => value.toLocaleString('en-US');
const mapText = ([height, width, channels]: Shape): string => `${channels}×${height}×${width}`;

const row = ({ name, parameters, wsdanParameters, at }: BackboneFacts): string => {
  const cells = [
    name, thousands(parameters), thousands(wsdanParameters), mapText(at[448].map), mapText(at[224].map),
    ...SIZES.map((s) => (at[s].macs / 1e9).toFixed(3)),
  ];
  return `| ${cells.join(' | ')} |`;
};

/** The rows of the table, head included. */
export const backboneRows = (facts: readonly BackboneFacts[]): string[] => [
  '| `--model` | parameters | with head, 200 classes | map at 448 | map at 224 | GMAC at 448 | GMAC at 224 |',
  '| --- | --: | --: | --- | --- | --: | --: |',
  ...facts.map(row),
];

/** The documentation's page. */
export const backbonePage = (facts: readonly BackboneFacts[]): string => [
  '# Backbones',
  '',
  'Written by `node dist/backbones.js --markdown docs/backbones.md`, which builds each network and passes an image through; do not edit.',
  '',
  ...backboneRows(facts),
  '',
  'Parameters are those of the feature extractor; the third column adds the attention head with 32 maps and the classifier. Maps are channels × height ×',
  'width. GMAC are billions of multiply-adds of the extractor’s convolutions for one image, forward.',
  '',
  '- Parameter names and shapes are torchvision’s, without its classifiers.',
  '- `inception_mixed_6e` and `inception_mixed_7c`: batch norm with eps 0.001, average pooling that counts the padding, unpadded convolutions that eat',
  '  the border (26×26 at 448, not 28×28). `--transform-input` brings pixels to −1 … 1 inside the network, as torchvision does for Google’s weights.',
  '- `inception_mixed_7c`: the attention maps are the first feature channels, unless `--attention-source head` is given.',
  '- `resnet34`: WS-DAN.PyTorch’s own has a bias at each convolution of its blocks (7,552 numbers more), which the batch norm behind it cancels.',
  '- Fresh weights: truncated normal (σ 0.1, cut at 2σ) for Inception, normal with σ = √(2 / (kh·kw·out)) for the others.',
  '',
].join('\n');
