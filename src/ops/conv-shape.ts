import { fail } from '../errors.js';
import { formatShape, quadsPerRow, sameShape, type Shape } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { checkChoice, checkIntegers, checkTensor, type Pair, pair } from './arguments.js';

export interface ConvAttrs {
  readonly stride: Pair;
  readonly padding: Pair;
  readonly dilation: Pair;
  readonly groups: number;
  /** Applied in the same pass; default none. */
  readonly activation?: 'none' | 'relu';
}

/** What callers of convolutions may say. */
export interface ConvOptions {
  stride?: number | Pair;
  padding?: number | Pair;
  dilation?: number | Pair;
  groups?: number;
  /** `relu` applies max(·, 0) in the same pass. */
  activation?: 'none' | 'relu';
}

/** The options with PyTorch's defaults, and for both axes. */
export const convAttrs = (op: string, { stride = 1, padding = 0, dilation = 1, groups = 1, activation = 'none' }: ConvOptions): ConvAttrs =>
  ({ stride: pair(op, 'stride', stride), padding: pair(op, 'padding', padding), dilation: pair(op, 'dilation', dilation), groups, activation });

/** How the window moves over x, by the names of shaders/conv2d.wgsl and conv-patches.wgsl. */
export const windowParams = (x: Shape, w: Shape, y: Shape, { stride, padding, dilation }: ConvAttrs) => ({
  inH: x[1]!, inW: x[2]!, outH: y[1]!, outW: y[2]!, kernelH: w[0]!, kernelW: w[1]!, strideY: stride[0], strideX: stride[1],
  padY: padding[0], padX: padding[1], dilationY: dilation[0], dilationX: dilation[1], inStride: quadsPerRow(x) * 4,
});

/** Pixels along one axis after a window has moved over it. */
export const windowCount = (size: number, kernel: number, stride: number, padding: number, dilation = 1): number =>
  Math.floor((size + 2 * padding - dilation * (kernel - 1) - 1) / stride) + 1;

const checkAttrs = ({ stride, padding, dilation, groups, activation = 'none' }: ConvAttrs): void => {
  checkIntegers('conv2d', 'stride', stride, 1);
  checkIntegers('conv2d', 'padding', padding, 0);
  checkIntegers('conv2d', 'dilation', dilation, 1);
  checkIntegers('conv2d', 'groups', [groups], 1);
  checkChoice('conv2d', 'activation', activation, ['none', 'relu']);
};

/** Refuses a bias that is no line and a residual that is no image: the ops tell the two apart by that. */
export const checkAdded = (op: string, bias: Tensor | null | undefined, residual: Tensor | null | undefined): void => {
  if (bias) checkTensor(op, bias, 2);
  if (residual) checkTensor(op, residual, 3);
  if (bias && bias.rank !== 1) fail(`${op}: bias ${formatShape(bias.shape)} must have one dimension, the output channels`);
  if (residual && residual.rank !== 4) fail(`${op}: the residual ${formatShape(residual.shape)} must have the shape of the result, [N, H, W, C]`);
};

const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b));

/** With a stride, only every so many taps reach the same pixel of the input. */
export const tapsBetween = (stride: number, dilation: number): number => stride / gcd(dilation, stride);

/** Output shape [N, OH, OW, Cout] of a convolution of x [N, H, W, Cin] with w [KH, KW, Cin / groups, Cout]. */
export const convShape = (
  x: Shape, w: Shape, a: ConvAttrs, { bias, residual }: { readonly bias?: Shape | undefined; readonly residual?: Shape | undefined } = {},
): Shape => {
  const what = `conv2d: input ${formatShape(x)} (N, H, W, C) and weight ${formatShape(w)} (KH, KW, C / groups, out), groups=${a.groups}`;
  if (x.length !== 4 || w.length !== 4) fail(`${what}: both need four dimensions`);
  checkAttrs(a);
  if (x[3]! % a.groups !== 0 || w[3]! % a.groups !== 0) fail(`${what}: ${x[3]} input and ${w[3]} output channels must both be multiples of groups`);
  if (w[2]! * a.groups !== x[3]) fail(`${what}: the input has ${x[3]} channels, but the weight expects ${w[2]! * a.groups}`);
  if (bias && (bias.length !== 1 || bias[0] !== w[3])) fail(`${what}: bias ${formatShape(bias)} must be [${w[3]}]`);
  const out = ([1, 2] as const).map((axis) => windowCount(x[axis]!, w[axis - 1]!, a.stride[axis - 1]!, a.padding[axis - 1]!, a.dilation[axis - 1]!));
  if (out.some((size) => size < 1)) fail(`${what}: the padded input is smaller than the kernel; increase the image size or the padding`);
  const shape = [x[0]!, out[0]!, out[1]!, w[3]!];
  if (residual && !sameShape(residual, shape)) fail(`${what}: the residual ${formatShape(residual)} must have the shape of the result, ${formatShape(shape)}`);
  return shape;
};
