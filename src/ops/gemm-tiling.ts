/** Which variant of the GEMM kernels computes a product, and how large its tiles are. */
import broadcastSource from '../../shaders/gemm-broadcast.wgsl';
import plainSource from '../../shaders/gemm-plain.wgsl';
import tileSource from '../../shaders/gemm-tile.wgsl';
import { fail } from '../errors.js';
import type { GemmFamily } from '../kernels/gemm-family.js';
import { OperandImages } from '../kernels/operand-images.js';
import type { Runtime } from '../kernels/runtime.js';
import { type Kernel, Shader } from '../kernels/shader.js';
import { valueAt } from '../kernels/value-at.js';
import type { Tensor } from '../tensor/tensor.js';

type Kind = 'buffer' | 'image' | 'half';
/** What stands for the operands that a shader includes as x and w. */
export const operands = (x: Kind, w = x) => ({ x: `x-${x}`, w: `w-${w}` });

/** By variant, and what their operands come as. */
export const shaders = {
  broadcast: new Shader('gemm-broadcast', broadcastSource, operands('buffer')),
  images: new Shader('gemm-broadcast images', broadcastSource, operands('image')),
  imageOfW: new Shader('gemm-broadcast image of w', broadcastSource, operands('buffer', 'image')),
  tile: new Shader('gemm-tile', tileSource, { ...operands('buffer'), arithmetic: 'tile-vectors' }),
  matrices: new Shader('gemm-tile matrices', tileSource, { ...operands('half'), arithmetic: 'tile-matrices' }),
  plain: new Shader('gemm-plain', plainSource, operands('buffer')),
};

/** Whether the adapter's matrix units multiply these operands. */
export const multipliesMatrices = ({ kind, matrices }: GemmFamily, x: Tensor, w: Tensor): boolean =>
  kind === 'tile' && matrices && x.dtype === 'float16' && w.dtype === 'float16';

/** The two forms of a product; see shaders/common/gemm.wgsl. */
type Form = 'rows' | 'weights';

export interface Tiling {
  /** Of a subgroup; 1 where the kernels do not use it. */
  readonly lanes: number;
  readonly constants: Readonly<Record<string, number>>;
  /** Elements down a tile: output pixels of the rows form, rows of the weight's gradient of the weights form. */
  readonly rows: number;
  /** Quads of columns of a tile. */
  readonly columns: number;
  /** Parts of the pixels that one workgroup of the weights form works on side by side. */
  readonly groups: number;
  /** Weights form: whether a tile's rows go on from one tap to the next. */
  readonly joinsTaps?: boolean;
  /** Broadcast: whether copying x to an image would take longer than reading it from its buffer, if there is but one tap and nobody else wants the image. */
  readonly sparesX?: boolean;
  /** Rows per group of lanes: the loop bound of the epilogue. */
  readonly rowsPerGroup: number;
  /** Held: blocks of `lanes` rows of a tile. */
  readonly turns?: number;
  /** Held: dispatches, one behind the other, among which the depth is shared out. */
  readonly parts?: number;
}

// ---------------------------------------------------------------- broadcast

/** How the lanes of a subgroup share out a tile. */
interface Share {
  /** Lanes side by side; the groups of so many lanes own the same columns. */
  readonly columns: number;
  /** vec4f of columns per lane. */
  readonly wide: number;
  /** Weights form: vec4f of rows per lane. */
  readonly tall: number;
  /** Rows form: rows per lane, all of which a group shares. Weights form: pixels at a time. */
  readonly deep: number;
}

/**
 * vec4f per lane worth a kernel, of columns and (weights form) of rows, by how many groups of lanes there are: others are hardly faster, and
 * each is compiled.
 */
const SIZES: Readonly<Record<Form, Readonly<Record<number, readonly (readonly [wide: number, tall: number])[]>>>> = {
  rows: { 1: [[1, 1], [2, 1]], 2: [[1, 1], [3, 1]] },
  weights: { 1: [[1, 1], [2, 1], [3, 1]], 2: [[1, 1], [3, 2]] },
};

/** Rows per lane beyond this make the text of the kernel, and the time to compile it, long. */
const MOST_ROWS = 16;
/** A turn of the rows form takes four products of each of the sums that a row has. Few rows are shared out evenly among the tiles they need. */
const rowsOf = (own: number, turn: number, most: number): number => {
  const rows = Math.max(1, Math.min(Math.floor(turn / (4 * own)), most));
  return most < MOST_ROWS ? Math.ceil(most / Math.ceil(most / rows)) : rows;
};

