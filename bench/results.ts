/** Results of a benchmark: rates and shares, the file that keeps them, and comparison of two. */
import type { Cost } from '../src/ops/op.js';
import type { Ceiling } from './ceiling.js';
import { figureOf, type Rates, type Timing } from './clock.js';
import type { Machine } from './machine.js';

/** The gradients of convolutions and matrix products are timed one by one, those of other ops together. */
export const PRODUCT_DIRECTIONS = ['forward', 'gradInput', 'gradWeight'] as const;
export type ProductDirection = (typeof PRODUCT_DIRECTIONS)[number];
export const DIRECTIONS = [...PRODUCT_DIRECTIONS, 'backward'] as const;
export type Direction = (typeof DIRECTIONS)[number];

/** How a result was compared with its float64 reference. */
export interface Check {
  /** What was compared: `all elements`, `128 elements`, `along a direction`. */
  readonly how: string;
  /** Relative to the scale of the expected values. */
  readonly error: number;
  readonly tolerance: number;
}

export interface Result extends Timing {
  readonly op: string;
  readonly case: string;
  readonly direction: Direction;
  /** Of a convolution those of the direct algorithm, whatever algorithm ran. */
  readonly flops: number;
  /** The least that must be read and written. */
  readonly bytes: number;
  readonly gflops: number;
  readonly gbs: number;
  /** Which ceiling is the nearer one for this work. */
  readonly bound: 'arithmetic' | 'memory';
  /** Share of that ceiling, 0 to 1; above 1 where the data stayed in a cache. */
  readonly share: number;
  /** Share of the multiply-add peak, even if memory is the nearer ceiling. */
  readonly ofPeak: number;
  /** Null: only the op's small cases were compared. */
  readonly check: Check | null;
}

/** The comparison of an op's small cases with their references. */
export interface SmallChecks {
  readonly op: string;
  readonly checks: number;
  readonly error: number;
}

/** What `--json` writes and `--compare` reads. */
export interface BenchFile {
  readonly machine: Machine;
  readonly adapter: string;
  /** `driver`: processor time of the driver's threads, see clock.ts; `wall`: time by the clock. */
  readonly figure: 'driver' | 'wall';
  /** Whether the driver's time includes the thread that copies operands; earlier versions left it out. */
  readonly countsCopies?: boolean;
  readonly gemm: string;
  /** How operands are stored: `mixed` as autocast stores those of products. */
  readonly precision: 'float32' | 'mixed';
  readonly ceiling: Ceiling;
  /** The best that the ceilings' kernels reached in the whole run. */
  readonly best: Rates;
  /** The ceilings again after the last kernel, and the load before and after: what a shared machine did to the figures. */
  readonly after: Rates;
  readonly load: readonly [before: number, after: number];
  readonly checks: readonly SmallChecks[];
  /** Work that computed something wrong, and was not timed. */
  readonly wrong: readonly string[];
  readonly results: readonly Result[];
  /** Ended before all was timed: the ceilings and the load were not measured again. */
  readonly interrupted?: boolean;
}

/** Rates of a timed run: the ceiling that allows less decides what it is measured by. Ceilings beside the run are the better measure where there are any. */
export const toResult = (work: Pick<Result, 'op' | 'case' | 'direction' | 'check'>, { flops, bytes }: Cost, timing: Timing, ceiling: Ceiling): Result => {
  const ms = figureOf(timing);
  const possible = timing.possible ?? { flops: 1e6 * ms * ceiling.gflops, bytes: 1e6 * ms * ceiling.gbs };
  const [ofPeak, ofCopy] = [flops / possible.flops, bytes / possible.bytes];
  const bound = ofPeak > ofCopy ? 'arithmetic' : 'memory';
  return { ...work, ...timing, flops, bytes, gflops: flops / ms / 1e6, gbs: bytes / ms / 1e6, bound, share: Math.max(ofPeak, ofCopy), ofPeak };
};

export const sameWork = (file: BenchFile, { op, case: name, direction }: Pick<Result, 'op' | 'case' | 'direction'>): Result | undefined =>
  file.results.find((r) => r.op === op && r.case === name && r.direction === direction);

/** How much faster (above 1) the work has become; times by the clock are compared where one of the two has no other. */
export const speedUp = (now: Result, before: Result): number => {
  const sameFigure = (now.driverMs === null) === (before.driverMs === null);
  return sameFigure ? figureOf(before) / figureOf(now) : before.wallMs / now.wallMs;
};
