/** 3×3 convolutions without stride by Winograd's algorithm (Lavin and Gray, arXiv 1509.09308). */
import source from '../../shaders/winograd.wgsl';
import type { Runtime } from '../kernels/runtime.js';
import { Shader } from '../kernels/shader.js';
import { scope } from '../tensor/scope.js';
import { quadsPerRow, type Shape } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import type { ConvAttrs, Pair } from './conv-shape.js';
import { type Epilogue, epilogueBindings, epilogueParams } from './epilogue.js';
import { type Extents, gemmRows, gemmWeights, rowsGeometry } from './gemm.js';
import { allocate, dispatch, gridFor } from './op.js';

/** One size of tiles: F(result × result, 3 × 3). */
interface Size {
  readonly result: number;
  readonly shader: Shader;
}

const SIZES: readonly Size[] = [2, 4].map((result) => ({ result, shader: new Shader(`winograd-${result}`, source, { transforms: `winograd-${result}` }) }));

const tilesAlong = (pixels: number, { result }: Size): number => Math.ceil(pixels / result);

/** Multiplications per image and channel pair: what the larger tiles save they may lose again at the edges. */
const products = (y: Shape, size: Size): number => tilesAlong(y[1]!, size) * tilesAlong(y[2]!, size) * (size.result + 2) ** 2;

const bestSize = (y: Shape): Size => SIZES.reduce((best, size) => (products(y, size) < products(y, best) ? size : best));

/** Multiplications per pixel of the larger tiles, where none lies over the edge. */
const FEWEST = 36 / 16;

/** How many of the multiplications in the tiles of y are for pixels that it has. */
const share = (y: Shape): number => (FEWEST * y[1]! * y[2]!) / products(y, bestSize(y));

/**
 * Whether a convolution to y [N, H, W, D] may and should go this way, with both of its gradients. The transforms are work per
 * channel, what they save is work per pair of channels, and tiles over the edge lose part of it.
 */
export const suitsWinograd = ({ gemm }: Runtime, w: Shape, y: Shape, a: ConvAttrs): boolean =>
  gemm.winograd > 0 && w[0] === 3 && w[1] === 3 && [...a.stride, ...a.dilation, a.groups].every((n) => n === 1) &&
  a.padding.every((p) => p <= 2) && Math.sqrt(w[2]! * w[3]!) * share(y) >= gemm.winograd;

/** The transformed tiles of a part should stay in a processor's outer cache, and far below the limit of a binding. */
const PART_BYTES = 16 * 2 ** 20;

interface Part {
  /** Among all tiles of all images. */
  readonly first: number;
  readonly tiles: number;
}

/** All tiles of a result y [N, H, W, D], a part at a time. @param quads of the longest row that is transformed */
function* partsOf(y: Shape, size: Size, quads: number): Generator<Part> {
  const tiles = y[0]! * tilesAlong(y[1]!, size) * tilesAlong(y[2]!, size);
  const bytesPerTile = 16 * (size.result + 2) ** 2 * quads;
  const most = Math.max(64, Math.floor(PART_BYTES / bytesPerTile));
  for (let first = 0; first < tiles; first += most) yield { first, tiles: Math.min(most, tiles - first) };
}

const paramsOf = (x: Shape, y: Shape, size: Size, padding: Pair, part: Part) => ({
  inH: x[1]!, inW: x[2]!, outH: y[1]!, outW: y[2]!, tilesY: tilesAlong(y[1]!, size), tilesX: tilesAlong(y[2]!, size),
  firstTile: part.first, tiles: part.tiles, padY: padding[0], padX: padding[1],
});

const lanesOf = (shape: Shape): number => 4 * quadsPerRow(shape);
const constantsOf = ({ result }: Size) => ({ RESULT: result, EDGE: result + 2 });

/** [products, rows, columns of a matrix]. */
const transformed = (runtime: Runtime, { result }: Size, rows: number, columns: number): Tensor => allocate(runtime, [(result + 2) ** 2, rows, columns], 'Winograd transform');

/** The tiles of a part of an image's pixels, or of a gradient's: [products, tiles, channels]. */
const transformTiles = (entry: 'input' | 'gradient', source: Tensor, size: Size, params: ReturnType<typeof paramsOf>): Tensor => {
  const tiles = transformed(source.runtime, size, params.tiles, source.shape[3]!);
  const lanes = lanesOf(source.shape);
  dispatch(source.runtime, size.shader.kernel(entry, constantsOf(size)), { source, y: tiles }, { ...params, channels: 0, lanes, ...epilogueParams({}) }, gridFor(params.tiles * lanes));
  return tiles;
};

