/** Whose names a set of weights has, and how to get from theirs to ours and back. */
import { type NameTable, nameTables } from '../../nn/models/names.js';

/**
 * `pipit`: a whole network of ours (`features.conv1.weight`, `attentions.…`, `fc.…`); `torchvision`: a backbone alone (`conv1.weight`);
 * `reference`: a whole network of WS-DAN.PyTorch (`features.0.weight`); `wvinzh`: one of WS_DAN_PyTorch (`conv1.weight`, `fc_new.…`).
 */
export type Naming = 'pipit' | 'torchvision' | 'reference' | 'wvinzh';

export const namingTitles: Readonly<Record<Naming, string>> = {
  pipit: 'Pipit', torchvision: 'torchvision', reference: 'WS-DAN.PyTorch', wvinzh: 'WS_DAN_PyTorch (wvinzh)',
};

export interface Recognised {
  readonly naming: Naming;
  readonly table: NameTable;
}

/** Whose names they are, in words. */
export const describeNames = (recognised: Recognised | null): string =>
  (recognised ? `${recognised.table.family} by ${namingTitles[recognised.naming]}'s names` : 'names of no network that Pipit knows');

const PARALLEL = 'module.';
const COUNTER = '.num_batches_tracked';
export const BACKBONE = 'features.';
export const HEAD = 'attentions.';
export const CLASSIFIER = 'fc.weight';
const WVINZH_CLASSIFIER = 'fc_new.';

/** PyTorch's DataParallel puts its own name in front. */
export const withoutParallel = (name: string): string => (name.startsWith(PARALLEL) ? name.slice(PARALLEL.length) : name);

/** Batch norm counts its batches in PyTorch; nothing reads the count. */
export const isCounter = (name: string): boolean => name.endsWith(COUNTER);
export const counterOf = (runningVariance: string): string => runningVariance.replace(/\.running_var$/, COUNTER);

/** Whose names these are, or null. */
export const recognise = (given: Iterable<string>): Recognised | null => {
  const names = new Set([...given].map(withoutParallel));
  const headed = [...names].some((name) => name.startsWith(HEAD));
  for (const table of nameTables) {
    const [torchvision, reference] = table.signature;
    if (names.has(BACKBONE + torchvision)) return { naming: 'pipit', table };
    if (headed && names.has(BACKBONE + reference)) return { naming: 'reference', table };
    if (names.has(torchvision) && !headed) return { naming: names.has(`${WVINZH_CLASSIFIER}weight`) ? 'wvinzh' : 'torchvision', table };
  }
  return null;
};

/** `name` with `from.` at its start replaced, or undefined where it does not stand there. */
const replaced = (name: string, from: string, to: string): string | undefined => (name.startsWith(`${from}.`) ? `${to}.${name.slice(from.length + 1)}` : undefined);

const first = <T>(items: readonly T[], find: (item: T) => string | undefined): string | undefined => {
  for (const item of items) {
    const found = find(item);
    if (found !== undefined) return found;
  }
  return undefined;
};

/** Our name of a weight of theirs; what no table knows keeps its name, so that it is reported by it. */
export const toPipit = (theirs: string, { naming, table }: Recognised): string => {
  const name = withoutParallel(theirs);
  if (naming === 'pipit') return name;
  if (naming === 'reference') {
    if (!name.startsWith(BACKBONE)) return name;
    return first(table.stages, ([ours, number]) => (number === null ? BACKBONE + name : replaced(name, BACKBONE + number, BACKBONE + ours))) ?? name;
  }
  if (naming === 'wvinzh' && name.startsWith(WVINZH_CLASSIFIER)) return `fc.${name.slice(WVINZH_CLASSIFIER.length)}`;
  return first(table.stages, ([ours]) => (name.startsWith(`${ours}.`) ? BACKBONE + name : undefined)) ?? name;
};

/** Their name of a weight of ours, or undefined where they have no place for it. */
export const fromPipit = (ours: string, { naming, table }: Recognised): string | undefined => {
  if (naming === 'pipit' || (naming === 'reference' && !ours.startsWith(BACKBONE))) return ours;
  if (naming === 'torchvision') return ours.startsWith(BACKBONE) ? ours.slice(BACKBONE.length) : undefined;
  const below = ours.slice(BACKBONE.length);
  return first(table.stages, ([stage, number]) => (number === null ? (below.startsWith(`${stage}.`) ? below : undefined) : replaced(below, stage, BACKBONE + number)));
};

/** The stage a weight of ours belongs to, by torchvision's name; undefined for the head. */
export const stageOf = (ours: string, { stages }: NameTable): string | undefined => stages.find(([stage]) => ours.startsWith(`${BACKBONE}${stage}.`))?.[0];

/** Whether a name is that of a classifier of torchvision's whole network. */
export const isClassifier = (theirs: string, { naming, table }: Recognised): boolean =>
  (naming === 'torchvision' || naming === 'wvinzh') && table.classifiers.some((part) => withoutParallel(theirs).startsWith(`${part}.`));
