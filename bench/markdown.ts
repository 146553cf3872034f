/** The figures of a run as Markdown tables. */
import { type Bar, barsOf, percent, verdict } from './bars.js';
import { figureOf, type Rates } from './clock.js';
import { machineLines, markdownList } from './machine.js';
import type { BenchFile, Direction, Result } from './results.js';
import { DRIVER_TIME, milliseconds, NOISE, noiseMark } from './table.js';

const table = (head: readonly string[], rows: readonly (readonly string[])[], words = 1): string => [
  `| ${head.join(' | ')} |`, `| ${head.map((_, i) => (i < words ? '---' : '--:')).join(' | ')} |`, ...rows.map((row) => `| ${row.join(' | ')} |`),
].join('\n');

const bars = (rows: readonly Bar[]): string =>
  table(['share of the ceilings', 'of', 'beside the run', 'at their best', 'bar', 'stretch', ''], rows.map((b) => [b.what, b.note, `**${percent(b.share)}**`, percent(b.ofBest), percent(b.bar), percent(b.stretch), verdict(b)]), 2);

const isProduct = (r: Result): boolean => r.op === 'conv2d' || r.op === 'matmul';

/** A layer in one line: its directions side by side, each as GFLOP/s and share of the multiply-add peak. */
const productTable = ({ results }: BenchFile): string => {
  const rows = results.filter(isProduct);
  const names = [...new Set(rows.map((r) => `${r.op} ${r.case}`))];
  const cell = (name: string, direction: Direction): string => {
    const found = rows.find((r) => `${r.op} ${r.case}` === name && r.direction === direction);
    return found ? `${found.gflops.toFixed(1)} (${percent(found.ofPeak)})${noiseMark(found)}` : '–';
  };
  return table(['GFLOP/s (share of the multiply-add peak)', 'forward', 'gradInput', 'gradWeight'],
    names.map((name) => [name, cell(name, 'forward'), cell(name, 'gradInput'), cell(name, 'gradWeight')]));
};

const otherTable = ({ results }: BenchFile): string => table(['kernel', '', 'ms', 'GFLOP/s', 'GB/s', 'of the nearer ceiling'], results.filter((r) => !isProduct(r)).map((r) =>
  [`${r.op} ${r.case}`, r.direction, milliseconds(figureOf(r)), r.flops ? r.gflops.toFixed(1) : '–', r.gbs.toFixed(1), `${percent(r.share)} of ${r.bound}${noiseMark(r)}`]), 2);

const FIGURES = {
  driver: `Times are ${DRIVER_TIME}, medians of several submits. ${NOISE}`,
  wall: 'Times are by the clock, medians of several submits.',
};

/** How far the surroundings were the same all the time. */
export const disturbance = ({ ceiling, after, best, load, interrupted }: BenchFile): string => {
  if (interrupted) return 'The run was interrupted: rows are missing, and whether the ceilings stayed the same is not known.';
  const inTurn = (rate: keyof Rates): string => [ceiling, after, best].map((rates) => rates[rate].toFixed(1)).join(', ');
  return `Ceilings before, after and at their best: ${inTurn('gflops')} GFLOP/s; ${inTurn('gbs')} GB/s. ` +
    `Threads that wanted to run, per core: ${load.map((value) => value.toFixed(1)).join(' and ')} (this program's own included).`;
};

/** Lists what was measured and how; a table without rows is left out. */
export const benchMarkdown = (file: BenchFile): string => {
  const { machine, ceiling, best, results, wrong, figure } = file;
  const summary = barsOf(results, best);
  return `${[
    markdownList(machineLines(machine)),
    `Ceilings of the same run: ${ceiling.gflops.toFixed(1)} GFLOP/s of multiply-adds (${ceiling.arithmetic}), ${ceiling.gbs.toFixed(1)} GB/s read and written by a copy (${ceiling.copy}). ${FIGURES[figure]} ${disturbance(file)}`,
    ...(wrong.length ? [`**Wrong results, not timed:** ${wrong.join('; ')}`] : []),
    ...(summary.length ? [bars(summary)] : []),
    ...(results.some(isProduct) ? [productTable(file)] : []),
    ...(results.some((r) => !isProduct(r)) ? [otherTable(file)] : []),
  ].join('\n\n')}\n`;
};
