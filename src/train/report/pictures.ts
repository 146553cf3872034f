/** Pictures of what the network looked at: heat maps, grids of attention maps, crops, dropped regions, boxes. */
import { Jimp } from 'jimp';
import type { Box } from '../../data/types.js';
import { heatColour } from './colours.js';
import type { AttentionMap, Picture } from './types.js';

const OPAQUE = 255;

const emptyPicture = (width: number, height: number): Picture => ({ width, height, rgba: new Uint8Array(width * height * 4) });

const setPixel = (picture: Picture, index: number, [r, g, b]: ArrayLike<number> & Iterable<number>): void => {
  picture.rgba[4 * index] = r! + 0.5;
  picture.rgba[4 * index + 1] = g! + 0.5;
  picture.rgba[4 * index + 2] = b! + 0.5;
  picture.rgba[4 * index + 3] = OPAQUE;
};

const pixel = (picture: Picture, index: number): [number, number, number] =>
  [picture.rgba[4 * index]!, picture.rgba[4 * index + 1]!, picture.rgba[4 * index + 2]!];

/**
 * Enlarges a map bilinearly with aligned corners, as the reference does.
 *
 * @returns height x width values, row-major
 */
export const resizeMap = (map: AttentionMap, width: number, height: number): Float32Array => {
  const result = new Float32Array(width * height);
  const stepY = height > 1 ? (map.height - 1) / (height - 1) : 0;
  const stepX = width > 1 ? (map.width - 1) / (width - 1) : 0;
  for (let y = 0; y < height; y++) {
    const top = Math.min(Math.floor(y * stepY), map.height - 1);
    const bottom = Math.min(top + 1, map.height - 1);
    const down = y * stepY - top;
    for (let x = 0; x < width; x++) {
      const left = Math.min(Math.floor(x * stepX), map.width - 1);
      const right = Math.min(left + 1, map.width - 1);
      const over = x * stepX - left;
      const upper = map.data[top * map.width + left]! * (1 - over) + map.data[top * map.width + right]! * over;
      const lower = map.data[bottom * map.width + left]! * (1 - over) + map.data[bottom * map.width + right]! * over;
      result[y * width + x] = upper * (1 - down) + lower * down;
    }
  }
  return result;
};

const largest = (values: ArrayLike<number>): number => {
  let most = 0;
  for (let i = 0; i < values.length; i++) if (values[i]! > most && Number.isFinite(values[i])) most = values[i]!;
  return most;
};

/** Attention from 0 to 1: divided by `most`, then the square root; a map that is empty or not finite gives 0. */
const normalised = (values: Float32Array, most: number): Float32Array =>
  values.map((value) => (most > 0 && value > 0 ? Math.sqrt(Math.min(1, value / most)) : 0));

interface OverlayOptions {
  /** Share of the heat map in the mixture. */
  share?: number;
  /** What counts as full attention; the map's own maximum by default, so that each picture uses the whole range. */
  maximum?: number;
}

/**
 * The heat map over its picture: attention a = sqrt(map / maximum), enlarged to the picture; colour(a) and picture
 * mixed half and half. Source: the reference's visualiser, normalised by picture and not by batch.
 */
export const heatmapOverlay = (image: Picture, map: AttentionMap, options: OverlayOptions = {}): Picture => {
  const { share = 0.5, maximum = largest(map.data) } = options;
  const attention = normalised(resizeMap(map, image.width, image.height), maximum);
  const result = emptyPicture(image.width, image.height);
  attention.forEach((a, i) => {
    const heat = heatColour(a);
    const [r, g, b] = pixel(image, i);
    setPixel(result, i, [r + share * (heat[0] - r), g + share * (heat[1] - g), b + share * (heat[2] - b)]);
  });
  return result;
};

