/** What pictures say about their size before they are decoded: a small file may claim more pixels than memory holds. */

export interface PictureSize {
  readonly width: number;
  readonly height: number;
}

/** A picture, or a page of one; without entries where the header is cut short or of no format known here. */
export const claimedSizes = (bytes: Buffer): readonly PictureSize[] => {
  const size = (width: number, height: number): PictureSize[] => [{ width, height }];
  const start = bytes.toString('latin1', 0, 4);
  if (start.startsWith('II') || start.startsWith('MM')) return tiffPages(bytes);
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

const TIFF = { width: 256, height: 257, short: 3, entryBytes: 12 } as const;

/** All pages, since all are decoded. A page that names an earlier one as the next would keep the decoder going for ever. */
const tiffPages = (bytes: Buffer): PictureSize[] => {
  const little = bytes[0] === 'I'.charCodeAt(0);
  const short = (at: number): number => (at + 2 > bytes.length ? 0 : little ? bytes.readUInt16LE(at) : bytes.readUInt16BE(at));
  const long = (at: number): number => (at + 4 > bytes.length ? 0 : little ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at));
  const pages: PictureSize[] = [];
  const seen = new Set<number>();
  for (let page = long(4); page !== 0; page = long(page + 2 + short(page) * TIFF.entryBytes)) {
    if (seen.has(page)) throw new Error('its pages go round in a circle');
    seen.add(page);
    const size = { width: 0, height: 0 };
    for (let entry = 0; entry < short(page); entry++) {
      const at = page + 2 + entry * TIFF.entryBytes;
      const value = short(at + 2) === TIFF.short ? short(at + 8) : long(at + 8);
      if (short(at) === TIFF.width) size.width = value;
      if (short(at) === TIFF.height) size.height = value;
    }
    pages.push(size);
  }
  return pages;
};
