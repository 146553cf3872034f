import { fail, UserError } from '../errors.js';
import { DryPool, type MemoryPlan } from './dry-pool.js';
import { IdleStock, sizeClass } from './idle-stock.js';

/** A buffer of the pool. `id` is unique for the life of the process, so caches may key on it. */
export interface PooledBuffer {
  readonly id: number;
  readonly gpu: GPUBuffer;
  /** Bytes, rounded up to the size class. */
  readonly size: number;
  /** Whether somebody has it, the pool keeps it for reuse, or it is gone (or about to go). */
  state: 'in use' | 'idle' | 'gone';
  /** How often it was handed out. */
  uses: number;
}

interface PoolStatistics {
  liveBuffers: number;
  liveBytes: number;
  idleBuffers: number;
  idleBytes: number;
  created: number;
}

const KIB = 1024;
const MIB = KIB * KIB;

export const readableBytes = (bytes: number): string => (bytes >= MIB ? `${(bytes / MIB).toFixed(1)} MiB` : `${(bytes / KIB).toFixed(1)} KiB`);

/**
 * Hands out storage buffers and takes them back by size class. Work is executed in the order
 * of recording, so a buffer may be reused at once after its last reader was recorded.
 */
export class BufferPool {
  private readonly idle = new IdleStock<PooledBuffer>();
  private doomed: PooledBuffer[] = [];
  private nextId = 1;
  private liveBuffers = 0;
  private liveBytes = 0;
  private peakBytes = 0;
  private created = 0;
  private dry: DryPool | null = null;
  private log: Set<PooledBuffer> | null = null;
  /** Most bytes that this adapter takes in one buffer. */
  readonly largestBuffer: number;

  /**
   * @param idleCap bytes that may be kept for reuse in any case; twice what was ever in use at once may be, too. What is returned beyond it is destroyed
   * @param onDestroy told of each destroyed buffer, so that bind groups naming it can go too
   */
  constructor(
    private readonly device: GPUDevice,
    private readonly idleCap: number,
    private readonly onError: (error: Error) => void,
    private readonly onDestroy: (id: number) => void = () => {},
  ) {
    this.largestBuffer = Math.min(device.limits.maxStorageBufferBindingSize, device.limits.maxBufferSize);
  }

  /** A buffer of at least `bytes`; contents are unspecified. `label` names it in errors, and is only asked for where it is needed. */
  acquire(bytes: number, label: () => string): PooledBuffer {
    const limit = this.largestBuffer;
    if (bytes > limit && !this.dry) {
      fail(`${label()} needs ${readableBytes(bytes)} in one buffer, but this adapter binds at most ${readableBytes(limit)}. ` +
        'Use a smaller batch size or image size, or an adapter with a larger maxStorageBufferBindingSize.');
    }
    const size = Math.min(sizeClass(bytes), Math.max(limit - (limit % 256), bytes));
    if (this.dry) return { id: -1 - this.dry.acquire(size, bytes, label), gpu: null as unknown as GPUBuffer, size, state: 'in use', uses: 1 };
    const buffer = this.idle.take(size) ?? this.create(size, label());
    buffer.state = 'in use';
    buffer.uses++;
    this.log?.add(buffer);
    this.liveBuffers++;
    this.liveBytes += buffer.size;
    this.peakBytes = Math.max(this.peakBytes, this.liveBytes);
    return buffer;
  }

  release(buffer: PooledBuffer): void {
    if (buffer.id < 0) {
      this.dry?.release(-1 - buffer.id);
      return;
    }
    this.liveBuffers--;
    this.liveBytes -= buffer.size;
    if (this.idle.bytes + buffer.size > Math.max(this.idleCap, 2 * this.peakBytes)) {
      buffer.state = 'gone';
      this.doomed.push(buffer);
      return;
    }
    buffer.state = 'idle';
    this.idle.put(buffer);
  }

  /** Runs `fn`. @returns the buffers that were handed out meanwhile */
  handedOut(fn: () => void): ReadonlySet<PooledBuffer> {
    const log = new Set<PooledBuffer>();
    this.log = log;
    try {
      fn();
    } finally {
      this.log = null;
    }
    return log;
  }

  /** Destroys what exceeded the cap. Call only after the commands naming those buffers were submitted. */
  destroyDoomed(): void {
    for (const buffer of this.doomed) {
      buffer.state = 'gone';
      this.onDestroy(buffer.id);
      buffer.gpu.destroy();
    }
    this.doomed = [];
  }

  /** Destroys every idle buffer: between two kinds of work of which each needs its own. Call only when all work is done. */
  trim(): void {
    this.doomed.push(...this.idle.drain());
    this.destroyDoomed();
  }

  statistics(): PoolStatistics {
    return { liveBuffers: this.liveBuffers, liveBytes: this.liveBytes, idleBuffers: this.idle.count, idleBytes: this.idle.bytes, created: this.created };
  }

  /** From now on buffers are only counted, not made, and may be of any size. No work may be recorded meanwhile. */
  beginPlan(): void {
    this.dry = new DryPool();
  }

  /** Ends the dry run and tells what it would have needed beyond what was in use before. */
  endPlan(): MemoryPlan {
    const plan = this.dry!.finish();
    this.dry = null;
    return plan;
  }

  private create(size: number, label: string): PooledBuffer {
    this.device.pushErrorScope('out-of-memory');
    const gpu = this.device.createBuffer({ label, size, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST });
    void this.device.popErrorScope().then((error) => {
      if (error) {
        this.onError(new UserError(`The adapter ran out of memory while allocating ${readableBytes(size)} for ${label} ` +
          `(${readableBytes(this.liveBytes)} in use). Use a smaller batch size or image size; a program that goes on calls open() again.`));
      }
    }, () => {});
    this.created++;
    return { id: this.nextId++, gpu, size, state: 'in use', uses: 0 };
  }
}
