import { fail } from '../errors.js';
import type { DecodedImage } from './types.js';

/**
 * Keeps decoded pictures within a byte budget. What came first stays: an epoch visits every picture once in a new
 * order, so throwing out the least recently used would mostly throw out what is needed next. The cache saves time
 * only; results never depend on it. Pictures handed out are shared: do not write into them or transfer them.
 */
export class ImageCache {
  private readonly images = new Map<string, DecodedImage>();
  private bytes = 0;
  private hitCount = 0;
  private missCount = 0;

  /** budgetBytes: 0 keeps nothing. */
  constructor(readonly budgetBytes: number) {
    if (!(budgetBytes >= 0)) fail(`the image cache needs a budget of 0 bytes or more, got ${budgetBytes}`);
  }

  get(key: string): DecodedImage | undefined {
    const image = this.images.get(key);
    if (image) this.hitCount++;
    else this.missCount++;
    return image;
  }

  put(key: string, image: DecodedImage): void {
    if (this.images.has(key) || this.bytes + image.rgba.byteLength > this.budgetBytes) return;
    this.images.set(key, image);
    this.bytes += image.rgba.byteLength;
  }

  /** What the cache holds and how often it helped. */
  get report(): { images: number; bytes: number; hits: number; misses: number } {
    return { images: this.images.size, bytes: this.bytes, hits: this.hitCount, misses: this.missCount };
  }
}
