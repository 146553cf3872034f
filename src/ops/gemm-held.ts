/** Products of little depth for the broadcast kernels: lanes hold their columns of w while they go over rows of x; see shaders/gemm-held.wgsl. */
import source from '../../shaders/gemm-held.wgsl';
import type { GemmFamily } from '../kernels/gemm-family.js';
import { type Kernel, Shader } from '../kernels/shader.js';
import { valueAt } from '../kernels/value-at.js';
import type { Tensor } from '../tensor/tensor.js';
import { type Epilogue, epilogueParams, isBare } from './epilogue.js';
import type { Extents, GemmParams, Geometry, RowsOptions } from './gemm.js';
import { kernelOf, operands, readsImages, type Tiling } from './gemm-tiling.js';

/** Operands are images: of buffers the many loads, written out one by one, would take minutes to compile. */
const shader = new Shader('gemm-held', source, operands('image'));

/**
 * Instructions of lavapipe for one element of depth (a shuffle, and four products with their sums), to load a vec4f of x, and to store one of the
 * result, for all lanes at once.
 */
const [PRODUCT, LOAD, STORE] = [9, 50, 360];

/** Lanes side by side: fewer compute less beyond the last column, but share what they load of x with fewer. */
const lanesAcross = (lanes: number, width4: number, depth: number): number => {
  const costOf = (across: number): number => Math.ceil(width4 / across) * across * (PRODUCT * depth + (LOAD * depth) / (4 * across) + STORE);
  let best = lanes;
  for (let across = lanes / 2; across >= 1; across /= 2) if (costOf(across) < costOf(best)) best = across;
  return best;
};

/** Blocks of rows of a tile: more are no faster. Fewer tiles leave threads idle at the end. */
const [MOST_TURNS, ENOUGH_TILES] = [64, 32];

/** Of the depth that may be held, as much for several taps, whose kernels gain less and take longer to compile. */
const SEVERAL_TAPS = 0.5;
/** Of deeper products the sums are long beside what is left out when they are stored as they are: that is not worth a kernel of its own. */
const BARE_DEPTH = 96;
/** Each part writes all of y, and reads it. */
const MOST_PARTS = 16;

const makeTiling = (
  { subgroupSize: lanes, heldTurns }: GemmFamily, { rows, kernel: [DOWN, ACROSS], joined }: Geometry, { depth: whole, width, batches }: Extents, parts: number,
): Tiling | null => {
  const TAPS = DOWN * ACROSS;
  const depth = parts === 1 ? whole : 4 * Math.ceil(whole / 4 / parts);
  const width4 = Math.ceil(width / 4);
  const columns = lanesAcross(lanes, width4, TAPS * depth);
  const blocks = Math.ceil(rows / lanes);
  const share = Math.floor((blocks * Math.ceil(width4 / columns) * batches) / ENOUGH_TILES);
  const turns = Math.min(MOST_TURNS, blocks, Math.max(share, 1));
  if (turns < heldTurns) return null;
  const QUADS = Math.ceil(depth / 4);
  const layout = joined
    ? { JOINED: TAPS * depth, WHOLE: 0, APART: 0, STEPS: Math.ceil((TAPS * depth) / 4) }
    : { JOINED: 0, WHOLE: TAPS * QUADS, APART: DOWN, STEPS: TAPS * QUADS };
  const constants = { LANES: lanes, COLUMNS: columns, DOWN, ACROSS, DEPTH: depth, QUADS, ...layout };
  return { lanes, constants, rows: lanes * turns, columns, groups: lanes / columns, rowsPerGroup: columns, turns, parts };
};

export interface Operands {
  readonly x: Tensor;
  readonly w: Tensor;
  readonly y: Tensor;
}

const tilingsByFamily = new WeakMap<GemmFamily, Map<string, Tiling | null>>();

/**
 * Among how many dispatches the depth of one tap is shared out; none where they would be too many, or what y holds is still wanted, or for so few
 * columns that each part of x is read but once.
 */
const partsOf = (
  { heldDepth, subgroupSize }: GemmFamily, { kernel: [down, across] }: Geometry, { depth, width }: Extents, { accumulate }: Epilogue,
): number | null => {
  const taps = down * across;
  if (taps * depth <= (taps > 1 ? heldDepth * SEVERAL_TAPS : heldDepth)) return 1;
  const parts = Math.ceil(depth / heldDepth);
  return taps === 1 && width > 4 * subgroupSize && parts <= MOST_PARTS && !accumulate ? parts : null;
};

/** Compilers may add a last pair of products to the sum one by one, and not the pair: the bits would be others than those of the usual kernels. */
const endsInPair = ({ kernel: [down, across], joined }: Geometry, { depth }: Extents): boolean => (joined ? down * across * depth : depth) % 4 === 2;

/** The tiling of a product that goes this way, else null. Each phase of a stride would need a kernel of its own, which a first start waits for. */
export const heldTilingOf = ({ x, w, y }: Operands, g: Geometry, e: Extents, epilogue: Epilogue): Tiling | null => {
  const { gemm } = x.runtime;
  if (gemm.kind !== 'broadcast' || gemm.heldDepth === 0 || g.place || !readsImages(x.runtime, x, w)) return null;
  const parts = partsOf(gemm, g, e, epilogue);
  if (parts === null || (parts > 1 && y.dtype !== 'float32') || (parts === 1 && endsInPair(g, e))) return null;
  const key = `${g.rows} ${g.kernel[0]} ${g.kernel[1]} ${e.depth} ${e.width} ${e.batches} ${g.joined ? 'joined' : ''}`;
  return valueAt(valueAt(tilingsByFamily, gemm, () => new Map<string, Tiling | null>()), key, () => makeTiling(gemm, g, e, parts));
};

/** The kernel of a tiling. The sums of two matrices, where nothing becomes of them, are stored by a kernel of their own. */
export const heldKernelOf = (tiling: Tiling, { depth, width }: Extents, options: RowsOptions, plain: boolean): Kernel => {
  const bare = plain && tiling.parts === 1 && depth <= BARE_DEPTH && width % 4 === 0 && isBare(options);
  return kernelOf(shader, tiling, 'rows', { transposed: options.transposed ?? false, plain, bare, parts: tiling.parts !== 1 });
};

/** Changes a product's parameters to those of one of its parts: the last one finishes the sums. */
export const takePart = (params: GemmParams, part: number, { constants, parts = 1 }: Tiling, g: Geometry, e: Extents, options: RowsOptions): void => {
  const quads = constants.QUADS!;
  const depth = Math.min(4 * quads, e.depth - 4 * quads * part);
  const wFirst = part * quads * (options.transposed ? 1 : 4 * e.wPitch);
  Object.assign(params, {
    depth, depth4: Math.ceil(depth / 4), xFirst: part * quads, tapBase: (g.taps?.first ?? 0) * e.wTap + wFirst, continues: part > 0 ? 1 : 0,
    ...epilogueParams(part === parts - 1 ? options : {}),
  });
};
