/** Reads what TIFF files say about themselves; EXIF data have the same form. */

export const TAG = { width: 256, height: 257, compression: 259, colours: 262, strips: 273, orientation: 274, stripBytes: 279, tiles: 324, tileBytes: 325 } as const;

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

/** Throws where the pixels end behind the file; decoders leave black what is missing. */
export const checkPixels = (page: TiffPage, size: number): void => {
  for (const [offsets, lengths] of [[page.values(TAG.strips), page.values(TAG.stripBytes)], [page.values(TAG.tiles), page.values(TAG.tileBytes)]] as const) {
    const end = offsets.reduce((most, offset, i) => Math.max(most, offset + (lengths[i] ?? 0)), 0);
    if (end > size) throw new Error(`unexpected end of the file: its pixels reach to byte ${end} of ${size}`);
  }
};
