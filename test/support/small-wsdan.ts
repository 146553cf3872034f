import { BasicBlock, ResNet } from '../../src/nn/models/resnet.js';
import { seedInit } from '../../src/nn/init.js';
import { tensor } from '../../src/tensor/create.js';
import type { Tensor } from '../../src/tensor/tensor.js';
import { WSDAN } from '../../src/wsdan/model.js';
import { defaultWsdan, type WsdanOptions } from '../../src/wsdan/options.js';

export const int32 = (values: number[], shape = [values.length]): Tensor => tensor(values, shape, { dtype: 'int32' });

export const rowsOf = (data: ArrayLike<number>, width: number): number[][] =>
  Array.from({ length: data.length / width }, (_, r) => Array.from({ length: width }, (_unused, i) => data[r * width + i]!));

/** A network of three convolutions on pictures of any size, the same each time. */
export const smallNet = (options: Partial<WsdanOptions> = {}, classes = 4): WSDAN => {
  seedInit(2);
  const backbone = new ResNet({ block: BasicBlock, depths: [1], widths: [8], strides: [2], stem: { kind: 'small', width: 8, stride: 2 } });
  return new WSDAN(backbone, classes, { ...defaultWsdan, attentions: 6, ...options }).nameAll();
};
export const releaseAll = (model: WSDAN): void => [...model.namedParameters(), ...model.namedBuffers()].forEach(([, p]) => { p.grad?.release(); p.release(); });

export const softmaxRow = (row: readonly number[]): number[] => {
  const top = Math.max(...row);
  const parts = row.map((v) => Math.exp(v - top));
  const total = parts.reduce((a, b) => a + b, 0);
  return parts.map((v) => v / total);
};
