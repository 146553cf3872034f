import source from '../../shaders/conv2d.wgsl';
import { Shader } from '../kernels/shader.js';
import { numel, quadCount, quadsPerRow, type Shape } from '../tensor/shape.js';
import { type DType, Tensor } from '../tensor/tensor.js';
import { patchesForward, patchesGradInput, patchesGradWeight, suitsPatches } from './conv-patches.js';
import { checkNames } from './arguments.js';
import { convert } from './convert.js';
import { checkAdded, type ConvAttrs, convAttrs, type ConvOptions, convShape, tapsBetween, windowParams } from './conv-shape.js';
import { convCases } from './conv2d-cases.js';
import type { Epilogue } from './epilogue.js';
import { type Extents, gemmRows, gemmWeights, type Geometry } from './gemm.js';
import { heldTilingOf } from './gemm-held.js';
import { nd, type Nd } from './nd.js';
import { allocate, bytesOf, dispatch, floatOf, gridFor, type Op, run } from './op.js';
import { add } from './binary.js';
import { sumInto } from './reduce.js';
import { relu, reluGradient } from './unary.js';
import { suitsWinograd, winograd, winogradGradWeight } from './winograd.js';

const shader = new Shader('conv2d', source);

/** Groups of whole vec4f (and no groups at all) go through the GEMM family. */
const isDense = (w: Shape, { groups }: ConvAttrs): boolean => groups === 1 || (w[2]! % 4 === 0 && (w[3]! / groups) % 4 === 0);

/** Behind x and w come a bias [Cout] and a residual [N, OH, OW, Cout], if any. */
const operandsOf = <T extends { readonly shape: Shape }>([, , ...rest]: readonly T[]): { readonly bias: T | null; readonly residual: T | null } =>
  ({ bias: rest.find(({ shape }) => shape.length === 1) ?? null, residual: rest.find(({ shape }) => shape.length === 4) ?? null });

const forwardGeometry = (x: Shape, w: Shape, y: Shape, a: ConvAttrs): Geometry => ({
  rows: y[0]! * y[1]! * y[2]!, out: [y[1]!, y[2]!], source: [x[1]!, x[2]!], kernel: [w[0]!, w[1]!],
  mul: a.stride, offset: [-a.padding[0], -a.padding[1]], step: a.dilation,
});

const extentsOf = (x: Shape, w: Shape, y: Shape, { groups }: ConvAttrs): Extents => {
  const [groupIn, groupOut] = [w[2]!, w[3]! / groups];
  return {
    depth: groupIn, width: groupOut, xPitch: quadsPerRow(x), wPitch: quadsPerRow(w), wTap: groupIn * quadsPerRow(w), yPitch: quadsPerRow(y),
    batches: groups, xBatch: Math.ceil(groupIn / 4), wBatch: Math.ceil(groupOut / 4), yBatch: Math.ceil(groupOut / 4),
  };
};

const plainParams = (x: Shape, w: Shape, y: Shape, a: ConvAttrs) => ({
  ...windowParams(x, w, y, a), images: x[0]!, groups: a.groups, groupIn: w[2]!, groupOut: w[3]! / a.groups, outStride: quadsPerRow(y) * 4,
});

/** Along one axis: the input pixels of a phase, and the taps that reach them. */
interface Phase {
  readonly first: number;
  readonly pixels: number;
  readonly firstTap: number;
  readonly taps: number;
  readonly everyTap: number;
  readonly offset: number;
  readonly step: number;
}

/**
 * With stride s, input pixel first + s·j gets gradient from the taps r with first + padding − r·dilation divisible by s,
 * and from output pixel j + offset + k·step for the k-th of them.
 */
