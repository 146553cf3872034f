import source from '../../shaders/pool2d.wgsl';
import { fail } from '../errors.js';
import { Shader } from '../kernels/shader.js';
import { formatShape, numel, quadCount, quadsPerRow, rowWidth, type Shape } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { checkIntegers, checkNames, given, type Pair, pair } from './arguments.js';
import { closeBy, distinct, type OpCase } from './cases.js';
import { convert } from './convert.js';
import { type Nd, nd } from './nd.js';
import { allocate, type BackwardCall, bytesOf, type Call, dispatch, floatOf, gridFor, type Op, run } from './op.js';
import { averagedWindows, isSmallWindow, maximalWindows, passedToMaxima, spreadWindows, type Window } from './pool2d-window.js';
import { mean } from './reduce.js';
import { checkAxes } from './resample.js';
import { reshape } from './reshape.js';

const shader = new Shader('pool2d', source);

/** PyTorch's words and defaults. */
export interface Pool2dOptions {
  readonly kernelSize: number | Pair;
  /** Default: the kernel size. */
  readonly stride?: number | Pair;
  readonly padding?: number | Pair;
  /** Also windows that begin inside the image but end beyond its padding. */
  readonly ceilMode?: boolean;
}

interface Adaptive {
  readonly output: readonly [number, number];
}

type Attrs = Window | Adaptive;

const OPTIONS: readonly (keyof Pool2dOptions)[] = ['kernelSize', 'stride', 'padding', 'ceilMode'];

const AXES = ['height', 'width'] as const;

const checkImage = (op: string, shape: Shape): void => {
  if (shape.length !== 4) fail(`${op}: expects images [n, height, width, channels], got ${formatShape(shape)}`);
};

/** Windows along one axis, by PyTorch's rule. */
const windowsAlong = (op: string, shape: Shape, window: Window, axis: 0 | 1): number => {
  const [size, k, s, p] = [shape[axis + 1]!, window.kernel[axis], window.stride[axis], window.padding[axis]];
  if (![k, s].every((v) => Number.isInteger(v) && v > 0)) fail(`${op}: kernelSize ${k} and stride ${s} must be integers of at least 1 (${AXES[axis]})`);
  if (!Number.isInteger(p) || p < 0 || p > k / 2) fail(`${op}: padding ${p} must be between 0 and half of kernelSize ${k} (${AXES[axis]})`);
  if (size + 2 * p < k) fail(`${op}: kernelSize ${k} is larger than the padded ${AXES[axis]} ${size + 2 * p} of ${formatShape(shape)}; use a smaller kernel or more padding`);
  const steps = (size + 2 * p - k) / s;
  if (!window.ceilMode) return Math.floor(steps) + 1;
  const count = Math.ceil(steps) + 1;
  // The last window must begin inside the image or its left padding.
  return (count - 1) * s >= size + p ? count - 1 : count;
};

const inferWindow = (op: string) => ([shape]: readonly Shape[], window: Window): Shape => {
  checkImage(op, shape!);
  return [shape![0]!, windowsAlong(op, shape!, window, 0), windowsAlong(op, shape!, window, 1), shape![3]!];
};

const inferAdaptive = (op: string) => ([shape]: readonly Shape[], { output }: Adaptive): Shape => {
  checkImage(op, shape!);
  checkIntegers(op, 'output size', output, 1);
  checkAxes(op, [shape![1]!, shape![2]!], output);
  return [shape![0]!, ...output, shape![3]!];
};

/** vec4f of a pixel that one invocation handles: a divisor of their number. */
const perInvocation = (shape: Shape): number => [4, 2, 1].find((per) => quadsPerRow(shape) % per === 0)!;

const paramsOf = (from: Shape, to: Shape, attrs: Attrs, written: Shape) => {
  const window = 'kernel' in attrs ? attrs : { kernel: [1, 1], stride: [1, 1], padding: [0, 0], countIncludePad: false };
  return {
    items: quadCount(written) / perInvocation(from), quads: quadsPerRow(from), width: rowWidth(from), h: from[1]!, w: from[2]!, oh: to[1]!, ow: to[2]!,
    kh: window.kernel[0]!, kw: window.kernel[1]!, sh: window.stride[0]!, sw: window.stride[1]!, ph: window.padding[0]!, pw: window.padding[1]!,
    countIncludePad: window.countIncludePad ? 1 : 0,
  };
};

const constants = (attrs: Attrs, shape: Shape) => ({ ADAPTIVE: 'output' in attrs ? 1 : 0, PER: perInvocation(shape) });

