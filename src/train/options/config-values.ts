/** Values of declared options that do not come from a command line: of a config file, or of a checkpoint. */
import { UserError } from '../../errors.js';
import { nearest } from './nearest.js';
import type { OptionSpec, OptionSpecs, OptionValues } from './specs.js';

type Source = 'default' | 'config' | 'command line';

export interface Parsed<S extends OptionSpecs> {
  values: OptionValues<S>;
  /** Where each value came from, so that a preset may replace defaults but nothing that was asked for. */
  source: Record<keyof S & string, Source>;
  positional: string[];
}

/** `imageSize` is `image-size` on the command line. */
export const kebab = (name: string): string => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

/** What other programs call an option, and what it is here. */
export type OtherNames = Readonly<Record<string, string>>;

/** Names of other programs that are shorter than this are near to too much. */
const TELLING = 4;

/** A sentence that leads from a wrong name to an option: what another program calls so, else the nearest name of either, or nothing. */
export const wayOn = (wrong: string, otherNames: OtherNames, known: readonly string[], decorate: (name: string) => string): string => {
  const others = new Map(Object.entries(otherNames));
  const plain = kebab(wrong).replaceAll('_', '-');
  const near = others.has(plain) ? plain : nearest(wrong, [...known, ...[...others.keys()].filter((name) => name.length >= TELLING)]);
  if (near === '') return '';
  return known.includes(near) ? ` Did you mean ${decorate(near)}?` : ` Here it is ${others.get(near)}.`;
};

/** A value as its option reads it; `where` names it in the refusal. */
export const readValue = (where: string, spec: OptionSpec<unknown>, value: unknown): unknown => {
  const read = spec.read(value);
  if (read !== undefined) return read;
  const hint = spec.hint?.(value);
  throw new UserError(`${where}: ${JSON.stringify(value)} is not allowed.${hint ? ` ${hint}` : ''} Allowed: ${spec.allowed}.`);
};

/** `image-size` is `imageSize` in code. */
export const camel = (name: string): string => name.replace(/-([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());

/** Values by camelCase name, each read as its option says; null stands for "not set". `path` names the file they come from. */
export const configValues = <S extends OptionSpecs>(
  path: string, content: Record<string, unknown>, options: S, otherNames: OtherNames = {},
): Record<string, unknown> => {
  const known = Object.keys(options).filter((name) => options[name]!.kind !== 'config');
  const values: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(content)) {
    const name = camel(key);
    if (!known.includes(name)) throw new UserError(`${path}: there is no option "${key}".${wayOn(name, otherNames, known, (near) => `"${near}"`)}`);
    if (value !== null) values[name] = readValue(`${path}: "${key}"`, options[name]!, value);
  }
  return values;
};

/** Options as a file has them, over defaults; read and refused as those of `--config`. */
export const parseConfig = <S extends OptionSpecs>(options: S, path: string, content: Record<string, unknown>): Parsed<S> =>
  ({ ...merge(options, configValues(path, content, options), {}), positional: [] });

/** What was asked for explicitly, over a config, over defaults. */
export const merge = <S extends OptionSpecs>(options: S, config: Record<string, unknown>, explicit: Record<string, unknown>): Pick<Parsed<S>, 'values' | 'source'> => {
  const values: Record<string, unknown> = {};
  const source: Record<string, Source> = {};
  for (const [name, spec] of Object.entries(options)) {
    source[name] = name in explicit ? 'command line' : name in config ? 'config' : 'default';
    values[name] = explicit[name] ?? config[name] ?? spec.default;
  }
  return { values: values as OptionValues<S>, source: source as Parsed<S>['source'] };
};

/** The object to write as `config.json`: `--config` reads it back to the same values. */
export const toConfig = <S extends OptionSpecs>(options: S, values: OptionValues<S>): Record<string, unknown> =>
  Object.fromEntries(Object.keys(options).filter((name) => options[name]!.kind !== 'config' && values[name] !== undefined).map((name) => [name, values[name]]));
