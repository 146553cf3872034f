import { fail, refuseUnknown } from '../errors.js';
import type { Runtime } from '../kernels/runtime.js';
import { valueAt } from '../kernels/value-at.js';
import { keep } from './scope.js';
import { checkShape, formatShape, numel, type Shape } from './shape.js';
import { type DType, Tensor, toStorage, type TypedArray } from './tensor.js';

let defaultRuntime_: Runtime | null = null;

/** The runtime on which tensors are made when none is named: the one opened last. */
export const setDefaultRuntime = (runtime: Runtime | null): void => {
  defaultRuntime_ = runtime;
};

export const defaultRuntime = (): Runtime =>
  defaultRuntime_ ?? fail('no device is open; call "await open()" first, or name a runtime in the options');

export interface TensorOptions {
  dtype?: DType;
  runtime?: Runtime;
  label?: string;
}

/** Any typed array but those of BigInts. */
export type NumberArray = ArrayLike<number> & ArrayBufferView;

/** Numbers, or lists of lists of them. A boolean is 0 or 1. */
export type Nested = number | boolean | NumberArray | readonly Nested[];

const OPTIONS: readonly string[] = ['dtype', 'runtime', 'label'] satisfies (keyof TensorOptions)[];

/** Refuses options that are none, as a type that stands by itself, names that there are not, and a runtime that is not open yet. */
export const checkOptions = (op: string, options: TensorOptions): void => {
  if (typeof options !== 'object' || options === null) fail(`${op}: the options must be an object, as in { dtype: 'int32' }, got ${JSON.stringify(options)}`);
  refuseUnknown(op, options, OPTIONS, (name) => (/grad/i.test(name) ? ', and the method requiresGrad_()' : ''));
  if (options.runtime as unknown instanceof Promise) fail(`${op}: the runtime is a promise; await it, as in { runtime: await open() }`);
};

/**
 * Makes a tensor from numbers: a typed array or flat array with `shape`, or nested arrays whose shape is inferred. Unless the options say another type,
 * it is int32 or uint32 where it is made from an Int32Array or Uint32Array alone, else float32, booleans included.
 *
 * @throws UserError when the number of elements and the shape disagree, or an element is no number
 */
export const tensor = (data: Nested, shape?: Shape, options: TensorOptions = {}): Tensor => {
  checkOptions('tensor', options);
  const { values, shape: own } = isTyped(data) ? { values: data, shape: [data.length] } : flatten(data);
  const full = shape ?? own;
  checkShape('tensor', full);
  refuseBigInts('tensor', values);
  if (values.length !== numel(full)) fail(`tensor: ${values.length} numbers do not fill shape ${formatShape(full)}, which has ${numel(full)}`);
  const dtype = options.dtype ?? (data instanceof Int32Array ? 'int32' : data instanceof Uint32Array ? 'uint32' : 'float32');
  const out = Tensor.allocate(options.runtime ?? defaultRuntime(), full, dtype, options.label ?? 'tensor');
  write(out, toTyped(values, dtype));
  return out;
};

const constants = new WeakMap<Runtime, Map<string, Tensor>>();

/** A row of numbers that never change: uploaded once, whoever asks for it. It belongs to the runtime. */
export const constantRow = (values: readonly number[], runtime: Runtime): Tensor => {
  const known = valueAt(constants, runtime, () => new Map<string, Tensor>());
  const name = values.join();
  const found = known.get(name);
  if (found) return found;
  const row = tensor([...values], [values.length], { runtime, label: 'constant' });
  // In a dry run there is nothing to keep.
  if (!runtime.recorder.dry) known.set(name, keep(row));
  return row;
};

/**
 * Replaces the elements of a tensor (row-major, without padding) after all work recorded so far.
 *
 * @throws UserError when there are more or fewer elements than the tensor has, or an element is no number
 */
export const write = (target: Tensor, data: NumberArray | readonly (number | boolean)[]): void => {
  if (!(target as unknown instanceof Tensor)) fail(`write: the target must be a tensor, got ${target === null ? 'null' : typeof target}`);
  if (!isList(data)) fail(`write: the data must be a typed array or a list of numbers, got ${data === null ? 'null' : typeof data}`);
  if (!isTyped(data)) data.forEach((value: unknown, i) => checkElement('write', value, `element ${i}`));
  refuseBigInts('write', data);
  if (data.length !== target.size) fail(`write: ${data.length} numbers for tensor "${target.label}" ${formatShape(target.shape)} of ${target.size}`);
  target.storage.changed();
  target.runtime.recorder.upload(target.range, toStorage(toTyped(data as ArrayLike<number>, target.dtype), target.shape, target.dtype));
};

const toTyped = (values: ArrayLike<number>, dtype: DType): TypedArray => {
  if (dtype === 'int32') return values instanceof Int32Array ? values : Int32Array.from(values);
  if (dtype === 'uint32') return values instanceof Uint32Array ? values : Uint32Array.from(values);
  if (dtype === 'bool') return Float32Array.from(values, (value) => (value === 0 ? 0 : 1));
  return values instanceof Float32Array ? values : Float32Array.from(values);
};

const isTyped = (data: unknown): data is NumberArray => ArrayBuffer.isView(data) && !(data instanceof DataView);

const isList = (level: unknown): level is ArrayLike<Nested> => Array.isArray(level) || isTyped(level);

const refuseBigInts = (op: string, values: ArrayLike<unknown>): void => {
  if (typeof values[0] === 'bigint') fail(`${op}: an array of BigInts holds no numbers; Int32Array.from(data, Number) makes one that does`);
};

const checkElement = (op: string, value: unknown, what: string): void => {
  if (typeof value !== 'number' && typeof value !== 'boolean') fail(`${op}: ${what} must be a number, got ${String(value)}`);
};

const flatten = (data: Nested): { values: number[]; shape: number[] } => {
  const shape: number[] = [];
  for (let level = data; isList(level); level = level[0]!) shape.push(level.length);
  const values: number[] = [];
  const visit = (level: unknown, depth: number): void => {
    if (!isList(level)) {
      checkElement('tensor', level, depth ? `element ${values.length}` : 'the data');
      if (depth < shape.length) fail(`tensor: nested arrays are ragged: a number stands at depth ${depth}, where others hold ${shape[depth]} entries`);
      values.push(Number(level));
      return;
    }
    if (level.length !== shape[depth]) fail(`tensor: nested arrays are ragged: expected ${shape[depth]} entries at depth ${depth}, got ${level.length}`);
    for (let i = 0; i < level.length; i++) visit(level[i], depth + 1);
  };
  visit(data, 0);
  return { values, shape };
};
