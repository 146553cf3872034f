import { backward, retainGrad } from '../autograd/backward.js';
import { fail } from '../errors.js';
import { readSafetensors, type StoredTensor } from '../io/safetensors.js';
import { BatchNorm2d } from '../nn/layers.js';
import { type AnyModule, withModuleHook } from '../nn/module.js';
import { permute } from '../ops/index.js';
import { tensor } from '../tensor/create.js';
import { keep, scope } from '../tensor/scope.js';
import { formatShape, sameShape, type Shape } from '../tensor/shape.js';
import { Tensor } from '../tensor/tensor.js';
import { CHANNELS_FIRST, CHANNELS_LAST, type FileTensor, toFileLayout } from './state-layout.js';
import { recognise, toPipit } from './weights/naming.js';

/** A network recorded layer by layer in PyTorch; test/reference/parity_fixture.py writes such files. */
export interface ParityFixture {
  readonly network: 'wsdan' | 'backbone';
  readonly model: string;
  readonly classes: number;
  readonly train: boolean;
  /** WS-DAN's options that differ from the defaults, by name. */
  readonly wsdan: Readonly<Record<string, unknown>>;
  readonly tensors: ReadonlyMap<string, StoredTensor>;
}

/** Errors of one tensor against the recorded one. */
export interface Parity {
  /** Largest difference, relative to the largest recorded value. */
  readonly worst: number;
  /** Root of the mean square of the differences, relative to that of the recorded values. */
  readonly typical: number;
}

export interface LayerParity {
  readonly name: string;
  readonly shape: Shape;
  readonly output: Parity;
  /** With respect to the layer's output; null where none was recorded. */
  readonly gradient: Parity | null;
  /** Of the layer's own weights, the worse of them. */
  readonly parameters: Parity | null;
}

/** A recorded WS-DAN may have the names of WS-DAN.PyTorch or of wvinzh's program; its weights tell. */
const inOurNames = (tensors: ParityFixture['tensors']): ParityFixture['tensors'] => {
  const parameters = [...tensors.keys()].filter((key) => key.startsWith('parameter:')).map((key) => key.slice('parameter:'.length));
  const recognised = recognise(parameters);
  if (!recognised) return tensors;
  return new Map([...tensors].map(([key, stored]) => {
    const [kind, name] = key.split(':') as [string, string?];
    // Stages are recognised by the dot behind them, which a module's own name lacks.
    return [name === undefined ? key : `${kind}:${toPipit(`${name}.`, recognised).slice(0, -1)}`, stored];
  }));
};

/** @throws UserError for a file that is no fixture */
export const readParityFixture = (path: string): ParityFixture => {
  const { tensors, metadata } = readSafetensors(path);
  const bad = (why: string): never => fail(`${path} is no recording of a PyTorch network: ${why}. Make one with test/reference/parity_fixture.py`);
  let description: Partial<ParityFixture> | undefined;
  try {
    description = JSON.parse(metadata.parity ?? 'null') as Partial<ParityFixture>;
  } catch {
    bad('its entry "parity" is not JSON');
  }
  if (!description) return bad('its metadata lacks "parity"');
  const { network, model, classes = 0, train = false, wsdan = {} } = description;
  if ((network !== 'wsdan' && network !== 'backbone') || typeof model !== 'string') return bad('"parity" must name network (wsdan or backbone) and model');
  for (const name of ['input', 'seed']) if (!tensors.has(name)) bad(`it has no tensor "${name}"`);
  return { network, model, classes, train, wsdan, tensors: network === 'wsdan' ? inOurNames(tensors) : tensors };
};

const floats = ({ data }: StoredTensor): Float32Array => (data instanceof Float32Array ? data : Float32Array.from(data as ArrayLike<number>));
const upload = (stored: StoredTensor): Tensor => {
  const made = tensor(floats(stored), stored.shape);
  return stored.shape.length === 4 ? permute(made, CHANNELS_LAST) : made;
};

const inFileLayout = async (x: Tensor): Promise<FileTensor> => {
  const first = x.rank === 4 ? permute(x, CHANNELS_FIRST) : x;
  return { shape: first.shape, data: (await first.data()) as Float32Array };
};

