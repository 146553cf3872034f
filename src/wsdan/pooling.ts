import { attentionPool, interpolate, l2Normalize, type PoolMode, reshape, signedSqrt } from '../ops/index.js';
import type { Tensor } from '../tensor/tensor.js';

const resizedTo = ({ rank, shape: [, height, width] }: Tensor, maps: Tensor): Tensor => {
  const fits = rank !== 4 || maps.rank !== 4 || (maps.shape[1] === height && maps.shape[2] === width);
  return fits ? maps : interpolate(maps, { size: [height!, width!], mode: 'bilinear', alignCorners: true });
};

/**
 * Bilinear attention pooling: part features, signed square root and L2 norm (paper, section 3.2).
 *
 * @param features F [B, H, W, C]
 * @param maps A [B, H, W, M]; those of another height and width are resized to the features', corners aligned, as the reference does
 * @returns the feature matrix [B, M·C] with unit rows; m outer, c inner
 */
export const bilinearAttentionPooling = (features: Tensor, maps: Tensor, pool: PoolMode = 'GAP'): Tensor => {
  const parts = attentionPool(features, resizedTo(features, maps), { pool });
  const [batch, m, c] = parts.shape as [number, number, number];
  return l2Normalize(signedSqrt(reshape(parts, [batch, m * c]), 1e-12), 1e-12);
};
