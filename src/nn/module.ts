import { fail } from '../errors.js';
import { modulePath, popModule, pushModule } from '../tensor/module-path.js';
import { checkNames } from '../ops/arguments.js';
import { defaultRuntime, write } from '../tensor/create.js';
import { Extents } from '../tensor/extent.js';
import { keep, scope } from '../tensor/scope.js';
import { checkShape, formatShape, sameShape, type Shape } from '../tensor/shape.js';
import { withOwner } from '../tensor/storage.js';
import { Tensor } from '../tensor/tensor.js';

export type Named<T> = readonly [name: string, value: T];

const parameters = new WeakSet<Tensor>();

/** Sees what every module returns; the path is relative to the outermost module. */
export type ModuleHook = (path: string, module: AnyModule, output: unknown) => void;

const hooks = new Extents<ModuleHook | null>(null);

/** Runs `fn` with a view on the output of every module called in it. What the hook wants to keep, it must alias and `keep`. */
export const withModuleHook = <T>(hook: ModuleHook, fn: () => T): T => hooks.within(hook, fn);

/** Whether somebody looks at what each module returns: then modules must not be computed as one. */
export const isObserved = (): boolean => hooks.current !== null;

/** The path without the outermost module, which has no name of its own. */
const relativePath = (): string => modulePath().split('.').slice(1).join('.');

/** Makes a tensor that training changes. It belongs to its module and outlives scopes. */
export const parameter = (shape: Shape, values: Float32Array): Tensor => {
  const made = persistent('parameters', shape, values).requiresGrad_();
  parameters.add(made);
  return made;
};

/** Makes a tensor that belongs to a module's state without being trained (running statistics). */
export const buffer = (shape: Shape, values: Float32Array): Tensor => persistent('buffers', shape, values);

const persistent = (owner: 'parameters' | 'buffers', shape: Shape, values: Float32Array): Tensor => withOwner(owner, () => {
  checkShape(owner, shape);
  const made = keep(Tensor.allocate(defaultRuntime(), shape, 'float32', owner));
  write(made, values);
  return made;
});

/** Values of tensors by name, logical row-major order. */
export type StateDict = Map<string, { shape: Shape; data: Float32Array }>;

/**
 * A part of a network. Parameters, buffers and children are the object's own properties; their names
 * follow from the property names, joined by dots, as in PyTorch. Modules and parameters may also stand in lists, `blocks = [new Block(), new Block()]`,
 * and are named as in PyTorch's `ModuleList`: `blocks.0`, `blocks.1`. Nothing is looked for in other objects, maps and `#private` fields. A tensor is a
 * parameter only if {@link parameter} made it, any other one that is a property counts as a buffer.
 */
export abstract class Module<Inputs extends readonly unknown[] = [Tensor], Output = Tensor> {
  /** Set by `train()` and `eval()`: batch norm and dropout behave differently. */
  training = true;
  /** Name within the parent, for errors and the debug mode. */
  private label = '';

  /** The computation. Call it through {@link call}. */
  protected abstract forward(...inputs: Inputs): Output;

  /** Runs the module. Intermediate tensors that neither the result nor the tape needs are released at once. */
  call(...inputs: Inputs): Output {
    pushModule(this.label || this.constructor.name);
    try {
      return scope(() => {
        const output = this.forward(...inputs);
        hooks.current?.(relativePath(), this as unknown as AnyModule, output);
        return output;
      });
    } finally {
      popModule();
    }
  }

  /** Direct children with their names. */
  namedChildren(): Named<AnyModule>[] {
    return ownEntries(this).filter((entry): entry is Named<AnyModule> => entry[1] instanceof Module);
  }

  /** All parameters with dotted names: own ones first, then the children's. One that stands in several places has its first name alone. */
  namedParameters(): Named<Tensor>[] {
    return firstNames(this.collect('')).filter(([, tensor]) => parameters.has(tensor));
  }

  /** All tensors that belong to the state but are not trained; names as of {@link namedParameters}. */
  namedBuffers(): Named<Tensor>[] {
    return firstNames(this.collect('')).filter(([, tensor]) => !parameters.has(tensor));
  }

  parameters(): Tensor[] {
    return this.namedParameters().map(([, tensor]) => tensor);
  }

  /** Switches this module and all below to training mode. */
  train(on = true): this {
    this.training = on;
    for (const [, child] of this.namedChildren()) child.train(on);
    return this;
  }

  /** Switches to evaluation mode. */
  eval(): this {
    return this.train(false);
  }

  /** Gives parameters and modules their dotted names, for messages. Call it once on the outermost module. */
  nameAll(): this {
    for (const [name, tensor] of firstNames(this.collect(''))) tensor.label = name;
    const visit = (module: AnyModule): void => {
      for (const [name, child] of module.namedChildren()) {
        child.label = name;
        visit(child);
      }
    };
    visit(this as unknown as AnyModule);
    return this;
  }

