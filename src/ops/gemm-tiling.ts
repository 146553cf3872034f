/** Which variant of the GEMM kernels computes a product, and how large its tiles are. */
import broadcastSource from '../../shaders/gemm-broadcast.wgsl';
import plainSource from '../../shaders/gemm-plain.wgsl';
import tileSource from '../../shaders/gemm-tile.wgsl';
import { OperandImages } from '../kernels/operand-images.js';
import type { Runtime } from '../kernels/runtime.js';
import { Shader } from '../kernels/shader.js';
import type { Tensor } from '../tensor/tensor.js';

/** One shader per choice of where operands are read from. */
const withOperands = (name: string, source: string) => {
  const make = (x: string, w: string): Shader => new Shader(`${name} x-${x} w-${w}`, source, { x: `x-${x}`, w: `w-${w}` });
  return { buffers: make('buffer', 'buffer'), imageW: make('buffer', 'image'), imageX: make('image', 'buffer'), images: make('image', 'image') };
};

const broadcastShaders = withOperands('gemm-broadcast', broadcastSource);
const tileShader = new Shader('gemm-tile', tileSource, { x: 'x-buffer', w: 'w-buffer' });
const plainShader = new Shader('gemm-plain', plainSource, { x: 'x-buffer', w: 'w-buffer' });

export interface Tiling {
  /** Of a subgroup; 1 where the kernels do not use it. */
  readonly lanes: number;
  readonly constants: Record<string, number>;
  /** Rows of a tile of the rows form. */
  readonly rows: number;
  /** Quads of columns of a tile. */
  readonly columns: number;
  /** Rows of a tile of the weights form, in elements. */
  readonly depth: number;
  /** Parts of the pixels that one workgroup of the weights form works on side by side. */
  readonly groups: number;
  /** Results per invocation: the loop bounds of the epilogues. */
  readonly rowSums: number;
  readonly depthSums: number;
}

/** Lanes side by side: fewer waste less of a narrow result, but need more loads per product. */
const FEWER_PAY_BELOW = 0.85;

/** Columns (in quads) that the lanes of a subgroup share out, for results of so many quads along each axis. */
const bestColumns = (lanes: number, quads: readonly number[]): number => {
  const covered = (columns: number): number => quads.reduce((area, q) => area * Math.ceil(q / columns) * columns, 1);
  let best = lanes;
  for (let columns = lanes / 2; columns >= 1; columns /= 2) if (covered(columns) <= FEWER_PAY_BELOW * covered(best)) best = columns;
  return best;
};

/** Blocks beyond this make the text of the kernel, and the time to compile it, long. */
const MOST_BLOCKS = 16;

/** @param quads of the result along each tiled axis; where they leave lanes idle, groups of lanes share the columns */
export const tilingOf = ({ gemm }: Runtime, quads: readonly number[]): Tiling => {
  if (gemm.kind === 'tile') {
    const [rows, columns] = [64 * gemm.tileRows, 16 * gemm.tileColumns];
    return { constants: { ROWS: gemm.tileRows, COLUMNS: gemm.tileColumns }, lanes: 1, rows, columns, depth: rows, groups: 1, rowSums: 0, depthSums: 0 };
  }
  if (gemm.kind === 'plain') return { constants: {}, lanes: 1, rows: 8, columns: 64, depth: 8, groups: 1, rowSums: 8, depthSums: 8 };
  const lanes = gemm.subgroupSize;
  const columns = bestColumns(lanes, quads);
  const blocks = Math.max(1, Math.min(Math.floor(gemm.sums / columns), MOST_BLOCKS));
  return {
    constants: { LANES: lanes, GROUPS: lanes / columns, COLUMNS: columns, BLOCKS: blocks }, lanes,
    rows: lanes * blocks, columns, depth: columns * 4, groups: lanes / columns, rowSums: columns * blocks, depthSums: columns * 4,
  };
};

/** The shader for a product that reads each element of x and w so many times. */
export const shaderFor = ({ gemm, device }: Runtime, x: Tensor, w: Tensor, xReads: number, wReads: number): Shader => {
  if (gemm.kind === 'tile') return tileShader;
  if (gemm.kind === 'plain') return plainShader;
  const capacity = OperandImages.capacity(device.limits);
  const pays = (operand: Tensor, reads: number): boolean => gemm.imageReads > 0 && reads >= gemm.imageReads && operand.range.bytes <= capacity;
  const [imageX, imageW] = [pays(x, xReads), pays(w, wReads)];
  if (imageX) return imageW ? broadcastShaders.images : broadcastShaders.imageX;
  return imageW ? broadcastShaders.imageW : broadcastShaders.buffers;
};
