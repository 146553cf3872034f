import source from '../../shaders/attention-mask.wgsl';
import { fail } from '../errors.js';
import { linearGrid } from '../kernels/grid.js';
import { Shader } from '../kernels/shader.js';
import { scope } from '../tensor/scope.js';
import { formatShape, numel, type Shape } from '../tensor/shape.js';
import { Tensor } from '../tensor/tensor.js';
import { checkIntegers } from './arguments.js';
import { boxReference, maskBoxReference, maskReference } from './attention-mask-reference.js';
import { literal, type OpCase, uniform } from './cases.js';
import { allocate, bytesOf, type Call, dispatch, forAdapter, gridFor, type NoAttrs, type Op, run, runsOf } from './op.js';
import type { ImageSize } from './resample.js';

const shader = new Shader('attention-mask', source);

/**
 * Whose details to follow: `GuYuc` upsamples with aligned corners, takes the threshold from the low-resolution map and
 * pads by an exact share of the image; `wvinzh` upsamples by pixel centres, takes it from the upsampled map and pads by
 * whole pixels; `listing`, of a blog's listing, is wvinzh with aligned corners for boxes (there at test time).
 */
export type MaskConvention = 'GuYuc' | 'wvinzh' | 'listing';

interface Details {
  readonly alignCorners: boolean;
  readonly thresholdOn: 'lowres' | 'upsampled';
  /** `float` cuts to whole pixels after adding the margin, `pixels` before. */
  readonly paddingMode: 'float' | 'pixels';
}

const BOX_DETAILS: Readonly<Record<MaskConvention, Details>> = {
  GuYuc: { alignCorners: true, thresholdOn: 'lowres', paddingMode: 'float' },
  wvinzh: { alignCorners: false, thresholdOn: 'upsampled', paddingMode: 'pixels' },
  listing: { alignCorners: true, thresholdOn: 'upsampled', paddingMode: 'pixels' },
};
const MASK_DETAILS: Readonly<Record<MaskConvention, Details>> = { ...BOX_DETAILS, listing: BOX_DETAILS.wvinzh };

/** All that fixes a mask or box. `theta` is null where a tensor gives one threshold per image. */
export interface MaskAttrs extends Details {
  readonly imageSize: ImageSize;
  readonly theta: number | null;
  readonly padding: number;
}

export interface AttentionMaskOptions {
  /** Height and width of the images the map belongs to. */
  readonly imageSize: ImageSize;
  /** Share of the maximum that counts as hot: a number, or a tensor [B] with one for each image. */
  readonly theta: Tensor | number;
  /** Default: `GuYuc`. */
  readonly convention?: MaskConvention;
}

export interface AttentionBoxOptions extends AttentionMaskOptions {
  /** Margin on each side as a share of the image's height and width. */
  readonly padding: number;
}

/** Rows of a mask that an invocation walks over at most. */
const RUN = { gpu: 8, software: 512 } as const;

/** What to do with a map that has no usable threshold. */
const enum Rule { Box, Dropping, Plain }

const checkMaps = (op: string, shapes: readonly Shape[], { theta, padding, imageSize }: MaskAttrs): Shape => {
  const [maps, thetas] = shapes;
  if (maps!.length !== 4 || maps![3] !== 1) fail(`${op}: maps must be [B, h, w, 1], got ${formatShape(maps!)}; choose one map per image with chooseMaps(), or average them`);
  if (thetas && (thetas.length !== 1 || thetas[0] !== maps![0])) fail(`${op}: theta must be a number or a tensor [${maps![0]}], got shape ${formatShape(thetas)}`);
  if (theta !== null && !Number.isFinite(theta)) fail(`${op}: theta must be a finite number, got ${theta}`);
  if (!(padding >= 0 && padding < Infinity)) fail(`${op}: padding must be a number of at least 0, got ${padding}`);
  checkIntegers(op, 'imageSize', imageSize, 1);
  return maps!;
};

