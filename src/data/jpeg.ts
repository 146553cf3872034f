/** A JPEG decoder for Jimp that gives PIL's pixels: both use libjpeg-turbo. */
import { decode as decodeTurbo } from '@cwasm/jpeg-turbo';
import { createJimp } from '@jimp/core';
import { defaultFormats, defaultPlugins, type Jimp } from 'jimp';

/** Pictures beyond this are left to Jimp's own decoder, which refuses them. */
const LARGEST_PIXELS = 200e6;

interface Frame {
  readonly width: number;
  readonly height: number;
  readonly components: number;
}

/** Size and number of colours as the frame header tells, or null where none is found. */
const frameOf = (bytes: Uint8Array): Frame | null => {
  const word = (at: number): number => bytes[at]! * 256 + bytes[at + 1]!;
  for (let at = 2; at + 9 < bytes.length && bytes[at] === 0xff;) {
    const marker = bytes[at + 1]!;
    // Start of frame: C0 to CF without the tables C4, C8 and CC.
    if (marker === 0xc0 || (marker > 0xc0 && marker <= 0xcf && marker % 4 !== 0)) return { height: word(at + 5), width: word(at + 7), components: bytes[at + 9]! };
    // A fill byte stands alone; segments tell their length.
    at += marker === 0xff ? 1 : 2 + word(at + 2);
  }
  return null;
};

type Bitmap = { data: Buffer; width: number; height: number };

/** null: not for this decoder (CMYK, damaged, huge, or no JPEG at all). */
const decodeWithTurbo = (bytes: Buffer): Bitmap | null => {
  const frame = frameOf(bytes);
  if (!frame || (frame.components !== 1 && frame.components !== 3) || frame.width * frame.height > LARGEST_PIXELS) return null;
  try {
    const { data, width, height } = decodeTurbo(bytes);
    return { data: Buffer.from(data.buffer, data.byteOffset, data.byteLength), width, height };
  } catch {
    return null;
  }
};

type Decode = (data: Buffer, options?: { tolerantDecoding?: boolean }) => Bitmap;

const [others, [ownJpeg]] = [defaultFormats.filter((format) => format().mime !== 'image/jpeg'), defaultFormats.filter((format) => format().mime === 'image/jpeg')];
const decodeOwn = ownJpeg!().decode as unknown as Decode;

/** What libjpeg-turbo refuses goes to Jimp's own decoder, which says what is wrong or, tolerant, makes do with it. */
const decode: Decode = (data, options) => (options?.tolerantDecoding ? null : decodeWithTurbo(data)) ?? decodeOwn(data, options);

/** Jimp, with PIL's pixels for JPEG. */
export const PictureReader = createJimp({ formats: [...others, () => ({ ...ownJpeg!(), decode })] as typeof defaultFormats, plugins: defaultPlugins }) as unknown as typeof Jimp;
