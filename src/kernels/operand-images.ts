import type { Device } from '../device/device.js';
import type { DeviceLimits } from '../device/gpu.js';
import type { BufferRange } from './recorder.js';

/** Texels of rgba32float (one vec4f) in a line of an image; shaders/common/x-image.wgsl and w-image.wgsl know it too. */
const LINE = 1024;
const TEXEL_BYTES = 16;
const LINE_BYTES = LINE * TEXEL_BYTES;

/** A texture that holds a copy of a buffer's range. */
export interface OperandImage {
  /** From 1, unique among images, so that bind groups can be told apart. */
  readonly number: number;
  readonly texture: GPUTexture;
  readonly view: GPUTextureView;
  readonly lines: number;
  /** The range it holds a copy of; null after that range's buffer was written. */
  source: BufferRange | null;
}

/** A copy of a stretch of a buffer to whole lines, or to a part of one line, of an image. */
export interface ImageCopy {
  readonly source: GPUTexelCopyBufferInfo;
  readonly target: GPUTexelCopyTextureInfo;
  readonly size: readonly [width: number, height: number];
}

/** Two for the operands of a product; with a third, what both of a layer's gradients read is copied once. */
const FEWEST = 3;
/**
 * More are kept up to this size in all: what forward multiplied is then not copied again for the weights' gradient. Larger operands are
 * rarely found again before the submit ends, and copies to memory that no cache holds take longer.
 */
const MOST_BYTES = 16 * 2 ** 20;

const holds = ({ source }: OperandImage, range: BufferRange): boolean =>
  source !== null && source.buffer === range.buffer && source.offset === range.offset && source.bytes === range.bytes;

/** Lines of an image that is made for so many: rounded up, so that others fit it, too. */
const heightFor = (lines: number): number => 2 ** Math.ceil(Math.log2(lines));

const bytesOf = (images: readonly OperandImage[]): number => images.reduce((sum, { lines }) => sum + lines * LINE_BYTES, 0);

/**
 * Copies of buffers as textures, for kernels that declare operands as such. Work is executed in the order of recording, so each dispatch
 * may overwrite what the one before read.
 */
export class OperandImages {
  /** The one used last stands at the end. */
  private images: OperandImage[] = [];
  private outgrown: GPUTexture[] = [];
  private made = 0;
  /** How many images made room for others: what names them cannot be submitted any more. */
  replacements = 0;

  /** @param copy carries out a copy, outside of any pass */
  constructor(private readonly device: Device, private readonly copy: (copy: ImageCopy) => void) {}

  /** Bytes a single image can hold. */
  static capacity(limits: DeviceLimits): number {
    return limits.maxTextureDimension2D * LINE_BYTES;
  }

  /** The image that holds the range, if there is one; it then counts as used. */
  holding(range: BufferRange): OperandImage | undefined {
    for (let i = this.images.length - 1; i >= 0; i--) {
      const image = this.images[i]!;
      if (!holds(image, range)) continue;
      this.images.splice(i, 1);
      this.images.push(image);
      return image;
    }
    return undefined;
  }

  fill(range: BufferRange): OperandImage {
    const texels = Math.ceil(range.bytes / TEXEL_BYTES);
    const whole = Math.ceil(texels / LINE);
    const image = this.withLines(whole);
    // Mostly the buffer is long enough for a whole last line, what lies behind the range included: then one copy does.
    const lines = range.offset + whole * LINE_BYTES <= range.buffer.size ? whole : Math.floor(texels / LINE);
    const { texture } = image;
    const from = (line: number): GPUTexelCopyBufferInfo => ({ buffer: range.buffer.gpu, offset: range.offset + line * LINE_BYTES, bytesPerRow: LINE_BYTES });
    if (lines) this.copy({ source: from(0), target: { texture }, size: [LINE, lines] });
    if (lines < whole) this.copy({ source: from(lines), target: { texture, origin: [0, lines] }, size: [texels % LINE, 1] });
    image.source = range;
    return image;
  }

  /** A buffer was or will be written: images of it (without a buffer: all images) are out of date. */
  forget(bufferId?: number): void {
    for (const image of this.images) if (bufferId === undefined || image.source?.buffer.id === bufferId) image.source = null;
  }

  /** The commands naming images were submitted: destroys those that made room, and begins anew, so that work that repeats gets the same images each time. */
  submitted(): void {
    for (const texture of this.outgrown) texture.destroy();
    this.outgrown = [];
    this.forget();
    this.images.sort((a, b) => a.number - b.number);
  }

  /** An image of at least so many lines whose content may go, as the one used last. */
  private withLines(lines: number): OperandImage {
    const image = this.outOfDate(lines) ?? (this.hasRoomFor(lines) ? this.create(lines) : this.longestUnused(lines) ?? this.replacement(lines));
    this.images = [...this.images.filter((other) => other !== image), image];
    return image;
  }

  private hasRoomFor(lines: number): boolean {
    return this.images.length < FEWEST || bytesOf(this.images) + heightFor(lines) * LINE_BYTES <= MOST_BYTES;
  }

  /** The smallest that fits. */
  private outOfDate(lines: number): OperandImage | undefined {
    return this.images.filter((image) => image.source === null && image.lines >= lines).sort((a, b) => a.lines - b.lines)[0];
  }

  /** Those used last may be other operands of the same dispatch. */
  private longestUnused(lines: number): OperandImage | undefined {
    return this.images.slice(0, 1 - FEWEST).find((image) => image.lines >= lines);
  }

  /** A new one in place of as many as it needs room for. */
  private replacement(lines: number): OperandImage {
    while (!this.hasRoomFor(lines)) {
      this.outgrown.push(this.images.shift()!.texture);
      this.replacements++;
    }
    return this.create(lines);
  }

  private create(lines: number): OperandImage {
    const height = Math.min(heightFor(lines), this.device.limits.maxTextureDimension2D);
    const texture = this.device.gpu.createTexture({
      label: 'operand', size: [LINE, height], format: 'rgba32float', usage: GPUTextureUsage.STORAGE_BINDING | GPUTextureUsage.COPY_DST,
    });
    return { number: ++this.made, texture, view: texture.createView(), lines: height, source: null };
  }
}
