/** float16 on the host (IEEE 754 binary16): JavaScript's own Float16Array is younger than Node 20. */

const cell = new Float32Array(1);
const cellBits = new Uint32Array(cell.buffer);

/** float32 bits of 65520, halfway between the largest finite half and the next power of two: from here on halves are infinite. */
const OVERFLOW = 0x477ff000;
/** float32 bits of 2^-14, the smallest normal half. */
const NORMAL = 0x38800000;

/** The half nearest to a float32 number, ties to even, as its 16 bits. */
export const toHalfBits = (value: number): number => {
  cell[0] = value;
  const bits = cellBits[0]!;
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= OVERFLOW) return sign | 0x7c00;
  if (magnitude < NORMAL) {
    // Beside 0.5 a float32 counts in steps of 2^-24, as subnormal halves do: the addition rounds.
    cell[0] = Math.abs(cell[0]) + 0.5;
    return sign | (cellBits[0]! - 0x3f000000);
  }
  // The exponent's bias falls from 127 to 15, and 13 bits of the fraction go.
  return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
};

const valueOf = (bits: number): number => {
  const sign = bits & 0x8000 ? -1 : 1;
  const [exponent, fraction] = [(bits >>> 10) & 31, bits & 0x3ff];
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24);
};

let values: Float32Array | null = null;

/** The number that 16 bits stand for; exact. */
export const fromHalfBits = (bits: number): number => (values ??= Float32Array.from({ length: 65536 }, (_, i) => valueOf(i)))[bits]!;

/** Numbers as halves, ready for upload. */
export const toHalf = (numbers: ArrayLike<number>): Uint16Array => Uint16Array.from(numbers, toHalfBits);

/** What halves in storage stand for. */
export const fromHalf = (halves: Uint16Array): Float32Array => Float32Array.from(halves, fromHalfBits);

/** The nearest number that a half can hold. */
export const roundToHalf = (value: number): number => fromHalfBits(toHalfBits(value));
