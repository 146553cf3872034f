/** What a network is shown: pixels, or what a page can draw. */
import { readableBytes } from '../device/buffers.js';
import { fail } from '../errors.js';
import { checkIntegers } from '../ops/arguments.js';
import type { Pixels } from './image-batch.js';

/** A picture as a canvas's `getImageData` gives it: red, green, blue and alpha (not read) of each pixel, rows from the top. */
export interface Picture {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array | Uint8ClampedArray;
}

/** What a page draws on a canvas: a canvas, an `ImageBitmap`, an `<img>`, a `<video>`, a `VideoFrame`. */
export type Drawable = Exclude<CanvasImageSource, SVGImageElement>;

const sizeOf = (source: Drawable): readonly [width: number, height: number] => {
  if ('naturalWidth' in source) return [source.naturalWidth, source.naturalHeight];
  if ('videoWidth' in source) return source.readyState < source.HAVE_CURRENT_DATA ? [0, 0] : [source.videoWidth, source.videoHeight];
  return 'displayWidth' in source ? [source.displayWidth, source.displayHeight] : [source.width, source.height];
};

const DRAWABLES = ['HTMLCanvasElement', 'OffscreenCanvas', 'ImageBitmap', 'HTMLImageElement', 'HTMLVideoElement', 'VideoFrame'];

/** By the name that objects have in every frame of a page, which each have classes of their own. */
const isDrawable = (picture: unknown): picture is Drawable => DRAWABLES.includes(Object.prototype.toString.call(picture).slice('[object '.length, -1));

/** What is to be seen now, in its own size. */
const drawn = (source: Drawable, i: number): Picture => {
  const [width, height] = sizeOf(source);
  if (!width || !height) fail(`predict: picture ${i + 1} has no pixels; an image has them after \`await image.decode()\`, a video after its event "loadeddata"`);
  const context = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true })!;
  try {
    context.drawImage(source, 0, 0, width, height);
    return context.getImageData(0, 0, width, height);
  } catch (error) {
    const { name, message } = error as Error;
    fail(`predict: the browser does not give the pixels of picture ${i + 1} (${width} × ${height}): ${message}` +
      (name === 'SecurityError' ? ' An image of another server needs crossOrigin = "anonymous" before its src, and Access-Control-Allow-Origin from that server.' : ''));
  }
};

/** The pixels of the picture at position `i` of a list; the adapter takes `largest` bytes of one. */
export const toPixels = (given: Picture | Drawable, i: number, largest: number): Pixels => {
  const picture = isDrawable(given) ? drawn(given, i) : given as Picture | null;
  if (typeof picture !== 'object' || picture === null || !('data' in picture)) {
    fail(`predict: picture ${i + 1} must be { width, height, data }, as a canvas's getImageData gives it, or a canvas, an ImageBitmap, an image or a video (of a file, \`await createImageBitmap(file)\`), ` +
      `got ${picture === null ? 'null' : typeof picture}`);
  }
  const { width, height, data } = picture;
  checkIntegers('predict', `width and height of picture ${i + 1}`, [width, height], 1);
  // Other numbers, as of grey values, may by chance have as many bytes.
  if (!ArrayBuffer.isView(data) || data.BYTES_PER_ELEMENT !== 1 || data.byteLength !== 4 * width * height) {
    fail(`predict: picture ${i + 1} of ${width} × ${height} pixels needs ${4 * width * height} bytes of data, as a Uint8Array: red, green, blue and alpha of each`);
  }
  if (data.byteLength > largest) {
    fail(`predict: picture ${i + 1} of ${width} × ${height} pixels takes ${readableBytes(data.byteLength)}, but this adapter binds at most ${readableBytes(largest)} in one buffer. ` +
      'Make it smaller first, in a page with `await createImageBitmap(picture, { resizeWidth: 2000, resizeQuality: "high" })`');
  }
  return { width, height, rgba: new Uint8Array(data.buffer, data.byteOffset, data.byteLength) };
};