/** Pixels at a time: the more, the less often sums are kept. */
const pixelsOf = (own: number, turn: number, most: number): number => Math.max(2, Math.min(Math.floor(turn / own), most));

/** From so many pixels of a tile with one vec4f in each lane, loops are so long that more vec4f are used often enough before their sums are kept. */
const ENOUGH_PIXELS = 6;

const sharesOf = (form: Form, gemm: GemmFamily, { depth, transposed }: ProductSize, mostRows: number): Share[] => {
  const { subgroupSize: lanes, rowsTurn, transposedTurn, weightsTurn } = gemm;
  const turn = transposed ? transposedTurn : rowsTurn;
  // Narrower tiles gain nothing from more pixels than those with one vec4f in each lane have.
  const mostPixels = Math.floor(weightsTurn / (4 * lanes));
  const shares: Share[] = [];
  for (let groups = 1; groups <= lanes; groups *= 2) {
    const columns = lanes / groups;
    for (const [wide, tall] of SIZES[form][groups] ?? [[1, 1]]) {
      // Narrow lanes have nothing to gain from many sums: half of them leaves room in the registers.
      const deep = form === 'rows' ? rowsOf(columns * wide, wide > 1 ? turn : turn / 2, mostRows) : pixelsOf(4 * columns * wide * tall, weightsTurn, mostPixels);
      // Wide ones gain nothing where one tile has all rows, so that w is read once anyway; with many images they are slower.
      const gains = wide === 1 || (depth > columns * tall && mostPixels >= ENOUGH_PIXELS);
      if (form === 'rows' || gains) shares.push({ columns, wide, tall, deep });
    }
  }
  return shares;
};

/**
 * In multiply-adds at the adapter's peak, fitted to lavapipe's rates: what keeping a sum from one turn of the loop to the next costs, and a
 * load of a vec4f.
 */
const TURN: Readonly<Record<Form, number>> = { rows: 1.2, weights: 0.4 };
const LOAD: Readonly<Record<Form, number>> = { rows: 33, weights: 75 };

const costPerProduct = (form: Form, { columns, wide, tall, deep }: Share): number => {
  const [products, loads, depth] = form === 'rows' ? [16 * deep * columns * wide, deep + 4 * wide, 4] : [16 * columns * wide * tall, tall + wide, deep];
  return 1 + TURN[form] / depth + (LOAD[form] * loads) / products;
};

const covered = (size: number, tile: number): number => Math.ceil(size / tile) * tile;

/** The cheapest share for a result of `width` by (weights form) `depth` quads, with what its tiles compute beyond the edges. */
const bestShare = (form: Form, gemm: GemmFamily, size: ProductSize, mostRows: number): Share => {
  const { width, depth } = size;
  const costOf = (share: Share): number =>
    costPerProduct(form, share) * covered(width, share.columns * share.wide) * (form === 'rows' ? 1 : covered(depth, share.columns * share.tall));
  return sharesOf(form, gemm, size, mostRows).reduce((best, share) => (costOf(share) < costOf(best) ? share : best));
};

/**
 * x stays in its buffer where it is read once for few columns, and in the weights form where few of all loads are of x. Measured by the clock, 1×1
 * layers and the stem: up to 32 columns a tenth less time, 48 columns in the weights form a third, 96 and more (three vec4f a lane) up to a tenth;
 * other results are faster with images, on most processors (docs/lavapipe.md). Few rows are soon copied, and loads from buffers take long to compile.
 */
const sparesX = (form: Form, { images }: GemmFamily, { columns, wide }: Share, width: number, mostRows: number): boolean => {
  if (form === 'rows') return wide === 1 && width <= columns && mostRows === MOST_ROWS;
  return wide >= 3 || (images === 'few' && width <= columns * wide);
};

/** Rows per lane that a product of few rows (a classifier's) can use: a power of two, so that kernels are few. */
const rowsPerLane = (lanes: number, height: number): number => Math.min(MOST_ROWS, 2 ** Math.ceil(Math.log2(Math.ceil((4 * height) / lanes))));

const broadcastTiling = (form: Form, gemm: GemmFamily, size: ProductSize): Tiling => {
  const { subgroupSize: lanes } = gemm;
  const { height, width } = size;
  const mostRows = rowsPerLane(lanes, height);
  const share = bestShare(form, gemm, size, mostRows);
  const { columns, wide, tall, deep } = share;
  // The text holds both forms: the one that is not meant stays short.
  const shared = { LANES: lanes, GROUPS: lanes / columns, COLUMNS: columns, WIDE: wide, TALL: tall, BLOCKS: 1, PIXELS: 1 };
  const common = { lanes, columns: columns * wide, groups: lanes / columns, sparesX: sparesX(form, gemm, share, width, mostRows) };
  return form === 'rows'
    ? { ...common, constants: { ...shared, BLOCKS: deep }, rows: lanes * deep, rowsPerGroup: columns * deep }
    : { ...common, constants: { ...shared, PIXELS: deep }, rows: columns * tall * 4, rowsPerGroup: columns * tall * 4 };
};

