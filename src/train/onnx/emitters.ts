/** How each op that networks use in evaluation is said in ONNX (opset 13). Everything with four axes is [N, C, H, W] there. */
import { fail } from '../../errors.js';
import type { AttributeValue } from '../../io/onnx.js';
import type { Pair } from '../../ops/arguments.js';
import type {
  adaptiveAvgPool2dOp, affineOp, attentionPoolOp, batchNorm2dOp, catOp, conv2dOp, convBatchNorm2dOp, interpolateOp, l2NormalizeOp, matmulOp,
  maxPool2dOp, permuteOp, sliceOp, sumOp,
} from '../../ops/index.js';
import type { Op } from '../../ops/op.js';
import type { Window } from '../../ops/pool2d-window.js';
import { formatShape, type Shape } from '../../tensor/shape.js';
import { CHANNELS_FIRST } from '../state-layout.js';
import { type Emission, type Emitter, isImage, onnxAxis } from './emission.js';
import type { TracedCall, Value } from './trace.js';

/** The attributes of a call, by the type of its op's record. */
const attrsOf = <O>(call: TracedCall) => call.attrs as O extends Op<infer A> ? A : never;
const first = (emission: Emission, { inputs }: TracedCall): string => emission.name(inputs[0]!);
/** Same padding on both sides: top, left, bottom, right. */
const pads = ([y, x]: Pair): number[] => [y, x, y, x];

// ---------------------------------------------------------------- pointwise

/** Ops that ONNX has under another name. */
const unary = (opType: string): Emitter => (emission, call) => emission.graph.add(opType, [first(emission, call)]);

const affine: Emitter = (emission, call) => {
  const { graph } = emission;
  const { a, b } = attrsOf<typeof affineOp>(call);
  const scaled = a === 1 ? first(emission, call) : graph.add('Mul', [first(emission, call), graph.number(a)]);
  return b === 0 ? scaled : graph.add('Add', [scaled, graph.number(b)]);
};

const pow: Emitter = (emission, call) => emission.graph.add('Pow', [first(emission, call), emission.graph.number(attrsOf<typeof affineOp>(call).a)]);

const clamp: Emitter = (emission, call) => {
  const { a, b } = attrsOf<typeof affineOp>(call);
  return emission.graph.add('Clip', [first(emission, call), emission.graph.number(a), emission.graph.number(b)]);
};

/** sign(x) · sqrt(|x| + eps) */
const signedSqrt: Emitter = (emission, call) => {
  const { graph } = emission;
  const x = first(emission, call);
  const root = graph.add('Sqrt', [graph.add('Add', [graph.add('Abs', [x]), graph.number(attrsOf<typeof affineOp>(call).a)])]);
  return graph.add('Mul', [graph.add('Sign', [x]), root]);
};

/** x · (1 + erf(x / √2)) / 2 */
const gelu: Emitter = (emission, call) => {
  const { graph } = emission;
  const x = first(emission, call);
  const bell = graph.add('Erf', [graph.add('Mul', [x, graph.number(Math.SQRT1_2)])]);
  return graph.add('Mul', [graph.add('Mul', [x, graph.number(0.5)]), graph.add('Add', [bell, graph.number(1)])]);
};

const binary = (opType: string): Emitter => (emission, { inputs, output }) =>
  emission.graph.add(opType, inputs.map((value) => (isImage(output.shape) ? emission.besideImage(value) : emission.name(value))));

// ---------------------------------------------------------------- convolution, normalisation, products

/** [kh, kw, in, out] is [out, in, kh, kw] in ONNX. */
const OIHW = [3, 2, 0, 1];

/** The convolution alone; what is fused behind it follows in {@link behind}. */
const convolution = (emission: Emission, call: TracedCall, bias: Value | undefined): string => {
  const { stride, padding, dilation, groups } = attrsOf<typeof conv2dOp>(call);
  const weight = call.inputs[1]!;
  const operands = [first(emission, call), emission.arranged(weight, OIHW), ...(bias ? [emission.name(bias)] : [])];
  return emission.graph.add('Conv', operands, { strides: stride, pads: pads(padding), dilations: dilation, group: groups, kernel_shape: weight.shape.slice(0, 2) });
};

const behind = (emission: Emission, call: TracedCall, y: string, residual: Value | undefined): string => {
  const sum = residual ? emission.graph.add('Add', [y, emission.name(residual)]) : y;
  return attrsOf<typeof conv2dOp>(call).activation === 'relu' ? emission.graph.add('Relu', [sum]) : sum;
};

const ofRank = (values: readonly Value[], rank: number): Value | undefined => values.find(({ shape }) => shape.length === rank);

const conv2d: Emitter = (emission, call) => {
  const rest = call.inputs.slice(2);
  return behind(emission, call, convolution(emission, call, ofRank(rest, 1)), ofRank(rest, 4));
};

