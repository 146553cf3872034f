import { counted, fail, inCommand } from '../../errors.js';
import { type TensorEntry, toFloat32 } from '../../io/tensor-file.js';
import { backboneRecord } from '../../nn/models/index.js';
import type { AnyModule } from '../../nn/module.js';
import { write } from '../../tensor/create.js';
import { formatShape, sameShape, type Shape } from '../../tensor/shape.js';
import type { Tensor } from '../../tensor/tensor.js';
import type { TrainConfig } from '../config.js';
import { fromFileEntry, toFileShape } from '../state-layout.js';
import { uselessNumber } from '../usable.js';
import { programsScale, rescaled, scaleOf } from './feature-scale.js';
import { BACKBONE, CLASSIFIER, namingTitles, type Recognised, stageOf } from './naming.js';
import { CENTERS, type Weights } from './weights.js';

/** A network that takes weights. */
interface Target {
  readonly module: AnyModule;
  readonly centers: { readonly table: Tensor; load(values: Float32Array): void } | null;
  /** Name of the backbone. */
  readonly model: string;
  /** What its features are multiplied by before the classifier. */
  readonly featureScale?: number;
  /** The module is the backbone itself, without a network around it. */
  readonly alone?: boolean;
}

export interface LoadReport {
  readonly taken: number;
  /** Keep their fresh values: behind a backbone's end, or to be ignored. */
  readonly fresh: readonly string[];
  /** Were in the file and have no place here. */
  readonly left: readonly string[];
  readonly centers: boolean;
}

const SHOWN = 12;

interface Misfit {
  readonly kind: 'missing' | 'unexpected' | 'shape';
  readonly name: string;
  readonly expected?: Shape;
  readonly found?: Shape;
}

/** `fc.*` stands for everything that begins with `fc.`. */
const toPattern = (text: string): RegExp => new RegExp(`^${text.split('*').map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&')).join('.*')}$`);

const tensorsOf = ({ module, alone }: Target): [string, Tensor][] =>
  [...module.namedParameters(), ...module.namedBuffers()].map(([name, tensor]) => [alone ? BACKBONE + name : name, tensor]);

/** The network's tensors with the shapes they have in files. */
const wantedBy = (target: Target, weights: Weights): Map<string, { tensor: Tensor; shape: Shape }> => {
  const { model } = target;
  const all = tensorsOf(target).map(([name, tensor]) => [name, { tensor, shape: toFileShape(name, tensor.shape) }] as const);
  const { recognised, file: { path } } = weights;
  const { names: table } = backboneRecord(model);
  if (recognised && recognised.table !== table) fail(`${path} holds a network of the family ${recognised.table.family} with ${namingTitles[recognised.naming]}'s names, but the model is ${model} (${table.family}). Choose its backbone with --model`);
  return new Map(recognised?.naming === 'torchvision' ? all.filter(([name]) => name.startsWith(BACKBONE)) : all);
};

const stagesOf = (names: Iterable<string>, model: string): Set<string> =>
  new Set([...names].flatMap((name) => stageOf(name, backboneRecord(model).names) ?? []));

/** What does not fit, before anything is ignored. */
const compare = (target: Target, weights: Weights, wanted: ReturnType<typeof wantedBy>): Misfit[] => {
  const { tensors, centers } = weights;
  const misfits: Misfit[] = [];
  for (const [name, { shape }] of wanted) {
    const found = tensors.get(name)?.shape;
    if (!found) misfits.push({ kind: 'missing', name, expected: shape });
    else if (!sameShape(found, shape)) misfits.push({ kind: 'shape', name, expected: shape, found });
  }
  for (const [name, { shape }] of tensors) if (!wanted.has(name)) misfits.push({ kind: 'unexpected', name, found: shape });
  if (centers && target.centers && !sameShape(centers.shape, target.centers.table.shape)) {
    misfits.push({ kind: 'shape', name: CENTERS, expected: target.centers.table.shape, found: centers.shape });
  }
  return misfits;
};

/** torchvision's network goes on where a backbone ends; those stages are no misfit. */
const isBeyondEnd = (misfit: Misfit, weights: Weights, own: ReadonlySet<string>): boolean => {
  const { recognised } = weights;
  if (misfit.kind !== 'unexpected' || recognised?.naming !== 'torchvision') return false;
  const stage = stageOf(misfit.name, recognised.table);
  return stage !== undefined && !own.has(stage);
};

