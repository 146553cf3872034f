import { UserError } from '../../errors.js';
import type { Fact, TensorEntry } from '../tensor-file.js';
import { NumpyArray } from './numpy.js';
import type { PickleValue } from './pickle-machine.js';
import { TorchTensor } from './storages.js';

/** Values may refer to each other, so a small pickle can describe an endless tree. */
const MOST_VALUES = 1 << 20;
const DEEPEST = 24;
const LONGEST_PATH = 1000;
const LONGEST_TEXT = 1 << 16;

interface Flat {
  readonly tensors: Map<string, TensorEntry>;
  readonly facts: Map<string, Fact>;
  /** Names of the dictionaries in the outermost one. */
  readonly dictionaries: Set<string>;
}

/** Everything in a tree of dictionaries and lists by its path: `state_dict.fc.weight`, `logs.epoch`. */
export const flatten = (path: string, root: PickleValue): Flat => {
  const flat: Flat = { tensors: new Map(), facts: new Map(), dictionaries: new Set() };
  let visited = 0;
  const bad = (why: string) => new UserError(`${path} holds ${why}; that is no set of weights. Save only model.state_dict() in PyTorch.`);
  const add = <T>(map: Map<string, T>, name: string, value: T): void => {
    if (flat.tensors.has(name) || flat.facts.has(name)) throw bad(`two values called "${name}"`);
    map.set(name, value);
  };
  const visit = (name: string, value: PickleValue, depth: number): void => {
    if (++visited > MOST_VALUES) throw bad(`more than ${MOST_VALUES} values`);
    if (depth > DEEPEST || name.length > LONGEST_PATH) throw bad(`values nested deeper than ${DEEPEST} levels`);
    const under = (key: string | number): string => (name === '' ? String(key) : `${name}.${key}`);
    if (depth === 1 && value instanceof Map) flat.dictionaries.add(name);
    if (value instanceof TorchTensor || value instanceof NumpyArray) add(flat.tensors, name, value);
    else if (value instanceof Map) for (const [key, item] of value as Map<string | number, PickleValue>) visit(under(key), item, depth + 1);
    else if (Array.isArray(value)) value.forEach((item: PickleValue, i) => visit(under(i), item, depth + 1));
    else if (typeof value === 'bigint') add(flat.facts, name, String(value));
    else if (typeof value === 'string') add(flat.facts, name, value.slice(0, LONGEST_TEXT));
    else if (value === null || typeof value === 'number' || typeof value === 'boolean') add(flat.facts, name, value);
  };
  visit('', root, 0);
  return flat;
};
