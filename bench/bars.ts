/** What the figures of a run are held against. */
import { geometricMean, type Rates } from './clock.js';
import { PRODUCT_DIRECTIONS, type ProductDirection, type Result } from './results.js';

/** A share that was asked for, and what was reached. */
export interface Bar {
  readonly what: string;
  /** Of the named ceiling beside the run, 0 to 1. */
  readonly share: number;
  /** Of the best that the ceiling's kernel reached in the whole run: on a busy machine the truth lies between the two. */
  readonly ofBest: number;
  readonly bar: number;
  readonly stretch: number;
  /** Which rows it comes from. */
  readonly note: string;
}

const isInception = ({ op, case: name }: Result): boolean => op === 'conv2d' && name.startsWith('Inception');

const isBatch12 = (r: Result): boolean => r.case.endsWith('batch 12');

const label = ({ op, case: name, direction }: Result): string => `${op} ${name} ${direction}`;

/** Kernels without products, which should be as fast as memory (or arithmetic, if that allows less). */
const among = (...names: string[]) => ({ op }: Result): boolean => names.includes(op);
const STREAMING: Readonly<Record<string, (result: Result) => boolean>> = {
  'BAP': (r) => r.op === 'attentionPool' && r.case.startsWith('GAP'),
  'batch norm': among('batchNorm2d'),
  'pooling': among('maxPool2d', 'avgPool2d'),
  'resize': among('interpolate', 'cropResize'),
  'element-wise': among('add', 'mul', 'relu', 'affine', 'cat', 'maskedMultiply'),
  'optimiser': among('sgdStep', 'adamWStep', 'zeroGrad', 'lerp_'),
};

const gemmBar = (results: readonly Result[], { gflops }: Rates): Bar[] => results.filter((r) => r.op === 'matmul' && r.case === '1024³' && r.direction === 'forward')
  .map((r) => ({ what: 'GEMM 1024³', share: r.ofPeak, ofBest: r.gflops / gflops, bar: 0.36, stretch: 0.55, note: 'of the multiply-add peak' }));

const CONV_BARS: Readonly<Record<ProductDirection, readonly [bar: number, stretch: number]>> = {
  forward: [0.33, 0.55], gradInput: [0.3, 0.5], gradWeight: [0.3, 0.5],
};

const convBars = (results: readonly Result[], { gflops }: Rates, batch: string): Bar[] => PRODUCT_DIRECTIONS.flatMap((direction) => {
  const rows = results.filter((r) => r.direction === direction);
  if (rows.length === 0) return [];
  const [bar, stretch] = CONV_BARS[direction];
  return [{
    what: `conv ${direction}${batch}, geometric mean`, share: geometricMean(rows.map((r) => r.ofPeak)), ofBest: geometricMean(rows.map((r) => r.gflops / gflops)),
    bar, stretch, note: `of the peak, direct flops, ${rows.length} Inception layers`,
  }];
});

const lowest = (results: readonly Result[], shareOf: (result: Result) => number): Result =>
  results.reduce((least, r) => (shareOf(r) < shareOf(least) ? r : least));

const slowestConv = (results: readonly Result[], { gflops }: Rates, batch: string): Bar[] => {
  if (results.length === 0) return [];
  const slowest = lowest(results, (r) => r.ofPeak);
  return [{
    what: `slowest Inception layer${batch}`, share: slowest.ofPeak, ofBest: slowest.gflops / gflops, bar: 0.12, stretch: 0.25,
    note: `of the peak: ${slowest.case} ${slowest.direction}`,
  }];
};

const streamingBars = (results: readonly Result[], { gflops, gbs }: Rates): Bar[] => Object.entries(STREAMING).flatMap(([what, belongs]) => {
  const rows = results.filter(belongs);
  if (rows.length === 0) return [];
  const slowest = lowest(rows, (r) => r.share);
  const ofBest = slowest.bound === 'memory' ? slowest.gbs / gbs : slowest.gflops / gflops;
  return [{ what: `${what}, slowest of ${rows.length}`, share: slowest.share, ofBest, bar: 0.6, stretch: 0.85, note: `of ${slowest.bound}: ${label(slowest)}` }];
});

/** Those bars of which the run measured something. @param best of the ceilings' kernels in the run */
export const barsOf = (results: readonly Result[], best: Rates): Bar[] => {
  const layers = results.filter(isInception);
  const [small, large] = [layers.filter((r) => !isBatch12(r)), layers.filter(isBatch12)];
  return [
    ...gemmBar(results, best), ...convBars(small, best, ''), ...slowestConv(small, best, ''),
    ...convBars(large, best, ', batch 12'), ...slowestConv(large, best, ', batch 12'), ...streamingBars(results, best),
  ];
};

export const verdict = ({ share, bar, stretch }: Bar): string => (share >= stretch ? 'beyond the stretch' : share >= bar ? 'met' : 'missed');

export const percent = (share: number): string => `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;

export const barLines = (bars: readonly Bar[]): string[] => bars.map((b) =>
  `${b.what.padEnd(34)} ${percent(b.share).padStart(6)}  (of the best ${percent(b.ofBest)}; bar ${percent(b.bar)}, stretch ${percent(b.stretch)}: ${verdict(b)})  ${b.note}`);
