/** Reads what TIFF files say about themselves; EXIF data have the same form. */

export const TAG = {
  width: 256, height: 257, bits: 258, compression: 259, colours: 262, strips: 273, orientation: 274, values: 277, stripBytes: 279,
  tileWidth: 322, tileHeight: 323, tiles: 324, tileBytes: 325,
} as const;

/** Values of TAG.compression. */
export const COMPRESSION = { none: 1, lzw: 5, oldJpeg: 6, jpeg: 7, deflate: 8, packBits: 32773, oldDeflate: 32946 } as const;

/** Bytes of a value by its type: byte, short, long. Others are not asked for. */
const VALUE_BYTES: Readonly<Record<number, 1 | 2 | 4>> = { 1: 1, 3: 2, 4: 4 };
const ENTRY_BYTES = 12;

export interface TiffPage {
  /** The numbers of an entry; none where it is missing. */
  values(tag: number): number[];
  /** Overwrites the first number of an entry that is there. */
  set(tag: number, value: number): void;
}

export const isTiff = (bytes: Buffer): boolean => ['II*\0', 'MM\0*'].includes(bytes.toString('latin1', 0, 4));

/** The pages of a TIFF file. Throws where an entry ends behind the file, and where a page names an earlier one as the next. */
export const tiffPages = (bytes: Buffer): TiffPage[] => {
  const little = bytes[0] === 'I'.charCodeAt(0);
  const read = (at: number, width: 1 | 2 | 4): number => (at + width > bytes.length ? 0 : little ? bytes.readUIntLE(at, width) : bytes.readUIntBE(at, width));
  const pages: TiffPage[] = [];
  const seen = new Set<number>();
  for (let page = read(4, 4); page !== 0; page = read(page + 2 + read(page, 2) * ENTRY_BYTES, 4)) {
    if (seen.has(page)) throw new Error('its pages go round in a circle');
    seen.add(page);
    pages.push(pageAt(bytes, page, read, little));
  }
  return pages;
};

const pageAt = (bytes: Buffer, page: number, read: (at: number, width: 1 | 2 | 4) => number, little: boolean): TiffPage => {
  const find = (tag: number): { at: number; width: 1 | 2 | 4; count: number } | undefined => {
    for (let entry = 0; entry < read(page, 2); entry++) {
      const at = page + 2 + entry * ENTRY_BYTES;
      const width = VALUE_BYTES[read(at + 2, 2)];
      if (read(at, 2) !== tag || width === undefined) continue;
      const count = read(at + 4, 4);
      const place = count * width > 4 ? read(at + 8, 4) : at + 8;
      if (place + count * width > bytes.length) throw new Error('unexpected end of the file');
      return { at: place, width, count };
    }
    return undefined;
  };
  return {
    values: (tag) => {
      const { at, width, count } = find(tag) ?? { at: 0, width: 1 as const, count: 0 };
      return Array.from({ length: count }, (_, i) => read(at + i * width, width));
    },
    set: (tag, value) => {
      const { at, width } = find(tag)!;
      if (little) bytes.writeUIntLE(value, at, width);
      else bytes.writeUIntBE(value, at, width);
    },
  };
};

/** Size of a page with its tiles, which may reach over its edges. */
export const pageSize = (page: TiffPage): { width: number; height: number } => {
  const most = (...tags: number[]): number => Math.max(0, ...tags.map((tag) => page.values(tag)[0] ?? 0));
  return { width: most(TAG.width, TAG.tileWidth), height: most(TAG.height, TAG.tileHeight) };
};

/** The number of an entry that stands for 1 where it is missing. */
export const numberOf = (page: TiffPage, tag: number): number => page.values(tag)[0] ?? 1;

/** The strips or tiles of a page. */
export const partsOf = (page: TiffPage): { start: number; end: number }[] =>
  [[TAG.strips, TAG.stripBytes], [TAG.tiles, TAG.tileBytes]].flatMap(([places, sizes]) => {
    const lengths = page.values(sizes!);
    return page.values(places!).map((start, i) => ({ start, end: start + (lengths[i] ?? 0) }));
  });

/** Throws where the pixels end behind the file; decoders leave black what is missing. */
export const checkPixels = (page: TiffPage, size: number): void => {
  const end = partsOf(page).reduce((most, part) => Math.max(most, part.end), 0);
  if (end > size) throw new Error(`unexpected end of the file: its pixels reach to byte ${end} of ${size}`);
};