/** Whole pixels to go towards 0 and towards the far edge: cutting `row ∓ share · size` towards zero, on integers. */
const paddingPixels = (size: number, share: number, mode: Details['paddingMode']): [number, number] =>
  mode === 'pixels' ? [Math.floor(share * size), Math.floor(share * size)] : [Math.ceil(share * size), Math.floor(share * size)];

const paramsOf = ([maps, thetas]: readonly Tensor[], attrs: MaskAttrs, rule: Rule) => {
  const { imageSize: [height, width], theta, padding, paddingMode } = attrs;
  const [batch, mapHeight, mapWidth] = maps!.shape as [number, number, number, number];
  const [nearY, farY] = paddingPixels(height, padding, paddingMode);
  const [nearX, farX] = paddingPixels(width, padding, paddingMode);
  return {
    batch, mapHeight, mapWidth, height, width, nearY, farY, nearX, farX, theta: theta ?? 0, thetaTensor: thetas ? 1 : 0,
    aligned: attrs.alignCorners ? 1 : 0, upsampled: attrs.thresholdOn === 'upsampled' ? 1 : 0, rule, ...runsOf(height, forAdapter(maps!.runtime, RUN)),
  };
};
type MaskParams = ReturnType<typeof paramsOf>;

interface Threshold {
  /** [B] pairs: threshold, and 1 where the map is usable. */
  readonly limits: Tensor;
  readonly degenerate: Tensor;
}

const findThreshold = ([maps, theta]: readonly Tensor[], params: MaskParams): Threshold => {
  const { runtime } = maps!;
  const limits = allocate(runtime, [params.batch * 2], 'thresholds');
  const degenerate = allocate(runtime, [params.batch], 'degenerate maps', 'int32');
  // Without a tensor of thresholds the maps stand in for it: the kernel needs all its bindings.
  dispatch(runtime, shader.kernel('findThreshold'), { maps: maps!, theta: theta ?? maps!, limits, degenerate }, params,
    linearGrid(Math.ceil(params.batch / 4) * 4));
  return { limits, degenerate };
};

const boxesOf = (bounds: Tensor, params: MaskParams): Tensor => {
  const result = allocate(bounds.runtime, [params.batch, 4], 'boxes');
  dispatch(bounds.runtime, shader.kernel('findBoxes'), { columnBounds: bounds, result }, params, linearGrid(params.batch));
  return result;
};

const computeBoxes = (inputs: readonly Tensor[], attrs: MaskAttrs): { boxes: Tensor; degenerate: Tensor } => {
  const [maps] = inputs as [Tensor];
  const params = paramsOf(inputs, attrs, Rule.Box);
  const { limits, degenerate } = findThreshold(inputs, params);
  const columns = params.batch * params.width;
  const bounds = allocate(maps.runtime, [columns * 2], 'column bounds');
  dispatch(maps.runtime, shader.kernel('findBounds'), { maps, threshold: limits, bounds }, params, gridFor(columns));
  return { boxes: boxesOf(bounds, params), degenerate };
};

const computeMask = (inputs: readonly Tensor[], attrs: MaskAttrs, rule: Rule): { mask: Tensor; degenerate: Tensor } => {
  const [maps] = inputs as [Tensor];
  const params = paramsOf(inputs, attrs, rule);
  const { limits, degenerate } = findThreshold(inputs, params);
  const mask = allocate(maps.runtime, [params.batch, params.height, params.width, 1], 'mask', 'bool');
  dispatch(maps.runtime, shader.kernel('findMask'), { maps, threshold: limits, result: mask }, params, gridFor(params.batch * params.width * params.runs));
  return { mask, degenerate };
};

const attrsOf = ({ imageSize, theta, convention = 'GuYuc' }: AttentionMaskOptions, details: typeof BOX_DETAILS, padding = 0): MaskAttrs =>
  ({ imageSize, theta: theta instanceof Tensor ? null : theta, padding, ...details[convention] });
const inputsOf = (maps: Tensor, { theta }: AttentionMaskOptions): Tensor[] => (theta instanceof Tensor ? [maps, theta] : [maps]);