const phasesOf = (size: number, kernel: number, stride: number, padding: number, dilation: number): Phase[] =>
  Array.from({ length: Math.min(stride, size) }, (_, first) => {
    const everyTap = tapsBetween(stride, dilation);
    const reaches = Array.from({ length: Math.min(everyTap, kernel) }, (_, r) => r).find((r) => (first + padding - r * dilation) % stride === 0);
    const firstTap = reaches ?? 0;
    return {
      first, pixels: Math.ceil((size - first) / stride), firstTap, everyTap, taps: reaches === undefined ? 0 : Math.ceil((kernel - firstTap) / everyTap),
      offset: reaches === undefined ? 0 : (first + padding - firstTap * dilation) / stride, step: (-everyTap * dilation) / stride,
    };
  });

/** One matrix product per phase of the stride; a single one without stride. Those that no tap reaches have kernels of no taps. */
const inputGradientPhases = (x: Shape, w: Shape, y: Shape, a: ConvAttrs): Geometry[] => {
  // The usual case in short: it is met dozens of times a step.
  if (a.stride[0] === 1 && a.stride[1] === 1) {
    const [, height, width] = x as [number, number, number];
    return [{
      rows: x[0]! * height * width, out: [height, width], source: [y[1]!, y[2]!], kernel: [w[0]!, w[1]!],
      mul: [1, 1], offset: a.padding, step: [-a.dilation[0], -a.dilation[1]],
    }];
  }
  const [down, across] = ([0, 1] as const).map((axis) => phasesOf(x[axis + 1]!, w[axis]!, a.stride[axis]!, a.padding[axis]!, a.dilation[axis]!));
  return down!.flatMap((v) => across!.map((h) => ({
    rows: x[0]! * v.pixels * h.pixels, out: [v.pixels, h.pixels], source: [y[1]!, y[2]!], kernel: [v.taps, h.taps],
    mul: [1, 1], offset: [v.offset, h.offset], step: [v.step, h.step],
    taps: { first: v.firstTap * w[1]! + h.firstTap, every: [v.everyTap * w[1]!, h.everyTap] },
    place: { origin: v.first * x[2]! + h.first, image: x[1]! * x[2]!, line: a.stride[0] * x[2]!, pixel: a.stride[1] },
  })));
};

/** Adds the input's gradient to what is in `into` and returns null; without `into`, or where no kernel adds, returns the gradient. */
const gradInput = (grad: Tensor, w: Tensor, x: Shape, dtype: DType, a: ConvAttrs, into: Tensor | null): Tensor | null => {
  if (!isDense(w.shape, a)) {
    const result = allocate(grad.runtime, x, 'conv2d input gradient', dtype);
    dispatch(grad.runtime, shader.kernel('gradInput'), { w, gradient: grad, result }, plainParams(x, w.shape, grad.shape, a), gridFor(quadCount(x) * 4));
    return result;
  }
  if (suitsPatches(grad.runtime, w.shape, grad.shape, a) && a.dilation.every((d) => d === 1)) {
    const result = allocate(grad.runtime, x, 'conv2d input gradient', dtype);
    patchesGradInput(grad, w, result, a);
    return result;
  }
  const result = into ?? allocate(grad.runtime, x, 'conv2d input gradient', dtype);
  const accumulate = into !== null;
  if (suitsWinograd(grad.runtime, w.shape, grad.shape, a, 'rows')) {
    winograd(grad, w, result, { padding: [w.shape[0]! - 1 - a.padding[0], w.shape[1]! - 1 - a.padding[1]], flip: true, accumulate });
  } else {
    const e = extentsOf(x, w.shape, grad.shape, a);
    const extents = { ...e, depth: e.width, width: e.depth, xPitch: e.yPitch, yPitch: e.xPitch, xBatch: e.yBatch, yBatch: e.xBatch };
    for (const geometry of inputGradientPhases(x, w.shape, grad.shape, a)) {
      const reached = geometry.kernel[0] > 0 && geometry.kernel[1] > 0;
      if (reached || !accumulate) gemmRows(grad, w, result, geometry, extents, { transposed: true, accumulate });
    }
  }
  return into ? null : result;
};

