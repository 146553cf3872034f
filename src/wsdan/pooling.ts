import { attentionPool, l2Normalize, reshape, signedSqrt } from '../ops/index.js';
import type { Tensor } from '../tensor/tensor.js';

/**
 * Bilinear attention pooling: part features, signed square root and L2 norm (paper, section 3.2).
 *
 * @param features F [B, H, W, C]
 * @param maps A [B, H, W, M]
 * @returns the feature matrix [B, M·C] with unit rows; m outer, c inner
 */
export const bilinearAttentionPooling = (features: Tensor, maps: Tensor, pool: 'GAP' | 'GMP' = 'GAP'): Tensor => {
  const parts = attentionPool(features, maps, { pool });
  const [batch, m, c] = parts.shape as [number, number, number];
  return l2Normalize(signedSqrt(reshape(parts, [batch, m * c]), 1e-12), 1e-12);
};
