/** Pooling over small windows: the common ones, compiled for their size and stride. */
import source from '../../shaders/pool2d-window.wgsl';
import { Shader } from '../kernels/shader.js';
import { quadCount, quadsPerRow, type Shape } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { readsImages } from './gemm-tiling.js';
import { allocate, dispatch, floatOf, forAdapter, gridFor, runsOf } from './op.js';

/** By what x is read from. */
const shaders = {
  buffer: new Shader('pool2d-window', source, { x: 'x-buffer' }),
  image: new Shader('pool2d-window image', source, { x: 'x-image' }),
};

export interface Window {
  readonly kernel: readonly [number, number];
  readonly stride: readonly [number, number];
  readonly padding: readonly [number, number];
  readonly ceilMode: boolean;
  readonly countIncludePad: boolean;
}

/** A window's column is kept for as many next windows as overlap it; larger windows would make long kernels. */
const LARGEST = 3;
/** Columns that an invocation walks along at most; where one ends, the next reads again what their windows share. */
const RUN = { gpu: 8, software: 128 } as const;
/** Copying more than this to an image takes longer than it saves. */
const MOST_IMAGE_BYTES = 8 * 2 ** 20;

export const isSmallWindow = (attrs: Window | { readonly output: unknown }): attrs is Window =>
  'kernel' in attrs && attrs.kernel.every((size, axis) => size <= LARGEST && attrs.stride[axis]! <= size);

type Entry = 'maxForward' | 'backward' | 'average';

/** Whether x is read from an image: that pays where windows overlap, on most processors. Backward mostly writes. */
const readsImage = (entry: Entry, { kernel, stride }: Window, x: Tensor): boolean =>
  x.runtime.gemm.images === 'all' && entry !== 'backward' && kernel.some((size, axis) => size > stride[axis]!) && x.range.bytes <= MOST_IMAGE_BYTES && readsImages(x.runtime, x);

/**
 * Lines that an invocation handles: neighbouring windows share what they read, but drivers on CPUs lose more by long kernels, which
 * outgrow the instruction cache. Reading images takes fewer instructions.
 */
const linesOf = (entry: Entry, { stride }: Window, fromImage: boolean): number => {
  if (entry === 'average' && stride[0] === 1) return 3;
  return fromImage ? 2 : 1;
};

interface Grid {
  /** What is read, and what is written. */
  readonly from: Shape;
  readonly to: Shape;
  readonly padding: Window['padding'];
  /** Rows and columns that invocations walk over. */
  readonly rows: number;
  readonly columns: number;
}

type Operands = Readonly<Record<string, Tensor>> & { readonly x: Tensor };

const launch = (entry: Entry, window: Window, tensors: Operands, grid: Grid, overrides: Record<string, number>): void => {
  const { runtime } = tensors.x;
  const { kernel: [KH, KW], stride: [SH, SW], countIncludePad } = window;
  const fromImage = readsImage(entry, window, tensors.x);
  const across = linesOf(entry, window, fromImage);
  const [DOWN, ALONG] = [Math.ceil(KH / SH), Math.ceil(KW / SW)];
  const { from, to, padding: [ph, pw], rows, columns } = grid;
  const { runs, run } = runsOf(columns, forAdapter(runtime, RUN));
  const blocks = Math.ceil(rows / across);
  const quads = quadsPerRow(from);
  const items = from[0]! * runs * blocks * quads;
  dispatch(runtime, shaders[fromImage ? 'image' : 'buffer'].kernel(entry, {
    KH, KW, SH, SW, KEPT: KW - SW, WARM: Math.ceil((KW - SW) / SW), ACROSS: across, LINES: (across - 1) * SH + KH, DOWN, ALONG,
    WINDOWS: across + DOWN - 1, ...overrides,
  }), tensors, {
    items, quads, blocks, runs, run, h: from[1]!, w: from[2]!, oh: to[1]!, ow: to[2]!, ph, pw, countIncludePad: countIncludePad ? 1 : 0,
  }, gridFor(items));
};

/** Maxima, and, for backward, which place of its window each stood at: a byte for each channel. */
export const maximalWindows = (x: Tensor, shape: Shape, window: Window, indexed: boolean): Tensor | { output: Tensor; saved: { taps: Tensor } } => {
  const { runtime } = x;
  const y = allocate(runtime, shape, 'maxPool2d', floatOf(x));
  // The kernel needs the binding where it writes nothing to it, too.
  const taps = allocate(runtime, [indexed ? quadCount(shape) : 1], 'maxPool2d taps', 'uint32');
  launch('maxForward', window, { x, y, taps }, { from: x.shape, to: shape, padding: window.padding, rows: shape[1]!, columns: shape[2]! }, { INDEXED: indexed ? 1 : 0 });
  return indexed ? { output: y, saved: { taps } } : y;
};

const launchBackward = (x: Tensor, winners: Tensor, y: Tensor, window: Window, toMaxima: boolean): void => {
  const [rows, columns] = [0, 1].map((axis) => Math.ceil((y.shape[axis + 1]! + window.padding[axis]!) / window.stride[axis]!)) as [number, number];
  launch('backward', window, { x, winners, y }, { from: x.shape, to: y.shape, padding: window.padding, rows, columns }, { TO_MAXIMA: toMaxima ? 1 : 0 });
};

/** The gradient of {@link maximalWindows}. */
export const passedToMaxima = (grad: Tensor, taps: Tensor, shape: Shape, window: Window): Tensor => {
  const y = allocate(grad.runtime, shape, 'maxPool2d gradient', floatOf(grad));
  launchBackward(grad, taps, y, window, true);
  return y;
};

export const averagedWindows = (x: Tensor, shape: Shape, window: Window): Tensor => {
  const y = allocate(x.runtime, shape, 'avgPool2d', floatOf(x));
  launch('average', window, { x, y }, { from: x.shape, to: shape, padding: window.padding, rows: shape[1]!, columns: shape[2]! }, { GRADIENT: 0 });
  return y;
};

/** The gradient of {@link averagedWindows}. */
export const spreadWindows = (grad: Tensor, shape: Shape, window: Window): Tensor => {
  const y = allocate(grad.runtime, shape, 'avgPool2d gradient', floatOf(grad));
  if (window.stride.some((step) => step > 1)) {
    // The kernel needs a binding for the winners, which it does not read.
    const none = allocate(grad.runtime, [1], 'no taps', 'uint32');
    launchBackward(grad, none, y, window, false);
    return y;
  }
  const padding = [0, 1].map((axis) => window.kernel[axis]! - 1 - window.padding[axis]!) as [number, number];
  launch('average', window, { x: grad, y }, { from: grad.shape, to: shape, padding, rows: shape[1]!, columns: shape[2]! }, { GRADIENT: 1 });
  return y;
};
