/** Decoders for Jimp that give PIL's pixels: of JPEG, for which both use libjpeg-turbo, and of TIFF; and of PNG and deflated TIFF within bounds. */
import { constants, inflateRawSync, inflateSync } from 'node:zlib';
import { decode as decodeTurbo } from '@cwasm/jpeg-turbo';
import { createJimp } from '@jimp/core';
import { defaultFormats, defaultPlugins, type Jimp } from 'jimp';
import { interlacedBytes, jpegFrame, pngChunks } from './picture-size.js';
import { checkPixels, COMPRESSION, numberOf, pageSize, partsOf, TAG, type TiffPage, tiffPages } from './tiff.js';

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

const own = (mime: string) => defaultFormats.map((format) => format()).find((format) => format.mime === mime) as unknown as { decode: Decode };
const [ownJpeg, ownPng, ownTiff] = [own('image/jpeg'), own('image/png'), own('image/tiff')];

/** What libjpeg-turbo refuses goes to Jimp's own decoder, which says what is wrong or, tolerant, makes do with it. */
const decodeJpeg: Decode = (data, options) => (options?.tolerantDecoding ? null : decodeWithTurbo(data)) ?? ownJpeg.decode(data, options);

/** Jimp's decoder unpacks interlaced pictures to the end, however long that is: a small file may fill the memory. */
const decodePng: Decode = (data, options) => {
  const size = interlacedBytes(data);
  if (size !== null) {
    const packed = [...pngChunks(data)].flatMap((chunk) => (chunk.kind === 'IDAT' ? [chunk.data] : []));
    inflateSync(Buffer.concat(packed), { maxOutputLength: Math.max(1, size) });
  }
  return ownPng.decode(data, options);
};

/** Values of TAG.colours, and the compressions by which the decoder makes RGB of what it finds. */
const COLOURS = { rgb: 2, inks: 5 } as const;
const JPEG_IN_TIFF: readonly number[] = [COMPRESSION.oldJpeg, COMPRESSION.jpeg];

const DEFLATED: readonly number[] = [COMPRESSION.deflate, COMPRESSION.oldDeflate];
/** Of the head and the checksum of what is deflated. */
const [HEAD, CHECKSUM] = [2, 4];

/** As for PNG, within bounds. */
const checkInflated = (page: TiffPage, file: Buffer): void => {
  if (!DEFLATED.includes(numberOf(page, TAG.compression))) return;
  const { width, height } = pageSize(page);
  const most = Math.ceil((width * numberOf(page, TAG.bits) * numberOf(page, TAG.values)) / 8) * height;
  for (const { start, end } of partsOf(page)) {
    inflateRawSync(file.subarray(start + HEAD, end - CHECKSUM), { maxOutputLength: Math.max(1, most), finishFlush: constants.Z_SYNC_FLUSH });
  }
};

/** Jimp's decoder wants a browser for inks: it is told that they are RGB and opacity, which leaves them as they are. */
const decodeTiff: Decode = (data) => {
  const pages = tiffPages(data);
  const [page] = pages;
  if (page) checkPixels(page, data.length);
  // All of them, since all are decoded.
  for (const each of pages) checkInflated(each, data);
  if (page?.values(TAG.colours)[0] !== COLOURS.inks) return ownTiff.decode(data);
  if (JPEG_IN_TIFF.includes(page.values(TAG.compression)[0]!)) throw new Error('CMYK that is compressed as JPEG within TIFF is not supported; save it as JPEG or PNG');
  const copy = Buffer.from(data);
  tiffPages(copy)[0]!.set(TAG.colours, COLOURS.rgb);
  const bitmap = ownTiff.decode(copy);
  mixInks(bitmap.data);
  return bitmap;
};

/** Cyan, magenta, yellow and black to red, green, blue and opacity, to the bit as PIL does it. */
const mixInks = (pixels: Uint8Array): void => {
  for (let at = 0; at < pixels.length; at += 4) {
    const white = 255 - pixels[at + 3]!;
    for (let c = 0; c < 3; c++) pixels[at + c] = white - Math.round((pixels[at + c]! * white) / 255);
    pixels[at + 3] = 255;
  }
};

const decoders: Readonly<Record<string, Decode>> = { 'image/jpeg': decodeJpeg, 'image/png': decodePng, 'image/tiff': decodeTiff };
const formats = defaultFormats.map((format) => () => {
  const decode = decoders[format().mime];
  return { ...format(), ...(decode ? { decode } : {}) };
});

/** Jimp, with PIL's pixels for JPEG and TIFF. */
export const PictureReader = createJimp({ formats: formats as unknown as typeof defaultFormats, plugins: defaultPlugins }) as unknown as typeof Jimp;