const maxForward = ({ runtime, inputs: [x], attrs, shape }: Call<Attrs>) => {
  // Positions are only read by backward; without a gradient they would cost half of the writes for nothing.
  const indexed = x!.requiresGrad;
  if (isSmallWindow(attrs)) return maximalWindows(x!, shape, attrs, indexed);
  const y = allocate(runtime, shape, 'maxPool2d', floatOf(x!));
  const params = paramsOf(x!.shape, shape, attrs, shape);
  if (!indexed) {
    dispatch(runtime, shader.kernel('maxForward', constants(attrs, shape)), { x: x!, y }, params, gridFor(params.items));
    return y;
  }
  const indices = allocate(runtime, shape, 'maxPool2d indices', 'int32');
  dispatch(runtime, shader.kernel('maxForwardIndexed', constants(attrs, shape)), { x: x!, y, indices }, params, gridFor(params.items));
  return { output: y, saved: { indices } };
};

const maxBackward = ({ runtime, grad, attrs, saved, shapes: [from], shape }: BackwardCall<Attrs>) => {
  if (isSmallWindow(attrs)) return [passedToMaxima(grad, saved.taps!, from!, attrs)];
  const result = allocate(runtime, from!, 'maxPool2d gradient', floatOf(grad));
  const params = paramsOf(from!, shape, attrs, from!);
  dispatch(runtime, shader.kernel('maxBackward', constants(attrs, shape)), { gradient: grad, winners: saved.indices!, result }, params, gridFor(params.items));
  return [result];
};

const averageForward = ({ runtime, inputs: [x], attrs, shape }: Call<Attrs>) => {
  if (isSmallWindow(attrs)) return averagedWindows(x!, shape, attrs);
  const y = allocate(runtime, shape, 'avgPool2d', floatOf(x!));
  const params = paramsOf(x!.shape, shape, attrs, shape);
  dispatch(runtime, shader.kernel('averageForward', constants(attrs, shape)), { x: x!, y }, params, gridFor(params.items));
  return y;
};

const averageBackward = ({ runtime, grad, attrs, shapes: [from], shape }: BackwardCall<Attrs>) => {
  if (isSmallWindow(attrs)) return [spreadWindows(grad, from!, attrs)];
  const result = allocate(runtime, from!, 'avgPool2d gradient', floatOf(grad));
  const params = paramsOf(from!, shape, attrs, from!);
  dispatch(runtime, shader.kernel('averageBackward', constants(attrs, shape)), { gradient: grad, result }, params, gridFor(params.items));
  return [result];
};

/** Parts that divide an image evenly are windows side by side. */
const asWindows = ([, h, w]: Shape, parts: Adaptive): Attrs => {
  const [oh, ow] = parts.output;
  if (h! % oh !== 0 || w! % ow !== 0) return parts;
  const size = [h! / oh, w! / ow] as const;
  return { kernel: size, stride: size, padding: [0, 0], ceilMode: false, countIncludePad: false };
};

/** Adaptive pooling by what pools windows. */
const adaptive = <F, B>(forward: (call: Call<Attrs>) => F, backward: (call: BackwardCall<Attrs>) => B) => ({
  forward: (call: Call<Adaptive>): F => forward({ ...call, attrs: asWindows(call.inputs[0]!.shape, call.attrs) }),
  backward: (call: BackwardCall<Adaptive>): B => backward({ ...call, attrs: asWindows(call.shapes[0]!, call.attrs) }),
});

const adaptiveAverage = adaptive(averageForward, averageBackward);
const isWhole = ({ output: [oh, ow] }: Adaptive): boolean => oh === 1 && ow === 1;

interface Span {
  /** Positions of one axis inside the image, and the window's length as it counts with padding. */
  readonly inside: readonly number[];
  readonly length: number;
}

/** The positions that a window covers, found by walking over it. */
const spanOf = (attrs: Attrs, axis: 0 | 1, o: number, size: number): Span => {
  if ('output' in attrs) {
    const inside: number[] = [];
    for (let i = Math.floor((o * size) / attrs.output[axis]); i < Math.ceil(((o + 1) * size) / attrs.output[axis]); i++) inside.push(i);
    return { inside, length: inside.length };
  }
  const inside: number[] = [];
  let length = 0;
  for (let k = 0; k < attrs.kernel[axis]; k++) {
    const i = o * attrs.stride[axis] - attrs.padding[axis] + k;
    if (i < size + attrs.padding[axis]) length++;
    if (i >= 0 && i < size) inside.push(i);
  }
  return { inside, length };
};

