import { fail } from '../errors.js';
import { type Call, installTape, type Op } from '../ops/op.js';
import { modulePath } from '../tensor/context.js';
import { type Scoped, trackOutermost, untrack } from '../tensor/scope.js';
import { formatShape, type Shape } from '../tensor/shape.js';
import type { GradientNode, Tensor } from '../tensor/tensor.js';

let nextOrder = 0;
let recording = true;

/** A leaf that collects a gradient, or the node that produced an input. */
type Source = { readonly leaf: Tensor } | { readonly node: Node } | null;

/** One recorded call: enough to run the op's backward, and nothing more stays in memory. */
export class Node implements GradientNode, Scoped {
  readonly op: string;
  /** Module whose forward made the call, for the debug mode. */
  readonly module = modulePath();
  readonly order = nextOrder++;
  readonly shape: Shape;
  readonly shapes: readonly Shape[];
  readonly sources: readonly Source[];
  /** Outputs whose gradient the user asked for with `retainGrad`. */
  retained: Tensor | null = null;
  private state: 'live' | 'consumed' | 'scope ended' = 'live';
  private readonly inputs: readonly (Tensor | null)[];
  private readonly output: Tensor | null;

  constructor(private readonly record: Op<unknown>, private readonly call: Call<unknown>, output: Tensor, private readonly saved: Record<string, Tensor>) {
    this.op = record.name;
    this.shape = call.shape;
    this.shapes = call.inputs.map((t) => t.shape);
    this.sources = call.inputs.map(sourceOf);
    const keeps = record.keeps ?? {};
    this.inputs = call.inputs.map((t, i) => (keeps.inputs?.includes(i) ? privateHandle(t) : null));
    this.output = keeps.output ? privateHandle(output) : null;
    // The call's own handles would keep nothing alive but could be used after their release.
    this.call = { ...call, inputs: [] };
    trackOutermost(this);
  }

  /** Gradients of the inputs, where they were not added to those in `into`; frees what was kept for it. */
  backward(grad: Tensor, into: readonly (Tensor | null)[]): readonly (Tensor | null)[] {
    if (this.state !== 'live') this.refuse();
    const grads = this.record.backward!({
      runtime: this.call.runtime, grad, attrs: this.call.attrs as never, inputs: this.inputs, output: this.output, saved: this.saved,
      shapes: this.shapes, shape: this.shape, needs: this.sources.map((s) => s !== null), into,
    });
    this.free('consumed');
    return grads;
  }

  /** Called when the outermost scope ends without (or after) a backward. */
  endScope(): void {
    if (this.state === 'live') this.free('scope ended');
  }

  private refuse(): never {
    if (this.state === 'consumed') {
      fail(`backward: the graph through "${this.op}" ${formatShape(this.shape)} was already used by an earlier backward, which released it. ` +
        'Run the forward again, or add the losses and call backward once.');
    }
    return fail(`backward: the graph through "${this.op}" ${formatShape(this.shape)} was released when its scope ended; call backward inside the scope that ran the forward`);
  }

  private free(state: 'consumed' | 'scope ended'): void {
    this.state = state;
    for (const tensor of this.inputs) tensor?.endScope();
    this.output?.endScope();
    for (const tensor of Object.values(this.saved)) tensor.endScope();
    untrack(this);
  }
}

/** A handle that belongs to the tape and not to the current scope. */
const privateHandle = (tensor: Tensor): Tensor => {
  const handle = tensor.alias();
  untrack(handle);
  return handle;
};

const sourceOf = (input: Tensor): Source => {
  if (!input.requiresGrad) return null;
  return input.gradNode ? { node: input.gradNode as Node } : { leaf: input };
};

installTape({
  record(op, call, output, saved) {
    if (!recording || op.backward === null || !call.inputs.some((t) => t.requiresGrad)) return false;
    output.requiresGrad = true;
    output.gradNode = new Node(op as unknown as Op<unknown>, call as Call<unknown>, output, saved);
    return true;
  },
});

/** Whether ops are being recorded. */
export const isGradEnabled = (): boolean => recording;

/** Runs `fn` (also an async one) without recording: no graph, no memory kept for backward. */
export const noGrad = <T>(fn: () => T): T => withRecording(false, fn);

/** Runs `fn` with recording on, inside a `noGrad`. */
export const enableGrad = <T>(fn: () => T): T => withRecording(true, fn);

const withRecording = <T>(on: boolean, fn: () => T): T => {
  const before = recording;
  recording = on;
  const restore = (): void => { recording = before; };
  let result: T;
  try {
    result = fn();
  } catch (error) {
    restore();
    throw error;
  }
  if (result instanceof Promise) return result.finally(restore) as T;
  restore();
  return result;
};
