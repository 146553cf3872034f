/** What every op needs to start its kernels. */
import { fail } from '../errors.js';
import type { Grid } from '../kernels/grid.js';
import { linearGrid } from '../kernels/grid.js';
import type { ParamValues } from '../kernels/params.js';
import type { BufferRange } from '../kernels/recorder.js';
import type { Runtime } from '../kernels/runtime.js';
import type { Kernel } from '../kernels/shader.js';
import { quadCount, rowWidth, type Shape } from '../tensor/shape.js';
import { type DType, Tensor } from '../tensor/tensor.js';
import { refuseForeign } from './arguments.js';

/** A tensor for an op's result. */
export const allocate = (runtime: Runtime, shape: Shape, label: string, dtype: DType = 'float32'): Tensor =>
  Tensor.allocate(runtime, shape, dtype, label);

/** The type of a result that follows its operands: float16 where all are, else float32. */
export const floatOf = (...operands: readonly Tensor[]): 'float16' | 'float32' => (operands.every(({ dtype }) => dtype === 'float16') ? 'float16' : 'float32');

const overlap = (a: BufferRange, b: BufferRange): boolean => a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;

/** Refuses a result in a buffer that the kernel also reads, or in another result's memory: the adapter would answer by failing everything that follows. */
const checkApart = (caller: string, { shader }: Kernel, tensors: Readonly<Record<string, Tensor>>, result: string): void => {
  const written = tensors[result]!;
  const { buffer } = written.range;
  for (const name in tensors) {
    const tensor = tensors[name]!;
    if (name === result || tensor.storage.range.buffer !== buffer) continue;
    const both = shader.bindings.get(name)?.access === 'read_write';
    if (both && !overlap(written.range, tensor.range)) continue;
    const how = both ? `in the memory of "${tensor.label}", which is changed, too` : `in the buffer of "${tensor.label}", which is read`;
    fail(`${caller}: "${written.label}" is changed in place and lies ${how}; pass a copy of that one, as of affine(x, 1)`);
  }
};

/**
 * Records a kernel on tensors; names are those of the shader. float16 tensors get a variant of the kernel that reads and writes them.
 *
 * @param caller the function that was called, for messages, where no op was
 */
export const dispatch = (
  runtime: Runtime, kernel: Kernel, tensors: Readonly<Record<string, Tensor>>, params: ParamValues, grid: Grid, caller = kernel.shader.name,
): void => {
  const ranges: Record<string, BufferRange> = {};
  let half = '';
  for (const name in tensors) {
    const tensor = tensors[name]!;
    if (tensor.runtime !== runtime) refuseForeign(caller, tensor, runtime);
    ranges[name] = tensor.range;
    if (kernel.shader.bindings.get(name)?.access === 'read_write') checkApart(caller, kernel, tensors, name);
    if (tensor.dtype === 'float16') half += half ? ` ${name}` : name;
  }
  runtime.recorder.dispatch(half ? kernel.shader.inHalf(kernel, half) : kernel, ranges, params, grid);
};

/** Invocations of a workgroup in kernels without structure of their own. */
export const WORKGROUP = 64;

/** Grid for one invocation per item. */
export const gridFor = (items: number, perGroup = WORKGROUP): Grid => linearGrid(Math.ceil(items / perGroup));

/** The one of two settings that suits the kind of adapter. */
export const forAdapter = <T>({ device }: Runtime, { gpu, software }: { readonly gpu: T; readonly software: T }): T =>
  (device.report.software ? software : gpu);

/** ABREAST of shaders/common/grid.wgsl: neighbours that walk side by side. */
export const ABREAST = 8;
/** vec4f that an invocation takes one after the other, on GPUs, which need many invocations, and at most on software adapters, where each costs. */
const STEPS = { gpu: 4, software: 64 } as const;
/** Workgroups below which a software adapter's threads would wait for each other. */
const ENOUGH_GROUPS = 32;

/** How many vec4f of a tensor an invocation takes. */
export const stepsFor = (runtime: Runtime, quads: number): number => {
  const software = Math.max(1, Math.min(STEPS.software, Math.floor(quads / (WORKGROUP * ENOUGH_GROUPS))));
  return forAdapter(runtime, { gpu: STEPS.gpu, software });
};

/** How a kernel with `stretchOf` (shaders/common/grid.wgsl) goes over a tensor. */
export const stretchesFor = (runtime: Runtime, quads: number): { steps: number; grid: Grid } => {
  const steps = stepsFor(runtime, quads);
  return { steps, grid: gridFor(quads, WORKGROUP * steps) };
};

/** Cuts an axis that invocations walk along into parts of at most so many entries, as equal as can be. */
export const runsOf = (length: number, most: number): { runs: number; run: number } => {
  const runs = Math.ceil(length / most);
  return { runs, run: Math.ceil(length / runs) };
};

/** As a kernel's constant: whether rows end within a vec4f, whose rest must stay zero. */
export const isRagged = (shape: Shape): 0 | 1 => (rowWidth(shape) % 4 === 0 ? 0 : 1);

/** Bytes of float32 tensors of these shapes in storage. */
export const bytesOf = (...shapes: readonly Shape[]): number => shapes.reduce((sum, shape) => sum + quadCount(shape) * 16, 0);
