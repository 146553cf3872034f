/** A network's evaluation as a list of op calls, seen while it runs once. */
import { noGrad } from '../../autograd/tape.js';
import { fail } from '../../errors.js';
import { type Call, type Runnable, withTape } from '../../ops/op.js';
import { modulePath } from '../../tensor/module-path.js';
import { untrack } from '../../tensor/scope.js';
import { formatShape, sameShape, type Shape } from '../../tensor/shape.js';
import type { Storage } from '../../tensor/storage.js';
import type { Tensor } from '../../tensor/tensor.js';

/** Something that depends on the network's input. */
export interface Computed {
  readonly kind: 'input' | 'node';
  readonly shape: Shape;
}

/** Weights, and what follows from them alone. */
export interface Constant {
  readonly kind: 'constant';
  readonly shape: Shape;
  /** The parameter's name, or what made it. */
  readonly label: string;
  /** Keeps the numbers alive until {@link Trace.readConstants}. */
  readonly tensor: Tensor;
}

export type Value = Computed | Constant;

export interface TracedCall {
  readonly op: string;
  readonly attrs: unknown;
  readonly inputs: readonly Value[];
  readonly output: Computed;
  /** Module that made the call, `features.conv1`. */
  readonly module: string;
}

export class Trace {
  readonly calls: TracedCall[] = [];
  private readonly values = new Map<Tensor, Value>();
  /** Other handles on the same memory show the same value. */
  private readonly byStorage = new Map<Storage, Computed>();
  private readonly constants: Constant[] = [];

  readonly input: Computed;

  constructor(input: Tensor) {
    this.input = this.know(input, { kind: 'input', shape: input.shape });
  }

  /** Runs `fn` and notes every op it calls. */
  run<T>(fn: () => T): T {
    return withTape({ record: (op, call, output) => this.record(op, call, output) }, () => noGrad(fn));
  }

  /** What is known about a tensor; one that no op made from the input is a constant. */
  valueOf(tensor: Tensor): Value {
    const known = this.values.get(tensor);
    if (known) return known;
    const shared = this.byStorage.get(tensor.storage);
    if (!shared) return this.constant(tensor);
    if (!sameShape(shared.shape, tensor.shape)) fail(`ONNX export: "${tensor.label}" shows a computed tensor ${formatShape(shared.shape)} as ${formatShape(tensor.shape)} without an op; use reshape()`);
    return shared;
  }

  /** The constants' numbers, row-major in Pipit's layout. Their tensors are released. */
  async readConstants(): Promise<ReadonlyMap<Constant, Float32Array>> {
    const numbers = new Map<Constant, Float32Array>();
    for (const constant of this.constants) {
      numbers.set(constant, Float32Array.from(await constant.tensor.data()));
      constant.tensor.release();
    }
    return numbers;
  }

  private know(tensor: Tensor, value: Computed): Computed {
    this.values.set(tensor, value);
    this.byStorage.set(tensor.storage, value);
    return value;
  }

  private constant(tensor: Tensor): Constant {
    const handle = tensor.alias();
    untrack(handle);
    const constant: Constant = { kind: 'constant', shape: tensor.shape, label: tensor.label, tensor: handle };
    this.values.set(tensor, constant);
    this.constants.push(constant);
    return constant;
  }

  private record(op: Runnable<never>, call: Call<never>, output: Tensor): boolean {
    const inputs = call.inputs.map((tensor) => this.valueOf(tensor));
    // What follows from constants alone is one, and needs no node.
    if (inputs.every(({ kind }) => kind === 'constant')) this.constant(output);
    else this.calls.push({ op: op.name, attrs: call.attrs, inputs, output: this.know(output, { kind: 'node', shape: output.shape }), module: modulePath() });
    return false;
  }
}
