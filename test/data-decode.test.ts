import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, symlinkSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { deflateSync } from 'node:zlib';
import { Jimp } from 'jimp';
import t from 'tap';
import { BadImageError, decodeFile, shrinkImage } from '../src/data/decode.js';
import { interlacedBytes, jpegFrame } from '../src/data/picture-size.js';
import type { DecodedImage } from '../src/data/types.js';
import { encodePng, fixture, fixtureJson, pngFile, scratch, userMessage, write, writePng } from './data-helpers.js';

interface Expected {
  width: number;
  height: number;
  rgb: string;
}

/** Largest difference to PIL's decoding, in 8-bit steps. */
async function distance(name: string, expected: Expected): Promise<number> {
  const { rgba, width, height } = await decodeFile(fixture('images', name));
  if (width !== expected.width || height !== expected.height) throw new Error(`${name} decoded to ${width}×${height}`);
  const rgb = Buffer.from(expected.rgb, 'base64');
  return rgb.reduce((most, value, i) => Math.max(most, Math.abs(value - rgba[4 * Math.floor(i / 3) + (i % 3)]!)), 0);
}

t.test('unusual pictures decode to upright 8-bit RGB, as PIL decodes them', async (t) => {
  const expected = fixtureJson<Record<string, Expected>>('images', 'expected.json');
  t.equal(Object.keys(expected).length, 15);
  for (const [name, picture] of Object.entries(expected)) {
    const worst = await distance(name, picture);
    // CMYK goes through another JPEG decoder, which rounds the inverse cosine transform and YCC → RGB otherwise; all else is exact.
    t.ok(worst <= (name === 'cmyk.jpg' ? 3 : 0), `${name}: largest difference ${worst}`);
  }
  const { rgba } = await decodeFile(fixture('images', 'alpha.png'));
  t.ok(rgba.every((value, i) => i % 4 !== 3 || value === 255), 'transparency is gone');
  t.same([rgba.byteOffset, rgba.byteLength], [0, rgba.buffer.byteLength], 'pixels own their buffer, so they can be transferred');
});

t.test('every EXIF orientation is applied', async (t) => {
  const dir = scratch(t);
  const jpeg = readFileSync(fixture('images', 'rotated.jpg'));
  // The orientation tag: id 0x0112, type 3 (short), count 1, then the value.
  const tag = [Buffer.from('011200030000000100', 'hex'), Buffer.from('120103000100000006', 'hex')].map((bytes) => jpeg.indexOf(bytes)).find((at) => at > 0)!;
  const bigEndian = jpeg[tag] === 0x01;
  // Where the picture's upper left corner (the darkest one) ends up, clockwise from upper left.
  const corner: Record<number, [number, number]> = { 1: [0, 0], 2: [1, 0], 3: [1, 1], 4: [0, 1], 5: [0, 0], 6: [1, 0], 7: [1, 1], 8: [0, 1] };
  for (let orientation = 1; orientation <= 8; orientation++) {
    const bytes = Buffer.from(jpeg);
    bytes[tag + (bigEndian ? 9 : 8)] = orientation;
    const { rgba, width, height } = await decodeFile(write(join(dir, `${orientation}.jpg`), bytes));
    t.same([width, height], orientation > 4 ? [16, 24] : [24, 16], `orientation ${orientation}`);
    const [right, lower] = corner[orientation]!;
    const at = 4 * (lower * (height - 1) * width + right * (width - 1));
    t.ok(rgba[at]! + rgba[at + 1]! + rgba[at + 2]! < 30, `orientation ${orientation}: the dark corner is where it belongs`);
  }
});

t.test('an orientation that EXIF does not know leaves the picture as it is stored', async (t) => {
  const dir = scratch(t);
  const jpeg = readFileSync(fixture('images', 'rotated.jpg'));
  const tag = jpeg.indexOf(Buffer.from('01120003000000010006', 'hex')) + 9;
  t.ok(tag > 9);
  const decoded = (orientation: number) => {
    const bytes = Buffer.from(jpeg);
    bytes[tag] = orientation;
    return decodeFile(write(join(dir, `${orientation}.jpg`), bytes));
  };
  const upright = await decoded(1);
  for (const orientation of [0, 9, 255]) t.same(await decoded(orientation), upright, `orientation ${orientation}`);
});

