import { withHalfBindings } from './half.js';
import { originsOf, preprocess, resolveIncludes } from './preprocess.js';
import { type ParamField, parseParams } from './params.js';
import { valueAt } from './value-at.js';

export type Constants = Readonly<Record<string, number>>;

export interface BindingDeclaration {
  readonly name: string;
  readonly index: number;
  /** `image`: a texture that the recorder fills with the buffer's contents. */
  readonly access: 'read' | 'read_write' | 'image';
}

/** One entry point of a shader with its constants: what a pipeline is made of. */
export interface Kernel {
  readonly shader: Shader;
  readonly entry: string;
  readonly constants: Constants;
  /** Bindings that hold float16. */
  readonly half: readonly string[];
  /** Unique for (shader, entry, constants, half); also the label in errors. */
  readonly key: string;
}

const NONE: Constants = {};

const same = (a: Constants, b: Constants): boolean => {
  if (a === b) return true;
  let count = 0;
  for (const name in b) {
    if (a[name] !== b[name]) return false;
    count++;
  }
  for (const _ in a) count--;
  return count === 0;
};

/**
 * A `.wgsl` file. Its bindings and its `struct Params` are read from the text,
 * so the shader is the only place that states them and the host is checked against it.
 */
export class Shader {
  readonly bindings: ReadonlyMap<string, BindingDeclaration>;
  readonly params: readonly ParamField[];
  private readonly kernels = new Map<string, Kernel[]>();
  private readonly halves = new Map<string, Kernel>();
  private readonly overrides: ReadonlySet<string>;

  private readonly source: string;

  /** @param parts what stands for an included name instead of the file of that name; such a shader needs its own `name` */
  constructor(readonly name: string, private readonly text: string, private readonly parts: Readonly<Record<string, string>> = {}) {
    const source = resolveIncludes(`${name}.wgsl`, text, parts);
    this.source = source;
    this.bindings = parseBindings(source);
    this.params = parseParams(source);
    this.overrides = new Set([...source.matchAll(/override (\w+)/g)].map((m) => m[1]!));
  }

  /** The kernel of an entry point; the same arguments give the same object. Constants are `override`s or `$NAME`s of the file. */
  kernel(entry: string, constants: Constants = NONE): Kernel {
    const known = valueAt(this.kernels, entry, (): Kernel[] => []);
    // Compared instead of put together as a name: this runs for every dispatch.
    for (const kernel of known) if (same(kernel.constants, constants)) return kernel;
    this.checkConstants(entry, constants);
    const settings = Object.entries(constants).map(([name, value]) => ` ${name}=${value}`);
    const kernel = { shader: this, entry, constants, half: [], key: `${this.name}.${entry}${settings.join('')}` };
    known.push(kernel);
    return kernel;
  }

  /** Refuses what the text would pass over in silence, computing with the default instead. */
  private checkConstants(entry: string, constants: Constants): void {
    const unknown = Object.keys(constants).find((name) => !this.overrides.has(name) && !new RegExp(`\\$${name}\\b`).test(this.source));
    if (unknown) throw new Error(`${this.name}.${entry}: the shader has no constant "${unknown}", neither as override nor as $${unknown}; its overrides are ${[...this.overrides].join(', ') || 'none'}`);
  }

  /** A kernel's variant for buffers of float16. @param names the bindings that hold it, separated by blanks */
  inHalf({ entry, constants, key: plain }: Kernel, names: string): Kernel {
    const key = `${plain} float16: ${names}`;
    return valueAt(this.halves, key, (): Kernel => ({ shader: this, entry, constants, half: names.split(' '), key }));
  }

  /** Where the lines of the text that {@link specialise} gives stand, as file and line. */
  origins(constants: Constants): string[] {
    return originsOf(`${this.name}.wgsl`, this.text, this.parts, constants);
  }

  /** WGSL text for the given constants, and those of them that are `override`s. */
  specialise({ constants, half }: Pick<Kernel, 'constants' | 'half'>): { code: string; overrides: Record<string, number> } {
    const overrides = Object.fromEntries(Object.entries(constants).filter(([name]) => this.overrides.has(name)));
    const file = `${this.name}.wgsl`;
    const code = preprocess(file, this.source, constants);
    return { code: half.length ? withHalfBindings(file, code, half) : code, overrides };
  }
}

const parseBindings = (source: string): Map<string, BindingDeclaration> => {
  const pattern = /@group\(0\)\s*@binding\((\d+)\)\s*var<storage,\s*(read|read_write)>\s*(\w+)\s*:/g;
  const bindings = new Map<string, BindingDeclaration>();
  for (const [, index, access, name] of source.matchAll(pattern)) {
    bindings.set(name!, { name: name!, index: Number(index), access: access as 'read' | 'read_write' });
  }
  for (const [, index, name] of source.matchAll(/@group\(0\)\s*@binding\((\d+)\)\s*var\s+(\w+)\s*:\s*texture_storage_2d/g)) {
    bindings.set(name!, { name: name!, index: Number(index), access: 'image' });
  }
  return bindings;
};
