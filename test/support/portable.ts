/** The numbers of test/reference/portable.py: a counter through a 32-bit mixer, so that fixtures need no weights. */
import type { AnyModule } from '../../src/nn/module.js';
import { write } from '../../src/tensor/create.js';
import { numel, type Shape } from '../../src/tensor/shape.js';
import { fromFileLayout } from '../../src/train/state-layout.js';

/** Number of the tensor that holds a network's input. */
const INPUT = 1000;

const finalise = (start: number): number => {
  let x = start >>> 0;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b) >>> 0;
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35) >>> 0;
  return (x ^ (x >>> 16)) >>> 0;
};

/** Element k of tensor number `tensor`, uniform in [0, 1). */
export const portableUniform = (tensor: number, k: number): number => finalise(k + Math.imul(0x9e3779b9, tensor + 1)) / 2 ** 32;

/** Uniform in ±scale, rounded to float32. */
export const portableSigned = (tensor: number, count: number, scale = 1): Float32Array => {
  const values = new Float32Array(count);
  for (let k = 0; k < count; k++) values[k] = (2 * portableUniform(tensor, k) - 1) * scale;
  return values;
};

/** Pixels for a network: PyTorch's [B, C, H, W] order of the generator, as [B, H, W, C]. */
export const portableImages = (batch: number, size: number, scale: number): Float32Array => {
  const from = portableSigned(INPUT, batch * 3 * size * size, scale);
  const plane = size * size;
  return Float32Array.from({ length: from.length }, (_, i) => from[(Math.floor(i / (3 * plane)) * 3 + (i % 3)) * plane + (Math.floor(i / 3) % plane)]!);
};

/**
 * Fills a module: weights of two and more dimensions ±sqrt(6 / fan in), numbered in the given order (PyTorch's state
 * dict); batch norms are left as they are made.
 */
export const fillPortable = (module: AnyModule, order: readonly string[]): void => {
  const parameters = new Map(module.namedParameters());
  order.forEach((name, number) => {
    const own = parameters.get(name);
    if (!own) throw new Error(`the module has no tensor "${name}"`);
    const shape = fileShape(own.shape);
    const data = portableSigned(number, numel(shape), Math.sqrt(6 / numel(shape.slice(1))));
    write(own, fromFileLayout(name, { shape, data }).data);
  });
};

/** [kh, kw, in, out] is [out, in, kh, kw] in files, [in, out] is [out, in]. */
const fileShape = (shape: Shape): Shape => (shape.length === 4 ? [shape[3]!, shape[2]!, shape[0]!, shape[1]!] : [...shape].reverse());

/** Norm and projection on fixed numbers of a tensor in PyTorch's layout. */
export const summarise = (data: ArrayLike<number>, number: number): [norm: number, projection: number] => {
  let [squares, total] = [0, 0];
  for (let k = 0; k < data.length; k++) {
    squares += data[k]! ** 2;
    total += data[k]! * Math.fround(2 * portableUniform(number, k) - 1);
  }
  return [Math.sqrt(squares), total];
};
