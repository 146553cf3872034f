import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { deflateSync } from 'node:zlib';
import { type AugmentOptions, IMAGENET_MEAN, IMAGENET_STD } from '../src/data/augment.js';
import { openDataset, type Dataset, type DatasetName, type DatasetOptions } from '../src/data/dataset.js';
import { UserError } from '../src/errors.js';
import { uniformInt } from '../src/data/random.js';

/** Path below test/fixtures, from the built test in dist/test. */
export function fixture(...parts: string[]): string {
  return join(fileURLToPath(new URL('../../test/fixtures', import.meta.url)), ...parts);
}

export function fixtureJson<T>(...parts: string[]): T {
  return JSON.parse(readFileSync(fixture(...parts), 'utf8')) as T;
}

/** A folder that vanishes after the test. */
export function scratch(t: { teardown(fn: () => void): void }): string {
  const dir = mkdtempSync(join(tmpdir(), 'pipit-data-'));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

export function write(path: string, content: string | Uint8Array): string {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
  return path;
}

/** Writes a PNG of random pixels; different keys give different pictures. */
export function writePng(path: string, key: number, width = 12, height = 8): string {
  const rgb = Uint8Array.from({ length: width * height * 3 }, (_, i) => uniformInt(256, key, i));
  return write(path, encodePng(rgb, width, height));
}

/** Plain 8-bit RGB PNG. */
export function encodePng(rgb: Uint8Array, width: number, height: number): Buffer {
  const rows = Buffer.alloc(height * (1 + 3 * width));
  for (let y = 0; y < height; y++) rows.set(rgb.subarray(3 * width * y, 3 * width * (y + 1)), y * (1 + 3 * width) + 1);
  return pngFile(width, height, rows);
}

/** An 8-bit RGB PNG of unfiltered rows; those of an interlaced one come in seven passes. */
export function pngFile(width: number, height: number, rows: Uint8Array, interlaced = false): Buffer {
  const head = Buffer.alloc(13);
  head.writeUInt32BE(width, 0);
  head.writeUInt32BE(height, 4);
  head.set([8, 2, 0, 0, interlaced ? 1 : 0], 8);
  const signature = Buffer.from('\x89PNG\r\n\x1a\n', 'latin1');
  return Buffer.concat([signature, pngChunk('IHDR', head), pngChunk('IDAT', deflateSync(rows)), pngChunk('IEND', Buffer.alloc(0))]);
}

function pngChunk(kind: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(kind, 'latin1'), data]);
  const size = Buffer.alloc(4);
  const sum = Buffer.alloc(4);
  size.writeUInt32BE(data.length);
  sum.writeUInt32BE(crc32(body));
  return Buffer.concat([size, body, sum]);
}

function crc32(bytes: Buffer): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return (crc ^ 0xffffffff) >>> 0;
}

/** A MATLAB v5 file of these elements. */
export function matFile(...elements: Buffer[]): Buffer {
  const head = Buffer.alloc(128, ' ');
  head.writeUInt16LE(0x0100, 124);
  head.write('IM', 126, 'latin1');
  return Buffer.concat([head, ...elements]);
}

/** A tagged element, padded to 8 bytes; the compressed ones (type 15) are not padded. */
export function matElement(type: number, data: Buffer): Buffer {
  const tag = Buffer.alloc(8);
  tag.writeUInt32LE(type, 0);
  tag.writeUInt32LE(data.length, 4);
  return Buffer.concat([tag, data, Buffer.alloc(type === 15 ? 0 : -data.length & 7)]);
}

/** A 1×count array of a class (1: cell, 2: struct, 4: text, 6: double) with the elements of its content. */
export function matArray(arrayClass: number, name: string, count: number, ...content: Buffer[]): Buffer {
  const ints = (...values: number[]) => Buffer.from(Int32Array.from(values).buffer);
  return matElement(14, Buffer.concat([matElement(6, ints(arrayClass, 0)), matElement(5, ints(1, count)), matElement(1, Buffer.from(name)), ...content]));
}

/** The message of the UserError that `action` must throw or reject with. */
export async function userMessage(action: () => unknown): Promise<string> {
  try {
    await action();
  } catch (error) {
    if (error instanceof UserError) return error.message;
    throw error;
  }
  throw new Error('expected a UserError, but nothing was thrown');
}

/** A dataset with seed 1, the message that refuses it, and what its samples say. */
export const open = (name: DatasetName, dir: string | undefined, more: Partial<DatasetOptions> = {}) => openDataset(name, { dir, seed: 1, ...more });
export const refusal = (name: DatasetName, dir: string | undefined, more: Partial<DatasetOptions> = {}) => userMessage(() => open(name, dir, more));
export const labels = (split: Dataset['train']) => split.samples.map((sample) => sample.label);
export const ids = (split: Dataset['train']) => split.samples.map((sample) => sample.id);

/** The augmentation of the published PyTorch WS-DAN recipe: jitter .126 / 0 / .5, flip ½, resize ratio .875. */
export function defaultAugment(imageSize: number): AugmentOptions {
  return {
    imageSize,
    resizeRatio: 0.875,
    flip: 0.5,
    brightness: 0.126,
    contrast: 0,
    saturation: 0.5,
    mean: [...IMAGENET_MEAN],
    std: [...IMAGENET_STD],
  };
}
