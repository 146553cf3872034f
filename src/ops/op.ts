import { fail } from '../errors.js';
import type { Runtime } from '../kernels/runtime.js';
import { Extents } from '../tensor/extent.js';
import { endsHere, scope, untrack } from '../tensor/scope.js';
import { formatShape, sameShape, type Shape } from '../tensor/shape.js';
import { type DType, Tensor } from '../tensor/tensor.js';
import { inPrecision, type Precision } from './autocast.js';
import type { OpCase, Tolerance } from './cases.js';
import type { Nd } from './nd.js';
import { checkTaken, type Taken } from './taken.js';

export { ABREAST, allocate, bytesOf, dispatch, floatOf, forAdapter, gridFor, isRagged, runsOf, stepsFor, stretchesFor, WORKGROUP } from './launch.js';

/** Of ops that have no attributes. */
export type NoAttrs = Record<string, never>;

/** What an op's forward gets. */
export interface Call<A> {
  readonly runtime: Runtime;
  /** In the precision in which the op computes. */
  readonly inputs: readonly Tensor[];
  /** What the caller passed: gradients belong to these, and have their types. */
  readonly operands: readonly Tensor[];
  readonly attrs: A;
  /** Output shape by the op's shape rule. */
  readonly shape: Shape;
}

/** What an op's backward gets. Only what `keeps` names is there; the rest was released. */
export interface BackwardCall<A> {
  readonly runtime: Runtime;
  /** Gradient with respect to the output, of the output's shape. */
  readonly grad: Tensor;
  readonly attrs: A;
  /** Kept inputs by position; others are null. */
  readonly inputs: readonly (Tensor | null)[];
  readonly output: Tensor | null;
  readonly saved: Readonly<Record<string, Tensor>>;
  readonly shapes: readonly Shape[];
  /** Types that the inputs' gradients will have; a gradient of the other float type is converted. */
  readonly dtypes: readonly DType[];
  readonly shape: Shape;
  /** Which inputs want a gradient; for the others any value, or null, may be returned. */
  readonly needs: readonly boolean[];
  /**
   * Gradients that inputs have from elsewhere, by position. An op may add its own to them and return null: that saves
   * a dispatch and a pass over memory.
   */
  readonly into?: readonly (Tensor | null)[];
}

export interface Cost {
  /** Multiply-adds count as two. */
  readonly flops: number;
  /** Bytes that must be read and written at least. */
  readonly bytes: number;
}

/**
 * What {@link run} asks of an op. A function with a gradient of its own (PyTorch's `autograd.Function`) is one:
 *
 * ```js
 * const roundSign = {
 *   name: 'roundSign',
 *   infer: ([shape]) => shape,
 *   forward: ({ inputs: [x] }) => sign(x),
 *   keeps: { inputs: [0] },
 *   backward: ({ grad, inputs: [x] }) => [mul(grad, le(abs(x), onesLike(x)))],
 * };
 * const y = run(roundSign, [x], {});
 * ```
 *
 * `gradcheck` proves those that have a derivative. In TypeScript it is a `Runnable`: `const roundSign: Runnable = { … }`.
 */
export interface Runnable<A = unknown> {
  readonly name: string;
  /** The output shape; throws a UserError that names both shapes and the rule. */
  readonly infer: (shapes: readonly Shape[], attrs: A) => Shape;
  /** What the operands hold, by position; the last entry holds for all further ones. Default: floats. */
  readonly takes?: readonly Taken[];
  /** Default: `float32`. */
  readonly precision?: Precision;
  /**
   * Computes the output, and what backward needs beyond inputs and output. Either may be an input as it is. Temporaries are released by
   * the caller; ops called in it are not on the tape.
   */
  readonly forward: (call: Call<A>) => Tensor | { output: Tensor; saved: Record<string, Tensor> };
  /** What backward reads; nothing else stays in memory. */
  readonly keeps?: { readonly inputs?: readonly number[]; readonly output?: boolean };
  /** Gradients by input (null: none), or null for ops without derivative. */
  readonly backward: null | ((call: BackwardCall<A>) => readonly (Tensor | null)[]);
}

/**
 * Everything about one op in one record: it drives the public function, the tape, the reference test,
 * the gradient check, the benchmark and the feature table.
 */
