/** The one family of kernels behind matmul, linear and conv2d, for both kinds of adapter. */
import { gridParts, linearGrid } from '../kernels/grid.js';
import type { Runtime } from '../kernels/runtime.js';
import type { Kernel } from '../kernels/shader.js';
import { quadCount } from '../tensor/shape.js';
import { Tensor } from '../tensor/tensor.js';
import { type Epilogue, epilogueBindings, epilogueParams } from './epilogue.js';
import { heldKernelOf, heldTilingOf, type Operands, takePart } from './gemm-held.js';
import { packOperands } from './gemm-pack.js';
import { kernelOf, multipliesMatrices, shaderFor, type Tiling, tilingOf } from './gemm-tiling.js';
import { dispatch } from './op.js';
import { sumInto } from './reduce.js';

/** How output pixels meet source pixels; see shaders/common/gemm.wgsl. */
export interface Geometry {
  readonly rows: number;
  readonly out: readonly [number, number];
  readonly source: readonly [number, number];
  readonly kernel: readonly [number, number];
  readonly mul: readonly [number, number];
  readonly offset: readonly [number, number];
  readonly step: readonly [number, number];
  /** Held: whether taps are summed as if their channels lay side by side in one row. */
  readonly joined?: boolean;
  /** Which taps of w take part: the first one, and every how many downwards and sideways; default all. */
  readonly taps?: { readonly first: number; readonly every: readonly [number, number] };
  /** Where the pixels of y lie, in pixels; default one behind the other. */
  readonly place?: { readonly origin: number; readonly image: number; readonly line: number; readonly pixel: number };
}

/** A matrix product: its rows are the pixels of one line. */
export const rowsGeometry = (rows: number): Geometry => ({
  rows, out: [1, rows], source: [1, rows], kernel: [1, 1], mul: [1, 1], offset: [0, 0], step: [0, 0],
});

/** Whether every pixel of the result is that of the source, so that x is a matrix and there are no pixels to find; the plain kernels find them anyway. */
const isPlain = ({ gemm }: Runtime, g: Geometry): boolean => {
  if (gemm.kind === 'plain') return false;
  const one = (pair: readonly [number, number], value: number): boolean => pair[0] === value && pair[1] === value;
  const same = one(g.kernel, 1) && one(g.mul, 1) && one(g.offset, 0) && g.out[0] === g.source[0] && g.out[1] === g.source[1];
  return same && !g.place;
};

/** Sizes in elements, pitches and batch strides in vec4f. */
export interface Extents {
  readonly depth: number;
  readonly width: number;
  readonly xPitch: number;
  readonly wPitch: number;
  readonly wTap: number;
  readonly yPitch: number;
  readonly batches: number;
  readonly xBatch: number;
  readonly wBatch: number;
  readonly yBatch: number;
}

const ceilDiv = (a: number, b: number): number => Math.ceil(a / b);

const flopsOf = ({ rows, kernel }: Geometry, { depth, width, batches }: Extents): number => 2 * rows * kernel[0] * kernel[1] * depth * width * batches;

/** A launch's parameters by the names of shaders/common/gemm.wgsl; what a single dispatch adds is filled in later. */
export type GemmParams = ReturnType<typeof paramsOf>;

