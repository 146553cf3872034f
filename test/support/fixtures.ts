import { readSafetensors, type StoredTensor } from '../../src/io/safetensors.js';
import { tensor } from '../../src/tensor/create.js';
import type { Tensor } from '../../src/tensor/tensor.js';

/** Cases written by a script of test/reference: tensors named CASE.ROLE and a list of cases with their options. */
interface Fixture {
  readonly cases: readonly FixtureCase[];
}

export interface FixtureCase {
  readonly name: string;
  readonly op: string;
  readonly options: Readonly<Record<string, unknown>>;
  /** Whether the case has a tensor of this role. */
  has(role: string): boolean;
  /** The numbers of a tensor. */
  numbers(role: string): Float32Array | Int32Array;
  /** A tensor on the default device. */
  tensor(role: string): Tensor;
}

/** Reads `test/fixtures/NAME.safetensors`; tests run in the project's folder. */
export const readFixture = (name: string): Fixture => {
  const { tensors, metadata } = readSafetensors(`test/fixtures/${name}.safetensors`);
  const list = JSON.parse(metadata.cases ?? '[]') as Pick<FixtureCase, 'name' | 'op' | 'options'>[];
  const cases = list.map((entry): FixtureCase => {
    const find = (role: string): StoredTensor => {
      const found = tensors.get(`${entry.name}.${role}`);
      if (!found) throw new Error(`fixture ${name}: case ${entry.name} has no tensor "${role}"`);
      return found;
    };
    return {
      ...entry,
      has: (role) => tensors.has(`${entry.name}.${role}`),
      numbers: (role) => find(role).data as Float32Array | Int32Array,
      tensor: (role) => {
        const { data, shape } = find(role);
        return tensor(data as Float32Array | Int32Array, shape);
      },
    };
  });
  return { cases };
};
