/** Operands whose rows lie a large power of two apart, laid out anew for the broadcast kernels. */
import source from '../../shaders/gemm-pack.wgsl';
import { Shader } from '../kernels/shader.js';
import { quadCount } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import type { Extents, GemmParams } from './gemm.js';
import type { Tiling } from './gemm-tiling.js';
import { allocate, dispatch, gridFor } from './op.js';

const shader = new Shader('gemm-pack', source);

/** Rows so many bytes apart (or a multiple) share few sets of a cache. */
const CONFLICT_BYTES = 4096;
/** Reads of each element from which the copy pays. */
const ENOUGH_READS = 4;

const conflicts = (pitch: number): boolean => (pitch * 16) % CONFLICT_BYTES === 0;

interface Axes {
  readonly outer: number;
  readonly inner: number;
  readonly middle: number;
  readonly strideA: number;
  readonly strideB: number;
  readonly strideC: number;
}

const pack = (x: Tensor, { outer, inner, middle, ...strides }: Axes): Tensor => {
  const items = outer * inner * middle;
  const y = allocate(x.runtime, [outer * middle, inner * 4], 'packed operand', x.dtype);
  dispatch(x.runtime, shader.kernel('pack'), { x, y }, { items, inner, middle, ...strides, last: quadCount(x.shape) - 1 }, gridFor(items));
  return y;
};

/** The operands of a product of two matrices, packed where that pays; the parameters are changed to find them. */
export const packOperands = (x: Tensor, w: Tensor, e: Extents, { lanes, columns }: Tiling, params: GemmParams): { x: Tensor; w: Tensor } => {
  const packed = { x, w };
  if (conflicts(e.xPitch) && params.columnTiles >= ENOUGH_READS) {
    packed.x = pack(x, {
      outer: Math.ceil(params.rows / lanes), inner: lanes, middle: params.depth4, strideA: lanes * e.xPitch, strideB: e.xPitch, strideC: 1,
    });
    Object.assign(params, { xPitch: 1, xStep: lanes, xPanel: lanes * params.depth4 });
  }
  if (conflicts(e.wPitch) && params.rowTiles >= ENOUGH_READS) {
    packed.w = pack(w, { outer: params.columnTiles, inner: columns, middle: e.depth, strideA: columns, strideB: 1, strideC: e.wPitch });
    Object.assign(params, { wPitch: columns, wPanel: e.depth * columns });
  }
  return packed;
};