/** One literal without spreads: a step records hundreds of these, and JavaScript's time counts beside a small kernel's. */
const paramsOf = ({ rows, out, source, kernel, mul, offset, step, taps, place }: Geometry, e: Extents, tiling: Tiling, epilogue: Epilogue) => {
  const { scale, biased, adds, relu } = epilogueParams(epilogue);
  const [depth4, width4] = [ceilDiv(e.depth, 4), ceilDiv(e.width, 4)];
  return {
    rows, outH: out[0], outW: out[1], inH: source[0], inW: source[1], kernelH: kernel[0], kernelW: kernel[1],
    mulY: mul[0], mulX: mul[1], offY: offset[0], offX: offset[1], stepY: step[0], stepX: step[1],
    depth: e.depth, depth4, width: e.width, width4,
    xPitch: e.xPitch, xStep: 1, xFirst: 0, xPanel: tiling.lanes * e.xPitch, wPitch: e.wPitch, wPanel: tiling.columns,
    tapBase: (taps?.first ?? 0) * e.wTap, tapY: (taps?.every[0] ?? kernel[1]) * e.wTap, tapX: (taps?.every[1] ?? 1) * e.wTap,
    yPitch: (place?.pixel ?? 1) * e.yPitch, yOrigin: (place?.origin ?? 0) * e.yPitch,
    yImage: (place?.image ?? 0) * e.yPitch, yLine: (place?.line ?? 0) * e.yPitch,
    xBatch: e.xBatch, wBatch: e.wBatch, yBatch: e.yBatch,
    columnTiles: ceilDiv(width4, tiling.columns), rowTiles: 0, batches: e.batches, firstColumnTile: 0, firstRowTile: 0, firstBatch: 0,
    splits: 1, ySplit: 0, turns: tiling.turns ?? 1, continues: 0, tileRows: tiling.rowsPerGroup, scale, biased, adds, relu,
  };
};

export interface RowsOptions extends Epilogue {
  /** w is stored [n][k]. */
  readonly transposed?: boolean;
}

/** Workgroups that keep a GPU busy, and the least depth that is worth a part's sums. */
const [BUSY, DEPTH_PER_PART] = [264, 512];

/** Into how many equal parts the depth of a product of two matrices is cut, because it has too few tiles for a GPU. */
const partsOfDepth = (tiles: number, depth: number): number => {
  for (let parts = Math.min(Math.floor(BUSY / tiles), Math.floor(depth / DEPTH_PER_PART)); parts > 1; parts--) if ((depth / 4) % parts === 0) return parts;
  return 1;
};

/** A product of few rows and columns but great depth, as of a classifier: parts of the depth are computed like batches, and summed. */
const gemmDeep = (
  x: Tensor, w: Tensor, y: Tensor, g: Geometry, e: Extents, { transposed = false, scale = 1, accumulate = false }: RowsOptions, parts: number,
): void => {
  const depth = e.depth / parts;
  const sums = Tensor.allocate(x.runtime, [parts, ...y.shape], 'float32', 'parts of a product');
  const strides = { xBatch: depth / 4, wBatch: transposed ? depth / 4 : depth * e.wPitch, yBatch: quadCount(y.shape) };
  gemmRows(x, w, sums, g, { ...e, ...strides, depth, batches: parts }, { transposed });
  sumInto(sums, y, { scale, accumulate });
};

/** Dispatches a product's tiles, as many at a time as a grid holds, for one part of its depth after the other. */
const launchRows = (kernel: Kernel, tiling: Tiling, { x, w, y }: Operands, g: Geometry, e: Extents, options: RowsOptions, plain: boolean): void => {
  const { runtime } = x;
  const { parts = 1 } = tiling;
  const params = paramsOf(g, e, tiling, options);
  params.rowTiles = ceilDiv(g.rows, tiling.rows);
  const packs = runtime.gemm.kind === 'broadcast' && !options.transposed && e.batches === 1 && parts === 1 && plain;
  const tensors = { ...(packs ? packOperands(x, w, e, tiling, params) : { x, w }), ...epilogueBindings(options, w), y };
  for (let part = 0; part < parts; part++) {
    if (parts > 1) takePart(params, part, tiling, g, e, options);
    for (const [columns, rows, batches] of gridParts(params.columnTiles, params.rowTiles, e.batches)) {
      params.firstColumnTile = columns.first;
      params.firstRowTile = rows.first;
      params.firstBatch = batches.first;
      dispatch(runtime, kernel, tensors, params, [columns.count, rows.count, batches.count]);
    }
  }
  runtime.recorder.weigh(flopsOf(g, e));
};

