import { linearGrid, type Grid } from '../kernels/grid.js';
import { quadsPerRow, rowCount, type Shape } from '../tensor/shape.js';
import { WORKGROUP } from './op.js';

/** Rows from which on one invocation per row fills a device; longer rows get a workgroup each in any case. */
const MANY_ROWS = 512;
const LONG_ROW_QUADS = 256;

/** How a kernel with `//# include rows` walks tensors of this shape: its constant and its grid. */
export const rowLaunch = (shape: Shape, rows = rowCount(shape)): { constants: { GROUP_PER_ROW: number }; grid: Grid } => {
  const grouped = rows < MANY_ROWS || quadsPerRow(shape) >= LONG_ROW_QUADS;
  return { constants: { GROUP_PER_ROW: grouped ? 1 : 0 }, grid: linearGrid(grouped ? rows : Math.ceil(rows / WORKGROUP)) };
};
