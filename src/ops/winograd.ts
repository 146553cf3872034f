/**
 * Convolutions without stride by Winograd's algorithm (Lavin and Gray, arXiv 1509.09308): 3×3 and 5×5 taps, or 3 or 7 along one axis. A NaN or
 * an infinity in the input makes its whole tile of the result NaN, where the direct sum touches only the pixels that see it.
 */
import source from '../../shaders/winograd.wgsl';
import type { Runtime } from '../kernels/runtime.js';
import { type Kernel, Shader } from '../kernels/shader.js';
import { scope } from '../tensor/scope.js';
import { quadsPerRow, type Shape } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import type { Pair } from './arguments.js';
import type { ConvAttrs } from './conv-shape.js';
import { type Epilogue, epilogueBindings, epilogueParams } from './epilogue.js';
import { type Extents, gemmRows, gemmWeights, rowsGeometry } from './gemm.js';
import { allocate, dispatch, gridFor } from './op.js';

/** F(result, taps) along one axis or both: so many pixels from so many more of the input. */
interface Tiles {
  /** Down and across; for taps along one axis, across them and along them. */
  readonly result: Pair;
  readonly taps: Pair;
  readonly shader: Shader;
}

const shaders = {
  square: new Shader('winograd', source, { down: 'winograd-square' }),
  line: new Shader('winograd line', source, { down: 'winograd-line' }),
};
const square = (result: number, taps: number): Tiles => ({ result: [result, result], taps: [taps, taps], shader: shaders.square });
const line = (result: number, taps: number): Tiles => ({ result: [1, result], taps: [1, taps], shader: shaders.line });

const TILES: readonly Tiles[] = [square(2, 3), square(4, 3), square(4, 5), line(2, 3), line(4, 3), line(4, 7)];

/** Taps along the vertical axis only are taken as a line as well: rows and columns of the image change places. */
const isTurned = (w: Shape): boolean => w[1] === 1;
const turned = <T>([a, b]: readonly [T, T], turns: boolean): readonly [T, T] => (turns ? [b, a] : [a, b]);

const edgeOf = ({ result, taps }: Tiles): Pair => [result[0] + taps[0] - 1, result[1] + taps[1] - 1];
const productsOf = (tiles: Tiles): number => edgeOf(tiles)[0] * edgeOf(tiles)[1];
const countAlong = (pixels: Pair, { result }: Tiles): Pair => [Math.ceil(pixels[0] / result[0]), Math.ceil(pixels[1] / result[1])];
/** Height and width of an image, in the order of the tiles' axes. */
const sidesOf = (image: Shape, turns: boolean): Pair => turned([image[1]!, image[2]!], turns);

/** Multiplications per image and channel pair: what the larger tiles save they may lose again at the edges. */
const costOf = (sides: Pair, tiles: Tiles): number => {
  const [down, across] = countAlong(sides, tiles);
  return down * across * productsOf(tiles);
};

/** The cheapest tiles for these taps; none where the algorithm does not apply. */
const bestTiles = (w: Shape, y: Shape): Tiles | undefined => {
  const taps = turned([w[0]!, w[1]!], isTurned(w));
  const sides = sidesOf(y, isTurned(w));
  return TILES.filter((tiles) => tiles.taps[0] === taps[0] && tiles.taps[1] === taps[1])
    .reduce<Tiles | undefined>((best, tiles) => (best && costOf(sides, best) <= costOf(sides, tiles) ? best : tiles), undefined);
};

/** What the tiles of 4×4 results save at best: their gain is the unit of a tuning's `winograd`. */
const BEST_GAIN = 9 / (36 / 16) - 1;

/**
 * Whether a convolution to y [N, H, W, D], its input's gradient (both work along rows) or its weights' may and should go this way.
 * The transforms are work per channel, what they save is work per pair of channels, and tiles over the edge lose part of it.
 */
export const suitsWinograd = ({ gemm }: Runtime, w: Shape, y: Shape, a: ConvAttrs, along: 'rows' | 'weights'): boolean => {
  const fewest = along === 'rows' ? gemm.winograd : gemm.winogradWeights;
  if (fewest === 0 || a.groups !== 1 || [...a.stride, ...a.dilation].some((n) => n !== 1)) return false;
  const tiles = bestTiles(w, y);
  if (!tiles || a.padding[0] >= w[0]! || a.padding[1] >= w[1]!) return false;
  const gain = (w[0]! * w[1]! * y[1]! * y[2]!) / costOf(sidesOf(y, isTurned(w)), tiles) - 1;
  return Math.sqrt(w[2]! * w[3]!) * (gain / BEST_GAIN) >= fewest;
};

