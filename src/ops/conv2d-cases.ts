import type { Shape } from '../tensor/shape.js';
import type { Pair } from './arguments.js';
import type { OpCase, Tolerance } from './cases.js';
import { type ConvAttrs, convShape } from './conv-shape.js';
import { inceptionLayers, inceptionLayersOfBatch12 } from './inception-shapes.js';

interface Layer {
  readonly name: string;
  readonly x: Shape;
  readonly w: Shape;
  readonly stride?: Pair;
  readonly padding?: Pair;
  readonly dilation?: Pair;
  readonly groups?: number;
  readonly bias?: boolean;
  readonly residual?: boolean;
  readonly activation?: 'relu';
  readonly seed?: number;
  readonly bench?: OpCase['bench'];
}

/**
 * Tiles add terms that are larger than their sum. Along an axis the row sums of |Aᵀ|·|G|·|Bᵀ|, over those of the direct sum, are 16 for
 * F(4, 3), 17 for F(4, 5) and 99 for F(4, 7). At worst, errors grow by the square of 17 (3×3 and 5×5 taps) or by 99 (1×7), on
 * average by an order of magnitude (test/winograd.test.ts).
 */
export const WINOGRAD: Tolerance = { forward: 1e-5, gradient: 2e-5, reason: "Winograd's tiles sum terms up to 17 times as large along each of two axes, or 99 times along one" };

/** Taps that may go through Winograd's algorithm on some adapter, or when it is forced. */
const WINOGRAD_TAPS = ['3×3', '5×5', '1×3', '3×1', '1×7', '7×1'];
const mayBeWinograd = ({ w, stride, dilation, groups = 1 }: Layer): boolean =>
  WINOGRAD_TAPS.includes(`${w[0]}×${w[1]}`) && w[2]! >= 8 && !stride && !dilation && groups === 1;

const toCase = (layer: Layer): OpCase<ConvAttrs> => {
  const { name, x, w, stride = [1, 1], padding = [0, 0], dilation = [1, 1], groups = 1, bias, residual, activation, seed, bench } = layer;
  const attrs = { stride, padding, dilation, groups, ...(activation ? { activation } : {}) };
  return {
    name, shapes: [x, w, ...(bias ? [[w[3]!]] : []), ...(residual ? [convShape(x, w, attrs)] : [])], attrs, ...(seed ? { seed } : {}),
    ...(mayBeWinograd(layer) ? { tolerance: WINOGRAD } : {}), ...(bench ? { bench } : {}),
  };
};

