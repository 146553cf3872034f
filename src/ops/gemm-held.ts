/** Products of little depth for the broadcast kernels: lanes hold their columns of w while they go over rows of x; see shaders/gemm-held.wgsl. */
import source from '../../shaders/gemm-held.wgsl';
import type { GemmFamily } from '../kernels/gemm-family.js';
import type { Runtime } from '../kernels/runtime.js';
import { Shader } from '../kernels/shader.js';
import { valueAt } from '../kernels/value-at.js';
import type { Tensor } from '../tensor/tensor.js';
import { type Epilogue, isBare } from './epilogue.js';
import type { Extents, Geometry } from './gemm.js';
import { operands, readsImages, type Tiling } from './gemm-tiling.js';

/** Operands are images: of buffers the many loads, written out one by one, would take minutes to compile. */
export const heldShader = new Shader('gemm-held', source, operands('image'));

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

/** Whether a product's sums are stored as they are by a kernel of their own. */
export const storesBare = ({ kernel }: Geometry, { depth, width }: Extents, epilogue: Epilogue): boolean =>
  kernel[0] * kernel[1] * depth <= BARE_DEPTH && width % 4 === 0 && isBare(epilogue);

const makeTiling = ({ subgroupSize: lanes, heldTurns }: GemmFamily, { rows, kernel }: Geometry, { depth, width, batches }: Extents): Tiling | null => {
  const [DOWN, ACROSS] = kernel;
  const TAPS = DOWN * ACROSS;
  const width4 = Math.ceil(width / 4);
  const columns = lanesAcross(lanes, width4, TAPS * depth);
  const blocks = Math.ceil(rows / lanes);
  const share = Math.floor((blocks * Math.ceil(width4 / columns) * batches) / ENOUGH_TILES);
  const turns = Math.min(MOST_TURNS, blocks, Math.max(share, 1));
  if (turns < heldTurns) return null;
  const constants = { LANES: lanes, COLUMNS: columns, DOWN, ACROSS, TAPS, DEPTH: depth, QUADS: Math.ceil(depth / 4) };
  return { lanes, constants, rows: lanes * turns, columns, groups: lanes / columns, rowsPerGroup: columns, turns };
};

const tilingsByFamily = new WeakMap<GemmFamily, Map<string, Tiling | null>>();

/** The tiling of a product of x by w that goes this way; null for others. */
export const heldTilingOf = (runtime: Runtime, x: Tensor, w: Tensor, g: Geometry, e: Extents): Tiling | null => {
  const { gemm } = runtime;
  const [down, across] = g.kernel;
  const taps = down * across;
  const depth = taps * e.depth;
  const most = taps > 1 ? gemm.heldDepth * SEVERAL_TAPS : gemm.heldDepth;
  if (gemm.kind !== 'broadcast' || depth === 0 || depth > most || !readsImages(runtime, x, w)) return null;
  const key = `${g.rows} ${down} ${across} ${e.depth} ${e.width} ${e.batches}`;
  return valueAt(valueAt(tilingsByFamily, gemm, () => new Map<string, Tiling | null>()), key, () => makeTiling(gemm, g, e));
};