// ---------------------------------------------------------------- tile

/** A way to cut products for workgroup memory, in quads, and how long a multiply-add takes in it, relative to the first of its kind. */
interface Tile {
  readonly name: string;
  readonly height: number;
  readonly width: number;
  readonly sharedBytes: number;
  readonly cost: Readonly<Record<Form, number>>;
  readonly constants: Readonly<Record<string, number>>;
}

/** Of shaders/common/tile-vectors.wgsl: invocations of a workgroup, products that are summed between two barriers, and vec4f that hold those of a row. */
const [WORKGROUP, STEP, LEFT] = [256, 16, 5];

/** @param across invocations side by side @param rows @param columns vec4f that an invocation keeps */
const vectorTile = ([across, rows, columns]: readonly [number, number, number], cost: Tile['cost']): Tile => {
  const [height, width] = [(WORKGROUP / across) * rows, across * columns];
  return {
    name: `${across}×${rows}×${columns}`, height, width, sharedBytes: 16 * (4 * height * LEFT + STEP * (width + 1)), cost,
    constants: {
      ACROSS: across, ROWS: rows, COLUMNS: columns, SUMS: 4 * rows, LOADS: (height * STEP) / WORKGROUP, FETCHES: Math.ceil((width * STEP) / WORKGROUP),
    },
  };
};

/** Measured on an H200. */
const VECTOR_TILES: readonly Tile[] = [
  vectorTile([16, 1, 1], { rows: 1, weights: 1 }),
  vectorTile([16, 2, 1], { rows: 0.92, weights: 0.92 }),
  vectorTile([8, 1, 1], { rows: 1.08, weights: 1.15 }),
  vectorTile([8, 1, 2], { rows: 0.93, weights: 1.08 }),
];
/** What a tuning may ask for instead of `fit`. */
export const TILE_NAMES: readonly string[] = VECTOR_TILES.map(({ name }) => name);

/** Of shaders/common/tile-matrices.wgsl: products that are summed between two barriers, and by how much rows and matrices of sums are longer than they need. */
const [MATRIX_STEP, MATRIX_PAD, STAGED_PAD] = [32, 8, 4];

/** @param down @param across subgroups below and beside each other @param rows @param columns matrices of `side` that each has */
const matrixTile = ([down, across, rows, columns]: readonly [number, number, number, number], side: number, lanes: number, cost: Tile['cost']): Tile => {
  const [height, width, threads] = [(down * rows * side) / 4, (across * columns * side) / 4, down * across * lanes];
  const halves = (quads: number): number => Math.max(4 * quads * (MATRIX_STEP + MATRIX_PAD), MATRIX_STEP * (4 * quads + MATRIX_PAD));
  return {
    name: `${down}×${across}×${rows}×${columns}`, height, width, cost,
    sharedBytes: 2 * (halves(height) + halves(width)) + 4 * down * across * side * (side + STAGED_PAD),
    constants: {
      SIDE: side, LANES: lanes, DOWN: down, ACROSS: across, ROWS: rows, COLUMNS: columns,
      LOADS: (height * MATRIX_STEP) / threads, FETCHES: Math.ceil((width * MATRIX_STEP) / threads),
    },
  };
};

/** Likewise: figures are in bench/RESULTS.md. */
export const matrixTiles = ({ matrixSide: side, subgroupSize: lanes }: Pick<GemmFamily, 'matrixSide' | 'subgroupSize'>): readonly Tile[] => [
  matrixTile([2, 2, 2, 2], side, lanes, { rows: 1, weights: 1 }),
  matrixTile([2, 2, 2, 4], side, lanes, { rows: 2, weights: 0.74 }),
  matrixTile([4, 1, 2, 2], side, lanes, { rows: 1.75, weights: 1.4 }),
];

/** While the last of the tiles are computed, half of a GPU's cores wait on average; large ones have about so many. */
const WAITING_CORES = 64;

const fittingTile = (tiles: readonly Tile[], form: Form, size: ProductSize): Tile => {
  const costOf = ({ height, width, cost }: Tile): number =>
    cost[form] * (covered(size.height, height) * covered(size.width, width) * size.copies + WAITING_CORES * height * width);
  return tiles.reduce((best, one) => (costOf(one) < costOf(best) ? one : best));
};

