/** Checks and times the chosen kernels and prints a line for each. */
import { causeOf } from '../src/cli/open-runtime.js';
import type { Runtime } from '../src/kernels/runtime.js';
import { scope } from '../src/tensor/scope.js';
import type { Ceiling } from './ceiling.js';
import { measure, type Watch } from './clock.js';
import { type BenchFile, type Direction, type Result, sameWork, type SmallChecks, toResult } from './results.js';
import type { Subject } from './subjects.js';
import { emptyRow, row, wrongRow } from './table.js';
import type { Work } from './work.js';

export interface Settings {
  /** Only cases whose name holds one of these; empty: all. */
  readonly parts: readonly string[];
  readonly wanted: (direction: Direction) => boolean;
  readonly repeats: number;
  readonly ceiling: Ceiling;
  readonly watch: Watch | null;
  /** Earlier figures to compare with. */
  readonly before: BenchFile | null;
  readonly print: (line: string) => void;
}

/** What is known so far; it grows while subjects are timed. */
interface Findings extends Pick<BenchFile, 'checks' | 'wrong' | 'results'> {
  readonly checks: SmallChecks[];
  readonly wrong: string[];
  readonly results: Result[];
}

export const nothingFound = (): Findings => ({ checks: [], wrong: [], results: [] });

const timeWork = async (
  runtime: Runtime, work: Work, name: Pick<Result, 'op' | 'case' | 'direction'>, { repeats, ceiling, watch, before, print }: Settings, found: Findings,
): Promise<void> => {
  const check = await work.check();
  if (check && !(check.error <= check.tolerance)) {
    print(wrongRow(name, check));
    found.wrong.push(`${name.op}, ${name.case}, ${name.direction}`);
    return;
  }
  const timing = await measure(runtime, work.record, repeats, watch);
  if (!timing) {
    print(emptyRow(name));
    return;
  }
  const result = toResult({ ...name, check }, work.cost, timing, ceiling);
  print(row(result, before ? sameWork(before, result) ?? 'new' : undefined));
  found.results.push(result);
};

/**
 * Adds the figures of one subject to what was found. What computes something wrong is said and left out, and the rest goes on; after a kernel that does not
 * compile, on another runtime (`usable`).
 */
export const benchSubject = async (runtime: Runtime, subject: Subject, settings: Settings, found = nothingFound()): Promise<Findings> => {
  try {
    found.checks.push(await subject.checkSmall(runtime));
    for (const name of casesOf(runtime, subject, settings.parts)) {
      await scope(async () => {
        for (const work of subject.prepare(runtime, name, settings.wanted)) {
          await timeWork(runtime, work, { op: subject.name, case: name, direction: work.direction }, settings, found);
        }
      });
      // The next layer's buffers have other sizes.
      runtime.device.pool.trim();
    }
  } catch (error) {
    // What the adapter rejected is a fault of this op's kernels alone; anything else that nobody expected is one of the benchmark.
    const { message } = await causeOf(runtime, error);
    settings.print(`${subject.name}: ${message}`);
    found.wrong.push(subject.name);
  }
  return found;
};

export const casesOf = (runtime: Runtime, subject: Subject, parts: readonly string[]): string[] =>
  subject.cases(runtime.device.report.software).filter((name) => parts.length === 0 || parts.some((part) => name.includes(part)));