const reference = (infer: (shapes: readonly Shape[], attrs: never) => Shape, kind: 'max' | 'average') => ([x]: readonly Nd[], attrs: Attrs): Nd => {
  const out = nd(infer([x!.shape], attrs as never));
  const [n, h, w, c] = x!.shape as [number, number, number, number];
  const [, oh, ow] = out.shape as [number, number, number];
  const columns = Array.from({ length: ow }, (_, o) => spanOf(attrs, 1, o, w));
  let at = 0;
  for (let image = 0; image < n; image++) {
    for (let r = 0; r < oh; r++) {
      const rows = spanOf(attrs, 0, r, h);
      for (const column of columns) {
        const padded = 'kernel' in attrs && attrs.countIncludePad;
        const area = padded ? rows.length * column.length : rows.inside.length * column.inside.length;
        for (let channel = 0; channel < c; channel++) {
          let [sum, best] = [0, -Infinity];
          for (const i of rows.inside) {
            for (const j of column.inside) {
              const v = x!.data[((image * h + i) * w + j) * c + channel]!;
              sum += v;
              best = Math.max(best, v);
            }
          }
          out.data[at++] = kind === 'max' ? best : sum / area;
        }
      }
    }
  }
  return out;
};

/** Mean length of the parts into which an axis is cut; neighbours overlap where they do not divide it. */
const meanPart = (size: number, parts: number): number =>
  Array.from({ length: parts }, (_, i) => Math.ceil(((i + 1) * size) / parts) - Math.floor((i * size) / parts)).reduce((a, b) => a + b, 0) / parts;

const cost: Op<Attrs>['cost'] = ([shape], attrs, out) => {
  const taps = 'kernel' in attrs ? attrs.kernel[0] * attrs.kernel[1] : meanPart(shape![1]!, out[1]!) * meanPart(shape![2]!, out[2]!);
  return { flops: numel(out) * taps, bytes: bytesOf(shape!, out) };
};

const windowOf = (options: Pool2dOptions & { readonly countIncludePad?: boolean }): Window => {
  const { kernelSize, stride = kernelSize, padding = 0, ceilMode = false, countIncludePad = true } = given('pooling', options, 'kernelSize');
  return { kernel: pair('pooling', 'kernelSize', kernelSize), stride: pair('pooling', 'stride', stride), padding: pair('pooling', 'padding', padding), ceilMode, countIncludePad };
};

const windowRows: readonly (readonly [string, Shape, Pool2dOptions])[] = [
  ['2×2', [2, 4, 6, 15], { kernelSize: 2 }],
  ['3×3 stride 2 padding 1', [1, 7, 5, 5], { kernelSize: 3, stride: 2, padding: 1 }],
  ['overlapping, ceil', [2, 6, 7, 2], { kernelSize: 3, stride: 2, ceilMode: true }],
  ['ceil with padding, last window beyond', [1, 5, 4, 4], { kernelSize: 2, stride: 2, padding: 1, ceilMode: true }],
  ['uneven kernel', [1, 5, 9, 7], { kernelSize: [1, 3], stride: [2, 1], padding: [0, 1] }],
  ['stride beyond kernel', [2, 8, 7, 1], { kernelSize: 2, stride: 3 }],
  ['one pixel', [1, 1, 1, 3], { kernelSize: 1 }],
  ['many channels', [2, 9, 8, 33], { kernelSize: 3, stride: 1, padding: 1 }],
  ['tall image', [2, 71, 5, 3], { kernelSize: [3, 2], stride: [2, 1], padding: 1 }],
  ['large window', [1, 9, 11, 6], { kernelSize: 5, stride: 2, padding: 2 }],
  ['large window, ceil', [1, 9, 8, 3], { kernelSize: 5, stride: 3, padding: 2, ceilMode: true }],
];

const windowCases = (max: boolean): OpCase<Window>[] => {
  const fill = max ? { fill: [distinct()] } : {};
  const rows = windowRows.map(([name, shape, options]) => ({ name, shapes: [shape], attrs: windowOf(options), ...fill }));
  if (max) {
    const stems: readonly Shape[] = [[1, 221, 221, 64], [1, 108, 108, 192], [2, 53, 53, 288]];
    return [...rows, ...stems.map((shape) => ({ ...bench(`${shape.join('×')} 3×3/2`, shape, windowOf({ kernelSize: 3, stride: 2 })), fill: [closeBy(shape)] }))];
  }
  const branches: readonly Shape[] = [[2, 53, 53, 288], [2, 26, 26, 768]];
  const padded = windowRows.filter(([, , o]) => o.padding).map(([name, shape, options]) => ({ name: `${name}, padding not counted`, shapes: [shape], attrs: windowOf({ ...options, countIncludePad: false }) }));
  return [...rows, ...padded, ...branches.map((shape) => bench(`${shape.join('×')} 3×3, padded`, shape, windowOf({ kernelSize: 3, stride: 1, padding: 1 })))];
};

const bench = <A>(name: string, shape: Shape, attrs: A): OpCase<A> => ({ name, shapes: [shape], attrs, bench: true });

