import { fail, inCommand } from '../../errors.js';
import { elementCount, type TensorData, type TensorEntry, type TensorFile, toFloat32 } from '../../io/tensor-file.js';
import type { NameTable } from '../../nn/models/names.js';
import { CLASSIFIER, HEAD, isClassifier, isCounter, type Recognised, recognise, toPipit, withoutParallel } from './naming.js';

/** Weights of a network by Pipit's names, in PyTorch's layouts, whoever wrote them. */
export interface Weights {
  readonly file: TensorFile;
  /** Whose names the file has; null: nobody's that Pipit knows. */
  readonly recognised: Recognised | null;
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  /** Feature centers [classes, maps · channels], where the file has them. */
  readonly centers: TensorEntry | null;
  /** Weights that no network here has a place for, such as torchvision's classifiers, by their names in the file. */
  readonly surplus: ReadonlyMap<string, TensorEntry>;
}

/** Where programs keep the weights in their checkpoints. */
const CONTAINERS = ['state_dict', 'model_state_dict', 'model', 'net'];
export const CENTERS = 'feature_center';
const CENTERS_NAMES = [CENTERS, 'center'];
export const OPTIMIZER = 'optimizer.';
/** In front of the weights that a run with averages goes on from; those without it are the averages. */
export const TRAINED = 'trained.';

type Tensors = TensorFile['tensors'];

/** What lies in a dictionary. */
const within = (tensors: Tensors, dictionary: string): Map<string, TensorEntry> => {
  const prefix = `${dictionary}.`;
  return new Map([...tensors].filter(([name]) => name.startsWith(prefix)).map(([name, entry]) => [name.slice(prefix.length), entry]));
};

/** What a checkpoint of a whole network of ours or the reference's holds beside its weights; in other files such a name is a module's own. */
const isBeside = (name: string): boolean => name.startsWith(OPTIMIZER) || name.startsWith(TRAINED) || CENTERS_NAMES.includes(name);

const withoutOthers = (tensors: Tensors): Map<string, TensorEntry> => {
  const naming = recognise(tensors.keys())?.naming ?? 'torchvision';
  return new Map([...tensors].filter(([name]) => naming === 'torchvision' || !isBeside(name)));
};

/** The weights by their names in the file: those of a checkpoint's dictionary, if it is a checkpoint, apart from what else it holds. */
export const stateIn = ({ tensors, dictionaries }: TensorFile): Map<string, TensorEntry> => {
  const container = CONTAINERS.find((name) => dictionaries?.has(name) && within(tensors, name).size > 0);
  return container ? within(tensors, container) : withoutOthers(tensors);
};

/**
 * The weights in a file, apart from what else it holds: also of a network that Pipit knows within another module, or of a checkpoint's dictionaries that
 * were written as names.
 */
export const weightsIn = (file: TensorFile): Map<string, TensorEntry> => {
  const found = stateIn(file);
  const wrapper = CONTAINERS.find((name) => [...found.keys()].every((inner) => inner.startsWith(`${name}.`) || isBeside(inner)));
  const inside = wrapper ? within(found, wrapper) : found;
  return recognise(inside.keys()) ? inside : found;
};

const derived = (shape: readonly number[], numbers: () => Float32Array): TensorEntry => ({ dtype: 'F32', shape, read: numbers });
const float = ({ dtype, read }: TensorEntry): Float32Array => toFloat32(dtype, read());

/** A bias in front of batch norm moves the mean and nothing else: norm(x + b) with mean m is norm(x) with mean m − b. */
const foldBiases = (tensors: Map<string, TensorEntry>): void => {
  for (const [name, bias] of [...tensors]) {
    const [, block, number] = /^(features\..+)\.conv(\d)\.bias$/.exec(name) ?? [];
    const meanName = `${block}.bn${number}.running_mean`;
    const mean = tensors.get(meanName);
    if (!mean || elementCount(mean.shape) !== elementCount(bias.shape)) continue;
    tensors.set(meanName, derived(mean.shape, () => {
      const shift = float(bias);
      return float(mean).map((value, i) => value - shift[i]!);
    }));
    tensors.delete(name);
  }
};

const firstRows = ({ dtype, shape, read }: TensorEntry, rows: number): TensorEntry => ({
  dtype, shape: [rows, ...shape.slice(1)], read: (): TensorData => read().slice(0, rows * elementCount(shape.slice(1))),
});

/**
 * WS_DAN_PyTorch's maps are the first channels of a unit behind the features; as a head they are its first filters. That unit's stage and
 * those behind it serve nothing else.
 *
 * @returns what was taken away
 */
const takeAttentionHead = (tensors: Map<string, TensorEntry>, { attentionUnit: unit, stages }: NameTable): [string, TensorEntry][] => {
  const channels = tensors.get(`features.${unit}.conv.weight`)?.shape[1];
  const columns = tensors.get(CLASSIFIER)?.shape[1];
  const maps = channels && columns ? columns / channels : NaN;
  if (!Number.isInteger(maps)) return [];
  const behind = stages.slice(stages.findIndex(([stage]) => unit!.startsWith(`${stage}.`))).map(([stage]) => `features.${stage}.`);
  const taken: [string, TensorEntry][] = [];
  for (const [name, entry] of [...tensors]) {
    if (name.startsWith(`features.${unit}.`) && entry.shape[0]! >= maps) tensors.set(HEAD + name.slice(`features.${unit}.`.length), firstRows(entry, maps));
    else if (behind.some((stage) => name.startsWith(stage))) taken.push([name, entry]);
  }
  for (const name of tensors.keys()) if (behind.some((stage) => name.startsWith(stage))) tensors.delete(name);
  return taken;
};

/** Gives the tensors of a file Pipit's names. */
export const interpret = (file: TensorFile): Weights => {
  const { path } = file;
  const found = weightsIn(file);
  if (found.size === 0) fail(`${path}: there are no tensors in it that could be weights (${file.tensors.size} tensors in all); they are listed by: node dist/inspect.js ${inCommand(path)}`);
  const recognised = recognise(found.keys());
  const tensors = new Map<string, TensorEntry>();
  const surplus = new Map<string, TensorEntry>();
  for (const [name, entry] of found) {
    if (isCounter(name)) continue;
    if (recognised && isClassifier(name, recognised)) surplus.set(withoutParallel(name), entry);
    else tensors.set(recognised ? toPipit(name, recognised) : withoutParallel(name), entry);
  }
  if (recognised?.naming === 'reference' && recognised.table.blockBiases) foldBiases(tensors);
  if (recognised?.naming === 'wvinzh' && recognised.table.attentionUnit) for (const [name, entry] of takeAttentionHead(tensors, recognised.table)) surplus.set(name, entry);
  const centers = recognised && (CENTERS_NAMES.flatMap((name) => file.tensors.get(name) ?? [])[0] ?? null);
  return { file, recognised, tensors, centers, surplus };
};
