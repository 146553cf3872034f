/** Parameter groups as in PyTorch: what an optimiser is given, and the options that hold for each group. */
import { fail } from '../errors.js';
import { checkNames, checkTensors, checkWithin, given } from '../ops/arguments.js';
import { Tensor } from '../tensor/tensor.js';

export interface CommonOptions {
  lr: number;
  weightDecay?: number;
  /** Gradients are scaled down to this global norm, over all groups, where they exceed it; 0 or absent: never. */
  clipGradNorm?: number;
}

/** Options that a group may have for itself. */
type Own<O extends CommonOptions> = Omit<O, 'clipGradNorm'>;

/** Some parameters, with the options in which they differ from the others. */
export type ParamGroup<O extends CommonOptions = CommonOptions> = Partial<Own<O>> & { params: readonly Tensor[] };

/** A group of an optimiser. Its learning rate may be set before any step; all else stays as it was. */
export type ActiveGroup<O extends CommonOptions = CommonOptions> = Readonly<Omit<O, 'lr'>> & {
  readonly params: readonly Tensor[];
  lr: number;
  /** Where schedules start from. */
  readonly initialLr: number;
};

/** What a kind of optimiser takes. */
export interface OptimizerRules<O extends CommonOptions> {
  /** Its name, for messages. */
  readonly name: string;
  /** Names of all options that it has, those of {@link CommonOptions} included; others are refused. */
  readonly options: readonly (keyof O & string)[];
  /** Refuses values of its own options that do not fit, by throwing. @param where the optimiser, and the group if there are several */
  check(where: string, options: O): void;
  /** Names of the vectors of the parameters' size that it keeps with these options. */
  vectors(options: O): readonly string[];
}

export const atLeastZero = (where: string, option: string, value: number | undefined): void => {
  if (value !== undefined) checkWithin(where, option, value, 0);
};

const isPlain = (item: unknown): boolean => typeof item === 'object' && item !== null && Object.getPrototypeOf(item) === Object.prototype;

/** A parameter that stands in two groups would be updated twice. */
const checkApart = (name: string, groups: readonly { readonly params: readonly Tensor[] }[]): void => {
  const home = new Map<Tensor, number>();
  groups.forEach(({ params }, i) => params.forEach((parameter, at) => {
    const before = home.get(parameter) ?? i;
    if (before !== i) fail(`${name}: parameter "${parameter.label}", number ${at} of group ${i}, is in group ${before} as well; put it into one of them`);
    home.set(parameter, i);
  }));
};

const ungrouped = <O extends CommonOptions>({ name }: OptimizerRules<O>, parameters: readonly Tensor[]): ParamGroup<O>[] => {
  checkTensors(name, 'parameters', parameters, 'module.parameters()');
  if (parameters.length === 0) fail(`${name}: there are no parameters to train`);
  return [{ params: parameters } as ParamGroup<O>];
};

const grouped = <O extends CommonOptions>({ name, options }: OptimizerRules<O>, groups: readonly ParamGroup<O>[]): readonly ParamGroup<O>[] => {
  const known = ['params', ...options.filter((option) => option !== 'clipGradNorm')];
  groups.forEach((group: unknown, i) => {
    const where = `${name}, group ${i}`;
    if (!isPlain(group)) fail(`${where}: a group must be an object, as in { params: module.parameters(), lr: 0.1 }, beside other groups; got ${group instanceof Tensor ? `tensor "${group.label}"` : String(group)}`);
    checkNames(where, group as object, known);
    checkTensors(where, 'params', (group as ParamGroup).params, 'module.parameters()');
    if ((group as ParamGroup).params.length === 0) fail(`${where}: there are no parameters in it`);
  });
  checkApart(name, groups);
  return groups;
};

/** Options without those that say nothing. */
const said = <T extends object>(options: T): T => Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T;

/**
 * The groups of an optimiser, each with all its options.
 *
 * @param parameters a list of parameters, or of groups
 * @param defaults hold where a group says nothing
 * @throws UserError for options that there are not or whose values do not fit, a group without parameters, and a parameter in two groups
 */
export const toGroups = <O extends CommonOptions>(
  rules: OptimizerRules<O>, parameters: readonly Tensor[] | readonly ParamGroup<O>[], defaults: Partial<O>,
): ActiveGroup<O>[] => {
  const { name, options } = rules;
  const several = Array.isArray(parameters) && parameters.some(isPlain);
  if (!several) given<Partial<O>>(name, defaults, 'lr');
  if (!isPlain(defaults)) fail(`${name}: the options for all groups must be an object, as in { lr: 0.1 }, got ${String(defaults)}`);
  checkNames(name, defaults, options);
  const groups = several ? grouped(rules, parameters as readonly ParamGroup<O>[]) : ungrouped(rules, parameters as readonly Tensor[]);
  return groups.map(({ params, ...own }, i) => {
    const where = several ? `${name}, group ${i}` : name;
    const all = { ...defaults, ...said(own) } as unknown as O;
    if ((all.lr ?? null) === null) fail(`${where}: neither the group nor the options for all groups say lr`);
    atLeastZero(where, 'lr', all.lr);
    atLeastZero(where, 'weightDecay', all.weightDecay);
    rules.check(where, all);
    return { ...all, params, initialLr: all.lr };
  });
};