export interface Op<A = unknown> extends Runnable<A> {
  /** Heading in the feature table. */
  readonly group: string;
  readonly dtype?: DType;
  /** Positions of floats that have no gradient, whatever the output does with them. */
  readonly constants?: readonly number[];
  /** The forward in float64 on the host, written independently of the kernel. */
  readonly reference: (inputs: readonly Nd[], attrs: A) => Nd;
  readonly cost: (shapes: readonly Shape[], attrs: A, shape: Shape) => Cost;
  /** What all gradients together cost, where that is not the forward's arithmetic and every operand once. */
  readonly backwardCost?: (shapes: readonly Shape[], attrs: A) => Partial<Cost>;
  readonly cases: readonly OpCase<A>[];
  readonly tolerance?: Tolerance;
}

/** Recorder of the tape; autograd installs itself here, so that ops need not know it. It sees no op's attributes: `never` fits them all. */
interface TapeHook {
  record(op: Runnable<never>, call: Call<never>, output: Tensor, saved: Record<string, Tensor>): boolean;
}

/** Sees every op's output in debug mode. */
type OutputHook = (op: string, output: Tensor) => void;

let tape: TapeHook | null = null;
const otherTapes = new Extents<TapeHook | null>(null);
let inspect: OutputHook | null = null;
/** Ops called by another op's forward are part of it and not recorded on their own. */
let depth = 0;

export const installTape = (hook: TapeHook): void => {
  tape = hook;
};

/** Shows the ops that `fn` calls to another recorder instead of the tape. */
export const withTape = <T>(hook: TapeHook, fn: () => T): T => otherTapes.within(hook, fn);

export const installOutputHook = (hook: OutputHook | null): void => {
  inspect = hook;
};

/** Whether somebody is shown every op's output. */
export const isInspected = (): boolean => inspect !== null;

/** Shows a tensor that no op of its own made (a gradient) to the debug mode. */
export const inspectOutput: OutputHook = (op, output) => inspect?.(op, output);

/**
 * Runs an op: types, shape rule, forward, and, where an input wants gradients, the tape.
 *
 * @param caller the function that was called, for messages about operands, where it is not that of the op
 */
export const run = <A>(op: Runnable<A>, inputs: readonly Tensor[], attrs: A, caller = op.name): Tensor => {
  checkTaken(caller, inputs, op.takes);
  const { runtime } = inputs[0]!;
  const shape = op.infer(inputs.map((t) => t.shape), attrs);
  // Within another op's forward everything is in the precision of that op.
  const precise = inPrecision(depth > 0 && op.precision === 'half' ? 'any' : op.precision ?? 'float32', inputs);
  const call: Call<A> = { runtime, inputs: precise, operands: inputs, attrs, shape };
  const { output, saved } = forward(op, call);
  output.label = op.name;
  inspect?.(op.name, output);
  const recorded = depth === 0 && ((otherTapes.current ?? tape)?.record(op, call as Call<never>, output, saved) ?? false);
  for (const extra of Object.values(saved)) {
    if (recorded) untrack(extra);
    else extra.release();
  }
  if (precise !== inputs) precise.forEach((tensor, i) => { if (tensor !== inputs[i]) tensor.release(); });
  return output;
};

const forward = <A>(op: Runnable<A>, call: Call<A>): { output: Tensor; saved: Record<string, Tensor> } => {
  depth++;
  try {
    return scope(() => {
      const result = op.forward(call);
      const { output, saved } = result instanceof Tensor ? { output: result, saved: {} } : result;
      checkOutput(op.name, output, call.shape);
      return handles(output, saved);
    });
  } finally {
    depth--;
  }
};

const checkOutput = (name: string, output: unknown, shape: Shape): void => {
  if (!(output instanceof Tensor)) fail(`${name}: its forward must return a tensor or { output, saved }, at once and not in a promise`);
  if (!sameShape(output.shape, shape)) fail(`${name}: its forward gave ${formatShape(output.shape)} where its infer says ${formatShape(shape)}`);
};

/**
 * The results as handles of the call's own, of which run and tape dispose: an input that is passed on or saved is somebody else's, and so
 * is the output once more.
 */
const handles = (output: Tensor, saved: Record<string, Tensor>): { output: Tensor; saved: Record<string, Tensor> } => {
  const own = (tensor: Tensor): Tensor => (endsHere(tensor) ? tensor : tensor.alias());
  const mine = Object.entries(saved).map(([name, tensor]) => [name, tensor === output ? tensor.alias() : own(tensor)] as const);
  return { output: own(output), saved: Object.fromEntries(mine) };
};
