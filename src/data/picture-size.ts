/** What pictures say about their size before they are decoded: a small file may claim more pixels than memory holds. */

import { isTiff, TAG, tiffPages } from './tiff.js';

export interface PictureSize {
  readonly width: number;
  readonly height: number;
}

/** A picture, or a page of one; without entries where the header is cut short or of no format known here. */
export const claimedSizes = (bytes: Buffer): readonly PictureSize[] => {
  const size = (width: number, height: number): PictureSize[] => [{ width, height }];
  const start = bytes.toString('latin1', 0, 4);
  // All pages, since all are decoded.
  if (isTiff(bytes)) return tiffPages(bytes).map((page) => ({ width: page.values(TAG.width)[0] ?? 0, height: page.values(TAG.height)[0] ?? 0 }));
  if (bytes.length < LONGEST_HEAD) return [];
  if (start === '\x89PNG') return size(bytes.readUInt32BE(16), bytes.readUInt32BE(20));
  if (start.startsWith('GIF')) return size(bytes.readUInt16LE(6), bytes.readUInt16LE(8));
  // A negative height stands for rows from the top.
  if (start.startsWith('BM')) return size(bytes.readUInt32LE(18), Math.abs(bytes.readInt32LE(22)));
  const frame = start.startsWith('\xff\xd8') ? jpegFrame(bytes) : null;
  return frame ? [frame] : [];
};

/** The heads of PNG, GIF and BMP end before this. */
const LONGEST_HEAD = 26;

export interface JpegFrame extends PictureSize {
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
