/** The files that `predict --pictures` writes: where the network looked, image by image. */
import { basename, extname, join } from 'node:path';
import { type ImageSource, produceImage } from '../data/produce-image.js';
import type { Box, DecodedImage } from '../data/types.js';
import { writeFileAtomic } from '../io/atomic.js';
import { attentionGrid, cropPicture, drawBox, encodePng, heatmapOverlay } from '../train/report/pictures.js';
import type { ImageCase, Picture } from '../train/report/types.js';
import type { Loaded } from './predict-images.js';

/** Blue-green: it stands out from skies, leaves and skin alike. */
const BOX_COLOUR = [0, 200, 190] as const;

/** Bytes of a name that leave room for what is put before and behind it: file systems end at 255. */
const LONGEST_STEM = 200;

const stemOf = (file: string): string => {
  const bytes = Buffer.from(basename(file, extname(file)).replace(/[^\p{L}\p{N}._-]+/gu, '_'));
  // A letter that was cut in two shows as U+FFFD.
  return bytes.subarray(0, LONGEST_STEM).toString().replace(/\uFFFD+$/, '');
};

/** `photos/heron.jpg` gives `heron`; a second heron gives `heron-2`, unless there is one. Some file systems take `Heron` for `heron`. */
export const pictureNames = (files: readonly string[]): string[] => {
  const used = new Set<string>();
  return files.map((file) => {
    const stem = stemOf(file);
    let name = stem;
    for (let n = 2; used.has(name.toLowerCase()); n++) name = `${stem}-${n}`;
    used.add(name.toLowerCase());
    return name;
  });
};

/** The boxed region in its own proportions, at the resolution of the picture. */
const closeUp = (image: Picture, box: Box): Picture =>
  cropPicture(image, box, Math.max(1, Math.round(box.x1 - box.x0)), Math.max(1, Math.round(box.y1 - box.y0)));

/** Large photographs are shown with a shorter side of this many pixels to twice as many. */
const SHOWN_SIDE = 512;

/** The network may have got a large photograph as a small square; people want to see it in its own proportions, and larger. */
const toShow = async (source: ImageSource, decoded: DecodedImage): Promise<DecodedImage> =>
  (decoded.shrink.every((factor) => factor === 1) ? decoded : produceImage(source, { maxSide: SHOWN_SIDE }));

/**
 * Writes NAME-box.png and NAME-crop.png at the resolution of the original picture, large photographs smaller, and NAME-heat.png,
 * NAME-maps.png and NAME-drop.png as the network saw it.
 *
 * @param looked where the network looked, in pixels of the original picture
 * @returns the names of the files
 */
export const writePictures = async (folder: string, name: string, { request, image: decoded }: Loaded, looked: Box, seen: ImageCase): Promise<string[]> => {
  const image = await toShow(request.source, decoded);
  const [x, y] = image.shrink;
  const box = { x0: looked.x0 / x, y0: looked.y0 / y, x1: looked.x1 / x, y1: looked.y1 / y };
  const pictures: Record<string, Picture> = {
    box: drawBox(image, box, BOX_COLOUR),
    crop: closeUp(image, box),
    heat: heatmapOverlay(seen.image, seen.meanMap),
    maps: attentionGrid(seen.image, seen.maps),
    ...(seen.dropped ? { drop: seen.dropped } : {}),
  };
  const files: string[] = [];
  for (const [kind, picture] of Object.entries(pictures)) {
    const file = join(folder, `${name}-${kind}.png`);
    writeFileAtomic(file, await encodePng(picture));
    files.push(file);
  }
  return files;
};
