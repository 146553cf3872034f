import { fail } from '../errors.js';
import { looksAtGradient } from '../kernels/capture.js';
import type { BufferRange } from '../kernels/recorder.js';
import type { Runtime } from '../kernels/runtime.js';
import { fromHalf, toHalf } from '../float16.js';
import { adopt, type Scoped, track, trackWith, untrack } from './scope.js';
import { formatShape, numel, quadsPerRow, rowCount, rowWidth, sameShape, type Shape, storageBytes } from './shape.js';
import { Storage } from './storage.js';

/**
 * `float16` is a way to store floats: kernels compute with float32, and the host sees a Float32Array. `bool` tensors hold 0 or 1 as
 * float32, so that they multiply directly; the others use 32-bit integers.
 */
export type DType = 'float32' | 'float16' | 'int32' | 'uint32' | 'bool';

const DTYPES: readonly string[] = ['float32', 'float16', 'int32', 'uint32', 'bool'] satisfies DType[];

/** Bytes of four elements. */
const quadBytes = (dtype: DType): number => (dtype === 'float16' ? 8 : 16);

/** Whether gradients may be taken with respect to tensors of this type. */
export const isFloat = (dtype: DType): boolean => dtype === 'float32' || dtype === 'float16';

export type TypedArray = Float32Array | Int32Array | Uint32Array;

/** What the tape stores at a tensor that it produced; defined by autograd. */
export interface GradientNode {
  readonly op: string;
}

/** How memory came to be given back, and what to do. */
const WHY = {
  scope: 'when its scope ended; return it from the scope, or mark it with keep()',
  owner: 'by release(), its own or that of the module or optimiser that it belongs to, or by the Sequential that had passed it on; use it before, or mark with keep() what a layer shall see later',
} as const;

/** Tensors that are the gradient of one. */
const gradients = new WeakSet<object>();

/**
 * An n-dimensional array on a device. Storage is row-major with the last axis padded with zeros to a
 * multiple of four. Handles are cheap; the memory behind them is released by scopes and the tape.
 */
export class Tensor implements Scoped {
  /** Whether backward computes a gradient for this tensor. Set by `requiresGrad_()` or inherited from inputs. */
  requiresGrad = false;
  gradNode: GradientNode | null = null;
  /** Shown in errors and reports: the parameter's name, or the op that made the tensor. */
  label: string;
  private grad_: Tensor | null = null;
  /** Who gave the memory back, once somebody has. */
  private released: 'scope' | 'owner' | null = null;
  private range_: BufferRange | null = null;

  /** @internal Use `tensor`, `zeros`, … or `allocate`. */
  constructor(readonly shape: Shape, readonly dtype: DType, private storage_: Storage, label: string) {
    this.label = label;
    track(this);
  }

  /**
   * A tensor with unspecified contents (padding included: the kernel that fills it writes whole rows).
   *
   * @throws UserError for a type that there is not, and for float16 on an adapter without `shader-f16`
   */
  static allocate(runtime: Runtime, shape: Shape, dtype: DType = 'float32', label = 'tensor'): Tensor {
    if (!DTYPES.includes(dtype)) fail(`tensor "${label}" ${formatShape(shape)}: there is no type "${String(dtype)}"; there are ${DTYPES.join(', ')}`);
    if (dtype === 'float16' && !runtime.device.report.half) fail(`tensor "${label}" ${formatShape(shape)}: the adapter "${runtime.device.report.name}" has no float16 (shader-f16); use float32`);
    const bytes = storageBytes(shape, quadBytes(dtype));
    return new Tensor(shape, dtype, Storage.allocate(runtime, bytes, () => `${label} ${formatShape(shape)}`), label);
  }

  get runtime(): Runtime {
    return this.storage_.runtime;
  }

  /** Whether the handle still holds its memory. */
  get alive(): boolean {
    return this.released === null;
  }

  get storage(): Storage {
    if (this.released) fail(`tensor "${this.label}" ${formatShape(this.shape)} was released ${WHY[this.released]}`);
    return this.storage_;
  }

  /** The bytes in storage, for kernels. */
  get range(): BufferRange {
    const { range } = this.storage;
    return (this.range_ ??= { buffer: range.buffer, offset: range.offset, bytes: storageBytes(this.shape, quadBytes(this.dtype)) });
  }

  get size(): number {
    return numel(this.shape);
  }

  get rank(): number {
    return this.shape.length;
  }

  /**
   * Gradient accumulated by backward, in place; for leaves, and for others after `retainGrad()`. It lives as long as this tensor. One that is put
   * here is added to from now on; one that is taken away (`x.grad = null`) ends with the scope around.
   *
   * @throws UserError when a gradient of another shape, type or runtime is put here
   */
  get grad(): Tensor | null {
    looksAtGradient(this);
    return this.grad_;
  }

