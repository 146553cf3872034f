import { fail } from '../errors.js';
import { checkFunction } from '../ops/arguments.js';
import { convert } from '../ops/convert.js';
import { type Call, installTape, type Runnable } from '../ops/op.js';
import { modulePath } from '../tensor/module-path.js';
import { Extents } from '../tensor/extent.js';
import { type Scoped, trackOutermost, untrack } from '../tensor/scope.js';
import { formatShape, sameShape, type Shape } from '../tensor/shape.js';
import { type DType, type GradientNode, isFloat, type Tensor } from '../tensor/tensor.js';

let nextOrder = 0;
/** `notice`: nothing is recorded, but which leaves that want a gradient were read is. */
const mode = new Extents<'record' | 'notice' | 'off'>('record');
let noticed: Reading[] = [];
const repetition = new Extents(false);

/** A tensor that was read, and how often its elements had been replaced then. */
interface Reading {
  readonly tensor: Pick<Tensor, 'storage' | 'label' | 'shape'>;
  readonly version: number;
}

const readingOf = ({ storage, label, shape }: Tensor): Reading => ({ tensor: { storage, label, shape }, version: storage.version });

/** Refuses a backward that would mix values of the forward with later ones. */
export const checkUnchanged = (op: string, result: Shape, readings: readonly Reading[]): void => {
  const changed = readings.find(({ tensor: { storage }, version }) => storage.version !== version)?.tensor;
  if (!changed) return;
  fail(`backward: "${op}" ${formatShape(result)} needs tensor "${changed.label}" ${formatShape(changed.shape)} as it was in the forward, but it was changed in place since ` +
    '(write, fill_, accumulate, an optimiser\'s step, loadStateDict …); change it after backward, or run the forward again');
};

