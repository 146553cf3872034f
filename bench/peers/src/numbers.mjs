// Inputs of a row: the same on every machine and in every run.

export const count = (shape) => shape.reduce((product, size) => product * size, 1);

/** Mixer of MurmurHash3: each output bit depends on each input bit. */
const mix = (value) => {
  let x = value >>> 0;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return (x ^ (x >>> 16)) >>> 0;
};

const keyOf = (text) => [...text].reduce((key, letter) => mix(Math.imul(key, 31) + letter.codePointAt(0)), 7);

/** Numbers in [0, 1) that follow from a text. */
export const uniform = (text) => {
  const key = keyOf(text);
  let counter = 0;
  return () => mix(Math.imul(++counter, 0x9e3779b9) ^ key) / 2 ** 32;
};

/** Weights keep the size of what passes through them (He's bound); scales are near 1; everything else is in ±1. */
const rangeOf = (name, shape) => {
  if (name.endsWith('gamma')) return [0.5, 1.5];
  if (name === 'w' || (name.endsWith('weight') && shape.length === 4)) return [-1, 1].map((sign) => sign * Math.sqrt(6 / count(shape.slice(1))));
  if (name === 'fc.weight') return [-1, 1].map((sign) => sign * Math.sqrt(3 / Math.max(...shape)));
  return [-1, 1];
};

const fill = (row, name, shape) => {
  const next = uniform(`${row.id} ${name}`);
  if (name === 'labels') return Float32Array.from({ length: count(shape) }, () => Math.floor(next() * row.attrs.classes));
  const [from, to] = rangeOf(name, shape);
  return Float32Array.from({ length: count(shape) }, () => from + (to - from) * next());
};

/** @returns {Record<string, {shape: number[], data: Float32Array}>} */
export const makeInputs = (row) => Object.fromEntries(Object.entries(row.inputs).map(([name, shape]) => [name, { shape, data: fill(row, name, shape) }]));
