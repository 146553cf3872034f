import float from '../../shaders/common/float.wgsl';
import gemm from '../../shaders/common/gemm.wgsl';
import grid from '../../shaders/common/grid.wgsl';
import random from '../../shaders/common/random.wgsl';
import rows from '../../shaders/common/rows.wgsl';
import tail from '../../shaders/common/tail.wgsl';
import taps from '../../shaders/common/taps.wgsl';

/** What `//# include NAME` in a shader stands for. */
export const includes: Readonly<Record<string, string>> = { float, gemm, grid, random, rows, tail, taps };
