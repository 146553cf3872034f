import { fail } from '../../errors.js';
import { formatShape, type Shape } from '../../tensor/shape.js';
import { CHANNELS_FIRST, CHANNELS_LAST, permuted } from '../state-layout.js';
import type { OnnxGraph } from './graph.js';
import type { Computed, Constant, TracedCall, Value } from './trace.js';

/** Everything with four axes is an image in the graph. */
export const isImage = (shape: Shape): boolean => shape.length === 4;
export const onnxShape = (shape: Shape): Shape => (isImage(shape) ? CHANNELS_FIRST.map((axis) => shape[axis]!) : shape);
/** An axis of ours in the graph. */
export const onnxAxis = (axis: number, shape: Shape): number => (isImage(shape) ? CHANNELS_FIRST.indexOf(axis as 0) : axis);

/** What the emitters share: the graph, the names of what is there already, and the layouts. */
export class Emission {
  private readonly names = new Map<Computed, string>();
  private readonly constantNames = new Map<string, string>();
  private readonly constantIds = new Map<Constant, number>();

  /** @param batch size of the first axis that may vary; null where all sizes are fixed */
  constructor(readonly graph: OnnxGraph, private readonly numbers: ReadonlyMap<Constant, Float32Array>, private readonly batch: number | null) {}

  define(value: Computed, name: string): void {
    this.names.set(value, name);
  }

  /** A value in the graph's layout. */
  name(value: Value): string {
    if (value.kind === 'constant') return this.arranged(value, isImage(value.shape) ? CHANNELS_FIRST : null);
    return this.names.get(value)!;
  }

  /** A value that is broadcast against an image: its axes are counted from the last, the channels. */
  besideImage(value: Value): string {
    if (isImage(value.shape)) return this.name(value);
    if (value.kind !== 'constant') return fail(`ONNX export: a computed tensor ${formatShape(value.shape)} is broadcast against images; reshape it to four axes first`);
    return this.arranged(value, CHANNELS_FIRST, [...new Array<number>(4 - value.shape.length).fill(1), ...value.shape]);
  }

  /** A constant with its axes in another order. */
  arranged(value: Value, axes: readonly number[] | null, shape: Shape = value.shape): string {
    const data = this.numbersOf(value);
    const constant = value as Constant;
    const id = this.constantIds.get(constant) ?? this.constantIds.size;
    this.constantIds.set(constant, id);
    const key = `${id} ${String(axes)} ${String(shape)}`;
    const known = this.constantNames.get(key);
    if (known) return known;
    const laid = axes ? permuted(data, shape, axes) : { shape, data };
    const name = this.graph.floats(constant.label, laid.shape, laid.data);
    this.constantNames.set(key, name);
    return name;
  }

  /** The numbers of a constant. */
  numbersOf(value: Value): Float32Array {
    return value.kind === 'constant' ? this.numbers.get(value)! : fail('ONNX export: weights that are computed from the input are not exported');
  }

  /** Gives a result in the graph's layout of shape `from` another shape with the same elements in our order. */
  reshape(result: string, from: Shape, to: Shape): string {
    const { graph } = this;
    const spatial = isImage(from) && from[1]! * from[2]! > 1 && from[3]! > 1;
    const rows = spatial ? graph.add('Transpose', [result], { perm: CHANNELS_LAST }) : result;
    const images = isImage(to) && to[1]! * to[2]! > 1 && to[3]! > 1;
    const target = isImage(to) && !images ? onnxShape(to) : to;
    const reshaped = graph.add('Reshape', [rows, graph.ints(this.sizes(from, target))]);
    return images ? graph.add('Transpose', [reshaped], { perm: CHANNELS_FIRST }) : reshaped;
  }

  /** Sizes for Reshape: 0 keeps a batch axis, −1 finds one that the batch is part of. */
  private sizes(from: Shape, to: Shape): number[] {
    const { batch } = this;
    if (batch === null || to.length === 0 || from[0] !== batch) return [...to];
    return [to[0] === batch ? 0 : -1, ...to.slice(1)];
  }
}

export type Emitter = (emission: Emission, call: TracedCall) => string;