/** Engines fold the norm into the weights themselves; until then both keep their names. */
const convBatchNorm2d: Emitter = (emission, call) => {
  const [, , mean, variance, weight, bias, ...rest] = call.inputs as [Value, Value, Value, Value, Value, Value, ...Value[]];
  const operands = [convolution(emission, call, ofRank(rest, 1)), ...[weight, bias, mean, variance].map((value) => emission.name(value))];
  const normalised = emission.graph.add('BatchNormalization', operands, { epsilon: { float: attrsOf<typeof convBatchNorm2dOp>(call).eps } });
  return behind(emission, call, normalised, ofRank(rest, 4));
};

const batchNorm2d: Emitter = (emission, call) => {
  const { training, eps, activation } = attrsOf<typeof batchNorm2dOp>(call);
  const { shape } = call.output;
  if (training) fail('ONNX export: batch norm is in training mode; call eval() on the network first');
  if (!isImage(shape) && shape.length !== 2) fail(`ONNX export: batch norm of ${formatShape(shape)}; only [N, H, W, C] and [N, C] are known`);
  const normalised = emission.graph.add('BatchNormalization', call.inputs.slice(0, 5).map((value) => emission.name(value)), { epsilon: { float: eps } });
  const sum = call.inputs[5] ? emission.graph.add('Add', [normalised, emission.name(call.inputs[5])]) : normalised;
  return activation === 'relu' ? emission.graph.add('Relu', [sum]) : sum;
};

/** x / max(‖x‖, eps) along our last axis. */
const l2Normalize: Emitter = (emission, call) => {
  const { graph } = emission;
  const x = first(emission, call);
  const { shape } = call.output;
  const length = graph.add('ReduceL2', [x], { axes: [onnxAxis(shape.length - 1, shape)], keepdims: 1 });
  return graph.add('Div', [x, graph.add('Max', [length, graph.number(attrsOf<typeof l2NormalizeOp>(call).eps)])]);
};

const alongLast = (opType: string): Emitter => (emission, call) => {
  const { shape } = call.output;
  return emission.graph.add(opType, [first(emission, call)], { axis: onnxAxis(shape.length - 1, shape) });
};

const matmul: Emitter = (emission, call) => {
  const { transposeA, transposeB } = attrsOf<typeof matmulOp>(call);
  if (call.inputs.some(({ shape }) => isImage(shape))) return fail('ONNX export: matrix products of four axes are not exported; reshape the operands to three');
  const operand = (i: 0 | 1, transposed: boolean): string => {
    const name = emission.name(call.inputs[i]!);
    const last = call.inputs[i]!.shape.length - 1;
    const swapped = Array.from({ length: last + 1 }, (_, axis) => (axis === last ? last - 1 : axis === last - 1 ? last : axis));
    return transposed ? emission.graph.add('Transpose', [name], { perm: swapped }) : name;
  };
  return emission.graph.add('MatMul', [operand(0, transposeA), operand(1, transposeB)]);
};

/** Features [N, C, H, W] and maps [N, M, H, W] to [N, M, C]: a product over the pixels, or the maximum of all products. */
const attentionPool: Emitter = (emission, call) => {
  const { graph } = emission;
  const [features, maps] = call.inputs.map((value) => emission.name(value)) as [string, string];
  const [, height, width, channels] = call.inputs[0]!.shape as [number, number, number, number];
  const [pixels, count] = [height * width, call.output.shape[1]!];
  const flat = (name: string, sizes: readonly number[]): string => graph.add('Reshape', [name, graph.ints([0, ...sizes])]);
  if (attrsOf<typeof attentionPoolOp>(call).pool === 'GAP') {
    const rows = graph.add('Transpose', [flat(features, [channels, pixels])], { perm: [0, 2, 1] });
    return graph.add('Mul', [graph.add('MatMul', [flat(maps, [count, pixels]), rows]), graph.number(1 / pixels)]);
  }
  const products = graph.add('Mul', [flat(maps, [count, 1, pixels]), flat(features, [1, channels, pixels])]);
  return graph.add('ReduceMax', [products], { axes: [3], keepdims: 0 });
};

// ---------------------------------------------------------------- pooling, resizing, reduction

/** ONNX's rounding up also counts windows that begin in the far padding; PyTorch's, and ours, does not. */
const checkWindows = ([, height, width]: Shape, [, outHeight, outWidth]: Shape, { kernel, stride, padding }: Window): void => {
  [[height!, outHeight!], [width!, outWidth!]].forEach(([size, out], axis) => {
    const counted = Math.ceil((size! + 2 * padding[axis]! - kernel[axis]!) / stride[axis]!) + 1;
    if (counted !== out) fail(`ONNX export: a pool with ceilMode over ${height}×${width} pixels has another size in ONNX (${counted} instead of ${out}); choose another image size`);
  });
};

const pool2d = (opType: string, extra: (window: Window) => Record<string, AttributeValue>): Emitter => (emission, call) => {
  const window = attrsOf<typeof maxPool2dOp>(call);
  const { kernel, stride, padding, ceilMode } = window;
  if (ceilMode) checkWindows(call.inputs[0]!.shape, call.output.shape, window);
  return emission.graph.add(opType, [first(emission, call)],
    { kernel_shape: kernel, strides: stride, pads: pads(padding), ceil_mode: ceilMode ? 1 : 0, ...extra(window) });
};

