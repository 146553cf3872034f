/** Finds the kernels' settings that suit an adapter, and keeps them in the file that training reads. */
import { existsSync } from 'node:fs';
import { readTuning, tuningFile } from '../src/cli/kernel-options.js';
import type { Device } from '../src/device/device.js';
import type { AdapterReport } from '../src/device/gpu.js';
import { writeFileAtomic } from '../src/io/atomic.js';
import { gemmFamily, hasSettings, IMAGE_USES, type Tuning, tuningKey } from '../src/kernels/gemm-family.js';
import { TILE_NAMES } from '../src/ops/gemm-tiling.js';
import { compare, type Standing, type TestStand, type Trial } from './contest.js';
import { type Direction, PRODUCT_DIRECTIONS } from './results.js';

/** Settings tried against each other; the others stay as they are meanwhile. */
interface Axis {
  readonly name: string;
  /** Whether it matters to the kernels chosen so far. */
  readonly applies: (tuning: Tuning) => boolean;
  readonly choices: readonly Partial<Tuning>[];
  /** What of a product it changes; default all. */
  readonly directions?: readonly Direction[];
}

/** Products of each form; 3×3 layers on both sides of the limits for Winograd's algorithm. The quickest first, so that what is hopeless ends early. */
const TRIALS: readonly Trial[] = [
  ...['default 32→64 3×3/2 17²', 'default 32→32 3×3 17²', 'Inception 192→32 1×1 53²', 'default 64→64 3×3 9²', 'Inception 96→96 3×3/2 53²', 'Inception 192→192 1×7 26²',
    'Inception 64→96 3×3 53²', 'Inception 96→96 3×3 53²'].map((name) => ({ op: 'conv2d', case: name })),
  { op: 'matmul', case: '512³' },
];

/** Less than this is noise: a setting leaves its default only for more, and only if it wins twice. */
const WORTHWHILE = 0.96;

/** Multiply-adds in a turn of the loop. */
const TURNS = [64, 96, 128, 144, 192, 256, 384];

export const axesFor = ({ subgroupSize, imageOperands }: AdapterReport): Axis[] => [
  { name: 'kernels', applies: () => true, choices: [...(subgroupSize ? [{ kind: 'broadcast' as const }] : []), { kind: 'tile' }, { kind: 'plain' }] },
  { name: 'rows', applies: (t) => t.kind === 'broadcast', choices: TURNS.map((rowsTurn) => ({ rowsTurn })), directions: ['forward'] },
  { name: 'transposed', applies: (t) => t.kind === 'broadcast', choices: TURNS.map((transposedTurn) => ({ transposedTurn })), directions: ['gradInput'] },
  { name: 'weights', applies: (t) => t.kind === 'broadcast', choices: TURNS.map((weightsTurn) => ({ weightsTurn })), directions: ['gradWeight'] },
  {
    name: 'held', applies: (t) => t.kind === 'broadcast' && imageOperands, choices: [0, 96, 192, 288].map((heldDepth) => ({ heldDepth })),
    directions: ['forward', 'gradInput'],
  },
  { name: 'images', applies: (t) => t.kind === 'broadcast' && imageOperands, choices: IMAGE_USES.map((images) => ({ images })) },
  { name: 'tile', applies: (t) => t.kind === 'tile', choices: ['fit', ...TILE_NAMES].map((tile) => ({ tile })) },
  { name: 'Winograd', applies: () => true, choices: [0, 32, 50, 70, 100].map((winograd) => ({ winograd })), directions: ['forward', 'gradInput'] },
  { name: 'gradient', applies: () => true, choices: [0, 32, 43, 70, 100].map((winogradWeights) => ({ winogradWeights })), directions: ['gradWeight'] },
];

interface TuneOptions {
  readonly device: Device;
  readonly axes: readonly Axis[];
  readonly trials: readonly Trial[];
  readonly rounds: number;
  readonly print: (line: string) => void;
  /** Is given the departures from the defaults so far, when one more axis is decided: what comes later may be interrupted. */
  readonly decided?: (found: Partial<Tuning>) => void;
}

const asText = ({ ratio, failure }: Standing): string => {
  if (failure) return `FAILS: ${failure.message}`;
  return ratio === Infinity ? 'WRONG RESULT' : `${ratio.toFixed(3)} of the time`;
};

/** The settings of an adapter without a tuning file. */
const defaultTuning = (report: AdapterReport): Tuning => {
  const { subgroupSize: _, matrixSide: __, ...tuning } = gemmFamily(report);
  return tuning;
};

/** @returns the settings that depart from the defaults because they are faster */
export const tune = async (options: TuneOptions): Promise<Partial<Tuning>> => {
  const { device, axes, trials, rounds, print, decided } = options;
  const start = defaultTuning(device.report);
  const departures = (): Partial<Tuning> => Object.fromEntries(Object.entries(best).filter(([name, value]) => start[name as keyof Tuning] !== value));
  const stand: TestStand = { device };
  let best = start;
  for (const { name, applies, choices, directions = PRODUCT_DIRECTIONS } of axes) {
    if (!applies(best)) continue;
    const others = choices.filter((change) => !hasSettings(best, change)).map((change): Tuning => ({ ...best, ...change }));
    const tell = (candidate: Tuning, text: string): void => print(`${name.padEnd(10)} ${describe(candidate, choices).padEnd(30)} ${text}`);
    const contest = { trials, rounds, directions };
    const standings = await compare(stand, contest, [best, ...others]);
    [best, ...others].forEach((candidate, i) => tell(candidate, asText(standings[i]!)));
    const ratios = standings.map(({ ratio }) => ratio);
    const fastest = ratios.indexOf(Math.min(...ratios));
    if (!(ratios[fastest]! < WORTHWHILE)) continue;
    const winner = others[fastest - 1]!;
    const [, again] = await compare(stand, contest, [best, winner]);
    tell(winner, `${asText(again!)}, once more`);
    if (!(again!.ratio < WORTHWHILE)) continue;
    best = winner;
    decided?.(departures());
  }
  if (stand.device !== device) stand.device.close();
  return departures();
};

/** The values of the settings that an axis changes. */
const describe = (tuning: Tuning, choices: readonly Partial<Tuning>[]): string =>
  Object.keys(choices[0]!).map((name) => `${name} ${tuning[name as keyof Tuning]}`).join(', ');

/** Writes an adapter's settings; those of others in the same file stay. @returns the file's name */
export const saveTuning = (key: string, found: Partial<Tuning>, file = tuningFile()): string => {
  const table = existsSync(file) ? readTuning(file) : {};
  writeFileAtomic(file, `${JSON.stringify({ ...table, [key]: found }, null, 2)}\n`);
  return file;
};

/** Tunes the device with all axes and trials. @returns the name of the file it wrote */
export const tuneToFile = async (device: Device, rounds: number, print: (line: string) => void): Promise<string> => {
  const key = tuningKey(device.report);
  const decided = (found: Partial<Tuning>): void => print(`Kept in ${saveTuning(key, found)} so far: ${JSON.stringify(found)}`);
  const found = await tune({ device, axes: axesFor(device.report), trials: TRIALS, rounds, print, decided });
  print(Object.keys(found).length ? `Faster than the defaults of ${key}: ${JSON.stringify(found)}` : `The defaults of ${key} are the fastest.`);
  return saveTuning(key, found);
};
