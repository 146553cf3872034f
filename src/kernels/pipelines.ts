import type { Device } from '../device/device.js';
import { checkParams, PARAMS_BINDING, type ParamValues } from './params.js';
import type { BindingDeclaration, Kernel } from './shader.js';

export interface CompiledKernel {
  readonly id: number;
  /** The kernel's key. */
  readonly label: string;
  /** Characters of its text. */
  readonly length: number;
  readonly pipeline: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
  /** In the order in which callers name them. */
  readonly bindings: readonly BindingDeclaration[];
  /** Names of those that are read as images, and of those that are written. */
  readonly images: readonly string[];
  readonly results: readonly string[];
}

/** A kernel, and the names of its bindings in the order in which callers name them. */
export type ForeseenKernel = [Kernel, readonly string[]];

/** Compiles kernels once and keeps them. */
export class PipelineCache {
  private readonly compiled = new Map<Kernel, CompiledKernel>();
  /** Kernels that a dry run met, with the names of their bindings. */
  private readonly foreseen = new Map<Kernel, readonly string[]>();

  constructor(private readonly device: Device) {}

  /** Number of pipelines compiled so far. */
  get count(): number {
    return this.compiled.size;
  }

  /** The compiled kernel for bindings of these names (the set an entry point uses, in the caller's order); the first call checks the names of parameters. */
  get(kernel: Kernel, ranges: Readonly<Record<string, unknown>>, params: ParamValues): CompiledKernel {
    let compiled = this.compiled.get(kernel);
    if (!compiled) {
      checkParams(kernel.key, kernel.shader.params, params);
      compiled = this.compile(kernel, Object.keys(ranges));
      this.compiled.set(kernel, compiled);
    }
    return compiled;
  }

  /** A kernel will be wanted. Arguments as of {@link get}. */
  foresee(kernel: Kernel, ranges: Readonly<Record<string, unknown>>, params: ParamValues): void {
    if (this.compiled.has(kernel) || this.foreseen.has(kernel)) return;
    checkParams(kernel.key, kernel.shader.params, params);
    this.foreseen.set(kernel, Object.keys(ranges));
  }

  /** Hands over what was foreseen; from now on nothing is. */
  takeForeseen(): ForeseenKernel[] {
    const kernels = [...this.foreseen];
    this.foreseen.clear();
    return kernels;
  }

  /** Compiles a kernel on the adapter's own threads; null where that fails. */
  async create(kernel: Kernel, names: readonly string[]): Promise<CompiledKernel | null> {
    const known = this.compiled.get(kernel);
    if (known) return known;
    const { gpu } = this.device;
    let text: KernelText;
    try {
      text = textOf(kernel, names);
    } catch {
      return null;
    }
    gpu.pushErrorScope('validation');
    const { descriptor, finish } = this.prepare(kernel, text);
    const created = gpu.createComputePipelineAsync(descriptor).catch(() => null);
    const [pipeline] = await Promise.all([created, gpu.popErrorScope()]);
    if (pipeline && !this.compiled.has(kernel)) this.compiled.set(kernel, finish(pipeline));
    return this.compiled.get(kernel) ?? null;
  }

  private compile(kernel: Kernel, names: readonly string[]): CompiledKernel {
    const { gpu } = this.device;
    // What throws comes before the scope, which would stay open and hide the errors of others.
    const text = textOf(kernel, names);
    // Captured, so that the report names the kernel and its line instead of whatever fails first because of it.
    gpu.pushErrorScope('validation');
    const { descriptor, finish } = this.prepare(kernel, text);
    const pipeline = gpu.createComputePipeline(descriptor);
    const outcome = Promise.all([gpu.popErrorScope(), descriptor.compute.module.getCompilationInfo()]);
    this.device.diagnose(outcome.then(([error, info]) => explain(kernel, text.code, error, info)));
    return finish(pipeline);
  }

  /** What becomes of a kernel's text. */
  private prepare(kernel: Kernel, { bindings, code, overrides }: KernelText) {
    const gpu = this.device.gpu;
    const operands = bindings.map((b) => ({ binding: b.index, ...layoutOf(b) }));
    const entries = [...operands, { binding: PARAMS_BINDING, buffer: { type: 'uniform' } as const }];
    const layout = gpu.createBindGroupLayout({ label: kernel.key, entries: entries.map((entry) => ({ visibility: GPUShaderStage.COMPUTE, ...entry })) });
    const descriptor = {
      label: kernel.key,
      layout: gpu.createPipelineLayout({ label: kernel.key, bindGroupLayouts: [layout] }),
      compute: { module: gpu.createShaderModule({ label: kernel.key, code }), entryPoint: kernel.entry, constants: overrides },
    };
    const namesOf = (access: BindingDeclaration['access']): string[] => bindings.filter((b) => b.access === access).map((b) => b.name);
    const finish = (pipeline: GPUComputePipeline): CompiledKernel =>
      ({ id: this.compiled.size, label: kernel.key, length: code.length, pipeline, layout, bindings, images: namesOf('image'), results: namesOf('read_write') });
    return { descriptor, finish };
  }
}

/** A kernel as the host knows it, before the adapter sees it. */
interface KernelText {
  readonly bindings: readonly BindingDeclaration[];
  readonly code: string;
  readonly overrides: Record<string, number>;
}

const textOf = (kernel: Kernel, names: readonly string[]): KernelText => {
  const bindings = names.map((name) => {
    const binding = kernel.shader.bindings.get(name);
    if (!binding) throw new Error(`${kernel.key}: the shader has no binding "${name}"; it has ${[...kernel.shader.bindings.keys()].join(', ')}`);
    return binding;
  });
  return { bindings, ...kernel.shader.specialise(kernel) };
};

const layoutOf = ({ access }: BindingDeclaration): Omit<GPUBindGroupLayoutEntry, 'binding' | 'visibility'> =>
  (access === 'image'
    ? { storageTexture: { access: 'read-only', format: 'rgba32float' } }
    : { buffer: { type: access === 'read' ? 'read-only-storage' : 'storage' } });

/** The adapter's message with the bindings' names, which it does not know. */
const named = ({ shader }: Kernel, message: string): string => message.replace(/@group\(0\) @binding\((\d+)\)/g, (whole, index: string) => {
  const binding = [...shader.bindings.values()].find((one) => one.index === Number(index));
  return binding ? `${whole} ("${binding.name}")` : whole;
});

/** What is wrong with a kernel, with the lines of its text; null if nothing is. */
const explain = (kernel: Kernel, code: string, error: GPUError | null, info: GPUCompilationInfo): Error | null => {
  const errors = info.messages.filter((m) => m.type === 'error');
  const lines = code.split('\n');
  const origins = errors.length ? kernel.shader.origins(kernel.constants) : [];
  const text = errors.map((m) => `  ${origins[m.lineNum - 1] ?? m.lineNum}:${m.linePos} ${m.message}\n    ${lines[m.lineNum - 1] ?? ''}`);
  if (errors.length) return new Error(`${kernel.key} does not compile:\n${text.join('\n')}`);
  return error ? new Error(`${kernel.key} was rejected by the adapter: ${named(kernel, error.message)}`) : null;
};
