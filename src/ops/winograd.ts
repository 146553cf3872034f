/** 3×3 convolutions without stride by Winograd's algorithm (Lavin and Gray, arXiv 1509.09308). */
import source from '../../shaders/winograd.wgsl';
import type { Runtime } from '../kernels/runtime.js';
import { Shader } from '../kernels/shader.js';
import { scope } from '../tensor/scope.js';
import { quadsPerRow, type Shape } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import type { ConvAttrs, Pair } from './conv-shape.js';
import { type Epilogue, epilogueBindings, epilogueParams } from './epilogue.js';
import { gemmRows, rowsGeometry } from './gemm.js';
import { allocate, dispatch, gridFor } from './op.js';

/** One size of tiles: F(result × result, 3 × 3). */
interface Size {
  readonly result: number;
  readonly shader: Shader;
}

const SIZES: readonly Size[] = [2, 4].map((result) => ({ result, shader: new Shader(`winograd-${result}`, source, { transforms: `winograd-${result}` }) }));

/** Whether a convolution may and should go this way, in both of its directions. */
export const suitsWinograd = ({ gemm }: Runtime, w: Shape, a: ConvAttrs): boolean =>
  gemm.winograd > 0 && w[0] === 3 && w[1] === 3 && [...a.stride, ...a.dilation, a.groups].every((n) => n === 1) &&
  a.padding.every((p) => p <= 2) && w[2]! >= gemm.winograd && w[3]! >= gemm.winograd;

const tilesAlong = (pixels: number, { result }: Size): number => Math.ceil(pixels / result);

/** Multiplications per image and channel pair: what the larger tiles save they may lose again at the edges. */
const products = (y: Shape, size: Size): number => tilesAlong(y[1]!, size) * tilesAlong(y[2]!, size) * (size.result + 2) ** 2;

const bestSize = (y: Shape): Size => SIZES.reduce((best, size) => (products(y, size) < products(y, best) ? size : best));

/** The transformed tiles of a part should stay in a processor's outer cache, and far below the limit of a binding. */
const PART_BYTES = 16 * 2 ** 20;

export interface WinogradOptions extends Epilogue {
  readonly padding: Pair;
  /** Taps in reverse order and w [3, 3, out, in]: the gradient of the input from that of the output. */
  readonly flip?: boolean;
}

/** y = x ∗ w for x [N, H, W, C] and w [3, 3, C, D], and what the epilogue says. Fills `y` completely, a part of the tiles at a time. */
export const winograd = (x: Tensor, w: Tensor, y: Tensor, options: WinogradOptions): void => scope(() => {
  const size = bestSize(y.shape);
  const products = (size.result + 2) ** 2;
  const weights = transformWeights(w, size, options.flip ?? false);
  const tiles = y.shape[0]! * tilesAlong(y.shape[1]!, size) * tilesAlong(y.shape[2]!, size);
  const bytesPerTile = 16 * products * Math.max(quadsPerRow(x.shape), quadsPerRow(y.shape));
  const partTiles = Math.min(tiles, Math.max(64, Math.floor(PART_BYTES / bytesPerTile)));
  for (let first = 0; first < tiles; first += partTiles) {
    computePart(x, weights, y, size, { first, tiles: Math.min(partTiles, tiles - first) }, options);
  }
});

/** [products, C, D], both logical sizes those of w. */
const transformWeights = (w: Tensor, { result, shader }: Size, flip: boolean): Tensor => {
  const [, , rows, columns] = w.shape as [number, number, number, number];
  const edge = result + 2;
  const transformed = allocate(w.runtime, [edge * edge, rows, columns], 'Winograd weights');
  const quads = quadsPerRow(w.shape);
  const params = { inH: 0, inW: 0, outH: 0, outW: 0, tilesY: 0, tilesX: 0, firstTile: 0, tiles: 0, padY: 0, padX: 0, channels: rows, lanes: 4 * quads, ...epilogueParams({}) };
  dispatch(w.runtime, shader.kernel('weights', { RESULT: result, EDGE: edge, FLIP: flip ? 1 : 0 }), { source: w, y: transformed }, params, gridFor(rows * quads * 4));
  return transformed;
};

const computePart = (x: Tensor, weights: Tensor, y: Tensor, size: Size, part: { first: number; tiles: number }, { padding, flip, ...epilogue }: WinogradOptions): void => scope(() => {
  const { runtime } = x;
  const { result, shader } = size;
  const edge = result + 2;
  const [depth, width] = [x.shape[3]!, y.shape[3]!];
  const [inQuads, outQuads] = [quadsPerRow(x.shape), quadsPerRow(y.shape)];
  const constants = { RESULT: result, EDGE: edge };
  const params = {
    inH: x.shape[1]!, inW: x.shape[2]!, outH: y.shape[1]!, outW: y.shape[2]!, tilesY: tilesAlong(y.shape[1]!, size), tilesX: tilesAlong(y.shape[2]!, size),
    firstTile: part.first, tiles: part.tiles, padY: padding[0], padX: padding[1], channels: width, ...epilogueParams(epilogue),
  };
  const tiles = allocate(runtime, [edge * edge, part.tiles, depth], 'Winograd input');
  dispatch(runtime, shader.kernel('input', constants), { source: x, y: tiles }, { ...params, lanes: 4 * inQuads }, gridFor(part.tiles * inQuads * 4));
  const multiplied = allocate(runtime, [edge * edge, part.tiles, width], 'Winograd products');
  gemmRows(tiles, weights, multiplied, rowsGeometry(part.tiles), {
    depth, width, xPitch: inQuads, wPitch: quadsPerRow(weights.shape), wTap: 0, yPitch: outQuads, batches: edge * edge,
    xBatch: part.tiles * inQuads, wBatch: weights.shape[1]! * quadsPerRow(weights.shape), yBatch: part.tiles * outQuads,
  }, { transposed: flip ?? false });
  dispatch(runtime, shader.kernel('output', constants), { source: multiplied, ...epilogueBindings(epilogue, multiplied), y }, { ...params, lanes: 4 * outQuads }, gridFor(part.tiles * outQuads * 4));
});