/** Likewise for the weight. */
const gradWeight = (grad: Tensor, x: Tensor, w: Shape, dtype: DType, a: ConvAttrs, into: Tensor | null): Tensor | null => {
  const result = into ?? allocate(x.runtime, w, 'conv2d weight gradient', dtype);
  const accumulate = into !== null;
  if (!isDense(w, a)) {
    const parts = allocate(x.runtime, [x.shape[0]!, ...w], 'conv2d weight gradient parts');
    dispatch(x.runtime, shader.kernel('gradWeight'), { x, gradient: grad, result: parts }, plainParams(x.shape, w, grad.shape, a), gridFor(quadCount(parts.shape) * 4));
    sumInto(parts, result, { accumulate });
  } else if (suitsPatches(x.runtime, w, grad.shape, a)) {
    patchesGradWeight(x, grad, result, a, { accumulate });
  } else if (suitsWinograd(x.runtime, w, grad.shape, a, 'weights')) {
    winogradGradWeight(x, grad, result, a.padding, { accumulate });
  } else {
    const e = extentsOf(x.shape, w, grad.shape, a);
    const extents = { ...e, wPitch: e.yPitch, wBatch: e.yBatch, yPitch: e.wPitch, yBatch: e.wBatch };
    gemmWeights(x, grad, result, forwardGeometry(x.shape, w, grad.shape, a), extents, { accumulate });
  }
  return into ? null : result;
};

const gradBias = (grad: Tensor, into: Tensor | null): Tensor | null => {
  const result = into ?? allocate(grad.runtime, grad.shape.slice(-1), 'conv2d bias gradient');
  sumInto(grad, result, { accumulate: into !== null });
  return into ? null : result;
};

/** Plain loops over the definition. */
const reference = (inputs: readonly Nd[], a: ConvAttrs): Nd => {
  const [x, w] = inputs as [Nd, Nd];
  const { bias, residual } = operandsOf(inputs);
  const y = nd(convShape(x.shape, w.shape, a));
  const [, height, width, channels] = x.shape as [number, number, number, number];
  const [kh, kw, groupIn, outs] = w.shape as [number, number, number, number];
  const [images, outHeight, outWidth] = y.shape as [number, number, number];
  let at = 0;
  for (let n = 0; n < images; n++) for (let oy = 0; oy < outHeight; oy++) for (let ox = 0; ox < outWidth; ox++) for (let o = 0; o < outs; o++) {
    const first = Math.floor(o / (outs / a.groups)) * groupIn;
    let total = (bias?.data[o] ?? 0) + (residual?.data[at] ?? 0);
    for (let r = 0; r < kh; r++) for (let s = 0; s < kw; s++) {
      const iy = oy * a.stride[0] - a.padding[0] + r * a.dilation[0];
      const ix = ox * a.stride[1] - a.padding[1] + s * a.dilation[1];
      if (iy < 0 || iy >= height || ix < 0 || ix >= width) continue;
      for (let c = 0; c < groupIn; c++) {
        total += x.data[((n * height + iy) * width + ix) * channels + first + c]! * w.data[((r * kw + s) * groupIn + c) * outs + o]!;
      }
    }
    y.data[at++] = a.activation === 'relu' ? Math.max(total, 0) : total;
  }
  return y;
};

/** What is added, and the activation, where no kernel does it on the way. */
const finish = (y: Tensor, { bias, residual, relu: activated }: Epilogue, dtype: DType): Tensor => {
  const added = [bias, residual].reduce((sum, operand) => (operand ? add(sum!, operand) : sum), y)!;
  return convert(activated ? relu(added) : added, dtype);
};

