import { fail } from '../errors.js';
import { uniform, uniformInt } from './random.js';
import type { Box } from './types.js';

/** Window bounds of torchvision's RandomResizedCrop: area share and aspect ratio (width / height). */
interface RandomResizedCrop {
  scaleMin: number;
  scaleMax: number;
  ratioMin: number;
  ratioMax: number;
}

export interface AugmentOptions {
  /** Side S of the square network input, pixels. */
  imageSize: number;
  /** The picture is resized to int(S / resizeRatio) squared, then S×S are cut out. */
  resizeRatio: number;
  /** Probability of a left-right mirror image. */
  flip: number;
  /** Each factor is drawn from U(max(0, 1 − v), 1 + v); 0 switches it off. */
  brightness: number;
  contrast: number;
  saturation: number;
  /** Replaces resize + crop by a random window of the picture (training only). */
  randomResizedCrop?: RandomResizedCrop;
  mean: [number, number, number];
  std: [number, number, number];
}

/**
 * How one picture becomes one S×S input. Output pixel (x, y), mirrored first if `flip`, has its centre at
 * source position (x0 + (x + ½)·scaleX, y0 + (y + ½)·scaleY) and averages the source with a triangle of
 * half-width max(1, scale) source pixels, cut at the picture's edge and renormalised (PIL's bilinear).
 * Then come the jitter operations in the order {@link JITTER_ORDERS}[order], each clamped to [0, 1].
 */
export interface ImageTransform {
  x0: number;
  y0: number;
  scaleX: number;
  scaleY: number;
  flip: boolean;
  /** Factors; 1 leaves the picture as it is. */
  brightness: number;
  contrast: number;
  saturation: number;
  /** Index into {@link JITTER_ORDERS}. */
  order: number;
}

export type JitterOp = 'brightness' | 'contrast' | 'saturation';

/** All orders of the jitter operations; index 0 is the order of an undisturbed picture. */
export const JITTER_ORDERS: readonly (readonly JitterOp[])[] = [
  ['brightness', 'contrast', 'saturation'],
  ['brightness', 'saturation', 'contrast'],
  ['contrast', 'brightness', 'saturation'],
  ['contrast', 'saturation', 'brightness'],
  ['saturation', 'brightness', 'contrast'],
  ['saturation', 'contrast', 'brightness'],
];

export const IMAGENET_MEAN: [number, number, number] = [0.485, 0.456, 0.406];
export const IMAGENET_STD: [number, number, number] = [0.229, 0.224, 0.225];

// One constant per draw keeps the draws of an image independent of each other.
enum Draw {
  CropX = 1,
  CropY,
  Flip,
  Brightness,
  Contrast,
  Saturation,
  Order,
  Window,
}

/** Refuses options that no picture could satisfy. */
export function checkAugment(options: AugmentOptions): void {
  const { imageSize, resizeRatio, flip, std } = options;
  if (!Number.isInteger(imageSize) || imageSize < 1) fail(`image size must be a whole number of pixels, got ${imageSize}`);
  if (!(resizeRatio > 0 && resizeRatio <= 1)) {
    fail(`resize ratio must lie in (0, 1], got ${resizeRatio}: above 1 the picture would be smaller than the ${imageSize}-pixel crop`);
  }
  if (!(flip >= 0 && flip <= 1)) fail(`flip is a probability between 0 and 1, got ${flip}`);
  for (const key of ['brightness', 'contrast', 'saturation'] as const) {
    if (!(options[key] >= 0)) fail(`${key} must be 0 or more, got ${options[key]}`);
  }
  if (std.some((s) => !(s > 0))) fail(`every channel's std must be above 0, got ${std.join(', ')}`);
  const window = options.randomResizedCrop;
  if (window && !(window.scaleMin > 0 && window.scaleMin <= window.scaleMax && window.ratioMin > 0 && window.ratioMin <= window.ratioMax)) {
    fail('randomResizedCrop needs 0 < scaleMin ≤ scaleMax and 0 < ratioMin ≤ ratioMax');
  }
}

/** Side of the square to which a picture is resized before the crop: int(S / ratio). */
export function resizedSide(options: Pick<AugmentOptions, 'imageSize' | 'resizeRatio'>): number {
  return Math.floor(options.imageSize / options.resizeRatio);
}

/**
 * Training augmentation of picture `index` in `epoch`; depends on nothing else than the arguments.
 * width, height: pixels of the decoded picture.
 */
