import type { PooledBuffer } from '../device/buffers.js';
import type { Device } from '../device/device.js';
import { BindGroups, type Images } from './bind-groups.js';
import { Capture, capturing, isCapturing, type LiveParams, spoilCapture } from './capture.js';
import type { Grid } from './grid.js';
import { type ImageCopy, type OperandImage, OperandImages } from './operand-images.js';
import { ParamArena } from './param-arena.js';
import { hasLive, type ParamValues } from './params.js';
import { type CompiledKernel, PipelineCache } from './pipelines.js';
import type { Kernel } from './shader.js';

/** A range of a buffer as a kernel sees it; `offset` is a multiple of 256 bytes. */
export interface BufferRange {
  readonly buffer: PooledBuffer;
  readonly offset: number;
  readonly bytes: number;
}

export interface RecorderStatistics {
  dispatches: number;
  submits: number;
  readBacks: number;
  bindGroups: number;
}

/** Looks on while work is recorded: how a profiler gets between the dispatches. */
export interface RecorderObserver {
  /**
   * Called before each dispatch. A descriptor gives it a compute pass of its own, with timestamps for example. While an observer has this,
   * nothing is replayed.
   */
  dispatching?(dispatch: Dispatch): GPUComputePassDescriptor | null;
  /** Called before a compute pass begins otherwise. */
  opening?(): GPUComputePassDescriptor;
  /** Called around each submit. */
  submitting?(): void;
  submitted?(): void;
}

/** The arguments of {@link Recorder.dispatch}. */
export interface Dispatch {
  readonly kernel: Kernel;
  readonly ranges: Readonly<Record<string, BufferRange>>;
  readonly params: ParamValues;
  readonly grid: Grid;
}

/**
 * So that a long run of work cannot trip a driver's watchdog (2 s on Windows) or pile up in one command buffer: so much arithmetic
 * takes a tenth of a second at 0.5 TFLOP/s.
 */
const DISPATCHES_PER_SUBMIT = 256;
const FLOPS_PER_SUBMIT = 5e10;
/** Drivers on CPUs have no watchdog. JavaScript is done sooner before they begin to work, and copies of operands to images count until a submit. */
const DISPATCHES_PER_SOFTWARE_SUBMIT = 512;

/** Collects dispatches into one compute pass and submits them in few, bounded pieces. */
export class Recorder {
  readonly pipelines: PipelineCache;
  readonly dispatchesPerSubmit: number;
  readonly statistics: RecorderStatistics = { dispatches: 0, submits: 0, readBacks: 0, bindGroups: 0 };
  private readonly images: OperandImages;
  private readonly arena: ParamArena;
  private readonly bindGroups: BindGroups;
  private encoder: GPUCommandEncoder | null = null;
  private pass: GPUComputePassEncoder | null = null;
  /** What the open pass has set last. */
  private current: { kernel: CompiledKernel | null; group: GPUBindGroup | null } = { kernel: null, group: null };
  private pending = 0;
  private pendingFlops = 0;
  private observer: RecorderObserver | null = null;
  private capturing: Capture | null = null;
  /** While set, nothing is recorded: a dry run that only counts memory and notes which kernels are met. */
  dry = false;

  constructor(private readonly device: Device) {
    this.dispatchesPerSubmit = device.report.software ? DISPATCHES_PER_SOFTWARE_SUBMIT : DISPATCHES_PER_SUBMIT;
    this.pipelines = new PipelineCache(device);
    this.images = new OperandImages(device, (copy) => this.copyToImage(copy));
    this.arena = new ParamArena(device);
    this.bindGroups = new BindGroups(device, this.arena, this.statistics);
    device.onBufferDestroyed((id) => this.bindGroups.forgetBuffer(id));
  }

