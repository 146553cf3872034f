/** Pictures that are stored lying or mirrored, with a note (EXIF) of how to look at them. */
import { jpegSegments, pngChunks } from './picture-size.js';
import { isTiff, TAG, tiffPages } from './tiff.js';
import type { Box, DecodedImage } from './types.js';

const EXIF = 'Exif\0\0';

/** 1 (upright) to 8, as EXIF, a PNG's eXIf or a TIFF's own entry tells. */
export const orientationOf = (bytes: Buffer): number => {
  const data = isTiff(bytes) ? bytes : (exifOfJpeg(bytes)[0] ?? exifOfPng(bytes));
  if (!data || !isTiff(data)) return 1;
  try {
    const [value] = tiffPages(data)[0]?.values(TAG.orientation) ?? [];
    return value !== undefined && value >= 1 && value <= 8 ? value : 1;
  } catch {
    return 1; // Damaged notes do not spoil the picture.
  }
};

/** Bytes whose EXIF no decoder recognises, so that none turns the picture. */
export const withoutExif = (bytes: Buffer): Buffer => {
  if (exifOfJpeg(bytes).length === 0) return bytes;
  const copy = Buffer.from(bytes);
  for (const data of exifOfJpeg(copy)) copy.fill(0, data.byteOffset - copy.byteOffset - EXIF.length, data.byteOffset - copy.byteOffset);
  return copy;
};

const exifOfJpeg = (bytes: Buffer): Buffer[] => {
  if (bytes[0] !== 0xff || bytes[1] !== 0xd8) return [];
  return [...jpegSegments(bytes)]
    .filter(({ marker, start }) => marker === 0xe1 && bytes.toString('latin1', start, start + EXIF.length) === EXIF)
    .map(({ start, end }) => bytes.subarray(start + EXIF.length, end));
};

const exifOfPng = (bytes: Buffer): Buffer | undefined => {
  if (bytes.toString('latin1', 0, 4) !== '\x89PNG') return undefined;
  for (const { kind, data } of pngChunks(bytes)) if (kind === 'eXIf') return data;
  return undefined;
};

/** An orientation as mirrorings of the stored picture, across and down, and then an exchange of its axes. */
const stepsOf = (orientation: number) => ({ across: [2, 3, 7, 8].includes(orientation), down: [3, 4, 6, 7].includes(orientation), exchange: orientation > 4 });

/** The upright picture of a stored one. */
export const turnPicture = (image: DecodedImage, orientation: number): DecodedImage => {
  if (orientation === 1) return image;
  const { width, height } = image;
  const { across, down, exchange } = stepsOf(orientation);
  const from = new Uint32Array(image.rgba.buffer, image.rgba.byteOffset, width * height);
  const to = new Uint32Array(width * height);
  for (let y = 0; y < height; y++) {
    const row = down ? height - 1 - y : y;
    for (let x = 0; x < width; x++) {
      const column = across ? width - 1 - x : x;
      to[exchange ? column * height + row : row * width + column] = from[y * width + x]!;
    }
  }
  return {
    ...image, rgba: new Uint8Array(to.buffer), width: exchange ? height : width, height: exchange ? width : height, turned: { orientation, width, height },
  };
};

/** Index files give boxes in pixels of the stored picture; where it was turned, they turn with it. */
export const turnBox = ({ x0, y0, x1, y1 }: Box, { orientation, width, height }: NonNullable<DecodedImage['turned']>): Box => {
  const { across, down, exchange } = stepsOf(orientation);
  const [left, right] = across ? [width - x1, width - x0] : [x0, x1];
  const [top, bottom] = down ? [height - y1, height - y0] : [y0, y1];
  return exchange ? { x0: top, y0: left, x1: bottom, y1: right } : { x0: left, y0: top, x1: right, y1: bottom };
};