/** The region of a box, enlarged bilinearly to the given size (the picture's own by default). */
export const cropPicture = (image: Picture, box: Box, width = image.width, height = image.height): Picture => {
  const result = emptyPicture(width, height);
  const clamp = (value: number, most: number) => Math.min(most, Math.max(0, value));
  for (let y = 0; y < height; y++) {
    const sourceY = clamp(box.y0 + ((y + 0.5) * (box.y1 - box.y0)) / height - 0.5, image.height - 1);
    const top = Math.floor(sourceY);
    const bottom = Math.min(top + 1, image.height - 1);
    for (let x = 0; x < width; x++) {
      const sourceX = clamp(box.x0 + ((x + 0.5) * (box.x1 - box.x0)) / width - 0.5, image.width - 1);
      const left = Math.floor(sourceX);
      const right = Math.min(left + 1, image.width - 1);
      const corner = (row: number, column: number) => pixel(image, row * image.width + column);
      const [a, b, c, d] = [corner(top, left), corner(top, right), corner(bottom, left), corner(bottom, right)];
      const [over, down] = [sourceX - left, sourceY - top];
      setPixel(result, y * width + x, a.map((_, k) => (a[k]! * (1 - over) + b[k]! * over) * (1 - down) + (c[k]! * (1 - over) + d[k]! * over) * down));
    }
  }
  return result;
};

/** The whole picture at another size. */
export const scaledPicture = (image: Picture, width: number, height: number): Picture =>
  cropPicture(image, { x0: 0, y0: 0, x1: image.width, y1: image.height }, width, height);

const greyed = (image: Picture): Picture => {
  const result = emptyPicture(image.width, image.height);
  for (let i = 0; i < image.width * image.height; i++) {
    const [r, g, b] = pixel(image, i);
    const grey = 0.2126 * r + 0.7152 * g + 0.0722 * b;
    setPixel(result, i, [grey, grey, grey]);
  }
  return result;
};

interface GridOptions {
  /** Side of a tile in pixels. */
  tile?: number;
  gap?: number;
}

/** Copies a picture into another with its upper left corner at (x, y). */
const paste = (target: Picture, source: Picture, x: number, y: number): void => {
  for (let row = 0; row < source.height; row++) {
    const from = source.rgba.subarray(4 * row * source.width, 4 * (row + 1) * source.width);
    target.rgba.set(from, 4 * ((y + row) * target.width + x));
  }
};

/**
 * All attention maps as tiles over the grey picture, about twice as many columns as rows. All tiles share one maximum, so that strong and weak maps can be
 * told apart. The gaps are transparent.
 */
export const attentionGrid = (
  image: Picture, maps: readonly AttentionMap[], { tile = 56, gap = 3 }: GridOptions = {},
): Picture => {
  const across = Math.max(1, Math.min(Math.round(Math.sqrt(2 * maps.length)), maps.length));
  const down = Math.ceil(maps.length / across);
  const height = Math.round((tile * image.height) / image.width);
  const result = emptyPicture(across * (tile + gap) - gap, Math.max(1, down * (height + gap) - gap));
  const ground = scaledPicture(greyed(image), tile, height);
  const maximum = Math.max(...maps.map(({ data }) => largest(data)), 0);
  maps.forEach((map, i) => {
    paste(result, heatmapOverlay(ground, map, { share: 0.6, maximum }), (i % across) * (tile + gap), Math.floor(i / across) * (height + gap));
  });
  return result;
};

/** Draws the outline of a box into a copy of the picture, with a dark edge so that it shows on any ground. */
export const drawBox = (image: Picture, box: Box, colour: readonly [number, number, number]): Picture => {
  const thickness = Math.max(1, Math.round(image.width / 160));
  const result = { ...image, rgba: image.rgba.slice() };
  const outline = (grow: number, width: number, ink: readonly number[]): void => {
    const [x0, y0, x1, y1] = [box.x0 - grow, box.y0 - grow, box.x1 + grow, box.y1 + grow].map(Math.round) as [number, number, number, number];
    for (let y = Math.max(0, y0); y < Math.min(image.height, y1); y++) {
      for (let x = Math.max(0, x0); x < Math.min(image.width, x1); x++) {
        if (x - x0 < width || x1 - x <= width || y - y0 < width || y1 - y <= width) setPixel(result, y * image.width + x, ink);
      }
    }
  };
  outline(thickness, 3 * thickness, [20, 20, 20]);
  outline(0, thickness, colour);
  return result;
};

/** Encodes a picture as PNG. */
export const encodePng = (picture: Picture): Promise<Buffer> =>
  new Jimp({ width: picture.width, height: picture.height, data: Buffer.from(picture.rgba) }).getBuffer('image/png');

/** A picture as an address that a page can hold within itself. */
export const pngDataUri = async (picture: Picture): Promise<string> => `data:image/png;base64,${(await encodePng(picture)).toString('base64')}`;
