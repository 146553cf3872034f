/** A JPEG decoder for Jimp that gives PIL's pixels: both use libjpeg-turbo. */
import { decode as decodeTurbo } from '@cwasm/jpeg-turbo';
import { createJimp } from '@jimp/core';
import { defaultFormats, defaultPlugins, type Jimp } from 'jimp';
import { jpegFrame } from './picture-size.js';

type Bitmap = { data: Buffer; width: number; height: number };

/** null: not for this decoder (CMYK, damaged, or no JPEG at all). */
const decodeWithTurbo = (bytes: Buffer): Bitmap | null => {
  const frame = jpegFrame(bytes);
  if (!frame || (frame.components !== 1 && frame.components !== 3)) return null;
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
