/** The figures of an earlier run: reading them, and what must be said beside a comparison with them. */
import { readFileSync } from 'node:fs';
import { fail } from '../src/errors.js';
import { type BenchFile, DIRECTIONS, type Result, sameWork } from './results.js';

/** How many rows are named before the rest is only counted. */
const NAMED = 5;

const isTime = (value: unknown): boolean => Number.isFinite(value) && Number(value) >= 0;

const isResult = (row: Result | null): boolean => typeof row?.op === 'string' && typeof row.case === 'string' && DIRECTIONS.includes(row.direction)
  && isTime(row.wallMs) && (row.driverMs === null || isTime(row.driverMs));

/** What a file lacks that is compared. */
const shortcoming = (content: Partial<BenchFile> | null): string | undefined => {
  if (!Array.isArray(content?.results)) return 'it has no results';
  const wrong = content.results.findIndex((row: Result | null) => !isResult(row));
  if (wrong >= 0) return `row ${wrong + 1} of its results lacks an op, a case, a direction or a time`;
  if (typeof content.adapter !== 'string') return 'it does not tell the adapter';
  if (content.figure !== 'driver' && content.figure !== 'wall') return 'it does not tell the kind of its figures';
  return isTime(content.ceiling?.gflops) && isTime(content.ceiling?.gbs) ? undefined : 'it does not tell the ceilings';
};

/** Reads an earlier file of `--json`. */
export const readBenchFile = (path: string): BenchFile => {
  let content: BenchFile;
  try {
    content = JSON.parse(readFileSync(path, 'utf8')) as BenchFile;
  } catch (error) {
    return fail(`--compare: ${path} cannot be read: ${(error as Error).message}. Name a file that --json wrote.`);
  }
  const lack = shortcoming(content);
  // Earlier versions timed float32 alone and did not say so.
  return lack ? fail(`--compare: ${path} is not a file that --json wrote: ${lack}.`) : { ...content, precision: content.precision ?? 'float32' };
};

/** How the runs differ in more than their time, to be known before the table. */
export const differences = (before: BenchFile, { adapter, figure, precision, gemm, ceiling }: BenchFile): string[] => [
  ...(before.precision === precision ? [] : [`Note: the earlier figures are of operands in ${before.precision === 'mixed' ? 'float16' : 'float32'}.`]),
  ...(before.adapter === adapter ? [] : [`Note: the earlier figures are of another adapter, ${before.adapter}.`]),
  ...(before.gemm === gemm ? [] : [`Note: the earlier figures are of other kernels for products, ${before.gemm}.`]),
  ...(before.figure === figure ? [] : ['Note: the earlier figures are of another kind; times by the clock are compared.']),
  ...(before.figure === 'wall' || before.countsCopies ? [] : ['Note: the earlier figures leave out copies of operands and the starting of kernels, which are counted now.']),
  `Ceilings then and now: ${before.ceiling.gflops.toFixed(1)} and ${ceiling.gflops.toFixed(1)} GFLOP/s, ${before.ceiling.gbs.toFixed(1)} and ${ceiling.gbs.toFixed(1)} GB/s.`,
];

/** Which of the earlier rows have nothing beside them, to be said below the table. */
export const missingRows = (before: BenchFile, now: BenchFile): string => {
  const missing = before.results.filter((row) => !sameWork(now, row));
  if (missing.length === 0) return 'All earlier rows were measured again.';
  if (missing.length === before.results.length) return 'None of the earlier rows was measured.';
  const names = missing.slice(0, NAMED).map((row) => `${row.op} ${row.case} ${row.direction}`);
  const more = missing.length - names.length;
  return `${missing.length} earlier row${missing.length === 1 ? ' was' : 's were'} not measured now: ${names.join('; ')}${more ? `; and ${more} more` : ''}.`;
};
