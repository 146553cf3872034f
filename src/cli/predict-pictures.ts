/** The files that `predict --pictures` writes: where the network looked, image by image. */
import { basename, extname, join } from 'node:path';
import type { Box, DecodedImage } from '../data/types.js';
import { writeFileAtomic } from '../io/atomic.js';
import { attentionGrid, cropPicture, drawBox, encodePng, heatmapOverlay } from '../train/report/pictures.js';
import type { ImageCase, Picture } from '../train/report/types.js';

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

/** The boxed region in its own proportions, at the resolution of the decoded picture. */
const closeUp = (image: Picture, box: Box): Picture =>
  cropPicture(image, box, Math.max(1, Math.round(box.x1 - box.x0)), Math.max(1, Math.round(box.y1 - box.y0)));

/** Large photographs are decoded to a square; people want to see them in their own proportions. */
const inProportion = (image: DecodedImage, box: Box): { image: Picture; box: Box } => {
  const [x, y] = image.shrink;
  if (x === y) return { image, box };
  const [across, down] = [x / Math.max(x, y), y / Math.max(x, y)];
  const whole = { x0: 0, y0: 0, x1: image.width, y1: image.height };
  return {
    image: cropPicture(image, whole, Math.max(1, Math.round(image.width * across)), Math.max(1, Math.round(image.height * down))),
    box: { x0: box.x0 * across, x1: box.x1 * across, y0: box.y0 * down, y1: box.y1 * down },
  };
};

/**
 * Writes NAME-box.png and NAME-crop.png at the resolution of the decoded picture, and NAME-heat.png, NAME-maps.png and
 * NAME-drop.png as the network saw it.
 *
 * @param decodedBox where the network looked, in pixels of the decoded picture
 * @returns the names of the files
 */
export const writePictures = async (folder: string, name: string, decoded: DecodedImage, decodedBox: Box, seen: ImageCase): Promise<string[]> => {
  const { image, box } = inProportion(decoded, decodedBox);
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