  /** Records one dispatch. The names in `ranges` and `params` must be those of the shader. */
  dispatch(kernel: Kernel, ranges: Readonly<Record<string, BufferRange>>, params: ParamValues, grid: Grid): void {
    if (this.dry) {
      this.pipelines.foresee(kernel, ranges, params);
      return;
    }
    if (this.arena.full) {
      this.flush();
      this.arena.reset();
    }
    const compiled = this.pipelines.get(kernel, ranges, params);
    const images = this.fillImages(compiled, ranges);
    const live = hasLive(params) ? this.liveGroup(kernel, compiled, ranges, images, params) : null;
    const group = live?.group ?? this.bindGroups.get(compiled, ranges, images, this.arena.place(kernel.key, kernel.shader.params, params));
    if (this.capturing) {
      this.capturing.names(ranges);
      this.capturing.add({ kind: 'dispatch', kernel: compiled, group, live: live && { slot: live.slot, kernel, values: { ...params } }, grid });
    } else spoilCapture();
    this.issue(this.openPass(this.observer?.dispatching?.({ kernel, ranges, params, grid }) ?? null), compiled, group, grid);
  }

  /** Copies a range's bytes to another one of the same length. */
  copy(from: BufferRange, to: BufferRange): void {
    if (this.dry) return;
    if (this.capturing) {
      this.capturing.names({ from, to });
      this.capturing.add({ kind: 'copy', from, to });
    } else spoilCapture();
    this.images.forget(to.buffer.id);
    this.betweenPasses().copyBufferToBuffer(from.buffer.gpu, from.offset, to.buffer.gpu, to.offset, from.bytes);
  }

  /**
   * Runs `fn` and keeps what it had recorded, for {@link replay}. Everything it computes must be in buffers that it did not make;
   * JavaScript's part of it must be the same each time, except for `repeated` actions and `Live` parameters.
   *
   * @returns null where it cannot be repeated: it uploads or reads, works on another device as well, keeps buffers that it made, or runs within another capture
   */
  capture(fn: () => void): Capture | null {
    if (this.dry || isCapturing()) {
      fn();
      return null;
    }
    // A replay cannot count on images that happened to be there.
    this.images.forget();
    const capture = (this.capturing = new Capture({ arena: this.arena, images: this.images }));
    try {
      capture.finish(this.device.pool.handedOut(() => capturing(capture, fn)));
    } finally {
      this.capturing = null;
    }
    return capture.isCurrent ? capture : null;
  }

  /** Records the captured commands once more, if that does the same work again. @returns whether it did */
  replay(capture: Capture): boolean {
    if (this.dry || isCapturing() || this.observer?.dispatching || !capture.isCurrent) return false;
    for (const command of capture.commands) {
      if (command.kind === 'dispatch') {
        if (command.live) this.renew(command.live);
        this.issue(this.openPass(null), command.kernel, command.group, command.grid);
      } else if (command.kind === 'image') this.copyToImage(command.copy);
      else if (command.kind === 'weigh') this.weigh(command.flops);
      else if (command.kind === 'copy') this.copy(command.from, command.to);
      else command.action();
    }
    this.images.forget();
    return true;
  }

  /** Tells that what was just recorded is much arithmetic: a submit then ends earlier. */
  weigh(flops: number): void {
    this.capturing?.add({ kind: 'weigh', flops });
    this.pendingFlops += flops;
    if (this.pendingFlops >= FLOPS_PER_SUBMIT) this.flush();
  }

  /** Submits what was recorded. */
  flush(): void {
    this.pendingFlops = 0;
    if (!this.encoder) return;
    this.observer?.submitting?.();
    this.pass?.end();
    this.arena.upload();
    this.device.gpu.queue.submit([this.encoder.finish()]);
    this.observer?.submitted?.();
    this.encoder = null;
    this.pass = null;
    this.pending = 0;
    this.statistics.submits++;
    this.device.pool.destroyDoomed();
    this.images.submitted();
    this.device.check();
  }

  /** Lets a profiler look on from now on; null sends it away. */
  observe(observer: RecorderObserver | null): void {
    this.flush();
    this.observer = observer;
  }

  /** Takes all images of operands as out of date: a benchmark repeats work on the same operands, which training never does. */
  forgetImages(): void {
    this.images.forget();
  }