export function drawTrainTransform(options: AugmentOptions, seed: number, epoch: number, index: number, width: number, height: number): ImageTransform {
  const draw = (what: Draw) => uniform(seed, epoch, index, what);
  const factor = (spread: number, what: Draw) => {
    const low = Math.max(0, 1 - spread);
    return spread === 0 ? 1 : low + (1 + spread - low) * draw(what);
  };
  const window = options.randomResizedCrop
    ? randomWindow(options.imageSize, options.randomResizedCrop, width, height, (k) => uniform(seed, epoch, index, Draw.Window, k))
    : gridWindow(options, width, height, (free, axis) => uniformInt(free + 1, seed, epoch, index, axis === 'x' ? Draw.CropX : Draw.CropY));
  return {
    ...window,
    flip: draw(Draw.Flip) < options.flip,
    brightness: factor(options.brightness, Draw.Brightness),
    contrast: factor(options.contrast, Draw.Contrast),
    saturation: factor(options.saturation, Draw.Saturation),
    order: uniformInt(JITTER_ORDERS.length, seed, epoch, index, Draw.Order),
  };
}

/** Evaluation: resize, centre crop (offset rounded half to even, as torchvision's), no jitter. */
export function evalTransform(options: AugmentOptions, width: number, height: number): ImageTransform {
  const window = gridWindow(options, width, height, (free) => roundHalfEven(free / 2));
  return { ...window, flip: false, brightness: 1, contrast: 1, saturation: 1, order: 0 };
}

/** Maps a box of the source picture to output pixels (not clipped to the output). */
export function boxToOutput(box: Box, transform: ImageTransform, imageSize: number): Box {
  const { x0, y0, scaleX, scaleY, flip } = transform;
  const left = (box.x0 - x0) / scaleX;
  const right = (box.x1 - x0) / scaleX;
  return {
    x0: flip ? imageSize - right : left,
    x1: flip ? imageSize - left : right,
    y0: (box.y0 - y0) / scaleY,
    y1: (box.y1 - y0) / scaleY,
  };
}

/** Maps a box in output pixels back to the source picture; inverse of {@link boxToOutput}. */
export function boxToSource(box: Box, transform: ImageTransform, imageSize: number): Box {
  const { x0, y0, scaleX, scaleY, flip } = transform;
  return {
    x0: x0 + (flip ? imageSize - box.x1 : box.x0) * scaleX,
    x1: x0 + (flip ? imageSize - box.x0 : box.x1) * scaleX,
    y0: y0 + box.y0 * scaleY,
    y1: y0 + box.y1 * scaleY,
  };
}

type Window = Pick<ImageTransform, 'x0' | 'y0' | 'scaleX' | 'scaleY'>;

/** Resize to a square grid, then an S×S cut at a whole offset: the same as reading the grid at that offset. */
function gridWindow(options: AugmentOptions, width: number, height: number, offset: (free: number, axis: 'x' | 'y') => number): Window {
  const side = resizedSide(options);
  const free = side - options.imageSize;
  const scaleX = width / side;
  const scaleY = height / side;
  return { x0: offset(free, 'x') * scaleX, y0: offset(free, 'y') * scaleY, scaleX, scaleY };
}

/** torchvision's RandomResizedCrop: ten tries, then the largest centred window of an allowed ratio. */
function randomWindow(size: number, limits: RandomResizedCrop, width: number, height: number, draw: (k: number) => number): Window {
  const at = (x: number, y: number, w: number, h: number) => ({ x0: x, y0: y, scaleX: w / size, scaleY: h / size });
  const logMin = Math.log(limits.ratioMin);
  const logMax = Math.log(limits.ratioMax);
  for (let attempt = 0; attempt < 10; attempt++) {
    const area = width * height * (limits.scaleMin + (limits.scaleMax - limits.scaleMin) * draw(4 * attempt));
    const ratio = Math.exp(logMin + (logMax - logMin) * draw(4 * attempt + 1));
    const w = Math.round(Math.sqrt(area * ratio));
    const h = Math.round(Math.sqrt(area / ratio));
    if (w < 1 || h < 1 || w > width || h > height) continue;
    const x = Math.floor(draw(4 * attempt + 2) * (width - w + 1));
    const y = Math.floor(draw(4 * attempt + 3) * (height - h + 1));
    return at(x, y, w, h);
  }
  const ratio = Math.min(limits.ratioMax, Math.max(limits.ratioMin, width / height));
  const w = Math.max(1, Math.min(width, Math.round(height * ratio)));
  const h = Math.max(1, Math.min(height, Math.round(width / ratio)));
  return at(Math.floor((width - w) / 2), Math.floor((height - h) / 2), w, h);
}

function roundHalfEven(value: number): number {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}
