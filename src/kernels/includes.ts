import divide from '../../shaders/common/divide.wgsl';
import epilogue from '../../shaders/common/epilogue.wgsl';
import float from '../../shaders/common/float.wgsl';
import gemm from '../../shaders/common/gemm.wgsl';
import grid from '../../shaders/common/grid.wgsl';
import random from '../../shaders/common/random.wgsl';
import rows from '../../shaders/common/rows.wgsl';
import tail from '../../shaders/common/tail.wgsl';
import taps from '../../shaders/common/taps.wgsl';
import wBuffer from '../../shaders/common/w-buffer.wgsl';
import wImage from '../../shaders/common/w-image.wgsl';
import winograd23 from '../../shaders/common/winograd-2-3.wgsl';
import winograd43 from '../../shaders/common/winograd-4-3.wgsl';
import winograd47 from '../../shaders/common/winograd-4-7.wgsl';
import winogradLine from '../../shaders/common/winograd-line.wgsl';
import winogradSquare from '../../shaders/common/winograd-square.wgsl';
import xBuffer from '../../shaders/common/x-buffer.wgsl';
import xImage from '../../shaders/common/x-image.wgsl';

/** What `//# include NAME` in a shader stands for. */
export const includes: Readonly<Record<string, string>> = {
  divide, epilogue, float, gemm, grid, random, rows, tail, taps, 'w-buffer': wBuffer, 'w-image': wImage,
  'winograd-2-3': winograd23, 'winograd-4-3': winograd43, 'winograd-4-7': winograd47,
  'winograd-line': winogradLine, 'winograd-square': winogradSquare, 'x-buffer': xBuffer, 'x-image': xImage,
};
