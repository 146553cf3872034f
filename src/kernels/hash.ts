/** A hash of the first `count` 32-bit numbers. */
export const hashOf = (numbers: ArrayLike<number>, count: number): number => {
  let hash = count;
  for (let i = 0; i < count; i++) {
    hash = Math.imul(hash ^ numbers[i]!, 0x9e3779b1);
    hash ^= hash >>> 15;
  }
  return hash;
};
