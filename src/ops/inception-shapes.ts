/** The 31 different convolutions of Inception-v3 up to Mixed_6e, with WS-DAN's attention head, at 448×448. */
import type { Shape } from '../tensor/shape.js';
import type { Pair } from './arguments.js';
import { windowCount } from './conv-shape.js';

/** Input and output channels, kernel, side of the square input; stride 1, no padding. */
type Row = readonly [from: number, to: number, kernel: Pair, side: number, options?: { readonly stride?: 1 | 2; readonly padded?: true }];

const same = { padded: true } as const;

/** Heaviest first. */
const rows: readonly Row[] = [
  [80, 192, [3, 3], 110], [768, 192, [1, 1], 26], [32, 64, [3, 3], 221, same], [96, 96, [3, 3], 53, same], [288, 384, [3, 3], 53, { stride: 2 }],
  [48, 64, [5, 5], 53, same], [64, 96, [3, 3], 53, same], [192, 192, [1, 7], 26, same], [192, 192, [7, 1], 26, same], [160, 160, [1, 7], 26, same],
  [160, 160, [7, 1], 26, same], [32, 32, [3, 3], 223], [768, 160, [1, 1], 26], [160, 192, [7, 1], 26, same], [160, 192, [1, 7], 26, same],
  [288, 64, [1, 1], 53], [128, 128, [1, 7], 26, same], [128, 128, [7, 1], 26, same], [256, 64, [1, 1], 53], [768, 128, [1, 1], 26],
  [128, 192, [7, 1], 26, same], [128, 192, [1, 7], 26, same], [192, 64, [1, 1], 53], [64, 80, [1, 1], 110], [96, 96, [3, 3], 53, { stride: 2 }],
  [3, 32, [3, 3], 448, { stride: 2 }], [288, 48, [1, 1], 53], [256, 48, [1, 1], 53], [192, 48, [1, 1], 53], [192, 32, [1, 1], 53], [768, 32, [1, 1], 26],
];

/** An image that costs less than this many multiply-adds comes in pairs: alone it would be over too soon. */
const SMALL = 125e6;

interface InceptionLayer {
  readonly name: string;
  readonly x: Shape;
  readonly w: Shape;
  readonly stride?: Pair;
  readonly padding: Pair;
}

/** @param batch images; by default 1, or 2 where the layer is small */
const layer = ([from, to, kernel, side, { stride = 1, padded } = {}]: Row, batch?: number): InceptionLayer => {
  const padding: Pair = padded ? [(kernel[0] - 1) / 2, (kernel[1] - 1) / 2] : [0, 0];
  const pixels = windowCount(side, kernel[0], stride, padding[0]) * windowCount(side, kernel[1], stride, padding[1]);
  const images = batch ?? (pixels * kernel[0] * kernel[1] * from * to < SMALL ? 2 : 1);
  return {
    name: `Inception ${from}→${to} ${kernel.join('×')}${stride > 1 ? `/${stride}` : ''} ${side}²${batch ? `, batch ${batch}` : ''}`,
    x: [images, side, side, from], w: [...kernel, from, to], padding, ...(stride > 1 ? { stride: [stride, stride] as const } : {}),
  };
};

export const inceptionLayers: readonly InceptionLayer[] = rows.map((row) => layer(row));

/** The batch of the published recipe: enough work for a GPU, too much for a software adapter. */
export const inceptionLayersOfBatch12: readonly InceptionLayer[] = rows.map((row) => layer(row, 12));