/** What the tape needs to know of an op. Its attributes are passed on unseen. */
type Recorded = Pick<Runnable<never>, 'name' | 'keeps' | 'backward'>;

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
  readonly dtypes: readonly DType[];
  readonly sources: readonly Source[];
  /** The output, where the user asked for its gradient with `retainGrad`. */
  retained: Tensor | null = null;
  private state: 'live' | 'consumed' | 'scope ended' = 'live';
  private readonly inputs: readonly (Tensor | null)[];
  private readonly output: Tensor | null;
  private readonly kept: readonly Reading[];

  constructor(private readonly record: Recorded, private readonly call: Call<never>, output: Tensor, private readonly saved: Record<string, Tensor>) {
    this.op = record.name;
    this.shape = call.shape;
    this.shapes = call.operands.map((t) => t.shape);
    this.dtypes = call.operands.map((t) => t.dtype);
    this.sources = call.operands.map(sourceOf);
    const keeps = record.keeps ?? {};
    this.inputs = call.inputs.map((t, i) => (keeps.inputs?.includes(i) ? privateHandle(t) : null));
    this.output = keeps.output ? privateHandle(output) : null;
    this.kept = [...this.inputs, this.output].flatMap((tensor) => (tensor ? [readingOf(tensor)] : []));
    // The call's own handles would keep nothing alive but could be used after their release.
    this.call = { ...call, inputs: [], operands: [] };
    trackOutermost(this);
  }

  /** Gradients of the inputs, where they were not added to those in `into`; frees what was kept for it. */
  backward(grad: Tensor, into: readonly (Tensor | null)[]): readonly (Tensor | null)[] {
    if (this.state !== 'live') this.refuse();
    checkUnchanged(this.op, this.shape, this.kept);
    const grads = this.gradients(grad, into);
    this.checkGradients(grads);
    this.free('consumed');
    return grads.map((grad, i) => (grad && this.sources[i] && grad.dtype !== this.dtypes[i] ? convert(grad, this.dtypes[i]!) : grad));
  }

  private gradients(grad: Tensor, into: readonly (Tensor | null)[]): readonly (Tensor | null)[] {
    const { runtime, attrs } = this.call;
    try {
      return this.record.backward!({
        runtime, grad, attrs, inputs: this.inputs, output: this.output, saved: this.saved,
        shapes: this.shapes, dtypes: this.dtypes, shape: this.shape, needs: this.sources.map((s) => s !== null), into,
      });
    } catch (error) {
      throw this.isPartlyKept() && error instanceof Error && / null\b/.test(error.message) ? this.lackOfKept(error) : error;
    }
  }

  /** A missing gradient would count as none, and one of another shape be broadcast further up. */
  private checkGradients(grads: unknown): asserts grads is readonly (Tensor | null)[] {
    if (!Array.isArray(grads)) fail(`the backward of "${this.op}" must return a list: for each input its gradient, or null`);
    this.sources.forEach((source, i) => {
      const grad = grads[i] as Tensor | null | undefined;
      const shape = this.shapes[i]!;
      if (!source || grad === null || (grad && sameShape(grad.shape, shape))) return;
      fail(`the backward of "${this.op}" must return for input ${i} a gradient of its shape ${formatShape(shape)}, or null, but returned ${grad ? formatShape(grad.shape) : 'nothing'}`);
    });
  }

  private isPartlyKept(): boolean {
    return this.output === null || this.inputs.includes(null);
  }

  /** A backward that reads what its record does not name in `keeps` finds null there. */
  private lackOfKept(error: Error): Error {
    const missing = [...this.inputs.flatMap((input, i) => (input ? [] : [`input ${i}`])), ...(this.output ? [] : ['the output'])];
    return new Error(`the backward of "${this.op}" met null where it may have read ${missing.join(' or ')}, which its record does not keep; name what it reads in keeps (${error.message})`, { cause: error });
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
    return fail(`backward: the graph through "${this.op}" ${formatShape(this.shape)} was released when its scope ended, as a module's call does where there is no scope around it; run forward and backward inside one, scope(() => { … })`);
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

/** Puts a call on the tape: backward will reach its inputs through `output`. */
export const recordCall = (record: Recorded, call: Call<never>, output: Tensor, saved: Record<string, Tensor> = {}): void => {
  output.requiresGrad = true;
  output.gradNode = new Node(record, call, output, saved);
};

installTape({
  record(op, call, output, saved) {
    if (mode.current === 'off' || op.backward === null || !isFloat(output.dtype) || !call.operands.some((t) => t.requiresGrad)) return false;
    if (mode.current === 'notice') {
      noticed.push(...call.operands.filter((t) => t.requiresGrad).map(readingOf));
      refuseCaptured(op.name, call.operands.find((t) => t.gradNode));
      return false;
    }
    recordCall(op, call, output, saved);
    return true;
  },
});

/** What is computed again must begin a graph of its own: one that led out of it would be used up before its turn. */
const refuseCaptured = (op: string, captured: Tensor | undefined): void => {
  if (captured) fail(`checkpoint: "${op}" reads tensor "${captured.label}" ${formatShape(captured.shape)}, which was computed outside of the checkpointed function; pass it as one of its inputs`);
};

/** Whether gradients are wanted of what is computed now, be it recorded at once or when backward computes it again. */
export const isGradEnabled = (): boolean => mode.current !== 'off';

/** Whether ops are being recorded. */
export const isRecording = (): boolean => mode.current === 'record';

/** Whether backward is running a checkpointed function again: what must happen once per step has happened already. */
export const isRecomputing = (): boolean => repetition.current;

/** Runs `fn` as the repetition of what ran before. */
export const recomputing = <T>(fn: () => T): T => repetition.within(true, fn);

/** Runs `fn` without recording. @returns its result, and the leaves that it read and that want a gradient */
export const noticingGradients = <T>(fn: () => T): { result: T; leaves: readonly Reading[] } => {
  const before = noticed;
  noticed = [];
  try {
    return { result: mode.within('notice', fn), leaves: noticed };
  } finally {
    noticed = before;
  }
};

/**
 * Runs `fn` (also an async one) without recording: no graph, no memory kept for backward. Of async ones that overlap the one begun last decides for
 * all; when all have ended, it is as it was before.
 */
export const noGrad = <T>(fn: () => T): T => {
  checkFunction('noGrad', fn, 'noGrad(() => …)');
  return mode.within('off', fn);
};

/** Runs `fn` with recording on, inside a `noGrad`. */
export const enableGrad = <T>(fn: () => T): T => {
  checkFunction('enableGrad', fn, 'enableGrad(() => …)');
  return mode.within('record', fn);
};
