import { readFile, stat } from 'node:fs/promises';
import { UserError } from '../errors.js';
import { reasonOf } from './list-file.js';
import { orientationOf, turnPicture, withoutExif } from './orientation.js';
import { claimedSizes } from './picture-size.js';
import { resizePicture } from './resize.js';
import type { DecodedImage, DecodeLimits } from './types.js';

const UNLIMITED: DecodeLimits = { maxSide: Infinity };

/** A picture that cannot be used, through no fault of ours; `--skip-bad-images` passes over it. */
export class BadImageError extends UserError {
  override readonly name = 'BadImageError';
  constructor(
    readonly path: string,
    /** What is wrong with it, as a clause. */
    readonly reason: string,
  ) {
    super(`image ${path} ${reason}. Replace or remove it, or pass over such images with --skip-bad-images`);
  }
}

/**
 * Reads and decodes a picture (JPEG, PNG, GIF, BMP, TIFF; grey, CMYK, palette and 16 bit included) to upright
 * 8-bit RGB. Transparency is dropped, not blended, as PIL's convert('RGB') does; EXIF orientation is applied (of JPEG, PNG and TIFF).
 * Pictures beyond the limits are shrunk.
 * Throws {@link BadImageError}.
 */
export async function decodeFile(path: string, limits: DecodeLimits = UNLIMITED): Promise<DecodedImage> {
  return decodeBytes(await readPicture(path), path, limits);
}