/**
 * Transformed tiles of a part. Few add little to a step's memory; but each part reads the matrices of all weights, or adds to them, and
 * should hold some times as much. All should stay in a processor's outer cache, and far below the limit of a binding.
 */
const PART_BYTES = { least: 4 * 2 ** 20, timesWeights: 8, most: 16 * 2 ** 20 } as const;

interface Part {
  /** Among all tiles of all images. */
  readonly first: number;
  readonly tiles: number;
}

/** One convolution's tiles. */
interface Plan {
  readonly tiles: Tiles;
  readonly turns: boolean;
  readonly padding: Pair;
  /** Shapes of input and output. */
  readonly x: Shape;
  readonly y: Shape;
}

const planOf = (x: Shape, w: Shape, y: Shape, padding: Pair): Plan => {
  const turns = isTurned(w);
  return { tiles: bestTiles(w, y)!, turns, padding: turned(padding, turns), x, y };
};

/** All tiles of all images, a part at a time. */
function* partsOf({ tiles, turns, x, y }: Plan): Generator<Part> {
  const [down, across] = countAlong(sidesOf(y, turns), tiles);
  const count = y[0]! * down * across;
  const [quadsIn, quadsOut] = [quadsPerRow(x), quadsPerRow(y)];
  const bytesPerTile = 16 * productsOf(tiles) * Math.max(quadsIn, quadsOut);
  // The matrices of all weights are as large as so many tiles as the narrower side has channels.
  const weightBytes = bytesPerTile * 4 * Math.min(quadsIn, quadsOut);
  const bytes = Math.min(Math.max(PART_BYTES.least, PART_BYTES.timesWeights * weightBytes), PART_BYTES.most);
  const most = Math.max(64, Math.floor(bytes / bytesPerTile));
  for (let first = 0; first < count; first += most) yield { first, tiles: Math.min(most, count - first) };
}

const WHOLE: Part = { first: 0, tiles: 0 };

const paramsOf = ({ tiles, turns, padding, x, y }: Plan, part: Part) => {
  const [[inH, inW], [outH, outW]] = [sidesOf(x, turns), sidesOf(y, turns)];
  const [[inLine, inPixel], [outLine, outPixel]] = [turned([x[2]!, 1], turns), turned([y[2]!, 1], turns)];
  const [tilesY, tilesX] = countAlong([outH, outW], tiles);
  const lines = edgeOf(tiles)[0];
  return {
    inH, inW, inLine, inPixel, outH, outW, outLine, outPixel, tilesY, tilesX,
    firstTile: part.first, tiles: part.tiles, padY: padding[0], padX: padding[1], lines,
  };
};

const kernelOf = (tiles: Tiles, entry: string, flip?: boolean): Kernel => {
  const [[DOWN_EDGE, EDGE], [DOWN_RESULT, RESULT], [DOWN_TAPS, TAPS]] = [edgeOf(tiles), tiles.result, tiles.taps];
  return tiles.shader.kernel(entry, {
    DOWN_EDGE, EDGE, DOWN_RESULT, RESULT, DOWN_TAPS, TAPS, PAIRS: EDGE / 2 - 1, ...(flip === undefined ? {} : { FLIP: flip ? 1 : 0 }),
  });
};

/** [products, rows, columns of a matrix]. */
const transformed = (runtime: Runtime, tiles: Tiles, rows: number, columns: number): Tensor => allocate(runtime, [productsOf(tiles), rows, columns], 'Winograd transform');

/** The tiles of a part of an image's pixels, or of a gradient's: [products, tiles, channels]. */
const transformTiles = (entry: 'input' | 'gradient', source: Tensor, { tiles }: Plan, params: ReturnType<typeof paramsOf>): Tensor => {
  const y = transformed(source.runtime, tiles, params.tiles, source.shape[3]!);
  const quads = quadsPerRow(source.shape);
  dispatch(source.runtime, kernelOf(tiles, entry), { source, y }, { ...params, channels: 0, quads, ...epilogueParams({}) }, gridFor(params.tiles * quads));
  return y;
};

