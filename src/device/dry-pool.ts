import { IdleStock } from './idle-stock.js';

/** What a dry run would have needed. */
export interface MemoryPlan {
  /** Most bytes in use at once. */
  readonly peakBytes: number;
  /** Bytes that the pool holds once the run repeats itself: in use and idle. */
  readonly reservedBytes: number;
  /** The largest buffer that was asked for; the adapter's limit was not checked. */
  readonly largestBytes: number;
  readonly largestLabel: string;
}

/** Repetitions until the pool makes no more buffers; the second run finds idle ones where the first had to make them. */
const MOST_REPEATS = 4;

/** Buffers of a size each, which are only counted. */
class Accounts {
  reserved = 0;
  private readonly stock = new IdleStock<{ readonly id: number; readonly size: number }>();
  private readonly inUse = new Map<number, { readonly id: number; readonly size: number }>();
  private made = 0;

  acquire(request: number, size: number): void {
    const idle = this.stock.take(size);
    if (!idle) this.reserved += size;
    this.inUse.set(request, idle ?? { id: this.made++, size });
  }

  release(request: number): void {
    this.stock.put(this.inUse.get(request)!);
    this.inUse.delete(request);
  }

  /** What the run did not release: it would not be made again. */
  releaseRest(): void {
    for (const request of [...this.inUse.keys()]) this.release(request);
  }
}

/** Stands in for a pool: writes requests down, and works out afterwards what they come to. It begins empty. */
export class DryPool {
  private readonly requests: number[] = [];
  /** Numbers of requests in order; a negative one, less one, was released. */
  private readonly events: number[] = [];
  private live = 0;
  private peak = 0;
  private largest = { bytes: 0, label: '' };

  /** @param size class of the buffer @returns number of the request */
  acquire(size: number, bytes: number, label: () => string): number {
    const request = this.requests.push(size) - 1;
    this.events.push(request);
    this.live += size;
    this.peak = Math.max(this.peak, this.live);
    if (bytes > this.largest.bytes) this.largest = { bytes, label: label() };
    return request;
  }

  release(request: number): void {
    this.events.push(-request - 1);
    this.live -= this.requests[request]!;
  }

  finish(): MemoryPlan {
    return { peakBytes: this.peak, reservedBytes: this.reserved(), largestBytes: this.largest.bytes, largestLabel: this.largest.label };
  }

  private reserved(): number {
    const accounts = new Accounts();
    for (let repeat = 0, before = -1; repeat < MOST_REPEATS && accounts.reserved !== before; repeat++) {
      before = accounts.reserved;
      for (const event of this.events) {
        if (event >= 0) accounts.acquire(event, this.requests[event]!);
        else accounts.release(-event - 1);
      }
      accounts.releaseRest();
    }
    return accounts.reserved;
  }
}
