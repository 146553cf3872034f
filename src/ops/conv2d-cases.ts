import type { Shape } from '../tensor/shape.js';
import type { OpCase, Tolerance } from './cases.js';
import type { ConvAttrs, Pair } from './conv-shape.js';

interface Layer {
  readonly name: string;
  readonly x: Shape;
  readonly w: Shape;
  readonly stride?: Pair;
  readonly padding?: Pair;
  readonly dilation?: Pair;
  readonly groups?: number;
  readonly bias?: boolean;
  readonly bench?: boolean;
}

/**
 * F(4×4, 3×3) adds terms that are larger than their sum: along an axis the row sums of |Aᵀ|·|G|·|Bᵀ| reach 48 where those of
 * the direct sum are 3. At worst, errors grow by the square of 16, on average by an order of magnitude.
 */
const WINOGRAD: Tolerance = { forward: 1e-5, gradient: 2e-5, reason: 'Winograd F(4×4, 3×3) sums terms up to 16 times as large along each axis' };

/** The layers that may go through Winograd's algorithm on some adapter, or when it is forced. */
const mayBeWinograd = ({ w, stride, dilation, groups = 1 }: Layer): boolean => w[0] === 3 && w[1] === 3 && w[2]! >= 8 && !stride && !dilation && groups === 1;

const toCase = (layer: Layer): OpCase<ConvAttrs> => {
  const { name, x, w, stride = [1, 1], padding = [0, 0], dilation = [1, 1], groups = 1, bias, bench } = layer;
  return {
    name, shapes: bias ? [x, w, [w[3]!]] : [x, w], attrs: { stride, padding, dilation, groups },
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
  { name: '5×5 stride 3×2', x: [2, 13, 12, 4], w: [5, 5, 4, 4], stride: [3, 2], padding: [2, 1] },
  { name: 'dilation 2', x: [1, 10, 9, 4], w: [3, 3, 4, 7], padding: [2, 2], dilation: [2, 2] },
  { name: 'dilation 2×1, stride 2', x: [1, 10, 9, 4], w: [3, 3, 4, 4], padding: [2, 1], dilation: [2, 1], stride: [2, 2] },
  { name: '3×3, tiles over the edge, bias', x: [2, 9, 7, 32], w: [3, 3, 32, 33], bias: true },
  { name: '3×3 padded by 2', x: [1, 5, 6, 36], w: [3, 3, 36, 32], padding: [2, 2] },
  { name: 'several tiles', x: [2, 13, 11, 40], w: [3, 3, 40, 68], padding: [1, 1] },
  { name: 'groups of vec4f', x: [1, 6, 5, 16], w: [3, 3, 8, 24], padding: [1, 1], groups: 2, bias: true },
  { name: 'ragged groups', x: [1, 6, 5, 6], w: [3, 3, 2, 9], padding: [1, 1], groups: 3, bias: true },
  { name: 'depthwise', x: [2, 8, 7, 10], w: [3, 3, 1, 10], padding: [1, 1], groups: 10 },
  { name: 'depthwise stride 2, multiplier 2', x: [1, 9, 8, 6], w: [3, 3, 1, 12], padding: [1, 1], stride: [2, 2], groups: 6 },
];

/** A weight's gradient is a sum over all pixels, here 48,841 of them: more than a gradient is checked for by default. */
const manyPixels: OpCase<ConvAttrs> = { ...toCase({ name: 'many pixels', x: [1, 221, 221, 3], w: [1, 1, 3, 4] }), gradient: 'directions' };

/** One representative of each kind of layer in Inception-v3 at 448, and of the small residual networks. */
const layers: readonly Layer[] = [
  { name: 'stem 3→32 3×3/2 448', x: [1, 448, 448, 3], w: [3, 3, 3, 32], stride: [2, 2] },
  { name: '32→64 3×3 221', x: [1, 221, 221, 32], w: [3, 3, 32, 64], padding: [1, 1] },
  { name: '80→192 3×3 109', x: [1, 109, 109, 80], w: [3, 3, 80, 192] },
  { name: '64→96 3×3 53', x: [2, 53, 53, 64], w: [3, 3, 64, 96], padding: [1, 1] },
  { name: '48→64 5×5 53', x: [2, 53, 53, 48], w: [5, 5, 48, 64], padding: [2, 2] },
  { name: '192→192 1×7 26', x: [2, 26, 26, 192], w: [1, 7, 192, 192], padding: [0, 3] },
  { name: '192→192 7×1 26', x: [2, 26, 26, 192], w: [7, 1, 192, 192], padding: [3, 0] },
  { name: '768→192 1×1 26', x: [2, 26, 26, 768], w: [1, 1, 768, 192] },
  { name: '64→64 3×3 32', x: [16, 32, 32, 64], w: [3, 3, 64, 64], padding: [1, 1] },
  { name: '128→128 3×3 16', x: [16, 16, 16, 128], w: [3, 3, 128, 128], padding: [1, 1] },
];

export const convCases: readonly OpCase<ConvAttrs>[] = [...small.map(toCase), manyPixels, ...layers.map((layer) => toCase({ ...layer, bench: true }))];
