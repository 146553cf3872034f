import divide from '../../shaders/common/divide.wgsl';
import epilogue from '../../shaders/common/epilogue.wgsl';
import float from '../../shaders/common/float.wgsl';
import gemm from '../../shaders/common/gemm.wgsl';
import grid from '../../shaders/common/grid.wgsl';
import random from '../../shaders/common/random.wgsl';
import rows from '../../shaders/common/rows.wgsl';
import tail from '../../shaders/common/tail.wgsl';
import taps from '../../shaders/common/taps.wgsl';
import toomCook from '../../shaders/common/toom-cook.wgsl';
import walk from '../../shaders/common/walk.wgsl';
import wBuffer from '../../shaders/common/w-buffer.wgsl';
import wImage from '../../shaders/common/w-image.wgsl';
import winogradLine from '../../shaders/common/winograd-line.wgsl';
import winogradSquare from '../../shaders/common/winograd-square.wgsl';
import xBuffer from '../../shaders/common/x-buffer.wgsl';
import xImage from '../../shaders/common/x-image.wgsl';

/** What `//# include NAME` in a shader stands for. */
export const includes: Readonly<Record<string, string>> = {
  divide, epilogue, float, gemm, grid, random, rows, tail, taps, 'toom-cook': toomCook, walk, 'w-buffer': wBuffer, 'w-image': wImage,
  'winograd-line': winogradLine, 'winograd-square': winogradSquare, 'x-buffer': xBuffer, 'x-image': xImage,
};
