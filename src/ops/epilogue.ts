import type { Tensor } from '../tensor/tensor.js';

/** What becomes of the sums of a product before they are stored; see shaders/common/epilogue.wgsl. */
export interface Epilogue {
  readonly scale?: number;
  /** [N], added to every row; or [2, N]: every row is multiplied by the first and the second is added. */
  readonly bias?: Tensor | null;
  /** Of the result's shape, added to it. */
  readonly residual?: Tensor | null;
  readonly relu?: boolean;
  /** Adds to what the result holds already; without residual and relu. */
  readonly accumulate?: boolean;
}

/** Whether the sums are stored as they are. */
export const isBare = ({ scale = 1, bias, residual, relu, accumulate }: Epilogue): boolean => scale === 1 && !bias && !residual && !relu && !accumulate;

export const epilogueParams = ({ scale = 1, bias, residual, relu, accumulate }: Epilogue) =>
  ({ scale, biased: bias?.rank ?? 0, adds: residual ? 1 : accumulate ? 2 : 0, relu: relu ? 1 : 0 });

/** @param other stands where nothing is read: a binding needs some buffer */
export const epilogueBindings = ({ bias, residual }: Epilogue, other: Tensor) => ({ bias: bias ?? other, residual: residual ?? other });
