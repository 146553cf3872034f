/** Results of a benchmark: rates, table, comparison with an earlier file. */
import { readFileSync } from 'node:fs';
import { fail } from '../src/errors.js';
import type { Cost } from '../src/ops/op.js';
import type { Ceiling } from './ceiling.js';
import { figureOf, type Timing } from './clock.js';

export interface Result extends Timing {
  readonly op: string;
  readonly case: string;
  readonly direction: 'forward' | 'backward';
  readonly flops: number;
  readonly bytes: number;
  readonly gflops: number;
  readonly gbs: number;
  /** Which ceiling is the nearer one for this work. */
  readonly bound: 'arithmetic' | 'memory';
  /** Share of that ceiling, 0 to 1; above 1 where the data stayed in a cache. */
  readonly share: number;
}

/** What `--json` writes and `--compare` reads. */
export interface BenchFile {
  readonly adapter: string;
  /** `driver`: processor time of the driver's threads over their number; `wall`: time by the clock. */
  readonly figure: 'driver' | 'wall';
  readonly gemm: string;
  readonly webgpu: string;
  readonly ceiling: Ceiling;
  /** Largest error of the small cases of each op, relative, before anything was timed. */
  readonly checks: readonly { readonly op: string; readonly checks: number; readonly error: number }[];
  readonly results: readonly Result[];
}

/** Rates of a timed run: the ceiling that allows less decides what it is measured by. */
export const toResult = (op: string, name: string, direction: Result['direction'], { flops, bytes }: Cost, timing: Timing, ceiling: Ceiling): Result => {
  const ms = figureOf(timing);
  const [gflops, gbs] = [flops / ms / 1e6, bytes / ms / 1e6];
  const bound = flops / ceiling.gflops > bytes / ceiling.gbs ? 'arithmetic' : 'memory';
  return { op, case: name, direction, ...timing, flops, bytes, gflops, gbs, bound, share: bound === 'arithmetic' ? gflops / ceiling.gflops : gbs / ceiling.gbs };
};

const COLUMNS = [18, 47, 9] as const;
const NUMBERS = [10, 10, 10, 8, 22] as const;

const cells = (words: readonly string[], numbers: readonly string[], rest = ''): string =>
  `${words.map((w, i) => w.padEnd(COLUMNS[i]!)).join(' ')}${numbers.map((n, i) => n.padStart(NUMBERS[i]!)).join('')}${rest ? `  ${rest}` : ''}`;

/** The line of work that needs no kernel. */
export const emptyRow = (op: string, name: string, direction: Result['direction']): string => `${cells([op, name, direction], [])} nothing to compute`;

/** `driver` adds the column of the driver's time in front of the clock's. */
export const header = (figure: BenchFile['figure'], compared: boolean): string =>
  cells(['op', 'case', ''], [figure === 'driver' ? 'driver ms' : 'ms', ...(figure === 'driver' ? ['wall ms'] : []), 'GFLOP/s', 'GB/s', 'of ceiling'], compared ? 'than before' : '');

const milliseconds = (ms: number): string => ms.toFixed(ms < 10 ? 3 : 1);

/** One line of the table; `before` is the same work in an earlier file. */
export const row = (result: Result, before?: Result): string => {
  const share = `${(100 * result.share).toFixed(0)} % of ${result.bound}`;
  const times = result.driverMs === null ? [milliseconds(result.wallMs)] : [milliseconds(result.driverMs), milliseconds(result.wallMs)];
  const rates = [result.flops ? result.gflops.toFixed(1) : '–', result.gbs.toFixed(1), share];
  return cells([result.op, result.case, result.direction], [...times, ...rates], before ? change(result, before) : '');
};

const change = (now: Result, before: Result): string => {
  const sameFigure = (now.driverMs === null) === (before.driverMs === null);
  const ratio = sameFigure ? figureOf(before) / figureOf(now) : before.wallMs / now.wallMs;
  return ratio >= 1 ? `${ratio.toFixed(2)} × faster` : `${(1 / ratio).toFixed(2)} × slower`;
};

/** Reads an earlier file of `--json`. */
export const readBenchFile = (path: string): BenchFile => {
  let content: BenchFile;
  try {
    content = JSON.parse(readFileSync(path, 'utf8')) as BenchFile;
  } catch (error) {
    return fail(`--compare: ${path} cannot be read: ${(error as Error).message}. Name a file that --json wrote.`);
  }
  return Array.isArray(content.results) ? content : fail(`--compare: ${path} is not a file that --json wrote: it has no results.`);
};

export const sameWork = (file: BenchFile | null, { op, case: name, direction }: Result): Result | undefined =>
  file?.results.find((r) => r.op === op && r.case === name && r.direction === direction);
