import { repeated } from '../kernels/capture.js';
import type { BufferRange } from '../kernels/recorder.js';
import type { Runtime } from '../kernels/runtime.js';
import { valueAt } from '../kernels/value-at.js';
import { Extents } from './extent.js';

/** Live bytes of a runtime by owner, for `memoryReport`. */
const ledgers = new WeakMap<Runtime, Map<string, Booked>>();

interface Booked {
  bytes: number;
  tensors: number;
}

const owners = new Extents('activations');

/** Runs `fn` with new tensors booked under `owner` (for example `optimiser`). */
export const withOwner = <T>(owner: string, fn: () => T): T => owners.within(owner, fn);

/**
 * Counted reference to a range of a pooled buffer. Tensor handles, the tape and flat parameter
 * buffers share it; the buffer returns to the pool with the last reference.
 */
export class Storage {
  private references = 1;
  private writes = 0;
  private readonly owner = owners.current;

  private constructor(readonly runtime: Runtime, readonly range: BufferRange, private readonly parent: Storage | null) {
    if (!parent) this.book(range.buffer.size, 1);
  }

  static allocate(runtime: Runtime, bytes: number, label: () => string): Storage {
    return new Storage(runtime, { buffer: runtime.device.pool.acquire(bytes, label), offset: 0, bytes }, null);
  }

  /** A part of this storage, keeping it alive; `offset` must be a multiple of 256. */
  part(offset: number, bytes: number): Storage {
    const root = this.parent ?? this;
    root.retain();
    return new Storage(this.runtime, { buffer: this.range.buffer, offset: this.range.offset + offset, bytes }, root);
  }

  /** Notes that its elements are replaced in place, by a replay too: what the tape keeps of it is not what the forward read. */
  changed(): void {
    repeated(() => { this.writes++; });
  }

  /** How often its elements, or those of the storage that it is a part of, were replaced in place. */
  get version(): number {
    return this.parent ? this.writes + this.parent.writes : this.writes;
  }

  /** Whether anybody besides the one holder refers to it; if not, it may be changed in place. */
  get shared(): boolean {
    return this.references > 1;
  }

  retain(): this {
    this.references++;
    return this;
  }

  release(): void {
    if (--this.references > 0) return;
    if (this.parent) {
      this.parent.release();
      return;
    }
    this.book(-this.range.buffer.size, -1);
    this.runtime.device.pool.release(this.range.buffer);
  }

  private book(bytes: number, tensors: number): void {
    const ledger = valueAt(ledgers, this.runtime, () => new Map<string, Booked>());
    const entry = valueAt(ledger, this.owner, (): Booked => ({ bytes: 0, tensors: 0 }));
    entry.bytes += bytes;
    entry.tensors += tensors;
  }
}

export interface MemoryReport {
  /** Bytes in use, and idle bytes that the pool keeps for reuse. */
  liveBytes: number;
  liveBuffers: number;
  idleBytes: number;
  idleBuffers: number;
  /** Live bytes and buffers by owner: parameters, gradients, optimiser, activations … */
  owners: Record<string, Booked>;
}

/** Where the adapter's memory is, by owner. */
export const memoryReport = (runtime: Runtime): MemoryReport => {
  const { liveBytes, liveBuffers, idleBytes, idleBuffers } = runtime.device.pool.statistics();
  const booked = [...(ledgers.get(runtime) ?? [])].filter(([, { tensors }]) => tensors > 0).sort(([a], [b]) => a.localeCompare(b));
  return { liveBytes, liveBuffers, idleBytes, idleBuffers, owners: Object.fromEntries(booked.map(([owner, entry]) => [owner, { ...entry }])) };
};
