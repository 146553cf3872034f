/** MurmurHash3's 32-bit finaliser (Austin Appleby): every bit of the result depends on every bit of the value, of which the lowest 32 count. */
export const mix32 = (value: number): number => {
  let x = value >>> 0;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return (x ^ (x >>> 16)) >>> 0;
};