const tileTiling = (form: Form, size: ProductSize, { gemm, device }: Runtime): Tiling => {
  const wanted = gemm.tile === 'fit' ? VECTOR_TILES : VECTOR_TILES.filter(({ name }) => name === gemm.tile);
  const tiles = (size.halves ? matrixTiles(gemm) : wanted).filter(({ sharedBytes }) => sharedBytes <= device.limits.maxComputeWorkgroupStorageSize);
  if (tiles.length === 0) fail(`the tuning asks for tiles "${gemm.tile}", which do not exist or need more workgroup memory than this adapter has; use fit or one of ${TILE_NAMES.join(', ')}`);
  const { constants, height, width } = fittingTile(tiles, form, size);
  return { constants, lanes: 1, rows: 4 * height, columns: width, groups: 1, joinsTaps: true, rowsPerGroup: 0 };
};

// ---------------------------------------------------------------- all kinds

/** What a tiling depends on, in quads: the result's rows and columns, of the weights form those of one tap, and how many such results are computed. */
interface ProductSize {
  readonly height: number;
  readonly width: number;
  readonly depth: number;
  readonly copies: number;
  /** Whether both operands are float16 and matrix units multiply them. */
  readonly halves: boolean;
  /** Whether w is read as [n][k]. */
  readonly transposed: boolean;
}

const makeTiling = (form: Form, runtime: Runtime, size: ProductSize): Tiling => {
  const { gemm } = runtime;
  if (gemm.kind === 'broadcast') return broadcastTiling(form, gemm, size);
  if (gemm.kind === 'plain') return { constants: {}, lanes: 1, rows: 8, columns: 64, groups: 1, rowsPerGroup: 8 };
  return tileTiling(form, size, runtime);
};

const tilingsByFamily = new WeakMap<GemmFamily, Map<string, Tiling>>();

export const tilingOf = (runtime: Runtime, form: Form, size: ProductSize): Tiling => {
  const { gemm } = runtime;
  // Only tiles of GPUs depend on nearly all of it.
  const rest = gemm.kind === 'tile' ? `${size.height} ${size.copies} ${size.halves}` : `${rowsPerLane(gemm.subgroupSize, size.height)} ${size.transposed}`;
  const key = `${form} ${size.width} ${size.depth} ${rest}`;
  return valueAt(valueAt(tilingsByFamily, gemm, () => new Map<string, Tiling>()), key, () => makeTiling(form, runtime, size));
};

/** By the place that {@link kernelOf} gives to a form and its switches. */
const kernelsByTiling = new WeakMap<Tiling, Map<Shader, Kernel[]>>();

/** Switches of shaders/common/gemm.wgsl, by their names there in capitals. */
const SWITCHES = ['transposed', 'plain', 'scatter', 'ragged', 'bare', 'parts'] as const;
type Switches = Partial<Readonly<Record<(typeof SWITCHES)[number], boolean>>>;

/** A form's kernel with these tiles and switches; looked up without putting its name together each time. */
export const kernelOf = (shader: Shader, tiling: Tiling, form: Form, switches: Switches): Kernel => {
  const kernels = valueAt(valueAt(kernelsByTiling, tiling, () => new Map<Shader, Kernel[]>()), shader, (): Kernel[] => []);
  let place = form === 'weights' ? 1 : 0;
  for (const name of SWITCHES) place = 2 * place + (switches[name] ? 1 : 0);
  return (kernels[place] ??= shader.kernel(form, {
    ...tiling.constants, ...Object.fromEntries(SWITCHES.map((name) => [name.toUpperCase(), switches[name] ? 1 : 0])),
  }));
};

/** Whether the adapter reads images faster than buffers, and these operands can be copied to some: they hold float32. */
export const readsImages = ({ gemm, device }: Runtime, ...operands: readonly Tensor[]): boolean =>
  gemm.images !== 'none' && operands.every(({ dtype, range }) => dtype === 'float32' && range.bytes <= OperandImages.capacity(device.limits));

/** The shader for a product of these operands. @param sparesX see {@link Tiling} */
export const shaderFor = (runtime: Runtime, x: Tensor, w: Tensor, sparesX = false): Shader => {
  const { gemm } = runtime;
  if (multipliesMatrices(gemm, x, w)) return shaders.matrices;
  if (gemm.kind !== 'broadcast') return shaders[gemm.kind];
  if (!readsImages(runtime, x, w)) return shaders.broadcast;
  return sparesX ? shaders.imageOfW : shaders.images;
};