const list = (title: string, lines: readonly string[]): string[] =>
  (lines.length === 0 ? [] : [`  ${lines.length} ${title}:`, ...lines.slice(0, SHOWN).map((line) => `    ${line}`), ...(lines.length > SHOWN ? [`    … and ${lines.length - SHOWN} more`] : [])]);

/** What a person who knows networks would guess from the misfits. */
const hints = (misfits: readonly Misfit[], own: ReadonlySet<string>, theirs: ReadonlySet<string>, model: string, { naming, table }: Recognised): string[] => {
  const classifier = misfits.find(({ kind, name }) => kind === 'shape' && name === CLASSIFIER);
  const [longer, shorter] = [[...theirs].filter((stage) => !own.has(stage)), [...own].filter((stage) => !theirs.has(stage))];
  const [expected, found] = [classifier?.expected ?? [], classifier?.found ?? []];
  return [
    ...(longer.length ? [`The file's network has ${longer.join(', ')}, which ${model} has not: another --model?`] : []),
    ...(shorter.length ? [`The file's network lacks ${shorter.join(', ')} of ${model}: another --model?`] : []),
    ...(classifier && expected[0] !== found[0] ? [`The file's network tells ${found[0]} classes apart, this one ${expected[0]}.`] : []),
    ...(classifier && expected[1] !== found[1] && longer.length + shorter.length === 0 ? [`Its classifier sees ${found[1]} features (maps × channels), this one ${expected[1]}: another --attentions?`] : []),
    ...(misfits.some(({ kind, name }) => kind === 'unexpected' && name === 'fc.bias') ? ['Its classifier has a bias: add --classifier-bias.'] : []),
    ...(naming === 'wvinzh' && !table.attentionUnit ? [`${namingTitles.wvinzh} takes the features and maps of a ${table.family} out of the middle of its last stage, which Pipit does not: only the backbone fits, with --weights-ignore "attentions.*,fc.*".`] : []),
  ];
};

const refuse = (misfits: readonly Misfit[], weights: Weights, own: ReadonlySet<string>, model: string, mayIgnore: boolean): never => {
  const { file: { path }, recognised } = weights;
  const by = (kind: Misfit['kind']): Misfit[] => misfits.filter((misfit) => misfit.kind === kind);
  const lines = [
    `${path} (${recognised ? `names of ${namingTitles[recognised.naming]}` : 'names of no network that Pipit knows'}) does not fit ${model}:`,
    ...list('missing', by('missing').map(({ name, expected }) => `${name}, expected ${formatShape(expected!)}`)),
    ...list('unexpected', by('unexpected').map(({ name, found }) => `${name}, found ${formatShape(found!)}`)),
    ...list('of another shape', by('shape').map(({ name, expected, found }) => `${name}: expected ${formatShape(expected!)}, found ${formatShape(found!)}`)),
    ...(recognised ? hints(misfits, own, stagesOf(weights.tensors.keys(), model), model, recognised) : []),
    ...(mayIgnore ? [misfits.length <= SHOWN ? `To go on without them: --weights-ignore ${misfits.map(({ name }) => name).join(',')}` : 'Names that may be left out are given with --weights-ignore, such as --weights-ignore "fc.*".'] : []),
  ];
  return fail(lines.join('\n'));
};

/** A pattern that no name of the file or the network matches is a slip of the pen. */
const checkPatterns = (patterns: readonly string[], names: readonly string[], path: string): void => {
  const idle = patterns.find((pattern) => !names.some((name) => toPattern(pattern).test(name)));
  if (idle !== undefined) fail(`--weights-ignore: neither the network nor ${path} has a tensor "${idle}"; those of the file are listed by: node dist/inspect.js ${inCommand(path)}`);
};

const classifierFor = ({ featureScale }: Target, entry: TensorEntry, scale: number | null): TensorEntry =>
  (scale && featureScale && scale !== featureScale ? rescaled(entry, scale, featureScale) : entry);

/** With such a number every answer would be NaN, or look like one that was computed. */
const checkNumbers = (path: string, name: string, data: Float32Array): Float32Array => {
  const odd = uselessNumber(data);
  if (odd !== undefined) fail(`${path}: ${name} holds ${odd}, with which a network computes nothing of use; take weights of before its training diverged`);
  return data;
};