/** Strides of the products' matrices, which lie one behind the other: pitch and batch of [products, rows, columns]. */
const strides = ({ shape }: Tensor): { pitch: number; batch: number } => ({ pitch: quadsPerRow(shape), batch: shape[1]! * quadsPerRow(shape) });

const extentsOf = (depth: number, width: number, x: Tensor, w: Tensor, y: Tensor): Extents => {
  const [a, b, c] = [strides(x), strides(w), strides(y)];
  return { depth, width, wTap: 0, batches: x.shape[0]!, xPitch: a.pitch, xBatch: a.batch, wPitch: b.pitch, wBatch: b.batch, yPitch: c.pitch, yBatch: c.batch };
};

export interface WinogradOptions extends Epilogue {
  readonly padding: Pair;
  /** Taps in reverse order and w [3, 3, out, in]: the gradient of the input from that of the output. */
  readonly flip?: boolean;
}

/** y = x ∗ w for x [N, H, W, C] and w [3, 3, C, D], and what the epilogue says. Fills `y` completely. */
export const winograd = (x: Tensor, w: Tensor, y: Tensor, options: WinogradOptions): void => scope(() => {
  const size = bestSize(y.shape);
  const weights = transformWeights(w, size, options.flip ?? false);
  for (const part of partsOf(y.shape, size, Math.max(quadsPerRow(x.shape), quadsPerRow(y.shape)))) computePart(x, weights, y, size, part, options);
});

const transformWeights = (w: Tensor, size: Size, flip: boolean): Tensor => {
  const [, , rows, columns] = w.shape as [number, number, number, number];
  const weights = transformed(w.runtime, size, rows, columns);
  const lanes = lanesOf(w.shape);
  const params = { ...paramsOf(w.shape, w.shape, size, [0, 0], { first: 0, tiles: 0 }), channels: rows, lanes, ...epilogueParams({}) };
  dispatch(w.runtime, size.shader.kernel('weights', { ...constantsOf(size), FLIP: flip ? 1 : 0 }), { source: w, y: weights }, params, gridFor(rows * lanes));
  return weights;
};

const computePart = (x: Tensor, weights: Tensor, y: Tensor, size: Size, part: Part, { padding, flip, ...epilogue }: WinogradOptions): void => scope(() => {
  const { runtime } = x;
  const [depth, width] = [x.shape[3]!, y.shape[3]!];
  const params = paramsOf(x.shape, y.shape, size, padding, part);
  const tiles = transformTiles('input', x, size, params);
  const multiplied = transformed(runtime, size, part.tiles, width);
  gemmRows(tiles, weights, multiplied, rowsGeometry(part.tiles), extentsOf(depth, width, tiles, weights, multiplied), { transposed: flip ?? false });
  const lanes = lanesOf(y.shape);
  dispatch(runtime, size.shader.kernel('output', constantsOf(size)), { source: multiplied, ...epilogueBindings(epilogue, multiplied), y },
    { ...params, channels: width, lanes, ...epilogueParams(epilogue) }, gridFor(part.tiles * lanes));
});

/** The gradient of w [3, 3, C, D] from x [N, H, W, C] and the output's gradient. Fills `result` completely, or adds to it. */
export const winogradGradWeight = (x: Tensor, grad: Tensor, result: Tensor, padding: Pair, epilogue: Pick<Epilogue, 'accumulate'>): void => scope(() => {
  const size = bestSize(grad.shape);
  const [depth, width] = [x.shape[3]!, grad.shape[3]!];
  const multiplied = transformed(x.runtime, size, depth, width);
  for (const part of partsOf(grad.shape, size, Math.max(quadsPerRow(x.shape), quadsPerRow(grad.shape)))) {
    scope(() => {
      const params = paramsOf(x.shape, grad.shape, size, padding, part);
      const [tiles, gradients] = [transformTiles('input', x, size, params), transformTiles('gradient', grad, size, params)];
      gemmWeights(tiles, gradients, multiplied, rowsGeometry(part.tiles), extentsOf(depth, width, tiles, gradients, multiplied), { accumulate: part.first > 0 });
    });
  }
  const lanes = lanesOf(grad.shape);
  const params = { ...paramsOf(x.shape, grad.shape, size, padding, { first: 0, tiles: 0 }), channels: depth, lanes, ...epilogueParams(epilogue) };
  dispatch(x.runtime, size.shader.kernel('collect', constantsOf(size)), { source: multiplied, y: result }, params, gridFor(depth * lanes));
});