const CONVENTIONS: readonly MaskConvention[] = ['GuYuc', 'wvinzh', 'listing'];
const SIZES: readonly (readonly [Shape, ImageSize])[] = [
  [[2, 3, 4, 1], [9, 14]], [[3, 5, 5, 1], [32, 31]], [[1, 7, 6, 1], [7, 6]], [[5, 2, 2, 1], [4, 5]],
  [[1, 40, 3, 1], [3, 70]], [[2, 1, 9, 1], [5, 2]], [[1, 3, 2, 1], [1030, 3]],
];

const casesWith = (details: Readonly<Record<MaskConvention, Details>>, padding: number): OpCase<MaskAttrs>[] => {
  const cases = CONVENTIONS.flatMap((convention) => SIZES.flatMap(([shape, imageSize]) => [true, false].map((perImage) => ({
    name: `${convention} ${shape.join('×')} on ${imageSize.join('×')}, theta ${perImage ? 'per image' : 'fixed'}`,
    shapes: perImage ? [shape, [shape[0]!]] : [shape], fill: [uniform(0, 1), uniform(0.2, 0.8)],
    attrs: { ...details[convention], imageSize, padding, theta: perImage ? null : 0.55 },
  }))));
  const degenerate = { ...cases[1]!, name: 'constant and zero maps', shapes: [[2, 2, 2, 1]], fill: [literal([0.5, 0.5, 0.5, 0.5, 0, 0, 0, 0])] };
  const layers: [Shape, ImageSize][] = [[[12, 26, 26, 1], [448, 448]], [[16, 12, 12, 1], [96, 96]]];
  return [...cases, degenerate, ...layers.map(([shape, imageSize]) => ({
    ...cases[1]!, name: `${shape.join('×')} on ${imageSize.join('×')}`, shapes: [shape], attrs: { ...cases[1]!.attrs, imageSize }, bench: true,
  }))];
};

const flopsOf = ([maps]: readonly Shape[], { imageSize: [height, width] }: MaskAttrs): number => 12 * maps![0]! * height * width;

/** The op record of the boxes; {@link attentionBox} also returns the flags. */
export const attentionBoxOp: Op<MaskAttrs> = {
  name: 'attentionBox',
  group: 'WS-DAN',
  infer: (shapes, attrs) => [checkMaps('attentionBox', shapes, attrs)[0]!, 4],
  forward: ({ inputs, attrs }) => computeBoxes(inputs, attrs).boxes,
  backward: null,
  reference: (inputs, attrs) => boxReference(inputs, attrs),
  // The upsampled map is looked at, but never stored.
  cost: (shapes, attrs, boxes) => ({ flops: flopsOf(shapes, attrs), bytes: bytesOf(...shapes, boxes) }),
  cases: casesWith(BOX_DETAILS, 0.1),
};

const maskOp = (name: string, rule: Rule): Op<MaskAttrs> => ({
  name,
  group: 'WS-DAN',
  dtype: 'bool',
  infer: (shapes, attrs) => [checkMaps(name, shapes, attrs)[0]!, ...attrs.imageSize, 1],
  forward: ({ inputs, attrs }) => computeMask(inputs, attrs, rule).mask,
  backward: null,
  reference: (inputs, attrs) => maskReference(inputs, attrs, rule === Rule.Dropping),
  cost: (shapes, attrs, mask) => ({ flops: flopsOf(shapes, attrs), bytes: bytesOf(...shapes, mask) }),
  cases: casesWith(MASK_DETAILS, 0),
});

export const dropMaskOp = maskOp('dropMask', Rule.Dropping);
export const thresholdMaskOp = maskOp('thresholdMask', Rule.Plain);