t.test('unusable files: each error names the file, the fault and the remedy', async (t) => {
  const dir = scratch(t);
  const png = writePng(join(dir, 'cut.png'), 1, 60, 60);
  truncateSync(png, 3000);
  const noise = new Jimp({ width: 64, height: 64, data: Buffer.from(Uint8Array.from({ length: 64 * 64 * 4 }, (_, i) => (i * 7919) % 251)) });
  const jpeg = await noise.getBuffer('image/jpeg');
  const cases: [string, string | Uint8Array | undefined, RegExp][] = [
    ['gone.jpg', undefined, /is not on disk/],
    ['empty.jpg', '', /is empty \(0 bytes\)/],
    ['text.jpg', 'just some text', /is not an image/],
    ['page.jpg', '<!DOCTYPE html><html></html>', /web page/],
    ['pointer.jpg', 'version https://git-lfs.github.com/spec/v1\n', /Git LFS/],
    ['half.jpg', jpeg.subarray(0, jpeg.length / 2), /truncated or damaged/],
    ['almost.jpg', jpeg.subarray(0, jpeg.length - 40), /truncated or damaged/],
    ['start.jpg', jpeg.subarray(0, 100), /image .*start\.jpg/],
    ['cut.png', readFileSync(png), /truncated or damaged/],
    ['photo.webp', Buffer.from('RIFF\x24\0\0\0WEBPVP8 \x18\0\0\0', 'latin1'), /not supported \(use JPEG, PNG/],
  ];
  for (const [name, content, pattern] of cases) {
    const path = join(dir, name);
    if (content !== undefined) write(path, content);
    const message = await userMessage(() => decodeFile(path));
    t.match(message, pattern);
    t.ok(message.includes(path) && message.includes('--skip-bad-images'), message);
    await t.rejects(decodeFile(path), BadImageError);
  }
  const trailing = await decodeFile(write(join(dir, 'trailing.jpg'), Buffer.concat([jpeg, Buffer.alloc(9)])));
  t.equal(trailing.width, 64, 'bytes behind the end of a JPEG do no harm');
});

t.test('paths that are no picture: loops, folders, pipes', { skip: process.platform === 'win32' && 'such paths are made otherwise there' }, async (t) => {
  const dir = scratch(t);
  symlinkSync('loop.jpg', join(dir, 'loop.jpg'));
  mkdirSync(join(dir, 'folder.jpg'));
  execFileSync('mkfifo', [join(dir, 'pipe.jpg')]);
  truncateSync(write(join(dir, 'huge.jpg'), ''), 2 ** 31 + 1);
  t.match(await userMessage(() => decodeFile(join(dir, 'huge.jpg'))), /image .*huge\.jpg is too large to be read at once \(2 GiB or more\)\./);
  t.match(await userMessage(() => decodeFile(join(dir, 'loop.jpg'))), /image .*loop\.jpg is a symbolic link that leads back to itself\./);
  t.match(await userMessage(() => decodeFile(join(dir, 'folder.jpg'))), /image .*folder\.jpg is a folder, not a picture\./);
  t.match(await userMessage(() => decodeFile(join(dir, 'pipe.jpg'))), /image .*pipe\.jpg is not a file\./, 'reading it would wait for ever');
});

t.test('TIFF: pixels that are cut off are missed, not painted black', async (t) => {
  const dir = scratch(t);
  for (const name of ['cmyk.tif', 'rotated.tif']) {
    const whole = readFileSync(fixture('images', name));
    const message = await userMessage(() => decodeFile(write(join(dir, name), whole.subarray(0, whole.length - 200))));
    t.match(message, /is truncated or damaged \(unexpected end of the file: its pixels reach to byte \d+ of \d+\)/, name);
  }
  const inks = Buffer.from(readFileSync(fixture('images', 'cmyk.tif')));
  const compression = inks.indexOf(Buffer.from('030103000100000001', 'hex'));
  inks[compression + 8] = 7;
  t.match(await userMessage(() => decodeFile(write(join(dir, 'jpeg.tif'), inks))),
    /could not be decoded \(CMYK that is compressed as JPEG within TIFF is not supported/);
});

t.test('damaged EXIF does not spoil a picture', async (t) => {
  const jpeg = Buffer.from(readFileSync(fixture('images', 'rotated.jpg')));
  const exif = jpeg.indexOf('Exif\0\0') + 6;
  jpeg.fill(0xff, exif + 4, exif + 8);
  t.match(await decodeFile(write(join(scratch(t), 'odd.jpg'), jpeg)), { width: 24, height: 16, turned: undefined });
});

/** A page of a TIFF, of entries with one number each. */
function tiffPage(entries: readonly (readonly [tag: number, value: number])[], following = 0): Buffer {
  const bytes = Buffer.alloc(6 + 12 * entries.length);
  bytes.writeUInt16LE(entries.length, 0);
  for (const [i, [tag, value]] of entries.entries()) {
    bytes.writeUInt16LE(tag, 2 + 12 * i);
    bytes.writeUInt16LE(4, 4 + 12 * i);
    bytes.writeUInt32LE(1, 6 + 12 * i);
    bytes.writeUInt32LE(value, 10 + 12 * i);
  }
  bytes.writeUInt32LE(following, 2 + 12 * entries.length);
  return bytes;
}

const TIFF_HEAD = Buffer.from('II*\0\x08\0\0\0', 'latin1');

/** A TIFF of pages without pixels; each entry is the place of the next page, 0 after the last. */
const tiff = (width: number, height: number, ...next: number[]): Buffer =>
  Buffer.concat([TIFF_HEAD, ...next.map((following) => tiffPage([[256, width], [257, height]], following))]);

/** A TIFF of one grey strip. */
const greyTiff = (width: number, height: number, compression: number, strip: Uint8Array): Buffer => {
  const page = (at: number): Buffer => tiffPage([
    [256, width], [257, height], [258, 8], [259, compression], [262, 1], [273, at], [277, 1], [278, height], [279, strip.length],
  ]);
  return Buffer.concat([TIFF_HEAD, page(TIFF_HEAD.length + page(0).length), strip]);
};

t.test('pictures that claim too many pixels are refused before they are decoded', async (t) => {
  const dir = scratch(t);
  const big = (name: string, fill: (bytes: Buffer) => void): [string, Buffer] => {
    const bytes = Buffer.from(readFileSync(fixture('images', name)));
    fill(bytes);
    return [name, bytes];
  };
  const bitmap = Buffer.alloc(64);
  bitmap.write('BM');
  bitmap.writeUInt32LE(54, 10);
  bitmap.writeUInt32LE(40, 14);
  bitmap.writeInt32LE(20000, 18);
  bitmap.writeInt32LE(-20000, 22);
  bitmap.writeUInt16LE(24, 28);
  const cases: [string, Buffer][] = [
    big('alpha.png', (bytes) => [16, 20].forEach((at) => bytes.writeUInt32BE(20000, at))),
    ['huge.gif', Buffer.concat([Buffer.from('GIF89a'), Buffer.from(Uint16Array.of(20000, 20000).buffer), Buffer.alloc(40)])],
    ['huge.bmp', bitmap],
    ['huge.tif', tiff(20000, 20000, 0)],
  ];
  for (const [name, bytes] of cases) {
    t.match(await userMessage(() => decodeFile(write(join(dir, name), bytes))), /claims 20000×20000 pixels; at most 200 million are decoded\./, name);
  }
  t.match(await userMessage(() => decodeFile(write(join(dir, 'pages.tif'), tiff(10000, 10000, 38, 68, 0)))),
    /claims 10000×10000 pixels on the first of 3 pages; at most 200 million/);
  t.match(await userMessage(() => decodeFile(write(join(dir, 'circle.tif'), tiff(8, 8, 8)))), /its pages go round in a circle/, 'decoding it would never end');
  t.match(await userMessage(() => decodeFile(write(join(dir, 'bare.tif'), tiff(8, 8, 0)))), /bare\.tif is truncated or damaged\./,
    'and not what the decoder tripped over');
});

t.test('interlaced PNGs: the same pixels, and no more data than they take', async (t) => {
  const [width, height] = [11, 9];
  const rgb = Uint8Array.from({ length: 3 * width * height }, (_, i) => (i * 37) % 256);
  const passes = [[0, 0, 8, 8], [4, 0, 8, 8], [0, 4, 4, 8], [2, 0, 4, 4], [0, 2, 2, 4], [1, 0, 2, 2], [0, 1, 1, 2]] as const;
  const rows = passes.flatMap(([left, top, across, down]) => {
    const pass: number[] = [];
    for (let y = top; y < height; y += down) {
      pass.push(0);
      for (let x = left; x < width; x += across) pass.push(...rgb.subarray(3 * (y * width + x), 3 * (y * width + x) + 3));
    }
    return pass;
  });
  const dir = scratch(t);
  const decoded = (name: string, bytes: Uint8Array) => decodeFile(write(join(dir, name), bytes));
  t.same((await decoded('interlaced.png', pngFile(width, height, Uint8Array.from(rows), true))).rgba,
    (await decoded('plain.png', encodePng(rgb, width, height))).rgba);
  const endless = pngFile(width, height, Uint8Array.from([...rows, ...new Uint8Array(1e5)]), true);
  t.match(await userMessage(() => decoded('endless.png', endless)), /endless\.png is damaged: its data go on behind its last pixel\./, 'however much it is');
});

t.test('pictures that claim more pixels than their bytes can hold are refused before they are decoded', async (t) => {
  const dir = scratch(t);
  const message = (name: string, bytes: Uint8Array): Promise<string> => userMessage(() => decodeFile(write(join(dir, name), bytes)));
  t.match(await message('few.png', pngFile(12000, 12000, new Uint8Array(1000))),
    /few\.png claims 12000×12000 pixels, more than its \d+ bytes can hold; it is truncated or damaged\./);
  const jpeg = Buffer.from(readFileSync(fixture('images', 'grey.jpg')));
  const frame = jpeg.indexOf(Buffer.from('ffc0', 'hex'));
  [5, 7].forEach((at) => jpeg.writeUInt16BE(12000, frame + at));
  t.match(await message('few.jpg', jpeg), /few\.jpg claims 12000×12000 pixels, more than its \d+ bytes can hold/);
  const claim = (name: string): RegExp => new RegExp(`${name} claims 12000×12000 pixels, more than its \\d+ bytes can hold`);
  t.match(await message('few.gif', Buffer.concat([Buffer.from('GIF89a'), Buffer.from(Uint16Array.of(12000, 12000).buffer), Buffer.alloc(1000)])),
    claim('few.gif'));
  for (const compression of [1, 5, 8, 32773, 32946]) {
    t.match(await message('few.tif', greyTiff(12000, 12000, compression, new Uint8Array(1000))), claim('few.tif'));
  }
  const tiled = Buffer.concat([TIFF_HEAD, tiffPage([[256, 8], [257, 8], [258, 8], [322, 12000], [323, 12000], [324, 8], [325, 8]])]);
  t.match(await message('tiled.tif', tiled), claim('tiled.tif'), 'memory for a tile is also taken');
  // What packs best is within the bound.
  const side = 400;
  for (const type of ['image/gif', 'image/tiff'] as const) {
    t.equal((await decodeFile(write(join(dir, 'even'), await new Jimp({ width: 50, height: 50, color: 255 }).getBuffer(type)))).width, 50);
  }
  t.equal((await decodeFile(write(join(dir, 'even.png'), encodePng(new Uint8Array(3 * side * side), side, side)))).width, side);
  const even = await new Jimp({ width: side, height: side, data: Buffer.alloc(4 * side * side, 255) }).getBuffer('image/jpeg', { quality: 1 });
  t.equal((await decodeFile(write(join(dir, 'even.jpg'), even))).width, side);
});

t.test('deflated TIFFs: no more data than they take', async (t) => {
  const dir = scratch(t);
  const decoded = (name: string, values: Uint8Array) => decodeFile(write(join(dir, name), greyTiff(4, 3, 8, deflateSync(values))));
  const values = Uint8Array.from({ length: 12 }, (_, i) => 20 * i);
  t.same((await decoded('whole.tif', values)).rgba.filter((_, i) => i % 4 === 0), values);
  t.match(await userMessage(() => decoded('endless.tif', new Uint8Array(1e5))), /endless\.tif is damaged: its data go on behind its last pixel\./,
    'however much it is');
});

t.test('shrinking averages whole blocks', async (t) => {
  const rgba = new Uint8Array(4 * 7 * 5).map((_, i) => (i % 4 === 3 ? 255 : (i * 37) % 256));
  const image: DecodedImage = { rgba, width: 7, height: 5, shrink: [1, 1] };
  t.equal(shrinkImage(image, { maxSide: 3 }), image, 'not before the shorter side is twice the limit');
  const small = shrinkImage(image, { maxSide: 2 });
  t.match(small, { width: 3, height: 2, shrink: [2, 2] });
  const value = (x: number, y: number, c: number) => rgba[4 * (y * 7 + x) + c];
  for (const [x, y, c] of [[0, 0, 0], [2, 1, 2]]) {
    const mean = (value(2 * x!, 2 * y!, c!)! + value(2 * x! + 1, 2 * y!, c!)! + value(2 * x!, 2 * y! + 1, c!)! + value(2 * x! + 1, 2 * y! + 1, c!)!) / 4;
    t.equal(small.rgba[4 * (y! * 3 + x!) + c!], Math.round(mean));
  }
  t.ok(small.rgba.every((v, i) => i % 4 !== 3 || v === 255));
});

t.test('the frame of a JPEG is found behind tables and fill bytes', async (t) => {
  const segment = (marker: number, ...content: number[]): number[] => [0xff, marker, 0, 2 + content.length, ...content];
  const frame = segment(0xc2, 8, 1, 2, 3, 4, 3);
  const found = (...bytes: number[]) => jpegFrame(Uint8Array.of(0xff, 0xd8, ...bytes));
  const expected = { height: 258, width: 772, components: 3 };
  t.same(found(...frame), expected);
  t.same(found(0xff, 0xff, 0xff, ...frame), expected, 'any number of fill bytes');
  for (const table of [0xc4, 0xc8, 0xcc, 0xe0]) {
    t.same(found(...segment(table, 8, 9, 9, 9, 9, 1), ...frame), expected, `a segment ${table.toString(16)} before it`);
  }
  t.equal(found(...frame.slice(0, -1)), null, 'cut short');
});

t.test('rows of an interlaced PNG: pixel by pixel, as its specification draws the passes', async (t) => {
  const passes = ['16462646', '77777777', '56565656', '77777777', '36463646', '77777777', '56565656', '77777777'];
  // Grey, RGB, grey with opacity.
  for (const [kind, values] of [[0, 1], [2, 3], [4, 2]] as const) {
    for (let width = 1; width <= 9; width++) {
      for (let height = 1; height <= 9; height++) {
        const head = Buffer.alloc(29);
        head.write('\x89PNG', 'latin1');
        [width, height].forEach((side, i) => head.writeUInt32BE(side, 16 + 4 * i));
        head.set([8, kind, 0, 0, 1], 24);
        const places = Array.from({ length: width * height }, (_, i) => ({ x: i % width, y: Math.floor(i / width) }));
        const rows = new Set(places.map(({ x, y }) => `${passes[y % 8]![x % 8]} ${y}`));
        if (interlacedBytes(head) !== rows.size + values * places.length) t.fail(`${width}×${height}, kind ${kind}: ${interlacedBytes(head)}`);
      }
    }
  }
});