const parityOf = (name: string, own: FileTensor, stored: StoredTensor): Parity => {
  if (!sameShape(own.shape, stored.shape)) fail(`${name}: Pipit has ${formatShape(own.shape)}, the recording ${formatShape(stored.shape)}; the networks differ`);
  const expected = floats(stored);
  let [largest, squares, worst, errors] = [0, 0, 0, 0];
  for (let i = 0; i < expected.length; i++) {
    const difference = Math.abs(own.data[i]! - expected[i]!);
    // A NaN on one side alone must count; comparisons with it are false.
    worst = difference <= worst ? worst : Number.isNaN(difference) ? Infinity : difference;
    largest = Math.max(largest, Math.abs(expected[i]!));
    squares += expected[i]! ** 2;
    errors += difference ** 2;
  }
  return { worst: worst / (largest || 1), typical: Math.sqrt(errors / (squares || 1)) };
};

const worse = (a: Parity | null, b: Parity): Parity => (a && a.worst >= b.worst ? a : b);

/** What a module returned: a handle for its value, and the original, where backward puts the gradient. */
interface Seen {
  readonly module: AnyModule;
  readonly value: Tensor;
  readonly original: Tensor;
}

const mapped = (stored: StoredTensor, change: (value: number, i: number) => number): StoredTensor => ({ ...stored, dtype: 'F32', data: floats(stored).map(change) });

/** Runs the network forward and backward as it was recorded. */
const runRecorded = (module: AnyModule, { tensors }: ParityFixture): Map<string, Seen> => {
  const seen = new Map<string, Seen>();
  const output = withModuleHook((path, child, result) => {
    if (path && result instanceof Tensor) seen.set(path, { module: child, value: keep(result.alias()), original: retainGrad(result) });
  }, () => module.call(upload(tensors.get('input')!)) as Tensor | { logits: Tensor });
  backward(output instanceof Tensor ? output : output.logits, upload(tensors.get('seed')!));
  return seen;
};

const layerParity = async (name: string, { module, value, original }: Seen, tensors: ParityFixture['tensors']): Promise<LayerParity> => {
  const own = await inFileLayout(value);
  // Pipit's batch norm may have the ReLU behind it built in; PyTorch's hook sees the values in front of it.
  const fused = module instanceof BatchNorm2d && module.activation === 'relu';
  const recorded = tensors.get(`output:${name}`)!;
  const output = parityOf(name, own, fused ? mapped(recorded, (v) => Math.max(v, 0)) : recorded);
  const recordedGradient = tensors.get(`gradient:${name}`);
  let gradient: Parity | null = null;
  if (recordedGradient && original.grad) {
    const ownGradient = await inFileLayout(original.grad);
    const data = fused ? ownGradient.data.map((g, i) => (own.data[i]! > 0 ? g : 0)) : ownGradient.data;
    gradient = parityOf(`${name} (gradient)`, { ...ownGradient, data }, recordedGradient);
  }
  let parameters: Parity | null = null;
  for (const [key, p] of module.namedParameters().filter(([key]) => !key.includes('.'))) {
    const stored = tensors.get(`parameter:${name}.${key}`);
    if (!stored || !p.grad) continue;
    const own = toFileLayout(key, { shape: p.shape, data: (await p.grad.data()) as Float32Array });
    parameters = worse(parameters, parityOf(`${name}.${key} (gradient)`, own, stored));
  }
  return { name, shape: own.shape, output, gradient, parameters };
};

/**
 * Compares a network with a recording of it, in the order in which its modules finish.
 *
 * @returns the layers both have, and the recorded ones that Pipit has no module for
 */
export const compareLayers = (module: AnyModule, fixture: ParityFixture): Promise<{ layers: LayerParity[]; unmatched: string[] }> => scope(async () => {
  module.train(fixture.train);
  const seen = runRecorded(module, fixture);
  const recorded = [...fixture.tensors.keys()].filter((name) => name.startsWith('output:')).map((name) => name.slice('output:'.length));
  const layers: LayerParity[] = [];
  for (const [name, found] of seen) {
    if (fixture.tensors.has(`output:${name}`)) layers.push(await layerParity(name, found, fixture.tensors));
    found.value.release();
  }
  return { layers, unmatched: recorded.filter((name) => !seen.has(name)) };
});
