/** The only names that a PyTorch file may ask for, and the plain values that are built for them. */
import { UserError } from '../../errors.js';
import { isCount } from '../tensor-file.js';
import { Allowance, ENTRY_BYTES } from './allowance.js';
import { NumpyArray, NumpyDtype, numpyScalar } from './numpy.js';
import { Global, type PickleHost, type PickleMap, type PickleValue } from './pickle-machine.js';
import { rebuildTensor, StorageType, storageDtypes, TorchStorage, TorchTensor } from './storages.js';

type Maker = (args: readonly PickleValue[]) => PickleValue;

/** From nothing, another dictionary, or a list of pairs. */
const dictionary = (path: string, source: PickleValue | undefined, allowance: Allowance): PickleMap => {
  if (source === undefined) return new Map();
  const pairs = source instanceof Map ? [...(source as PickleMap)] : Array.isArray(source) ? source : [null];
  allowance.spend(pairs.length * ENTRY_BYTES);
  const isPair = (pair: PickleValue): pair is [string | number, PickleValue] => Array.isArray(pair) && pair.length === 2 && ['string', 'number'].includes(typeof pair[0]);
  if (!pairs.every(isPair)) throw new UserError(`${path}: a dictionary is made of something other than keys and values. The file is damaged; use another copy.`);
  return new Map(pairs as [string | number, PickleValue][]);
};

/** Text to bytes, the detour that protocol 2 takes. */
const encode = (path: string, [text, encoding]: readonly PickleValue[], allowance: Allowance): Uint8Array => {
  if (typeof text !== 'string' || encoding !== 'latin1') throw new UserError(`${path}: it asks for an encoding other than latin1. The file is damaged; use another copy.`);
  allowance.spend(text.length);
  return Buffer.from(text, 'latin1');
};

/** The class that `_reconstruct` is asked for; no other is made. */
const ARRAY_TYPE = Object.freeze({ name: 'numpy.ndarray' });

/** What each permitted name makes of its arguments. */
const makers = (path: string): Record<string, Maker> => {
  const allowance = new Allowance(path);
  const parameter: Maker = ([data]) => (data instanceof TorchTensor ? data : damaged(path));
  const list: Maker = ([items]) => (Array.isArray(items) ? (items as PickleValue[]) : []);
  const table: Record<string, Maker> = {
    'collections.OrderedDict': ([pairs]) => dictionary(path, pairs, allowance),
    'collections.defaultdict': ([, pairs]) => dictionary(path, pairs, allowance),
    'torch._utils._rebuild_tensor_v2': (args) => rebuildTensor(path, args),
    'torch._utils._rebuild_tensor': (args) => rebuildTensor(path, args),
    'torch._utils._rebuild_parameter': parameter,
    'torch.Size': list,
    'torch.device': ([name]) => (typeof name === 'string' ? name : null),
    'numpy.dtype': ([name]) => new NumpyDtype(path, name),
    '_codecs.encode': (args) => encode(path, args, allowance),
  };
  // NumPy 2 moved its core.
  for (const core of ['numpy.core.multiarray', 'numpy._core.multiarray']) {
    table[`${core}._reconstruct`] = ([type]) => (type === ARRAY_TYPE ? new NumpyArray(path, allowance) : damaged(path));
    table[`${core}.scalar`] = (args) => numpyScalar(path, args);
  }
  return table;
};

const damaged = (path: string): never => {
  throw new UserError(`${path}: a tensor or array is put together in a way that PyTorch and NumPy do not use. The file is damaged; use another copy.`);
};

/** Names that stand for a value of their own. */
const constants = (): Map<string, PickleValue> => new Map<string, PickleValue>([
  ['numpy.ndarray', ARRAY_TYPE],
  // What a defaultdict would make for missing keys; nothing is ever missing here.
  ...['__builtin__', 'builtins'].flatMap((module) => ['dict', 'list', 'int', 'float'].map((name): [string, PickleValue] => [`${module}.${name}`, new Global(`${module}.${name}`, null)])),
  ...Object.entries(storageDtypes).flatMap(([name, dtype]) => ['torch', 'torch.cuda'].map((module): [string, PickleValue] => [`${module}.${name}`, new StorageType(dtype)])),
  ...['float64', 'float32', 'float16', 'bfloat16', 'int64', 'int32', 'int16', 'int8', 'uint8', 'bool'].map((name): [string, PickleValue] => [`torch.${name}`, `torch.${name}`]),
]);

/** Answers a pickle's questions from the list alone, and collects the storages it names. */
export class TorchHost implements PickleHost {
  readonly storages = new Map<string, TorchStorage>();
  private readonly globals: Map<string, PickleValue>;

  constructor(private readonly path: string) {
    this.globals = constants();
    for (const [name, call] of Object.entries(makers(path))) this.globals.set(name, new Global(name, call));
  }

  find(name: string): PickleValue {
    const found = this.globals.get(name);
    if (found === undefined) {
      throw new UserError(`${this.path} asks for "${name.slice(0, 200)}", which is not among the names that weights need (tensors, storages, OrderedDict, NumPy arrays). ` +
        'Nothing of it was executed. If you trust the file, open it in PyTorch and save only model.state_dict().');
    }
    return found;
  }

  /** ('storage', class, key, device, number of elements[, view]) */
  persistent(id: PickleValue): PickleValue {
    const [kind, type, key, , length, view] = (Array.isArray(id) ? id : []) as PickleValue[];
    const valid = kind === 'storage' && type instanceof StorageType && (typeof key === 'string' || typeof key === 'number') && isCount(length);
    if (!valid) throw new UserError(`${this.path}: it refers to something other than a storage of numbers. The file is damaged; use another copy.`);
    if (view !== undefined && view !== null) throw new UserError(`${this.path}: storage ${String(key)} is a view of another one, as very old PyTorch wrote it. Load and save the file again with PyTorch.`);
    const known = this.storages.get(String(key));
    if (known) {
      if (known.dtype !== type.dtype || known.length !== length) throw new UserError(`${this.path}: storage ${String(key)} is described in two ways. The file is damaged; use another copy.`);
      return known;
    }
    const made = new TorchStorage(this.path, String(key), type.dtype, length as number);
    this.storages.set(String(key), made);
    return made;
  }
}