/** y = x ∗ w and what the epilogue says. */
export const convolve = (x: Tensor, w: Tensor, shape: Shape, attrs: ConvAttrs, epilogue: Epilogue): Tensor => {
  const { runtime } = x;
  const dtype = floatOf(x, w);
  // Groups are batches of the product, and its epilogue knows no batches: what follows is added to sums that are not rounded yet.
  const fused = attrs.groups === 1;
  const y = allocate(runtime, shape, 'conv2d', fused ? dtype : 'float32');
  const fewChannels = suitsPatches(runtime, w.shape, shape, attrs);
  if (!fewChannels && suitsWinograd(runtime, w.shape, shape, attrs, 'rows')) {
    winograd(x, w, y, { padding: attrs.padding, ...epilogue });
    return y;
  }
  const product = [{ ...forwardGeometry(x.shape, w.shape, shape, attrs), joined: fewChannels }, extentsOf(x.shape, w.shape, shape, attrs)] as const;
  if (fewChannels && !heldTilingOf({ x, w, y }, ...product, epilogue)) {
    patchesForward(x, w, y, attrs, epilogue);
    return y;
  }
  if (isDense(w.shape, attrs)) gemmRows(x, w, y, ...product, fused ? epilogue : {});
  else dispatch(runtime, shader.kernel('forward'), { x, w, y }, plainParams(x.shape, w.shape, shape, attrs), gridFor(quadCount(shape) * 4));
  return fused ? y : finish(y, epilogue, dtype);
};

export const conv2dOp: Op<ConvAttrs> = {
  name: 'conv2d',
  group: 'Convolution',
  precision: 'half',
  infer: (shapes, attrs) => {
    const { bias, residual } = operandsOf(shapes.map((shape) => ({ shape })));
    return convShape(shapes[0]!, shapes[1]!, attrs, { bias: bias?.shape, residual: residual?.shape });
  },
  forward: ({ inputs, attrs, shape }) => {
    const relu = attrs.activation === 'relu';
    const y = convolve(inputs[0]!, inputs[1]!, shape, attrs, { ...operandsOf(inputs), relu });
    return relu ? { output: y, saved: { output: y.alias() } } : y;
  },
  keeps: { inputs: [0, 1] },
  backward: ({ grad, attrs, inputs: [x, w], saved, shapes, dtypes, needs, into = [] }) => {
    const gradient = saved.output ? reluGradient(grad, saved.output) : grad;
    const added = shapes.slice(2).map((shape, i) => (shape.length === 4 ? gradient : needs[i + 2] ? gradBias(gradient, into[i + 2] ?? null) : null));
    return [
      needs[0] ? gradInput(gradient, w!, shapes[0]!, dtypes[0]!, attrs, into[0] ?? null) : null,
      needs[1] ? gradWeight(gradient, x!, shapes[1]!, dtypes[1]!, attrs, into[1] ?? null) : null, ...added,
    ];
  },
  reference,
  cost: (shapes, _, shape) => ({ flops: 2 * numel(shape) * numel(shapes[1]!.slice(0, 3)), bytes: bytesOf(...shapes, shape) }),
  cases: convCases,
};

export interface Conv2dOptions extends ConvOptions {
  /** Of the result's shape: added before the activation, in the same pass. */
  residual?: Tensor | null;
}

/**
 * 2-D convolution (cross-correlation, as PyTorch's).
 *
 * @param x input [N, H, W, Cin]
 * @param weight [KH, KW, Cin / groups, Cout]
 * @param bias [Cout] or null
 * @returns [N, OH, OW, Cout] with OH = ⌊(H + 2·padding − dilation·(KH − 1) − 1) / stride⌋ + 1
 * @throws UserError when channels, groups or sizes do not fit
 */
export const conv2d = (x: Tensor, weight: Tensor, bias: Tensor | null = null, options: Conv2dOptions = {}): Tensor => {
  checkNames('conv2d', options, ['stride', 'padding', 'dilation', 'groups', 'activation', 'residual']);
  const { residual } = options;
  checkAdded('conv2d', bias, residual);
  const inputs = [x, weight, ...[bias, residual].filter((t): t is Tensor => t instanceof Tensor)];
  return run(conv2dOp, inputs, convAttrs('conv2d', options));
};
