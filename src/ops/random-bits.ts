/** The generator of shaders/common/random.wgsl on the host: for keys, and for the references of random ops. */
import { mix32 } from '../mix32.js';

const GOLDEN = 0x9e3779b9;

/** 32 random bits, a function of key and counter alone. */
const randomBits = (key: number, counter: number): number => mix32(mix32(counter ^ key) + Math.imul(counter + 1, GOLDEN) + key);

/** Uniform in [0, 1) with 24 bits: exact in float32. */
export const randomUniform = (key: number, counter: number): number => (randomBits(key, counter) >>> 8) / 2 ** 24;

/** A 32-bit key from any number of integers (up to 2^53 each); their order matters. */
export const hashKey = (...parts: readonly number[]): number =>
  parts.reduce((hash, part) => mix32(mix32(hash + (part >>> 0) + GOLDEN) ^ Math.floor(part / 2 ** 32)), 0x243f6a88);