  set grad(given: Tensor | null) {
    const before = this.grad_;
    if ((given ?? null) === before) return;
    if (given && !(given instanceof Tensor && sameShape(given.shape, this.shape) && given.dtype === this.dtype && given.runtime === this.runtime)) {
      fail(`the gradient of ${String(this)} must be a tensor of its shape and type, on its runtime, got ${String(given)}`);
    }
    // Another tensor's gradient ends with that one.
    const grad = given && gradients.has(given) ? given.alias() : given ?? null;
    this.grad_ = grad;
    if (before) {
      gradients.delete(before);
      adopt(before);
    }
    if (grad) {
      gradients.add(grad);
      trackWith(this, grad);
    }
  }

  /** Another handle on the same memory, unknown to the tape. The shape must fill the same rows, and the type have the same size. */
  alias(shape: Shape = this.shape, label = this.label, dtype = this.dtype): Tensor {
    return new Tensor(shape, dtype, this.storage.retain(), label);
  }

  /** The same values, cut off from the tape (PyTorch's `detach`). Memory is shared. */
  detach(): Tensor {
    return this.alias();
  }

  /**
   * Asks for gradients with respect to this leaf, or no longer does.
   *
   * @throws UserError for integers, and to end the gradients of what was computed from other tensors that have some
   */
  requiresGrad_(on = true): this {
    if (!on && this.gradNode) fail(`requiresGrad_(false) is for leaves; tensor "${this.label}" is the result of ${this.gradNode.op}: use its detach()`);
    if (!isFloat(this.dtype)) fail(`tensor "${this.label}": only float32 and float16 tensors have gradients, this one is ${this.dtype}`);
    this.requiresGrad = on;
    return this;
  }

  /** Moves the handle onto other storage that already holds its values (flat parameter buffers). @internal */
  rebase(storage: Storage): void {
    this.storage.release();
    this.storage_ = storage;
    this.range_ = null;
  }

  /** Copies the elements to the host, row-major and without padding. Waits for all work recorded so far. */
  async data(): Promise<TypedArray> {
    const raw = await this.runtime.recorder.read(this.range);
    return unpad(raw, this.shape, this.dtype);
  }

  /** The value of a tensor with one element. */
  async item(): Promise<number> {
    if (this.size !== 1) fail(`item(): tensor "${this.label}" has shape ${formatShape(this.shape)}; only tensors with one element have a value`);
    return (await this.data())[0]!;
  }

  /**
   * Gives the memory back, its gradient's too, before the scope ends or where there is none. Owners (modules, optimisers, the tape) do so for what
   * they made.
   */
  release(): void {
    untrack(this);
    this.end('owner');
    this.grad_?.release();
  }

  /** @internal */
  endScope(): void {
    this.end('scope');
  }

  private end(by: 'scope' | 'owner'): void {
    if (this.released) return;
    this.released = by;
    this.storage_.release();
  }

  toString(): string {
    return `Tensor(${this.label} ${formatShape(this.shape)} ${this.dtype})`;
  }
}

const view = (raw: ArrayBuffer, dtype: DType): TypedArray => {
  if (dtype === 'float16') return fromHalf(new Uint16Array(raw));
  return dtype === 'int32' ? new Int32Array(raw) : dtype === 'uint32' ? new Uint32Array(raw) : new Float32Array(raw);
};

const unpad = (raw: ArrayBuffer, shape: Shape, dtype: DType): TypedArray => {
  const padded = view(raw, dtype);
  const width = rowWidth(shape);
  const stride = quadsPerRow(shape) * 4;
  if (stride === width) return padded;
  const out = padded.slice(0, numel(shape));
  for (let row = 0; row < rowCount(shape); row++) out.set(padded.subarray(row * stride, row * stride + width), row * width);
  return out;
};

/** Elements as bytes of storage: rows padded with zeros to a multiple of four. */
export const toStorage = (data: TypedArray, shape: Shape, dtype: DType): ArrayBufferView => {
  const padded = pad(data, shape);
  return dtype === 'float16' ? toHalf(padded) : padded;
};

const pad = (data: TypedArray, shape: Shape): TypedArray => {
  const width = rowWidth(shape);
  const stride = quadsPerRow(shape) * 4;
  if (stride === width) return data;
  const out = new (data.constructor as new (length: number) => TypedArray)(rowCount(shape) * stride);
  for (let row = 0; row < rowCount(shape); row++) out.set(data.subarray(row * width, (row + 1) * width), row * stride);
  return out;
};
