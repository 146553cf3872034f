import { readFileSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { Jimp } from 'jimp';
import t from 'tap';
import { BadImageError, decodeFile, shrinkImage } from '../src/data/decode.js';
import type { DecodedImage } from '../src/data/types.js';
import { fixture, fixtureJson, scratch, userMessage, write, writePng } from './data-helpers.js';

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
  return rgb.reduce((most, value, i) => Math.max(most, Math.abs(value - rgba[4 * Math.floor(i / 3) + (i % 3)])), 0);
}

t.test('unusual pictures decode to upright 8-bit RGB, as PIL decodes them', async (t) => {
  const expected = fixtureJson<Record<string, Expected>>('images', 'expected.json');
  t.equal(Object.keys(expected).length, 11);
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
    const [right, lower] = corner[orientation];
    const at = 4 * (lower * (height - 1) * width + right * (width - 1));
    t.ok(rgba[at] + rgba[at + 1] + rgba[at + 2] < 30, `orientation ${orientation}: the dark corner is where it belongs`);
  }
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

t.test('shrinking averages whole blocks', async (t) => {
  const rgba = new Uint8Array(4 * 7 * 5).map((_, i) => (i % 4 === 3 ? 255 : (i * 37) % 256));
  const image: DecodedImage = { rgba, width: 7, height: 5, shrink: [1, 1] };
  t.equal(shrinkImage(image, { maxSide: 3 }), image, 'not before the shorter side is twice the limit');
  const small = shrinkImage(image, { maxSide: 2 });
  t.match(small, { width: 3, height: 2, shrink: [2, 2] });
  const value = (x: number, y: number, c: number) => rgba[4 * (y * 7 + x) + c];
  for (const [x, y, c] of [[0, 0, 0], [2, 1, 2]]) {
    const mean = (value(2 * x, 2 * y, c) + value(2 * x + 1, 2 * y, c) + value(2 * x, 2 * y + 1, c) + value(2 * x + 1, 2 * y + 1, c)) / 4;
    t.equal(small.rgba[4 * (y * 3 + x) + c], Math.round(mean));
  }
  t.ok(small.rgba.every((v, i) => i % 4 !== 3 || v === 255));
});
