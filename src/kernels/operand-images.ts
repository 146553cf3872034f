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
  /** Its place among images: a larger one takes that of the one it replaces. */
  readonly place: number;
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
const IMAGES = 3;

const holds = ({ source }: OperandImage, range: BufferRange): boolean =>
  source !== null && source.buffer === range.buffer && source.offset === range.offset && source.bytes === range.bytes;

/**
 * Copies of buffers as textures, for kernels that declare operands as such: a few textures that each grow to the largest operand
 * seen. Work is executed in the order of recording, so each dispatch may overwrite what the one before read.
 */
export class OperandImages {
  /** The one used last stands at the end. */
  private readonly images: OperandImage[] = [];
  private outgrown: GPUTexture[] = [];
  private made = 0;
  /** How often an image was replaced by a larger one: what names the old one cannot be submitted any more. */
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

  /** Copies the range to the image that was unused for longest. */
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

  /** The commands naming images were submitted: destroys those that were replaced, and begins anew, so that work that repeats gets the same images each time. */
  submitted(): void {
    for (const texture of this.outgrown) texture.destroy();
    this.outgrown = [];
    this.forget();
    this.images.sort((a, b) => a.place - b.place);
  }

  /** The image that was unused for longest, as the one used last, and with so many lines. */
  private withLines(lines: number): OperandImage {
    const old = this.images.length === IMAGES ? this.images.shift()! : null;
    const image = old && old.lines >= lines ? old : this.create(lines, old ? old.place : this.images.length);
    if (old && old !== image) {
      this.outgrown.push(old.texture);
      this.replacements++;
    }
    this.images.push(image);
    return image;
  }

  private create(lines: number, place: number): OperandImage {
    const height = Math.min(2 ** Math.ceil(Math.log2(lines)), this.device.limits.maxTextureDimension2D);
    const texture = this.device.gpu.createTexture({
      label: 'operand', size: [LINE, height], format: 'rgba32float', usage: GPUTextureUsage.STORAGE_BINDING | GPUTextureUsage.COPY_DST,
    });
    return { number: ++this.made, place, texture, view: texture.createView(), lines: height, source: null };
  }
}