async function readPicture(path: string): Promise<Buffer> {
  try {
    const info = await stat(path);
    if (info.isDirectory()) throw new BadImageError(path, 'is a folder, not a picture');
    // A pipe would keep us waiting for a writer.
    if (!info.isFile()) throw new BadImageError(path, 'is not a file');
    return await readFile(path);
  } catch (error) {
    if (error instanceof BadImageError) throw error;
    throw new BadImageError(path, (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'is not on disk' : reasonOf(error));
  }
}

/** As {@link decodeFile}, from the file's bytes. */
async function decodeBytes(bytes: Buffer, path: string, limits: DecodeLimits): Promise<DecodedImage> {
  const { data, width, height } = await decodeBitmap(bytes, path);
  if (!(width > 0 && height > 0) || data.length !== 4 * width * height) throw new BadImageError(path, 'has no pixels');
  // A view of a shared buffer could not be handed over to another thread.
  const whole = data.byteLength === data.buffer.byteLength;
  const rgba = whole ? new Uint8Array(data.buffer as ArrayBuffer) : Uint8Array.from(data);
  for (let i = 3; i < rgba.length; i += 4) rgba[i] = 255;
  return shrinkImage(turnPicture({ rgba, width, height, shrink: [1, 1] }, orientationOf(bytes)), limits);
}

/** Pixels as they are stored, not turned. */
async function decodeBitmap(file: Buffer, path: string): Promise<{ data: Buffer; width: number; height: number }> {
  if (file.length === 0) throw new BadImageError(path, 'is empty (0 bytes)');
  checkSize(file, path);
  const bytes = withoutExif(file);
  // Loaded on first use: runs on the embedded dataset never need it.
  const { PictureReader } = await import('./picture-reader.js');
  try {
    return (await PictureReader.fromBuffer(bytes, { 'image/jpeg': { tolerantDecoding: false, ...JPEG_LIMITS } })).bitmap;
  } catch (error) {
    // Strict decoding is what finds truncated JPEGs. Whole ones with harmless flaws get a second, lenient try.
    if (!endsLikeJpeg(bytes)) throw new BadImageError(path, decodingFault(error, bytes));
  }
  try {
    return (await PictureReader.fromBuffer(bytes, { 'image/jpeg': { tolerantDecoding: true, ...JPEG_LIMITS } })).bitmap;
  } catch (error) {
    throw new BadImageError(path, decodingFault(error, bytes));
  }
}

const MOST_MEGAPIXELS = 200;
const JPEG_LIMITS = { maxMemoryUsageInMB: 2048, maxResolutionInMP: MOST_MEGAPIXELS };

/** Decoders reserve memory for what the header claims, whether the file holds it or not. */
function checkSize(bytes: Buffer, path: string): void {
  let pages: ReturnType<typeof claimedSizes>;
  try {
    pages = claimedSizes(bytes);
  } catch (error) {
    throw new BadImageError(path, decodingFault(error, bytes));
  }
  const pixels = pages.reduce((sum, { width, height }) => sum + width * height, 0);
  const [page] = pages;
  if (!page) return;
  const { width, height } = page;
  if (pixels > MOST_MEGAPIXELS * 1e6) {
    throw new BadImageError(path, `claims ${width}×${height} pixels${pages.length > 1 ? ` on the first of ${pages.length} pages` : ''}; at most ${MOST_MEGAPIXELS} million are decoded`);
  }
  const fewestBytes = pages.reduce((sum, { pixelsPerByte = Infinity, ...page }) => sum + (page.width * page.height) / pixelsPerByte, 0);
  if (fewestBytes > bytes.length) throw new BadImageError(path, `claims ${width}×${height} pixels, more than its ${bytes.length} bytes can hold; it is truncated or damaged`);
}

/** A JPEG with its end marker among the last bytes (some writers append a few). */
function endsLikeJpeg(bytes: Buffer): boolean {
  return isJpeg(bytes) && bytes.lastIndexOf(Buffer.from([0xff, 0xd9])) >= bytes.length - 64;
}

function isJpeg(bytes: Buffer): boolean {
  return bytes[0] === 0xff && bytes[1] === 0xd8;
}

function decodingFault(error: unknown, bytes: Buffer): string {
  // What a decoder trips over inside tells nobody anything.
  const { code, message = String(error) } = error as NodeJS.ErrnoException;
  if (code === 'ERR_BUFFER_TOO_LARGE') return 'is damaged: its data go on behind its last pixel';
  if (error instanceof TypeError || error instanceof RangeError || code === 'ERR_ASSERTION') return 'is truncated or damaged';
  if (/could not find mime/i.test(message)) {
    const start = bytes.toString('latin1', 0, 256).trimStart().toLowerCase();
    if (start.startsWith('<!doctype') || start.startsWith('<html')) return 'is a web page, not an image (a failed download?)';
    if (start.startsWith('version https://git-lfs')) return 'is a Git LFS pointer, not the image itself (run git lfs pull)';
    return 'is not an image (or in a format that is not supported: use JPEG, PNG, GIF, BMP or TIFF)';
  }
  const format = /mime type (\S+) does not support/i.exec(message);
  if (format) return `is of type ${format[1]}, which is not supported (use JPEG, PNG, GIF, BMP or TIFF)`;
  if (/marker was not found|read requests wait|unexpected end|out of range|truncated/i.test(message)) return `is truncated or damaged (${message})`;
  return `could not be decoded (${message})`;
}

/** Brings a picture within the limits: less memory, less to upload. */
export function shrinkImage(image: DecodedImage, { maxSide, square }: DecodeLimits): DecodedImage {
  const factor = Math.floor(Math.min(image.width, image.height) / maxSide);
  if (factor < 2) return image;
  return square === undefined ? averageBlocks(image, factor) : resizePicture(image, square, square);
}

/** Averages whole blocks; what does not fill a block at the right or lower edge is cut off. */
function averageBlocks(image: DecodedImage, factor: number): DecodedImage {
  const width = Math.floor(image.width / factor);
  const height = Math.floor(image.height / factor);
  const rgba = new Uint8Array(4 * width * height).fill(255);
  const area = factor * factor;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (let c = 0; c < 3; c++) rgba[4 * (y * width + x) + c] = Math.round(blockSum(image, x * factor, y * factor, c, factor) / area);
    }
  }
  return { ...image, rgba, width, height, shrink: [image.shrink[0] * factor, image.shrink[1] * factor] };
}

function blockSum({ rgba, width }: DecodedImage, left: number, top: number, channel: number, side: number): number {
  let sum = 0;
  for (let y = top; y < top + side; y++) {
    for (let x = left; x < left + side; x++) sum += rgba[4 * (y * width + x) + channel]!;
  }
  return sum;
}
