import { type AugmentOptions, evalTransform, type ImageTransform } from '../data/augment.js';
import type { DecodedImage } from '../data/types.js';
import type { Runtime } from '../kernels/runtime.js';
import { cat, imageTransform, type ImageRow } from '../ops/index.js';
import { tensor } from '../tensor/create.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import type { BatchSource } from '../wsdan/micro-batches.js';

/** What of a decoded picture the device gets. */
export type Pixels = Pick<DecodedImage, 'rgba' | 'width' | 'height'>;

/** Pictures and their labels. */
interface Labelled {
  readonly images: readonly Pixels[];
  readonly labels: Int32Array;
}

/** Pixels are uploaded in parts of at most this many bytes, so that large photographs fit the adapter's limits. */
const UPLOAD_BYTES = 64 * 1024 * 1024;

/** Consecutive pictures whose pixels fit one upload. */
const groupsOf = (images: readonly Pixels[], limit: number): [from: number, to: number][] => {
  const groups: [number, number][] = [];
  let from = 0;
  let bytes = 0;
  images.forEach((image, i) => {
    if (i > from && bytes + image.rgba.byteLength > limit) {
      groups.push([from, i]);
      from = i;
      bytes = 0;
    }
    bytes += image.rgba.byteLength;
  });
  groups.push([from, images.length]);
  return groups;
};

/** Pixels of some pictures one behind the other, and where each begins. */
const pack = (images: readonly Pixels[]): { words: Uint32Array; offsets: number[] } => {
  const offsets: number[] = [];
  let total = 0;
  for (const image of images) {
    offsets.push(total);
    total += image.width * image.height;
  }
  const bytes = new Uint8Array(total * 4);
  images.forEach((image, i) => bytes.set(image.rgba, offsets[i]! * 4));
  return { words: new Uint32Array(bytes.buffer), offsets };
};

/**
 * Uploads pictures and turns them into network input in one kernel: resize, crop, flip, jitter, normalise.
 *
 * @returns images [B, S, S, 3]
 */
export const uploadImages = (runtime: Runtime, pictures: readonly Pixels[], transforms: readonly ImageTransform[], augment: AugmentOptions): Tensor =>
  scope(() => {
    const limit = Math.min(UPLOAD_BYTES, runtime.device.limits.maxStorageBufferBindingSize);
    const parts = groupsOf(pictures, limit).map(([from, to]) => {
      const pixels = pictures.slice(from, to);
      const { words, offsets } = pack(pixels);
      const rows: ImageRow[] = pixels.map((image, i) => ({ offset: offsets[i]!, width: image.width, height: image.height, ...transforms[from + i]! }));
      return imageTransform(tensor(words, [words.length], { runtime, label: 'pixels' }), rows, { size: augment.imageSize, mean: augment.mean, std: augment.std });
    });
    return parts.length === 1 ? parts[0]! : cat(parts, 0);
  });

const uploadLabels = (runtime: Runtime, labels: Int32Array): Tensor => tensor(labels, [labels.length], { runtime, dtype: 'int32', label: 'labels' });

/** {@link uploadImages}, and labels int32 [B]. */
export const uploadBatch = (
  runtime: Runtime, { images, labels }: Labelled, transforms: readonly ImageTransform[], augment: AugmentOptions,
): { images: Tensor; labels: Tensor } =>
  ({ images: uploadImages(runtime, images, transforms, augment), labels: uploadLabels(runtime, labels) });

/** A batch that is uploaded part by part, as a step asks for it. */
export const batchSource = (runtime: Runtime, { images, labels }: Labelled, transforms: readonly ImageTransform[], augment: AugmentOptions): BatchSource => ({
  size: labels.length,
  labels: () => uploadLabels(runtime, labels),
  rows: ({ from, to }) => uploadBatch(runtime, { images: images.slice(from, to), labels: labels.subarray(from, to) }, transforms.slice(from, to), augment),
});

/** The transform of evaluation for pictures of a batch. */
export const evalTransforms = (augment: AugmentOptions, images: readonly { width: number; height: number }[]): ImageTransform[] =>
  images.map(({ width, height }) => evalTransform(augment, width, height));