  /** Uploads bytes into a range, after everything recorded so far and before everything recorded later. */
  upload(range: BufferRange, data: ArrayBufferView): void {
    if (this.dry) return;
    spoilCapture();
    // A write happens at once, but the range's buffer may still be read by recorded, unsubmitted work. After a submit no image counts.
    this.flush();
    this.device.gpu.queue.writeBuffer(range.buffer.gpu, range.offset, data.buffer, data.byteOffset, data.byteLength);
  }

  /** Submits, waits and copies a range to the host. */
  async read(range: BufferRange): Promise<ArrayBuffer> {
    spoilCapture();
    this.flush();
    this.statistics.readBacks++;
    return this.device.read(range.buffer, range.offset, range.bytes);
  }

  /** The open pass, or, with a descriptor, a new one. */
  private openPass(own: GPUComputePassDescriptor | null): GPUComputePassEncoder {
    if (this.pass && !own) return this.pass;
    this.pass?.end();
    this.pass = this.openEncoder().beginComputePass(own ?? this.observer?.opening?.());
    this.current.kernel = this.current.group = null;
    return this.pass;
  }

  private issue(pass: GPUComputePassEncoder, kernel: CompiledKernel, group: GPUBindGroup, grid: Grid): void {
    this.set(pass, kernel, group);
    pass.dispatchWorkgroups(grid[0], grid[1], grid[2]);
    this.statistics.dispatches++;
    if (++this.pending >= this.dispatchesPerSubmit) this.flush();
  }

  /** The bind group for parameters that change: it has a slot of its own, and if recorded work still waits for that, another one. */
  private liveGroup(
    { key, shader }: Kernel, compiled: CompiledKernel, ranges: Readonly<Record<string, BufferRange>>, images: Images | null, params: ParamValues,
  ): { readonly group: GPUBindGroup; readonly slot: number } {
    const take = (): number => this.arena.placeAlone(key, shader.params, params);
    const own = this.bindGroups.withOwnSlot(compiled, ranges, images, take);
    if (this.arena.replace(own.slot, key, shader.params, params)) return own;
    const slot = take();
    return { group: this.bindGroups.get(compiled, ranges, images, slot), slot };
  }

  /** Parameters as they are now. Where recorded work still waits for what they were, it is submitted first. */
  private renew({ slot, kernel, values }: LiveParams): void {
    const replaced = (): boolean => this.arena.replace(slot, kernel.key, kernel.shader.params, values);
    if (replaced()) return;
    this.flush();
    replaced();
  }

  /** Sets what differs from the dispatch before. */
  private set(pass: GPUComputePassEncoder, kernel: CompiledKernel, group: GPUBindGroup): void {
    const { current } = this;
    if (kernel !== current.kernel) pass.setPipeline(kernel.pipeline);
    if (group !== current.group) pass.setBindGroup(0, group);
    current.kernel = kernel;
    current.group = group;
  }

  private openEncoder(): GPUCommandEncoder {
    this.encoder ??= this.device.gpu.createCommandEncoder();
    return this.encoder;
  }

  /** Images of the operands that this kernel reads as images, and a note that its results change what images hold. */
  private fillImages(compiled: CompiledKernel, ranges: Readonly<Record<string, BufferRange>>): Images | null {
    let images: Record<string, OperandImage> | null = null;
    // What is held counts as used before anything is filled, which would overwrite what was unused for longest.
    for (const name of compiled.images) this.images.holding(ranges[name]!);
    for (const name of compiled.images) (images ??= {})[name] = this.images.holding(ranges[name]!) ?? this.images.fill(ranges[name]!);
    for (const name of compiled.results) this.images.forget(ranges[name]!.buffer.id);
    return images;
  }

  private copyToImage(copy: ImageCopy): void {
    this.capturing?.add({ kind: 'image', copy });
    this.betweenPasses().copyBufferToTexture(copy.source, copy.target, copy.size);
  }

  /** The encoder outside of any pass, where copies happen. */
  private betweenPasses(): GPUCommandEncoder {
    this.pass?.end();
    this.pass = null;
    return this.openEncoder();
  }
}