/** y[p, n] = Σ x[pixel, k] · w[k, n], and what the epilogue says. Fills `y` completely. */
export const gemmRows = (x: Tensor, w: Tensor, y: Tensor, g: Geometry, e: Extents, options: RowsOptions): void => {
  const { runtime } = x;
  const { transposed = false } = options;
  const plain = isPlain(runtime, g);
  const held = heldTilingOf({ x, w, y }, g, e, options);
  if (held) {
    launchRows(heldKernelOf(held, e, options, plain), held, { x, w, y }, g, e, options, plain);
    return;
  }
  const halves = multipliesMatrices(runtime.gemm, x, w);
  const tiling = tilingOf(runtime, 'rows', { height: ceilDiv(g.rows, 4), width: ceilDiv(e.width, 4), depth: 0, copies: e.batches, halves, transposed });
  const bare = e.batches === 1 && !options.bias && !options.residual && !options.relu;
  if (plain && bare && runtime.gemm.kind === 'tile') {
    const parts = partsOfDepth(ceilDiv(e.width, 4 * tiling.columns) * ceilDiv(g.rows, tiling.rows), e.depth);
    if (parts > 1) {
      gemmDeep(x, w, y, g, e, options, parts);
      return;
    }
  }
  const ragged = runtime.gemm.kind !== 'tile' && e.depth % 4 !== 0 && !transposed;
  const shader = shaderFor(runtime, x, w, tiling.sparesX && plain && !transposed);
  const kernel = kernelOf(shader, tiling, 'rows', { transposed, plain, scatter: g.place !== undefined, ragged });
  launchRows(kernel, tiling, { x, w, y }, g, e, options, plain);
};

/** Fewer workgroups than this leave cores idle; then the pixels are cut into parts that are summed afterwards. */
const ENOUGH_WORKGROUPS = { broadcast: 8, plain: 16, tile: 1024, matrices: 512 };
const PIXELS_PER_SPLIT = 256;
/** Longer parts no longer fit into a processor's caches while all tiles pass over them. */
const LONGEST_SPLIT = { broadcast: 1024, plain: 1024, tile: Infinity };

/** y[tap, c, n] = Σ_p x[pixel, c] · w[p, n]. Fills `y` completely, or adds to what is there. */
export const gemmWeights = (x: Tensor, w: Tensor, y: Tensor, g: Geometry, e: Extents, epilogue: Pick<Epilogue, 'scale' | 'accumulate'>): void => {
  const { runtime } = x;
  const halves = multipliesMatrices(runtime.gemm, x, w);
  const [width, depth] = [ceilDiv(e.width, 4), ceilDiv(e.depth, 4)];
  const taps = g.kernel[0] * g.kernel[1];
  const tiling = tilingOf(runtime, 'weights', { height: taps * depth, width, depth, copies: e.batches * ceilDiv(g.rows, PIXELS_PER_SPLIT), halves, transposed: false });
  const rowTiles = tiling.joinsTaps ? ceilDiv(4 * taps * depth, tiling.rows) : ceilDiv(e.depth, tiling.rows);
  const tiles = ceilDiv(width, tiling.columns) * rowTiles * (tiling.joinsTaps ? 1 : taps) * e.batches;
  const wanted = ceilDiv(ENOUGH_WORKGROUPS[halves ? 'matrices' : runtime.gemm.kind], tiles);
  const splits = Math.max(1, Math.min(wanted, ceilDiv(g.rows, PIXELS_PER_SPLIT)), Math.floor(g.rows / LONGEST_SPLIT[runtime.gemm.kind]));
  const parts = splits * tiling.groups;
  const target = parts === 1 ? y : Tensor.allocate(runtime, [parts, ...y.shape], 'float32', 'weight gradient parts');
  const own = parts === 1 ? epilogue : {};
  const params = paramsOf(g, e, tiling, own);
  params.rowTiles = rowTiles;
  params.splits = splits;
  params.ySplit = quadCount(y.shape);
  const kernel = kernelOf(shaderFor(runtime, x, w, tiling.sparesX && taps === 1), tiling, 'weights', { plain: isPlain(runtime, g) });
  dispatch(runtime, kernel, { x, w, ...epilogueBindings(own, w), y: target }, params, linearGrid(tiles * splits));
  runtime.recorder.weigh(flopsOf(g, e));
  if (parts > 1) sumInto(target, y, epilogue);
};