const averagePool = pool2d('AveragePool', ({ countIncludePad, ceilMode }) => {
  if (ceilMode) fail('ONNX export: average pools with ceilMode divide differently in ONNX; leave ceilMode out');
  return { count_include_pad: countIncludePad ? 1 : 0 };
});

const interpolate: Emitter = (emission, call) => {
  const { graph } = emission;
  const { size, mode, alignCorners, antialias } = attrsOf<typeof interpolateOp>(call);
  if (antialias) fail('ONNX export: resizing with antialias is not part of opset 13');
  const [, height, width] = call.inputs[0]!.shape as [number, number, number, number];
  const scales = graph.floats(`scales ${size.join(', ')}`, [4], Float32Array.of(1, 1, size[0] / height, size[1] / width));
  const corners = mode === 'nearest' ? 'asymmetric' : alignCorners ? 'align_corners' : 'half_pixel';
  return graph.add('Resize', [first(emission, call), '', scales], { mode: mode === 'nearest' ? 'nearest' : 'linear', coordinate_transformation_mode: corners, nearest_mode: 'floor' });
};

/** Axes are an input of ReduceSum since opset 13, and an attribute of the others. */
const reduce = (opType: string): Emitter => (emission, call) => {
  const { graph } = emission;
  const { axes, keepdim } = attrsOf<typeof sumOp>(call);
  const { shape } = call.inputs[0]!;
  const theirs = axes.map((axis) => onnxAxis(axis, shape));
  const x = first(emission, call);
  const kept = opType === 'ReduceSum' ? graph.add(opType, [x, graph.ints(theirs)], { keepdims: 1 }) : graph.add(opType, [x], { axes: theirs, keepdims: 1 });
  return keepdim ? kept : emission.reshape(kept, shape.map((size, axis) => (axes.includes(axis) ? 1 : size)), call.output.shape);
};

// ---------------------------------------------------------------- shape

const reshape: Emitter = (emission, call) => emission.reshape(first(emission, call), call.inputs[0]!.shape, call.output.shape);

const cat: Emitter = (emission, call) =>
  emission.graph.add('Concat', call.inputs.map((value) => emission.name(value)), { axis: onnxAxis(attrsOf<typeof catOp>(call).axis, call.output.shape) });

/** Axes that stay whole are not named, so that a batch of any size passes. */
const slice: Emitter = (emission, call) => {
  const { graph } = emission;
  const { starts, ends } = attrsOf<typeof sliceOp>(call);
  const { shape } = call.inputs[0]!;
  const cut = shape.flatMap((size, axis) => (starts[axis] === 0 && ends[axis] === size ? [] : [axis]));
  if (cut.length === 0) return graph.add('Identity', [first(emission, call)]);
  const list = (values: readonly number[]): string => graph.ints(cut.map((axis) => values[axis]!));
  return graph.add('Slice', [first(emission, call), list(starts), list(ends), graph.ints(cut.map((axis) => onnxAxis(axis, shape)))]);
};

/** Output axis i of ours shows input axis axes[i]; both sides are seen in the graph's layout. */
const permute: Emitter = (emission, call) => {
  const { axes } = attrsOf<typeof permuteOp>(call);
  const { shape } = call.output;
  const ours = isImage(shape) ? CHANNELS_FIRST.map((axis) => axes[axis]!) : axes;
  return emission.graph.add('Transpose', [first(emission, call)], { perm: ours.map((axis) => onnxAxis(axis, shape)) });
};

const adaptiveAverage: Emitter = (emission, call) => {
  const [height, width] = attrsOf<typeof adaptiveAvgPool2dOp>(call).output;
  if (height !== 1 || width !== 1) fail(`ONNX export: adaptive pooling to ${height}×${width} is not part of ONNX; only 1×1 is`);
  return emission.graph.add('GlobalAveragePool', [first(emission, call)]);
};

/** By the names of the op records. An op that is missing here is one that no network in evaluation has needed yet. */
export const emitters: Readonly<Record<string, Emitter>> = {
  relu: unary('Relu'), neg: unary('Neg'), abs: unary('Abs'), sign: unary('Sign'), sqrt: unary('Sqrt'), exp: unary('Exp'), log: unary('Log'), sigmoid: unary('Sigmoid'), tanh: unary('Tanh'),
  affine, pow, clamp, signedSqrt, gelu,
  add: binary('Add'), sub: binary('Sub'), mul: binary('Mul'), div: binary('Div'), maximum: binary('Max'), minimum: binary('Min'),
  conv2d, convBatchNorm2d, batchNorm2d, l2Normalize, softmax: alongLast('Softmax'), logSoftmax: alongLast('LogSoftmax'), matmul, attentionPool,
  maxPool2d: pool2d('MaxPool', () => ({})), avgPool2d: averagePool, adaptiveAvgPool2d: adaptiveAverage, interpolate,
  sum: reduce('ReduceSum'), mean: reduce('ReduceMean'), max: reduce('ReduceMax'), min: reduce('ReduceMin'),
  reshape, cat, slice, permute,
};