  /**
   * Reads all parameters and buffers to the host, as they are at the call; training may go on meanwhile. What stands in several places is there under
   * each name.
   */
  async stateDict(): Promise<StateDict> {
    const own = this.collect('');
    const data = await Promise.all(own.map(([, tensor]) => tensor.data()));
    return new Map(own.map(([name, { shape }], i) => [name, { shape, data: data[i] as Float32Array }]));
  }

  /**
   * Replaces all parameters and buffers. With `strict: false` names that are missing or unexpected are passed over, as those of a classifier of other
   * classes; what is of another shape must be taken out of the state before (`state.delete('fc.weight')`), as in PyTorch.
   *
   * @returns the names that were passed over
   * @throws UserError listing what is missing, unexpected or of another shape, also where no name fits; nothing is changed then
   */
  loadStateDict(
    state: ReadonlyMap<string, { shape: Shape; data: ArrayLike<number> }>, options: { strict?: boolean } = {},
  ): { missing: string[]; unexpected: string[] } {
    checkNames('loadStateDict', options, ['strict']);
    if (!(state instanceof Map)) fail('loadStateDict: the state must be a Map of names to { shape, data }, as of stateDict(), load or loadFile');
    const own = new Map(this.collect(''));
    const missing = [...own.keys()].filter((name) => !state.has(name));
    const unexpected = [...state.keys()].filter((name) => !own.has(name));
    const wrong = [...own].filter(([name, tensor]) => state.has(name) && !sameShape(state.get(name)!.shape, tensor.shape))
      .map(([name, tensor]) => `${name} is ${formatShape(state.get(name)!.shape)} instead of ${formatShape(tensor.shape)}`);
    const short = [...own].filter(([name, tensor]) => state.has(name) && state.get(name)!.data.length !== tensor.size)
      .map(([name, tensor]) => `${name} has ${state.get(name)!.data.length} instead of ${tensor.size}`);
    const passes = options.strict === false && missing.length < own.size;
    const problems = [...(passes ? [] : [describe('missing', missing), describe('unexpected', unexpected)]), describe('wrong shape', wrong), describe('wrong count of numbers', wrong.length ? [] : short)].filter(Boolean);
    if (problems.length) fail(`the weights do not fit this model:\n  ${problems.join('\n  ')}\nUse the model, class count and number of attention maps the weights were saved with.`);
    for (const [name, tensor] of own) if (state.has(name)) write(tensor, Float32Array.from(state.get(name)!.data));
    return { missing, unexpected };
  }

  /**
   * Gives the memory of all parameters, their gradients and buffers back: for a network that does not live as long as the program. It cannot be used
   * any more.
   */
  release(): void {
    for (const [, tensor] of this.collect('')) tensor.release();
  }

  private collect(prefix: string): Named<Tensor>[] {
    const own = ownEntries(this).filter((entry): entry is Named<Tensor> => entry[1] instanceof Tensor);
    return [
      ...own.map(([name, tensor]) => [prefix + name, tensor] as const),
      ...this.namedChildren().flatMap(([name, child]) => child.collect(`${prefix}${name}.`)),
    ];
  }
}

/** A module's properties, and what of itself stands in lists: modules and parameters; other tensors in a list are not its state. */
const ownEntries = (module: object): Named<unknown>[] => Object.entries(module).flatMap(([name, value]: [string, unknown]): Named<unknown>[] => {
  if (!Array.isArray(value)) return [[name, value]];
  return value.map((item: unknown, i) => [`${name}.${i}`, item] as const).filter(([, item]) => item instanceof Module || parameters.has(item as Tensor));
});

const firstNames = (named: readonly Named<Tensor>[]): Named<Tensor>[] => {
  const seen = new Set<Tensor>();
  return named.filter(([, tensor]) => !seen.has(tensor) && seen.add(tensor));
};

/** Whether a module computes what a class of layers does: a class derived from it may compute something else. */
export const computesAs = <T extends AnyModule>(module: AnyModule | undefined, kind: abstract new (...args: never[]) => T): module is T =>
  module instanceof kind && (['forward', 'call'] as const).every((method) => Reflect.get(module, method) === Reflect.get(kind.prototype as object, method));

// eslint-disable-next-line @typescript-eslint/no-explicit-any -- a module's inputs and outputs are its own affair
export type AnyModule = Module<any, any>;

/** Runs `work` with the module and all below in evaluation mode, and puts them back into the module's mode. */
export const inEvaluation = <T>(module: AnyModule, work: () => T): T => {
  const { training } = module;
  module.eval();
  try {
    return work();
  } finally {
    module.train(training);
  }
};

const SHOWN = 8;
const describe = (what: string, names: readonly string[]): string =>
  names.length ? `${names.length} ${what}: ${names.slice(0, SHOWN).join(', ')}${names.length > SHOWN ? ', …' : ''}` : '';