const maskBoxForward = ({ inputs, shape: [batch] }: Call<NoAttrs>): Tensor => {
  const [mask] = inputs as [Tensor];
  const { shape: [, height, width], runtime } = mask;
  // A margin of nothing before and one pixel behind makes the far edges exclusive.
  const params: MaskParams = {
    batch: batch!, mapHeight: 1, mapWidth: 1, height: height!, width: width!, nearY: 0, farY: 1, nearX: 0, farX: 1,
    theta: 0, thetaTensor: 0, aligned: 0, upsampled: 0, rule: Rule.Plain, runs: 1, run: height!,
  };
  const bounds = allocate(runtime, [batch! * width! * 2], 'column bounds');
  dispatch(runtime, shader.kernel('findMaskBounds'), { maps: mask, bounds }, params, gridFor(batch! * width!));
  return boxesOf(bounds, params);
};

const sparse = (share: number) => (random: { next(): number }, count: number): number[] => Array.from({ length: count }, () => (random.next() < share ? 1 : 0));

export const maskBoxOp: Op<NoAttrs> = {
  name: 'maskBox',
  group: 'WS-DAN',
  infer: ([mask]) => {
    if (mask!.length !== 4 || mask![3] !== 1) fail(`maskBox: the mask must be [B, H, W, 1], got ${formatShape(mask!)}`);
    return [mask![0]!, 4];
  },
  forward: maskBoxForward,
  backward: null,
  reference: ([mask]) => maskBoxReference(mask!),
  cost: ([mask]) => ({ flops: 0, bytes: 16 * numel(mask!) }),
  cases: [
    { name: 'few pixels', shapes: [[3, 9, 7, 1]], attrs: {}, fill: [sparse(0.05)] },
    { name: 'many pixels', shapes: [[2, 70, 5, 1]], attrs: {}, fill: [sparse(0.5)] },
    { name: 'no pixel: the whole image', shapes: [[2, 4, 3, 1]], attrs: {}, fill: [sparse(0)] },
    { name: 'one pixel', shapes: [[1, 1, 1, 1]], attrs: {}, fill: [sparse(1)] },
  ],
};

/**
 * Bounding boxes of where each map [B, h, w, 1], upsampled to the images' size, reaches `theta` of its maximum, with a
 * margin and clamped to the image: [B, 4] as y0, x0, y1, x1 in pixels, far edges exclusive. Computed without read-back.
 * A map that is constant, holds a NaN or infinity, or stays below its threshold gives the whole image and a 1 in
 * `degenerate` (int32 [B]). WS-DAN's attention cropping; no gradient.
 */
export const attentionBox = (maps: Tensor, options: AttentionBoxOptions): { boxes: Tensor; degenerate: Tensor } => {
  const attrs = attrsOf(options, BOX_DETAILS, options.padding);
  const inputs = inputsOf(maps, options);
  checkMaps('attentionBox', inputs.map((t) => t.shape), attrs);
  return scope(() => computeBoxes(inputs, attrs));
};

/**
 * 0 where the upsampled map reaches `theta` of its maximum, 1 elsewhere: [B, H, W, 1]. WS-DAN's attention dropping.
 * A map that is constant or not finite, or would drop every pixel, keeps all of them and sets `degenerate` (int32 [B]).
 */
export const dropMask = (maps: Tensor, options: AttentionMaskOptions): { mask: Tensor; degenerate: Tensor } => {
  const attrs = attrsOf(options, MASK_DETAILS);
  const inputs = inputsOf(maps, options);
  checkMaps('dropMask', inputs.map((t) => t.shape), attrs);
  return scope(() => computeMask(inputs, attrs, Rule.Dropping));
};

/** 1 where the upsampled map reaches `theta` of its maximum, 0 elsewhere (everywhere, if the map is not finite): [B, H, W, 1]. */
export const thresholdMask = (maps: Tensor, options: AttentionMaskOptions): Tensor =>
  run(thresholdMaskOp, inputsOf(maps, options), attrsOf(options, MASK_DETAILS));

/** Bounding box of the non-zero pixels of masks [B, H, W, 1]: [B, 4] as y0, x0, y1, x1, far edges exclusive; the whole image for an empty mask. */
export const maskBox = (mask: Tensor): Tensor => run(maskBoxOp, [mask], {});
