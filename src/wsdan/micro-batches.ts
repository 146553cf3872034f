import { slice } from '../ops/index.js';
import type { Tensor } from '../tensor/tensor.js';

/** Consecutive images of a batch. */
export interface Rows {
  readonly from: number;
  /** Exclusive. */
  readonly to: number;
  /** Images of the whole batch. */
  readonly of: number;
}

/** A batch whose images are brought to the device as they are asked for. */
export interface BatchSource {
  readonly size: number;
  /** @returns int32 [size], of the whole batch; class weights ask for them */
  labels(): Tensor;
  /** @returns normalised pixels [to − from, H, W, 3] and labels int32 [to − from] */
  rows(rows: Rows): { readonly images: Tensor; readonly labels: Tensor };
}

export const wholeBatch = (size: number): Rows => ({ from: 0, to: size, of: size });

export const isWhole = ({ from, to, of }: Rows): boolean => from === 0 && to === of;

/** The part of a batch's mean that these rows contribute with their own mean. */
export const shareOf = ({ from, to, of }: Rows): number => (to - from) / of;

/**
 * Cuts a batch into as few parts of at most `most` images as possible, of equal size or one less: a small remainder would give
 * batch norm poor statistics.
 */
export const microBatches = (size: number, most: number): Rows[] => {
  const parts = Math.ceil(size / most);
  const start = (part: number): number => Math.floor((part * size) / parts);
  return Array.from({ length: parts }, (_, part) => ({ from: start(part), to: start(part + 1), of: size }));
};

/** A batch that is on the device already. */
export const batchOf = (images: Tensor, labels: Tensor): BatchSource => ({
  size: images.shape[0]!,
  labels: () => labels,
  rows: (rows) => {
    if (isWhole(rows)) return { images, labels };
    const { from, to } = rows;
    return { images: slice(images, [from, 0, 0, 0], [to, ...images.shape.slice(1)]), labels: slice(labels, [from], [to]) };
  },
});
