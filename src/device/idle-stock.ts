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

/**
 * A request may get a buffer up to this many times its size. Buffers of exactly the wanted class alone would pile up for each layer's
 * sizes: a step of Inception at 448 pixels would hold 1.6 times what it uses at once, with checkpointing 4 times; so it holds 1.3 and 2.3 times.
 */
const MOST_TIMES = 2;

interface Sized {
  /** Larger for later made ones. */
  readonly id: number;
  /** A size class. */
  readonly size: number;
}

/** Idle buffers by size. */
export class IdleStock<T extends Sized> {
  bytes = 0;
  count = 0;
  private readonly bySize = new Map<number, T[]>();

  /** Takes the smallest buffer that fits, if one is not too large. */
  take(size: number): T | undefined {
    for (let candidate = size; candidate <= MOST_TIMES * size; candidate = sizeClass(candidate + 1)) {
      const found = this.bySize.get(candidate)?.pop();
      if (!found) continue;
      this.bytes -= found.size;
      this.count--;
      return found;
    }
    return undefined;
  }

  /**
   * Keeps the oldest buffer last, where it is taken next. A step that repeats the same requests then gets the same
   * buffers each time, whatever the order of their return, and cached bind groups fit again.
   */
  put(buffer: T): void {
    this.bytes += buffer.size;
    this.count++;
    const list = this.bySize.get(buffer.size);
    if (!list) {
      this.bySize.set(buffer.size, [buffer]);
      return;
    }
    let at = list.length;
    while (at > 0 && list[at - 1]!.id < buffer.id) at--;
    list.splice(at, 0, buffer);
  }

  /** Takes all of them. */
  drain(): T[] {
    const all = [...this.bySize.values()].flat();
    this.bySize.clear();
    this.bytes = this.count = 0;
    return all;
  }
}
