import { fail, UserError } from '../errors.js';

/** A buffer of the pool. `id` is unique for the life of the process, so caches may key on it. */
export interface PooledBuffer {
  readonly id: number;
  readonly gpu: GPUBuffer;
  /** Bytes, rounded up to the size class. */
  readonly size: number;
}

export interface PoolStatistics {
  liveBuffers: number;
  liveBytes: number;
  idleBuffers: number;
  idleBytes: number;
  created: number;
}

/** What a dry run would have needed; see {@link BufferPool.beginPlan}. */
export interface MemoryPlan {
  peakBytes: number;
  largestBytes: number;
  largestLabel: string;
}

const KIB = 1024;
const MIB = KIB * KIB;

/**
 * Rounds up to one of eight classes per power of two, so a buffer wastes at most an eighth
 * and tensors of almost equal size share buffers.
 */
export const sizeClass = (bytes: number): number => {
  if (bytes <= 256) return 256;
  const power = 2 ** Math.floor(Math.log2(bytes));
  const stepBytes = Math.max(256, power / 8);
  return Math.ceil(bytes / stepBytes) * stepBytes;
};

export const readableBytes = (bytes: number): string => (bytes >= MIB ? `${(bytes / MIB).toFixed(1)} MiB` : `${(bytes / KIB).toFixed(1)} KiB`);

/**
 * Keeps the oldest buffer last, where it is taken next. A step that repeats the same requests then gets the same
 * buffers each time, whatever the order of their return, and cached bind groups fit again.
 */
const insertByAge = (list: PooledBuffer[], buffer: PooledBuffer): void => {
  let at = list.length;
  while (at > 0 && list[at - 1]!.id < buffer.id) at--;
  list.splice(at, 0, buffer);
};

/**
 * Hands out storage buffers and takes them back by size class. Work is executed in the order
 * of recording, so a buffer may be reused at once after its last reader was recorded.
 */
export class BufferPool {
  private readonly idle = new Map<number, PooledBuffer[]>();
  private doomed: PooledBuffer[] = [];
  private nextId = 1;
  private liveBuffers = 0;
  private liveBytes = 0;
  private idleBytes = 0;
  private created = 0;
  private plan: (MemoryPlan & { liveBytes: number }) | null = null;

  /**
   * @param idleCap most bytes kept for reuse; what is returned beyond it is destroyed
   * @param onDestroy told of each destroyed buffer, so that bind groups naming it can go too
   */
  constructor(
    private readonly device: GPUDevice,
    private readonly idleCap: number,
    private readonly onError: (error: Error) => void,
    private readonly onDestroy: (id: number) => void = () => {},
  ) {}

  /** A buffer of at least `bytes`; contents are unspecified. `label` names it in errors. */
  acquire(bytes: number, label: string): PooledBuffer {
    const limit = Math.min(this.device.limits.maxStorageBufferBindingSize, this.device.limits.maxBufferSize);
    if (bytes > limit) {
      fail(`${label} needs ${readableBytes(bytes)} in one buffer, but this adapter binds at most ${readableBytes(limit)}. ` +
        'Use a smaller batch size or image size, or an adapter with a larger maxStorageBufferBindingSize.');
    }
    const size = Math.min(sizeClass(bytes), Math.max(limit - (limit % 256), bytes));
    if (this.plan) return this.pretend(this.plan, size, label);
    const buffer = this.idle.get(size)?.pop();
    if (buffer) this.idleBytes -= size;
    this.liveBuffers++;
    this.liveBytes += size;
    return buffer ?? this.create(size, label);
  }

  release(buffer: PooledBuffer): void {
    if (buffer.id < 0) {
      if (this.plan) this.plan.liveBytes -= buffer.size;
      return;
    }
    this.liveBuffers--;
    this.liveBytes -= buffer.size;
    if (this.idleBytes + buffer.size > this.idleCap) {
      this.doomed.push(buffer);
      return;
    }
    this.idleBytes += buffer.size;
    const list = this.idle.get(buffer.size);
    if (list) insertByAge(list, buffer);
    else this.idle.set(buffer.size, [buffer]);
  }

  /** Destroys what exceeded the cap. Call only after the commands naming those buffers were submitted. */
  destroyDoomed(): void {
    for (const buffer of this.doomed) {
      this.onDestroy(buffer.id);
      buffer.gpu.destroy();
    }
    this.doomed = [];
  }

  /** Destroys every idle buffer, for example between training and a larger evaluation. */
  trim(): void {
    for (const list of this.idle.values()) this.doomed.push(...list);
    this.idle.clear();
    this.idleBytes = 0;
    this.destroyDoomed();
  }

  statistics(): PoolStatistics {
    let idleBuffers = 0;
    for (const list of this.idle.values()) idleBuffers += list.length;
    return { liveBuffers: this.liveBuffers, liveBytes: this.liveBytes, idleBuffers, idleBytes: this.idleBytes, created: this.created };
  }

  /** From now on buffers are only counted, not made; limits are checked as always. No work may be recorded meanwhile. */
  beginPlan(): void {
    this.plan = { liveBytes: 0, peakBytes: 0, largestBytes: 0, largestLabel: '' };
  }

  /** Ends the dry run and tells what it would have needed beyond what was in use before. */
  endPlan(): MemoryPlan {
    const { peakBytes, largestBytes, largestLabel } = this.plan!;
    this.plan = null;
    return { peakBytes, largestBytes, largestLabel };
  }

  private pretend(plan: MemoryPlan & { liveBytes: number }, size: number, label: string): PooledBuffer {
    plan.liveBytes += size;
    plan.peakBytes = Math.max(plan.peakBytes, plan.liveBytes);
    if (size > plan.largestBytes) Object.assign(plan, { largestBytes: size, largestLabel: label });
    return { id: -this.nextId++, gpu: null as unknown as GPUBuffer, size };
  }

  private create(size: number, label: string): PooledBuffer {
    this.device.pushErrorScope('out-of-memory');
    const gpu = this.device.createBuffer({ label, size, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST });
    void this.device.popErrorScope().then((error) => {
      if (error) {
        this.onError(new UserError(`The adapter ran out of memory while allocating ${readableBytes(size)} for ${label} ` +
          `(${readableBytes(this.liveBytes)} in use). Use a smaller batch size or image size.`));
      }
    }, () => {});
    this.created++;
    return { id: this.nextId++, gpu, size };
  }
}
