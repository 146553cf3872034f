/** What pictures say about their size before they are decoded: a small file may claim more pixels than memory holds. */

import { COMPRESSION, isTiff, numberOf, pageSize, TAG, type TiffPage, tiffPages } from './tiff.js';

interface PictureSize {
  readonly width: number;
  readonly height: number;
}

/** A picture, or a page of one. */
interface ClaimedSize extends PictureSize {
  /** Pixels that a byte of the file stands for at most, where its format sets a bound: whoever claims more has not got them. */
  readonly pixelsPerByte?: number;
}

/** Deflate makes at most so many bytes of one. */
const DEFLATED = 1032;
/** LZW makes at most so many: a code of 12 bits stands for a string that is no longer than there are codes. */
const LZW = (4096 * 8) / 12;
/** Of a JPEG a block of 64 pixels takes a bit at least; colours of half the width beside one of half the height, half a bit. */
const JPEG_PIXELS_PER_BYTE = 64 * 8 * 2;

/** Without entries where the header is cut short or of no format known here. */
export const claimedSizes = (bytes: Buffer): readonly ClaimedSize[] => {
  const size = (width: number, height: number): ClaimedSize[] => [{ width, height }];
  const start = bytes.toString('latin1', 0, 4);
  // All pages, since all are decoded.
  if (isTiff(bytes)) return tiffPages(bytes).map(claimOfPage);
  if (bytes.length < LONGEST_HEAD) return [];
  const png = pngHead(bytes);
  if (png) return [{ ...png, pixelsPerByte: (DEFLATED * 8) / png.bits }];
  if (start.startsWith('GIF')) return [{ width: bytes.readUInt16LE(6), height: bytes.readUInt16LE(8), pixelsPerByte: LZW }];
  // A negative height stands for rows from the top.
  if (start.startsWith('BM')) return size(bytes.readUInt32LE(18), Math.abs(bytes.readInt32LE(22)));
  const frame = start.startsWith('\xff\xd8') ? jpegFrame(bytes) : null;
  return frame ? [{ ...frame, pixelsPerByte: JPEG_PIXELS_PER_BYTE }] : [];
};

/** Bytes that a TIFF's compressions make of one at most; others are rare, and not bounded. */
const TIFF_PACKED: Readonly<Record<number, number>> = {
  [COMPRESSION.none]: 1, [COMPRESSION.lzw]: LZW, [COMPRESSION.packBits]: 64, [COMPRESSION.deflate]: DEFLATED, [COMPRESSION.oldDeflate]: DEFLATED,
};

/** Of a pixel at least one value is stored, whatever is left out of its colours. */
const claimOfPage = (page: TiffPage): ClaimedSize =>
  ({ ...pageSize(page), pixelsPerByte: ((TIFF_PACKED[numberOf(page, TAG.compression)] ?? Infinity) * 8) / Math.max(1, numberOf(page, TAG.bits)) });

interface PngHead extends PictureSize {
  /** Of a pixel. */
  readonly bits: number;
  /** Whether the rows come in seven passes, ever denser. */
  readonly interlaced: boolean;
}

/** Values of a pixel by the PNG's type of colour: grey, none, RGB, palette, grey and opacity, none, RGB and opacity. */
const PNG_VALUES = [1, 1, 3, 1, 2, 1, 4];

/** null where it is no PNG. */
const pngHead = (bytes: Buffer): PngHead | null => {
  if (bytes.length < PNG_HEAD_END || bytes.toString('latin1', 0, 4) !== '\x89PNG') return null;
  const [depth, kind, interlace] = [bytes[24]!, bytes[25]!, bytes[28]!];
  return { width: bytes.readUInt32BE(16), height: bytes.readUInt32BE(20), bits: Math.max(1, depth) * (PNG_VALUES[kind] ?? 1), interlaced: interlace === 1 };
};

/** First column and row of each pass of an interlaced PNG, and their distances. */
const PASSES = [[0, 0, 8, 8], [4, 0, 8, 8], [0, 4, 4, 8], [2, 0, 4, 4], [0, 2, 2, 4], [1, 0, 2, 2], [0, 1, 1, 2]] as const;

/** Bytes of an interlaced PNG's unpacked rows; null for other pictures. */
export const interlacedBytes = (bytes: Buffer): number | null => {
  const head = pngHead(bytes);
  if (!head?.interlaced) return null;
  return PASSES.reduce((sum, [x, y, across, down]) => {
    const [columns, rows] = [Math.ceil((head.width - x) / across), Math.ceil((head.height - y) / down)];
    return columns > 0 && rows > 0 ? sum + rows * (1 + Math.ceil((columns * head.bits) / 8)) : sum;
  }, 0);
};

/** The chunks of a PNG. */
export function* pngChunks(bytes: Buffer): Generator<{ kind: string; data: Buffer }> {
  for (let at = 8; at + 8 <= bytes.length;) {
    const length = bytes.readUInt32BE(at);
    yield { kind: bytes.toString('latin1', at + 4, at + 8), data: bytes.subarray(at + 8, at + 8 + length) };
    at += 12 + length;
  }
}

/** The heads of GIF and BMP end before this. */
const LONGEST_HEAD = 26;
const PNG_HEAD_END = 29;

interface JpegFrame extends PictureSize {
  readonly components: number;
}

/** Size and number of colours as the frame header tells, or null where none is found. */
export const jpegFrame = (bytes: Uint8Array): JpegFrame | null => {
  for (const { marker, start } of jpegSegments(bytes)) {
    // Start of frame: C0 to CF without the tables C4, C8 and CC.
    const isFrame = marker === 0xc0 || (marker > 0xc0 && marker <= 0xcf && marker % 4 !== 0);
    if (isFrame && start + 5 < bytes.length) return { height: word(bytes, start + 1), width: word(bytes, start + 3), components: bytes[start + 5]! };
  }
  return null;
};

const word = (bytes: Uint8Array, at: number): number => bytes[at]! * 256 + bytes[at + 1]!;

/** The segments in front of a JPEG's pixels: marker, and where their contents start and end. */
export function* jpegSegments(bytes: Uint8Array): Generator<{ marker: number; start: number; end: number }> {
  for (let at = 2; at + 4 <= bytes.length && bytes[at] === 0xff;) {
    const marker = bytes[at + 1]!;
    // A fill byte stands alone; segments tell their length.
    const end = at + (marker === 0xff ? 1 : 2 + word(bytes, at + 2));
    if (marker !== 0xff) yield { marker, start: at + 4, end };
    at = end;
  }
}
