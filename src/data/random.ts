/**
 * Counter-based random numbers for data: a draw is a pure function of its keys, so it does not
 * depend on call order, on the number of workers, or on where a run was resumed.
 */
import { mix32 } from '../mix32.js';

const GOLDEN = 0x9e3779b9;

/** Hash of non-negative integers (each up to 2^53) to an unsigned 32-bit integer. */
export function hash(...keys: number[]): number {
  let state = GOLDEN;
  for (const key of keys) {
    // Both halves count, or seeds that differ by 2^32 would coincide.
    state = mix32((state + Math.imul((key >>> 0) + 1, GOLDEN)) | 0);
    state = mix32((state ^ Math.floor(key / 0x1_0000_0000)) | 0);
  }
  return state;
}

/** As {@link hash}, of a text too. */
export function hashText(text: string, seed: number, ...keys: number[]): number {
  return hash(seed, ...keys, ...Array.from({ length: text.length }, (_, i) => text.charCodeAt(i)));
}

/** Uniform number in [0, 1) that depends on the keys alone. */
export function uniform(seed: number, ...keys: number[]): number {
  return hash(seed, ...keys) / 0x1_0000_0000;
}

/** Uniform integer in 0 … count-1 that depends on the keys alone. */
export function uniformInt(count: number, seed: number, ...keys: number[]): number {
  return Math.floor(uniform(seed, ...keys) * count);
}

/** Random order of 0 … count-1 (Fisher–Yates on counter-based draws) that depends on the keys alone. */
export function permutation(count: number, seed: number, ...keys: number[]): Int32Array {
  const order = Int32Array.from({ length: count }, (_, i) => i);
  const stream = hash(seed, ...keys);
  for (let i = count - 1; i > 0; i--) {
    const j = uniformInt(i + 1, stream, i);
    const held = order[i]!;
    order[i] = order[j]!;
    order[j] = held;
  }
  return order;
}
