/** Which kernels the environment and the tuning file ask for. */
import { existsSync, readFileSync } from 'node:fs';
import { fail } from '../errors.js';
import { type GemmOptions, IMAGE_USES, KINDS, type Tuning, type TuningTable } from '../kernels/gemm-family.js';
import { TILE_NAMES } from '../ops/gemm-tiling.js';

/** Written by `node dist/bench.js --tune`, read from the working folder; `PIPIT_TUNING` names another file. */
const TUNING_FILE = 'pipit-tuning.json';

export const tuningFile = (): string => process.env.PIPIT_TUNING || TUNING_FILE;

interface Rule {
  readonly allowed: string;
  readonly allows: (value: unknown) => boolean;
}

const oneOf = (names: readonly string[]): Rule => ({ allowed: `one of ${names.join(', ')}`, allows: (value) => names.some((name) => name === value) });
const wholeFrom = (least: number): Rule => ({ allowed: `a whole number of at least ${least}`, allows: (value) => Number.isSafeInteger(value) && Number(value) >= least });
const channels: Rule = { allowed: 'a number of at least 0', allows: (value) => Number.isFinite(value) && Number(value) >= 0 };
const trueOrFalse: Rule = { allowed: 'true or false', allows: (value) => typeof value === 'boolean' };

const RULES: Readonly<Record<keyof Tuning, Rule>> = {
  kind: oneOf(KINDS), rowsTurn: wholeFrom(1), transposedTurn: wholeFrom(1), weightsTurn: wholeFrom(1), heldDepth: wholeFrom(0),
  images: oneOf(IMAGE_USES), tile: oneOf(['fit', ...TILE_NAMES]), matrices: trueOrFalse,
  winograd: channels, winogradWeights: channels,
};

const isTable = (value: unknown): value is Readonly<Record<string, unknown>> => typeof value === 'object' && value !== null && !Array.isArray(value);

/** What is wrong with the settings of one adapter; nothing if all is right. */
const complaint = (adapter: string, settings: unknown): string | undefined => {
  if (!isTable(settings)) return `"${adapter}" is ${JSON.stringify(settings)}, but must be an object of settings`;
  for (const [name, value] of Object.entries(settings)) {
    if (!Object.hasOwn(RULES, name)) return `"${adapter}" has "${name}" with the value ${JSON.stringify(value)}, but there is no such setting: known are ${Object.keys(RULES).join(', ')}`;
    const { allowed, allows } = RULES[name as keyof Tuning];
    if (!allows(value)) return `"${name}" of "${adapter}" is ${JSON.stringify(value)}, but must be ${allowed}`;
  }
  return undefined;
};

const checkTable = (table: unknown): TuningTable => {
  if (!isTable(table)) return fail('it holds no table of adapters');
  const [wrong] = Object.entries(table).flatMap(([adapter, settings]) => complaint(adapter, settings) ?? []);
  return wrong === undefined ? table as TuningTable : fail(wrong);
};

/** A tuning file's table; empty if the usual file does not exist. */
export const readTuning = (file = tuningFile()): TuningTable => {
  if (file === TUNING_FILE && !existsSync(file)) return {};
  try {
    return checkTable(JSON.parse(readFileSync(file, 'utf8')));
  } catch (error) {
    return fail(`The tuning file ${file} cannot be read: ${(error as Error).message}. Make it anew with "node dist/bench.js --tune", or remove it.`);
  }
};

/** `PIPIT_GEMM`, `PIPIT_LOOPS`, `PIPIT_HELD`, `PIPIT_WINOGRAD`, `PIPIT_IMAGES` and `PIPIT_MATRICES` force a variant of the kernels. */
export const kernelOptions = (): GemmOptions =>
  ({ gemm: process.env.PIPIT_GEMM, loops: process.env.PIPIT_LOOPS, held: process.env.PIPIT_HELD, winograd: process.env.PIPIT_WINOGRAD,
    images: process.env.PIPIT_IMAGES, matrices: process.env.PIPIT_MATRICES, tuning: readTuning() });
