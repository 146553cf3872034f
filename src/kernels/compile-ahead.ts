/**
 * Machine code ahead of time. Drivers on CPUs make it when a pipeline is first dispatched, for one pipeline after the other in the thread of the
 * device's queue, and keep it on disk. So each kernel is dispatched before it is wanted, for no workgroup; where that takes long,
 * further devices do the same at the same time, and what they make is found on the disk.
 */
import type { Device } from '../device/device.js';
import { PARAM_SLOT_BYTES, PARAMS_BINDING } from './params.js';
import { type CompiledKernel, type ForeseenKernel, PipelineCache } from './pipelines.js';
import type { BindingDeclaration } from './shader.js';

/** Kernels that are on disk take some milliseconds each, others some hundred. */
const SLOW_MS = 50;
const MOST_AT_ONCE = 8;
/** Each compiler takes memory. */
const MOST_DEVICES = 4;
/** Of a binding: as far as bindings of a buffer must lie apart, and as much as any kernel asks for. */
const BINDING_BYTES = 256;

/** What kernels are bound to when nothing is computed. */
class Stage {
  private readonly read: GPUBuffer;
  private readonly written: GPUBuffer;
  private readonly nowhere: GPUBuffer;
  private readonly image: GPUTexture;
  private readonly params: GPUBuffer;

  constructor(private readonly device: Device) {
    const { gpu } = device;
    const buffer = (size: number, usage: number): GPUBuffer => gpu.createBuffer({ label: 'rehearsal', size, usage });
    this.read = buffer(BINDING_BYTES, GPUBufferUsage.STORAGE);
    this.written = buffer(BINDING_BYTES * PARAMS_BINDING, GPUBufferUsage.STORAGE);
    this.nowhere = buffer(12, GPUBufferUsage.INDIRECT);
    this.image = gpu.createTexture({ label: 'rehearsal', size: [1, 1], format: 'rgba32float', usage: GPUTextureUsage.STORAGE_BINDING });
    this.params = buffer(PARAM_SLOT_BYTES, GPUBufferUsage.UNIFORM);
  }

  /** Has the driver make a kernel ready. */
  run({ pipeline, layout, bindings }: CompiledKernel): void {
    const { gpu } = this.device;
    const operands = bindings.map((binding) => ({ binding: binding.index, resource: this.resourceFor(binding) }));
    const group = gpu.createBindGroup({ layout, entries: [...operands, { binding: PARAMS_BINDING, resource: { buffer: this.params } }] });
    const encoder = gpu.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    // Not dispatchWorkgroups(0): Dawn knows that this does nothing, and leaves it out.
    pass.dispatchWorkgroupsIndirect(this.nowhere, 0);
    pass.end();
    gpu.queue.submit([encoder.finish()]);
  }

  /** Gives its memory back. Call only when all of its work is done. */
  destroy(): void {
    for (const one of [this.read, this.written, this.nowhere, this.image, this.params]) one.destroy();
  }

  private resourceFor({ access, index }: BindingDeclaration): GPUBindingResource {
    if (access === 'image') return this.image.createView();
    // What is written must not overlap.
    return access === 'read' ? { buffer: this.read } : { buffer: this.written, offset: index * BINDING_BYTES, size: BINDING_BYTES };
  }
}

const createAll = (device: Device, cache: PipelineCache, kernels: readonly ForeseenKernel[]): Promise<(CompiledKernel | null)[]> =>
  device.wait(Promise.all(kernels.map(([kernel, names]) => cache.create(kernel, names))));

/** Takes kernels until none is left: more at a time while they are quick, since waiting takes as long as a quick one. */
const work = async (device: Device, cache: PipelineCache, kernels: ForeseenKernel[], slowMs: number, onSlow: () => void): Promise<void> => {
  const stage = new Stage(device);
  let count = 1;
  while (kernels.length > 0) {
    const compiled = await createAll(device, cache, kernels.splice(0, count));
    const start = performance.now();
    for (const one of compiled) if (one) stage.run(one);
    await device.idle();
    const slow = performance.now() - start > slowMs;
    if (slow) onSlow();
    count = slow ? 1 : Math.min(2 * count, MOST_AT_ONCE);
  }
  stage.destroy();
};

const workOnTwin = async (device: Device, kernels: ForeseenKernel[], slowMs: number): Promise<void> => {
  const twin = await device.twin();
  try {
    await work(twin, new PipelineCache(twin), kernels, slowMs, () => {});
  } finally {
    twin.close();
  }
};

/**
 * Compiles what dry runs have met, while JavaScript does something else. What does not compile is left for the first dispatch to explain.
 *
 * @param onSlow is told how many kernels there are, when the driver turns out not to have their machine code on disk
 */
export const compileAhead = async (device: Device, cache: PipelineCache, onSlow: (kernels: number) => void, slowMs = SLOW_MS): Promise<void> => {
  const kernels = cache.takeForeseen();
  const compiled = await createAll(device, cache, kernels);
  if (!device.report.software) return;
  // Long ones take long: at the end there should be short ones to share out.
  const length = new Map(kernels.map(([kernel], i) => [kernel, compiled[i]?.length ?? 0]));
  const waiting = [...kernels].sort(([a], [b]) => length.get(b)! - length.get(a)!);
  const helpers: Promise<void>[] = [];
  let slow = false;
  await work(device, cache, waiting, slowMs, () => {
    if (slow) return;
    slow = true;
    onSlow(kernels.length);
    const others = Math.min(device.threads, MOST_DEVICES) - 1;
    // A kernel that a helper fails to make ready is made ready when it is wanted.
    for (let i = 0; i < others; i++) helpers.push(workOnTwin(device, waiting, slowMs).catch(() => {}));
  });
  await Promise.all(helpers);
};
