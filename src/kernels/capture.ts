import type { PooledBuffer } from '../device/buffers.js';
import type { Grid } from './grid.js';
import type { ImageCopy } from './operand-images.js';
import type { ParamValues } from './params.js';
import type { CompiledKernel } from './pipelines.js';
import type { BufferRange } from './recorder.js';
import type { Kernel } from './shader.js';

/** Parameters to look at each time, and the slot that is theirs alone. */
export interface LiveParams {
  readonly slot: number;
  readonly kernel: Kernel;
  readonly values: ParamValues;
}

/** What was done, in order. */
export type Command =
  | { readonly kind: 'dispatch'; readonly kernel: CompiledKernel; readonly group: GPUBindGroup; readonly live: LiveParams | null; readonly grid: Grid }
  | { readonly kind: 'image'; readonly copy: ImageCopy }
  | { readonly kind: 'copy'; readonly from: BufferRange; readonly to: BufferRange }
  | { readonly kind: 'weigh'; readonly flops: number }
  | { readonly kind: 'action'; readonly action: () => void };

/** What bind groups of a recorder depend on besides buffers; each counts how often it became another. */
interface Foundations {
  readonly arena: { readonly resets: number };
  readonly images: { readonly replacements: number };
}

let current: Capture | null = null;

/** Whether work is being captured. */
export const isCapturing = (): boolean => current !== null;

/** Runs `fn` as the work of a capture. */
export const capturing = (capture: Capture, fn: () => void): void => {
  const before = current;
  current = capture;
  try {
    fn();
  } finally {
    current = before;
  }
};

/** Tells the work being captured, if there is any, of something that a replay would leave out. */
export const spoilCapture = (): void => {
  if (current) current.unrepeatable = true;
};

/** A tensor, as far as a capture must know it. */
interface HasGradient {
  readonly alive: boolean;
  readonly storage: object;
  readonly grad: HasGradient | null;
}

/** Tells the work being captured that it looks at a tensor's gradient: a replay is right only while the same memory stands there. */
export const looksAtGradient = (tensor: HasGradient): void => current?.looksAt(tensor);

/** Where a tensor and its gradient lie. */
const placesOf = ({ storage, grad }: HasGradient): readonly (object | null)[] => [storage, grad?.alive ? grad.storage : null];

/**
 * Does something to JavaScript's own state that belongs to the work around it (counting a step, taking a random key): a replay does it
 * again, at the same place.
 */
export const repeated = (action: () => void): void => {
  current?.commands.push({ kind: 'action', action });
  action();
};

/**
 * Commands of work that ran once, to be given to the adapter again without running the JavaScript that led to them. They name buffers:
 * a replay is right as long as those that the work had borrowed from the pool lie there idle, and all others are still held by whom they were.
 */
export class Capture {
  readonly commands: Command[] = [];
  private readonly named = new Set<PooledBuffer>();
  private borrowed: readonly PooledBuffer[] = [];
  private held: readonly { readonly buffer: PooledBuffer; readonly uses: number }[] = [];
  private readonly lookedAt = new Set<HasGradient>();
  private leaves: readonly { readonly tensor: HasGradient; readonly places: readonly (object | null)[] }[] = [];
  /** Set where something happened that cannot be done again: data that came from JavaScript, or went there. */
  unrepeatable = false;
  private readonly resets: number;
  private readonly replacements: number;

  constructor(private readonly foundations: Foundations) {
    this.resets = foundations.arena.resets;
    this.replacements = foundations.images.replacements;
  }

  add(command: Command): void {
    this.commands.push(command);
  }

  names(ranges: Readonly<Record<string, BufferRange>>): void {
    for (const name in ranges) this.named.add(ranges[name]!.buffer);
  }

  looksAt(tensor: HasGradient): void {
    this.lookedAt.add(tensor);
  }

  /** The work is done. @param borrowed buffers that it took from the pool */
  finish(borrowed: ReadonlySet<PooledBuffer>): void {
    this.borrowed = [...borrowed];
    this.held = [...this.named].filter((buffer) => !borrowed.has(buffer)).map((buffer) => ({ buffer, uses: buffer.uses }));
    // What the work made is gone by now.
    this.leaves = [...this.lookedAt].filter(({ alive }) => alive).map((tensor) => ({ tensor, places: placesOf(tensor) }));
    this.lookedAt.clear();
  }

  /** Whether doing the commands again does the work again. */
  get isCurrent(): boolean {
    const { arena, images } = this.foundations;
    return !this.unrepeatable && arena.resets === this.resets && images.replacements === this.replacements &&
      this.borrowed.every((buffer) => buffer.state === 'idle') && this.held.every(({ buffer, uses }) => buffer.state === 'in use' && buffer.uses === uses) &&
      this.leaves.every(({ tensor, places }) => tensor.alive && placesOf(tensor).every((place, i) => place === places[i]));
  }
}