const small: readonly Layer[] = [
  { name: '1×1 tiny', x: [1, 2, 2, 3], w: [1, 1, 3, 2] },
  { name: '3×3 tiny', x: [1, 3, 3, 1], w: [3, 3, 1, 2], padding: [1, 1], bias: true },
  { name: '3×3 padded', x: [2, 7, 6, 5], w: [3, 3, 5, 6], padding: [1, 1], bias: true },
  { name: '3-channel stem, stride 2', x: [2, 11, 9, 3], w: [3, 3, 3, 8], stride: [2, 2] },
  { name: '7×7 stride 2', x: [1, 14, 15, 3], w: [7, 7, 3, 8], stride: [2, 2], padding: [3, 3] },
  { name: '1×7', x: [1, 9, 9, 6], w: [1, 7, 6, 5], padding: [0, 3] },
  { name: '7×1', x: [1, 9, 9, 6], w: [7, 1, 6, 5], padding: [3, 0] },
  { name: 'few channels, pixels that no tap reaches', x: [2, 8, 10, 3], w: [2, 2, 3, 5], stride: [3, 4], padding: [4, 1] },
  { name: '5×5 stride 3×2', x: [2, 13, 12, 4], w: [5, 5, 4, 4], stride: [3, 2], padding: [2, 1] },
  { name: '1×1 stride 2, many filters', x: [1, 3, 3, 5], w: [1, 1, 5, 1024], stride: [2, 2] },
  { name: 'dilation 2', x: [1, 10, 9, 4], w: [3, 3, 4, 7], padding: [2, 2], dilation: [2, 2] },
  { name: 'dilation 2×1, stride 2', x: [1, 10, 9, 4], w: [3, 3, 4, 4], padding: [2, 1], dilation: [2, 1], stride: [2, 2] },
  { name: '3×3, tiles over the edge, bias', x: [2, 9, 7, 32], w: [3, 3, 32, 33], bias: true },
  { name: '3×3 padded by 2', x: [1, 5, 6, 36], w: [3, 3, 36, 32], padding: [2, 2] },
  { name: 'several tiles', x: [2, 13, 11, 40], w: [3, 3, 40, 68], padding: [1, 1] },
  { name: 'wide tiles over the edge, stride 2', x: [2, 5, 11, 35], w: [1, 3, 35, 62], stride: [2, 2] },
  { name: 'wider tiles over the edge, stride 1×2', x: [2, 5, 11, 35], w: [1, 3, 35, 94], stride: [1, 2] },
  { name: '1×7, tiles over the edge, bias', x: [2, 5, 11, 20], w: [1, 7, 20, 18], padding: [0, 3], bias: true },
  { name: '7×1, padded by 6, residual, ReLU', x: [1, 9, 4, 17], w: [7, 1, 17, 20], padding: [6, 0], residual: true, activation: 'relu' },
  { name: '1×7, several tiles', x: [1, 8, 17, 36], w: [1, 7, 36, 40] },
  { name: '5×5, tiles over the edge, bias', x: [2, 9, 7, 12], w: [5, 5, 12, 10], padding: [2, 2], bias: true },
  { name: '1×3', x: [1, 5, 10, 18], w: [1, 3, 18, 12], padding: [0, 1] },
  { name: '3×1, two images', x: [2, 6, 5, 16], w: [3, 1, 16, 20], padding: [1, 0] },
  { name: 'groups of vec4f', x: [1, 6, 5, 16], w: [3, 3, 8, 24], padding: [1, 1], groups: 2, bias: true },
  { name: 'ragged groups', x: [1, 6, 5, 6], w: [3, 3, 2, 9], padding: [1, 1], groups: 3, bias: true },
  { name: '1×1, bias, ReLU', x: [1, 3, 2, 5], w: [1, 1, 5, 3], bias: true, activation: 'relu' },
  { name: '1×1, residual', x: [2, 3, 2, 8], w: [1, 1, 8, 6], residual: true },
  { name: '3×3, bias, residual, ReLU', x: [1, 4, 3, 9], w: [3, 3, 9, 5], padding: [1, 1], bias: true, residual: true, activation: 'relu' },
  { name: '3×3 of few channels, bias, residual, ReLU', x: [1, 5, 4, 3], w: [3, 3, 3, 6], padding: [1, 1], bias: true, residual: true, activation: 'relu' },
  { name: 'groups, bias, residual, ReLU', x: [1, 3, 3, 8], w: [1, 1, 4, 8], groups: 2, bias: true, residual: true, activation: 'relu' },
  { name: 'depthwise', x: [2, 8, 7, 10], w: [3, 3, 1, 10], padding: [1, 1], groups: 10 },
  { name: 'depthwise stride 2, multiplier 2', x: [1, 9, 8, 6], w: [3, 3, 1, 12], padding: [1, 1], stride: [2, 2], groups: 6 },
];

/** A weight's gradient is a sum over all pixels, here 48,841 of them: more than a gradient is checked for by default. */
const manyPixels: OpCase<ConvAttrs> = { ...toCase({ name: 'many pixels', x: [1, 221, 221, 3], w: [1, 1, 3, 4] }), gradient: 'directions' };

/** The default model's at its batch, then two of ResNet-18's at 64×64 pixels. */
const residual: readonly Layer[] = [
  { name: 'default 3→16 3×3/2 65²', x: [16, 65, 65, 3], w: [3, 3, 3, 16], stride: [2, 2], padding: [1, 1] },
  { name: 'default 16→32 3×3/2 33²', x: [16, 33, 33, 16], w: [3, 3, 16, 32], stride: [2, 2], padding: [1, 1] },
  { name: 'default 32→32 3×3 17²', x: [16, 17, 17, 32], w: [3, 3, 32, 32], padding: [1, 1] },
  { name: 'default 16→32 1×1/2 33²', x: [16, 33, 33, 16], w: [1, 1, 16, 32], stride: [2, 2] },
  { name: 'default 32→64 3×3/2 17²', x: [16, 17, 17, 32], w: [3, 3, 32, 64], stride: [2, 2], padding: [1, 1] },
  { name: 'default 64→64 3×3 9²', x: [16, 9, 9, 64], w: [3, 3, 64, 64], padding: [1, 1] },
  { name: 'default 32→64 1×1/2 17²', x: [16, 17, 17, 32], w: [1, 1, 32, 64], stride: [2, 2] },
  { name: 'default 64→32 1×1 9²', x: [16, 9, 9, 64], w: [1, 1, 64, 32] },
  { name: 'ResNet-18 64→64 3×3 16²', x: [16, 16, 16, 64], w: [3, 3, 64, 64], padding: [1, 1] },
  { name: 'ResNet-18 128→128 3×3 8²', x: [16, 8, 8, 128], w: [3, 3, 128, 128], padding: [1, 1] },
];

export const convCases: readonly OpCase<ConvAttrs>[] = [
  ...small.map(toCase), manyPixels,
  ...[...inceptionLayers, ...residual].map((layer) => toCase({ ...layer, bench: true })),
  ...inceptionLayersOfBatch12.map((layer) => toCase({ ...layer, bench: 'gpu' })),
];
