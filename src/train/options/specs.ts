/** The kinds of options a command can declare. Each knows how to read a text or a JSON value and what it allows. */
import { nearest } from './nearest.js';

/** One declared option; `T` is the type its value has. */
export interface OptionSpec<T> {
  readonly help: string;
  /** Shown in `--help` behind the name; absent for flags. */
  readonly placeholder?: string;
  readonly default?: T;
  /** Says in `--help` where the value comes from when there is no fixed default, or not always that one. */
  readonly defaultText?: string;
  /** What is allowed, in words, for help and errors. */
  readonly allowed: string;
  readonly kind: 'value' | 'flag' | 'config';
  /** Reads a command line text or a value from a config file; undefined when it is not allowed. */
  read(value: unknown): T | undefined;
  /** More to say about a refused value, such as the nearest choice. */
  hint?(value: unknown): string;
}

interface Base<T> {
  /** One line, without a full stop. */
  help: string;
  default?: T;
  /** What `--help` says instead of the default, or where there is none: what happens then. */
  defaultText?: string;
  placeholder?: string;
}

interface Range {
  min?: number;
  max?: number;
  /** The minimum itself is refused. */
  aboveMin?: boolean;
}

/** With a default the value is always there; without one it may be undefined. */
type Declared<T, S extends Base<T>> = S extends { default: T } ? OptionSpec<T> & { readonly default: T } : OptionSpec<T>;

const rangeText = ({ min, max, aboveMin }: Range): string => {
  const low = min === undefined ? '' : aboveMin ? `above ${min}` : `from ${min}`;
  return [low, max === undefined ? '' : `to ${max}`].filter(Boolean).join(' ');
};

const inRange = (value: number, { min = -Infinity, max = Infinity, aboveMin = false }: Range): boolean =>
  (aboveMin ? value > min : value >= min) && value <= max;

/** `Number('')` is 0 and `Number(true)` is 1; neither is a number a person wrote. */
const toNumber = (value: unknown): number =>
  typeof value === 'number' ? value : typeof value === 'string' && value.trim() !== '' ? Number(value) : NaN;

const numeric = <S extends Base<number> & Range>(spec: S, word: string, fits: (value: number) => boolean) => ({
  placeholder: 'N',
  ...spec,
  kind: 'value' as const,
  allowed: [word, rangeText(spec)].filter(Boolean).join(' '),
  read: (value: unknown) => {
    const parsed = toNumber(value);
    return fits(parsed) && inRange(parsed, spec) ? parsed : undefined;
  },
}) as unknown as Declared<number, S>;

/** A whole number, `1e3` included. */
export const int = <S extends Base<number> & Range>(spec: S): Declared<number, S> => numeric(spec, 'a whole number', Number.isSafeInteger);

/** A finite number. */
export const number = <S extends Base<number> & Range>(spec: S): Declared<number, S> => numeric(spec, 'a number', Number.isFinite);

interface List extends Range {
  length?: number;
  /** The bounds of a range: none may be smaller than the one before. */
  ascending?: boolean;
}

const isAscending = (values: readonly number[]): boolean => values.every((value, i) => i === 0 || values[i - 1]! <= value);

/** A list of numbers, on the command line separated by commas: `--crop-theta 0.4,0.6`. */
export const numbers = <S extends Base<readonly number[]> & List>(spec: S): Declared<readonly number[], S> => ({
  placeholder: spec.length === undefined ? 'N,...' : Array.from({ length: spec.length }, () => 'N').join(','),
  ...spec,
  kind: 'value' as const,
  allowed: [spec.length === undefined ? 'numbers separated by commas' : `${spec.length} numbers separated by commas`, rangeText(spec)].filter(Boolean).join(', each ') + (spec.ascending ? ', the smaller one first' : ''),
  read: (value: unknown) => {
    const parts: unknown[] = Array.isArray(value) ? value : typeof value === 'number' ? [value] : String(value).split(',');
    const parsed = parts.map(toNumber);
    const right = parsed.every((x) => Number.isFinite(x) && inRange(x, spec))
      && (spec.length ?? parsed.length) === parsed.length && (!spec.ascending || isAscending(parsed));
    return right ? parsed : undefined;
  },
}) as unknown as Declared<readonly number[], S>;

/** Any text that is not empty: a folder, a file, a name. */
export const text = <S extends Base<string>>(spec: S): Declared<string, S> => ({
  placeholder: 'TEXT',
  ...spec,
  kind: 'value' as const,
  allowed: 'a text',
  // A value such as `--epochs` is a forgotten value, not a folder's name.
  read: (value: unknown) => (typeof value === 'string' && value !== '' && !value.startsWith('--') ? value : undefined),
  hint: (value: unknown) => (typeof value === 'string' && value.startsWith('--') ? `The value is missing before ${value}.` : ''),
}) as unknown as Declared<string, S>;

/** A list of texts, on the command line separated by commas. */
export const texts = <S extends Base<readonly string[]>>(spec: S): Declared<readonly string[], S> => ({
  placeholder: 'TEXT,...',
  ...spec,
  kind: 'value' as const,
  allowed: 'texts separated by commas',
  read: (value: unknown) => {
    const parts: unknown[] = Array.isArray(value) ? value : String(value).split(',');
    return parts.every((part) => typeof part === 'string' && part !== '' && !part.startsWith('--')) ? parts : undefined;
  },
}) as unknown as Declared<readonly string[], S>;

/** One of several names. */
export const choice = <const C extends readonly string[], S extends Base<C[number]>>(choices: C, spec: S): Declared<C[number], S> => ({
  placeholder: 'NAME',
  ...spec,
  help: `${spec.help}: ${choices.join(', ')}`,
  kind: 'value' as const,
  allowed: choices.join(', '),
  read: (value: unknown) => choices.find((name) => name === value),
  hint: (value: unknown) => {
    const near = typeof value === 'string' ? nearest(value, choices) : '';
    return near ? `Did you mean ${near}?` : '';
  },
}) as unknown as Declared<C[number], S>;

/** Yes or no: `--name` and `--no-name`; true or false in a config file. Without a default it is false. */
export const flag = (spec: { help: string; default?: boolean }): OptionSpec<boolean> & { readonly default: boolean } => ({
  default: false,
  ...spec,
  kind: 'flag',
  allowed: 'true or false',
  read: (value) => (typeof value === 'boolean' ? value : undefined),
});

/** `--config FILE.json`: its entries count below the command line and above the defaults. */
export const configFile = (): OptionSpec<string> => ({
  ...text({ placeholder: 'FILE.json', help: 'take options from this file; those on the command line win' }),
  kind: 'config',
});

/** Options that several commands have. */
export const adapterOption = text({ help: 'lavapipe, swiftshader, or a part of the adapter’s name', defaultText: 'the best one' });
export const workersOption = int({ help: 'decoding threads; 0 decodes in the main thread', min: 0, max: 64, defaultText: 'cores − 1' });

export type OptionSpecs = Readonly<Record<string, OptionSpec<unknown>>>;

/** The typed values that a declaration gives. */
export type OptionValues<S extends OptionSpecs> = {
  [K in keyof S]: S[K] extends OptionSpec<infer T> ? (S[K] extends { readonly default: T } ? T : T | undefined) : never;
};
