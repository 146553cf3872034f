/** The table as it appears line by line in the terminal. */
import { QUIET } from './clock.js';
import { type BenchFile, type Check, type Result, speedUp } from './results.js';

const COLUMNS = [18, 44, 10] as const;
/** The last one holds `100 % of arithmetic ~`, and more than 100 %. */
const NUMBERS = [10, 10, 10, 8, 24] as const;

type Named = Pick<Result, 'op' | 'case' | 'direction'>;

const cells = (words: readonly string[], numbers: readonly string[], rest = ''): string =>
  `${words.map((w, i) => w.padEnd(COLUMNS[i]!)).join(' ')}${numbers.map((n, i) => n.padStart(NUMBERS[i]!)).join('')}${rest ? `  ${rest}` : ''}`;

/** `driver` adds the column of the driver's time in front of the clock's. */
export const header = (figure: BenchFile['figure'], compared: boolean): string =>
  cells(['op', 'case', ''], [figure === 'driver' ? 'driver ms' : 'ms', ...(figure === 'driver' ? ['wall ms'] : []), 'GFLOP/s', 'GB/s', 'of ceiling'], compared ? 'than before' : '');

export const milliseconds = (ms: number): string => ms.toFixed(ms < 10 ? 3 : 1);

/** What "driver ms" is. */
export const DRIVER_TIME = 'the processor time of the driver\'s workers divided by their number, and of the thread that starts them and copies operands';
/** How other work on a shared machine is kept out. */
export const NOISE = `Shares are of what the ceilings' kernels reach right before and after each submit, since other work on the machine slows both. Submits count beside which they take at most ${QUIET} times their best; "~" where no such moment came.`;

/** Of a figure for which no quiet moment was found. */
export const noiseMark = ({ noise }: Pick<Result, 'noise'>): string => (noise > QUIET ? ' ~' : '');

/** One line of the table; `before` is the same work in an earlier file, `new` where that has none. */
export const row = (result: Result, before?: Result | 'new'): string => {
  const share = `${(100 * result.share).toFixed(0)} % of ${result.bound}${noiseMark(result)}`;
  const times = result.driverMs === null ? [milliseconds(result.wallMs)] : [milliseconds(result.driverMs), milliseconds(result.wallMs)];
  const rates = [result.flops ? result.gflops.toFixed(1) : '–', result.gbs.toFixed(1), share];
  return cells([result.op, result.case, result.direction], [...times, ...rates], before === 'new' ? before : before ? change(result, before) : '');
};

const change = (now: Result, before: Result): string => {
  const ratio = speedUp(now, before);
  return ratio >= 1 ? `${ratio.toFixed(2)} × faster` : `${(1 / ratio).toFixed(2)} × slower`;
};

const name = ({ op, case: opCase, direction }: Named): string => cells([op, opCase, direction], []);

/** The line of work that needs no kernel. */
export const emptyRow = (work: Named): string => `${name(work)}  nothing to compute`;

export const wrongRow = (work: Named, { error, tolerance, how }: Check): string =>
  `${name(work)}  WRONG: error ${error.toExponential(1)} (at most ${tolerance.toExponential(1)}, ${how}); not timed`;