/**
 * Puts weights into a network: each tensor of the network must be in the file with its shape, and each of the file in the network.
 * torchvision's files are for the backbone alone; the head keeps its fresh values then. A classifier that was made for features of another scale is
 * divided by what they are larger here, so that logits stay.
 *
 * @param allowed patterns of names that may be missing, unexpected or of another shape; null where the caller has no such choice
 * @throws UserError listing what does not fit; nothing is changed then. Or naming a tensor with a number that is not finite: the network is of no use then
 */
export const loadWeights = (target: Target, weights: Weights, allowed: readonly string[] | null = null): LoadReport => {
  const ignore = allowed ?? [];
  const wanted = wantedBy(target, weights);
  const own = stagesOf(wanted.keys(), target.model);
  const { path } = weights.file;
  checkPatterns(ignore, [...wanted.keys(), ...weights.tensors.keys(), CENTERS], path);
  const ignored = (name: string): boolean => ignore.some((pattern) => toPattern(pattern).test(name));
  const misfits = compare(target, weights, wanted).filter(({ name, kind }) => kind === 'unexpected' || !ignored(name));
  const serious = misfits.filter((misfit) => !ignored(misfit.name) && !isBeyondEnd(misfit, weights, own));
  if (serious.length > 0) refuse(serious, weights, own, target.model, allowed !== null);
  const fresh = tensorsOf(target).map(([name]) => name).filter((name) => !wanted.has(name) || ignored(name));
  let taken = 0;
  for (const [name, { tensor }] of wanted) {
    if (ignored(name)) continue;
    const entry = weights.tensors.get(name)!;
    write(tensor, checkNumbers(path, name, fromFileEntry(name, name === CLASSIFIER ? classifierFor(target, entry, scaleOf(weights)) : entry).data));
    taken++;
  }
  const { centers } = weights;
  const takesCenters = centers !== null && target.centers !== null && !ignored(CENTERS);
  if (takesCenters) target.centers!.load(checkNumbers(path, CENTERS, toFloat32(centers.dtype, centers.read())));
  return { taken, fresh, left: [...misfits.map(({ name }) => name), ...weights.surplus.keys()], centers: takesCenters };
};

const brief = (names: readonly string[]): string => {
  const groups = [...new Set(names.map((name) => name.replace(/^features\./, '').split('.')[0]!))];
  return `${groups.slice(0, SHOWN).join(', ')}${groups.length > SHOWN ? ', …' : ''} (${counted(names.length, 'tensor')})`;
};

/** What was taken, in a line. */
export const describeLoad = ({ file: { path }, recognised }: Weights, { taken, fresh, left, centers }: LoadReport): string => [
  `Weights: ${counted(taken, 'tensor')}${centers ? ' and the feature centers' : ''} from ${path}${recognised ? ` (names of ${namingTitles[recognised.naming]})` : ''}`,
  ...(fresh.length ? [`fresh: ${brief(fresh)}`] : []),
  ...(left.length ? [`left out: ${brief(left)}`] : []),
].join('; ');

type Run = Pick<TrainConfig, 'model' | 'method' | 'transformInput' | 'augment' | 'wsdan'>;

const transformNotes = ({ recognised }: Weights, { model, transformInput, augment }: Run): string[] => {
  const transforms = transformInput || augment.mean.every((mean) => mean === 0.5);
  if (recognised?.naming !== 'wvinzh' || !backboneRecord(model).transformsInput || transforms) return [];
  return [`${namingTitles.wvinzh} brings the pixels of its Inception to −1 … 1; its weights need --transform-input`];
};

/** Both ports use their networks like this. */
const THEIR_TEST = { rim: 0, theta: 0.1 };

const boxNotes = ({ recognised }: Weights, { method, wsdan: { attentionRim, testTheta } }: Run): string[] => {
  if (method !== 'wsdan' || !programsScale(recognised?.naming) || (attentionRim === THEIR_TEST.rim && testTheta === THEIR_TEST.theta)) return [];
  return [`${namingTitles[recognised!.naming]} uses its networks with --attention-rim ${THEIR_TEST.rim} and --test-theta ${THEIR_TEST.theta}; here they are ${attentionRim} and ${testTheta}`];
};

/** What the program that wrote a file does, where these options do something else. */
export const programNotes = (weights: Weights, run: Run): string[] => [...transformNotes(weights, run), ...boxNotes(weights, run)];
