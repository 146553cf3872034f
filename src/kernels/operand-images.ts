import type { Device } from '../device/device.js';
import type { DeviceLimits } from '../device/gpu.js';
import type { BufferRange } from './recorder.js';

/** Texels of rgba32float (one vec4f) in a line of an image; shaders/common/operands-image.wgsl knows it too. */
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

const sameRange = (a: BufferRange, b: BufferRange): boolean => a.buffer === b.buffer && a.offset === b.offset && a.bytes === b.bytes;

/**
 * Copies of buffers as textures, for kernels that declare an operand as one: one texture per binding name, grown to
 * the largest operand seen. Work is executed in the order of recording, so each dispatch may overwrite what the one before read.
 */
export class OperandImages {
  private readonly images = new Map<string, OperandImage>();
  private outgrown: GPUTexture[] = [];
  private made = 0;

  constructor(private readonly device: Device) {}

  /** Bytes a single image can hold. */
  static capacity(limits: DeviceLimits): number {
    return limits.maxTextureDimension2D * LINE_BYTES;
  }

  /** The image for this binding if it already holds the range. */
  holding(name: string, range: BufferRange): OperandImage | undefined {
    const image = this.images.get(name);
    return image?.source && sameRange(image.source, range) ? image : undefined;
  }

  /** Fills the binding's image with the range; outside of any pass. */
  fill(encoder: GPUCommandEncoder, name: string, range: BufferRange): OperandImage {
    const texels = Math.ceil(range.bytes / TEXEL_BYTES);
    const whole = Math.ceil(texels / LINE);
    const image = this.withLines(name, whole);
    // Mostly the buffer is long enough for a whole last line, what lies behind the range included: then one copy does.
    const lines = range.offset + whole * LINE_BYTES <= range.buffer.size ? whole : Math.floor(texels / LINE);
    const source = { buffer: range.buffer.gpu, bytesPerRow: LINE_BYTES };
    if (lines) encoder.copyBufferToTexture({ ...source, offset: range.offset }, { texture: image.texture }, [LINE, lines]);
    if (lines < whole) encoder.copyBufferToTexture({ ...source, offset: range.offset + lines * LINE_BYTES }, { texture: image.texture, origin: [0, lines] }, [texels % LINE, 1]);
    image.source = range;
    return image;
  }

  /** A buffer was or will be written: images of it (without a buffer: all images) are out of date. */
  forget(bufferId?: number): void {
    for (const image of this.images.values()) if (bufferId === undefined || image.source?.buffer.id === bufferId) image.source = null;
  }

  /** Destroys textures that were replaced. Call only after the commands naming them were submitted. */
  destroyOutgrown(): void {
    for (const texture of this.outgrown) texture.destroy();
    this.outgrown = [];
  }

  get bytes(): number {
    return [...this.images.values()].reduce((sum, image) => sum + image.lines * LINE_BYTES, 0);
  }

  private withLines(name: string, lines: number): OperandImage {
    const old = this.images.get(name);
    if (old && old.lines >= lines) return old;
    if (old) this.outgrown.push(old.texture);
    const height = Math.min(2 ** Math.ceil(Math.log2(lines)), this.device.limits.maxTextureDimension2D);
    const texture = this.device.gpu.createTexture({
      label: `operand ${name}`, size: [LINE, height], format: 'rgba32float', usage: GPUTextureUsage.STORAGE_BINDING | GPUTextureUsage.COPY_DST,
    });
    const image: OperandImage = { number: ++this.made, texture, view: texture.createView(), lines: height, source: null };
    this.images.set(name, image);
    return image;
  }
}
