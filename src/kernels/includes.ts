import divide from '../../shaders/common/divide.wgsl';
import epilogue from '../../shaders/common/epilogue.wgsl';
import float from '../../shaders/common/float.wgsl';
import gemm from '../../shaders/common/gemm.wgsl';
import grid from '../../shaders/common/grid.wgsl';
import pixel from '../../shaders/common/pixel.wgsl';
import random from '../../shaders/common/random.wgsl';
import rows from '../../shaders/common/rows.wgsl';
import tail from '../../shaders/common/tail.wgsl';
import taps from '../../shaders/common/taps.wgsl';
import tileMatrices from '../../shaders/common/tile-matrices.wgsl';
import tileVectors from '../../shaders/common/tile-vectors.wgsl';
import toomCook from '../../shaders/common/toom-cook.wgsl';
import walk from '../../shaders/common/walk.wgsl';
import wBuffer from '../../shaders/common/w-buffer.wgsl';
import wHalf from '../../shaders/common/w-half.wgsl';
import wImage from '../../shaders/common/w-image.wgsl';
import wRows from '../../shaders/common/w-rows.wgsl';
import winogradLine from '../../shaders/common/winograd-line.wgsl';
import winogradSquare from '../../shaders/common/winograd-square.wgsl';
import xBuffer from '../../shaders/common/x-buffer.wgsl';
import xHalf from '../../shaders/common/x-half.wgsl';
import xImage from '../../shaders/common/x-image.wgsl';

/** What `//# include NAME` in a shader stands for. */
export const includes: Readonly<Record<string, string>> = {
  divide, epilogue, float, gemm, grid, pixel, random, rows, tail, taps, 'tile-matrices': tileMatrices, 'tile-vectors': tileVectors, 'toom-cook': toomCook, walk,
  'w-buffer': wBuffer, 'w-half': wHalf, 'w-image': wImage, 'w-rows': wRows,
  'winograd-line': winogradLine, 'winograd-square': winogradSquare, 'x-buffer': xBuffer, 'x-half': xHalf, 'x-image': xImage,
};
