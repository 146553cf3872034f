import { constant, kaimingNormal } from '../init.js';
import { BatchNorm2d, Conv2d, MaxPool2d, ReLU, Sequential } from '../layers.js';
import { type AnyModule, Module, type Named } from '../module.js';
import type { Tensor } from '../../tensor/tensor.js';
import type { Backbone, BackboneRecord } from './backbone.js';
import { vggNames } from './names.js';

/** Channels of 3×3 convolutions with padding and bias; `pool` halves the size. */
type Layers = readonly (number | 'pool')[];

const vgg19: Layers = [64, 64, 'pool', 128, 128, 'pool', 256, 256, 256, 256, 'pool', 512, 512, 512, 512, 'pool', 512, 512, 512, 512, 'pool'];

const zeros = (shape: readonly number[]): Float32Array => constant(shape, 0);

/** torchvision counts convolution, batch norm, ReLU and pool each as one layer; a ReLU fused behind batch norm keeps its number free. */
const layersOf = (description: Layers, batchNorm: boolean, momentum: number): Named<AnyModule>[] => {
  const layers: Named<AnyModule>[] = [];
  let [from, index] = [3, 0];
  const add = (layer: AnyModule, counted = 1): void => {
    layers.push([String(index), layer]);
    index += counted;
  };
  for (const item of description) {
    if (item === 'pool') {
      add(new MaxPool2d(2));
      continue;
    }
    add(new Conv2d(from, item, 3, { padding: 1, init: kaimingNormal, initBias: zeros }));
    if (batchNorm) add(new BatchNorm2d(item, { activation: 'relu', momentum }), 2);
    else add(new ReLU());
    from = item;
  }
  return layers;
};

/** VGG without its classifier (Simonyan and Zisserman, arXiv 1409.1556): [N, H, W, 3] → [N, H / 32, W / 32, 512]. */
class Vgg extends Module implements Backbone {
  readonly features: Sequential;
  readonly channels: number;
  readonly stride: number;

  constructor(description: Layers, batchNorm: boolean, momentum: number) {
    super();
    this.features = new Sequential(layersOf(description, batchNorm, momentum), (_, layer) => layer instanceof MaxPool2d);
    this.channels = description.filter((item) => item !== 'pool').at(-1)!;
    this.stride = 2 ** description.filter((item) => item === 'pool').length;
  }

  get checkpointing(): boolean {
    return this.features.checkpointing;
  }

  set checkpointing(on: boolean) {
    this.features.checkpointing = on;
  }

  protected override forward(x: Tensor): Tensor {
    return this.features.call(x);
  }
}

const record = (description: Layers, batchNorm: boolean): BackboneRecord =>
  ({ create: ({ bnMomentum }) => new Vgg(description, batchNorm, bnMomentum), names: vggNames });

export const vggs = { vgg19: record(vgg19, false), vgg19_bn: record(vgg19, true) };
