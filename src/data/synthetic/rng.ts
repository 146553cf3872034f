/**
 * Counter-based random numbers for the embedded data set.
 *
 * Draw k of a stream is a hash of (key, k): no hidden state beyond the counter, so an image depends on its own
 * key alone, whatever was drawn before it and on whichever worker. Only 32-bit integer arithmetic is used, hence
 * the same numbers on every machine.
 */
import { mix32 } from '../../mix32.js';

const GOLDEN = 0x9e3779b9;

/** Folds a list of integers into one 32-bit key; the order matters. */
export function keyOf(...parts: number[]): number {
  let key = 0x243f6a88;
  for (const part of parts) key = mix32(key ^ mix32(part + GOLDEN));
  return key;
}

/** One stream of random numbers. */
export class Rng {
  private counter = 0;

  constructor(private readonly key: number) {}

  /** Uniform in [0, 1), 24 random bits. */
  next(): number {
    this.counter = (this.counter + GOLDEN) | 0;
    return (mix32(this.key ^ mix32(this.counter)) >>> 8) / 0x1000000;
  }

  /** Uniform in [low, high). */
  range(low: number, high: number): number {
    return low + (high - low) * this.next();
  }

  /** Integer in 0 … count − 1. */
  int(count: number): number {
    return Math.floor(this.next() * count);
  }

  /** True with the given probability. */
  chance(probability: number): boolean {
    return this.next() < probability;
  }

  /** One element of a non-empty list. */
  pick<T>(list: readonly T[]): T {
    return list[this.int(list.length)]!;
  }

  /** A unit vector in a uniformly chosen direction (rejection in the disc: no trigonometry, so exact everywhere). */
  direction(): { x: number; y: number } {
    for (;;) {
      const x = this.range(-1, 1);
      const y = this.range(-1, 1);
      const square = x * x + y * y;
      if (square > 1 || square < 0.01) continue;
      const length = Math.sqrt(square);
      return { x: x / length, y: y / length };
    }
  }
}