const adaptiveCases = (max: boolean): OpCase<Adaptive>[] => {
  const rows: [string, Shape, [number, number]][] = [
    ['even parts', [2, 4, 6, 15], [2, 3]], ['ragged parts', [1, 7, 5, 5], [3, 2]], ['to 1×1', [2, 5, 3, 6], [1, 1]], ['large, to 1×1', [2, 31, 33, 6], [1, 1]],
    ['to more pixels', [1, 2, 3, 2], [5, 4]], ['size 1', [1, 1, 1, 1], [1, 1]], ['many channels', [2, 9, 8, 33], [4, 5]],
  ];
  return [
    ...rows.map(([name, shape, output]) => ({ name, shapes: [shape], attrs: { output }, ...(max ? { fill: [distinct()] } : {}) })),
    // 2050 × 2048 pixels are 65,600 workgroups of 64.
    ...(max ? [] : [{ name: 'over 65,535 workgroups', shapes: [[1, 2, 2, 1]], attrs: { output: [2050, 2048] as const }, gradient: 'none' as const }]),
    { ...bench('2×14×14×2048 to 7²', [2, 14, 14, 2048], { output: [7, 7] as const }), ...(max ? { fill: [closeBy([2, 14, 14, 2048])] } : {}) },
  ];
};

export const maxPool2dOp: Op<Window> = {
  name: 'maxPool2d', group: 'Pooling', precision: 'any', infer: inferWindow('maxPool2d'), forward: maxForward, backward: maxBackward,
  reference: reference(inferWindow('maxPool2d'), 'max'), cost, cases: windowCases(true),
};
export const avgPool2dOp: Op<Window> = {
  name: 'avgPool2d', group: 'Pooling', precision: 'any', infer: inferWindow('avgPool2d'), forward: averageForward, backward: averageBackward,
  reference: reference(inferWindow('avgPool2d'), 'average'), cost, cases: windowCases(false),
};
export const adaptiveMaxPool2dOp: Op<Adaptive> = {
  name: 'adaptiveMaxPool2d', group: 'Pooling', precision: 'any', infer: inferAdaptive('adaptiveMaxPool2d'), ...adaptive(maxForward, maxBackward),
  reference: reference(inferAdaptive('adaptiveMaxPool2d'), 'max'), cost, cases: adaptiveCases(true),
};
export const adaptiveAvgPool2dOp: Op<Adaptive> = {
  name: 'adaptiveAvgPool2d', group: 'Pooling', precision: 'any', infer: inferAdaptive('adaptiveAvgPool2d'), ...adaptiveAverage,
  // Over a whole image it is a reduction, whose sums are shared out and keep their digits.
  forward: (call) => (isWhole(call.attrs) ? convert(mean(call.inputs[0]!, [1, 2], true), floatOf(call.inputs[0]!)) : adaptiveAverage.forward(call)),
  reference: reference(inferAdaptive('adaptiveAvgPool2d'), 'average'), cost, cases: adaptiveCases(false),
};

/**
 * Maximum over windows of images [n, h, w, c]. Of equal maxima the first in row-major order takes the
 * gradient; a NaN wins over numbers (both as in PyTorch). Padding never wins.
 *
 * @throws UserError when a window does not fit, or the padding is more than half of the kernel
 */
export const maxPool2d = (x: Tensor, options: Pool2dOptions): Tensor => {
  const window = windowOf(options);
  checkNames('maxPool2d', options, OPTIONS);
  return run(maxPool2dOp, [x], window);
};

/**
 * Mean over windows of images [n, h, w, c]. With `countIncludePad` (default, as in PyTorch) zeros of the
 * padding count in the divisor.
 */
export const avgPool2d = (x: Tensor, options: Pool2dOptions & { readonly countIncludePad?: boolean }): Tensor => {
  const window = windowOf(options);
  checkNames('avgPool2d', options, [...OPTIONS, 'countIncludePad']);
  return run(avgPool2dOp, [x], window);
};

/** Mean over oh × ow parts of each image; neighbouring parts overlap where sizes do not divide (PyTorch's rule). */
export const adaptiveAvgPool2d = (x: Tensor, output: number | Pair): Tensor => run(adaptiveAvgPool2dOp, [x], { output: pair('adaptiveAvgPool2d', 'the output size', output) });

/** Maximum over oh × ow parts of each image; ties as in {@link maxPool2d}. */
export const adaptiveMaxPool2d = (x: Tensor, output: number | Pair): Tensor => run(adaptiveMaxPool2dOp, [x], { output: pair('adaptiveMaxPool2d', 'the output size', output) });

/** Mean over all pixels: [n, h, w, c] becomes [n, c], float32 as all reductions. */
export const globalAvgPool2d = (x: Tensor): Tensor => {
  checkImage('globalAvgPool2d', x.shape);
  return reshape(mean(x, [1, 2]), [x.shape[0]!, x.shape[3]!]);
};