/** Strides of the products' matrices, which lie one behind the other: pitch and batch of [products, rows, columns]. */
const strides = ({ shape }: Tensor): { pitch: number; batch: number } => ({ pitch: quadsPerRow(shape), batch: shape[1]! * quadsPerRow(shape) });

const extentsOf = (depth: number, width: number, x: Tensor, w: Tensor, y: Tensor): Extents => {
  const [a, b, c] = [strides(x), strides(w), strides(y)];
  return { depth, width, wTap: 0, batches: x.shape[0]!, xPitch: a.pitch, xBatch: a.batch, wPitch: b.pitch, wBatch: b.batch, yPitch: c.pitch, yBatch: c.batch };
};

export interface WinogradOptions extends Epilogue {
  readonly padding: Pair;
  /** Taps in reverse order and w [KH, KW, out, in]: the gradient of the input from that of the output. */
  readonly flip?: boolean;
}

/** y = x ∗ w for x [N, H, W, C] and w [KH, KW, C, D], and what the epilogue says. Fills `y` completely. */
export const winograd = (x: Tensor, w: Tensor, y: Tensor, options: WinogradOptions): void => scope(() => {
  const plan = planOf(x.shape, w.shape, y.shape, options.padding);
  const weights = transformWeights(w, plan, options.flip ?? false);
  for (const part of partsOf(plan)) computePart(x, weights, y, plan, part, options);
});

const transformWeights = (w: Tensor, plan: Plan, flip: boolean): Tensor => {
  const [, , rows, columns] = w.shape as [number, number, number, number];
  const weights = transformed(w.runtime, plan.tiles, rows, columns);
  const quads = quadsPerRow(w.shape);
  dispatch(w.runtime, kernelOf(plan.tiles, 'weights', flip), { source: w, y: weights },
    { ...paramsOf(plan, WHOLE), channels: rows, quads, ...epilogueParams({}) }, gridFor(rows * quads));
  return weights;
};

const computePart = (x: Tensor, weights: Tensor, y: Tensor, plan: Plan, part: Part, { flip, ...epilogue }: WinogradOptions): void => scope(() => {
  const { runtime } = x;
  const [depth, width] = [x.shape[3]!, y.shape[3]!];
  const params = paramsOf(plan, part);
  const tiles = transformTiles('input', x, plan, params);
  const multiplied = transformed(runtime, plan.tiles, part.tiles, width);
  gemmRows(tiles, weights, multiplied, rowsGeometry(part.tiles), extentsOf(depth, width, tiles, weights, multiplied), { transposed: flip ?? false });
  const quads = quadsPerRow(y.shape);
  dispatch(runtime, kernelOf(plan.tiles, 'output'), { source: multiplied, ...epilogueBindings(epilogue, multiplied), y },
    { ...params, channels: width, quads, ...epilogueParams(epilogue) }, gridFor(part.tiles * quads));
});

/** The gradient of w [KH, KW, C, D] from x [N, H, W, C] and the output's gradient. Fills `result` completely, or adds to it. */
export const winogradGradWeight = (x: Tensor, grad: Tensor, result: Tensor, padding: Pair, epilogue: Pick<Epilogue, 'accumulate'>): void => scope(() => {
  const plan = planOf(x.shape, result.shape, grad.shape, padding);
  const [depth, width] = [x.shape[3]!, grad.shape[3]!];
  const multiplied = transformed(x.runtime, plan.tiles, depth, width);
  for (const part of partsOf(plan)) {
    scope(() => {
      const params = paramsOf(plan, part);
      const [tiles, gradients] = [transformTiles('input', x, plan, params), transformTiles('gradient', grad, plan, params)];
      gemmWeights(tiles, gradients, multiplied, rowsGeometry(part.tiles),
        extentsOf(depth, width, tiles, gradients, multiplied), { accumulate: part.first > 0 });
    });
  }
  const quads = quadsPerRow(grad.shape);
  dispatch(x.runtime, kernelOf(plan.tiles, 'collect'), { source: multiplied, y: result },
    { ...paramsOf(plan, WHOLE), channels: depth, quads, ...epilogueParams(epilogue) }, gridFor(depth * quads));
});
