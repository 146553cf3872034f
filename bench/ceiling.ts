/** The adapter's ceilings, measured in the same run as everything that is compared with them. */
import source from './ceiling.wgsl';
import { linearGrid } from '../src/kernels/grid.js';
import type { Runtime } from '../src/kernels/runtime.js';
import { Shader } from '../src/kernels/shader.js';
import { dispatch, WORKGROUP } from '../src/ops/op.js';
import { ones } from '../src/ops/index.js';
import { scope } from '../src/tensor/scope.js';
import { Tensor } from '../src/tensor/tensor.js';
import { type Rates, relativeTimes, type Stopwatch, stopwatch } from './clock.js';

/** What an adapter reaches, and the kernels by which it did. */
export interface Ceiling extends Rates {
  readonly arithmetic: string;
  readonly copy: string;
}

/** Of each rate the higher one. */
export const better = (a: Rates, b: Rates): Rates => ({ gflops: Math.max(a.gflops, b.gflops), gbs: Math.max(a.gbs, b.gbs) });

const shader = new Shader('ceiling', source);

/** Independent vec4 accumulators, and multiply-adds of each between two tests of the loop. */
const VARIANTS: readonly [accumulators: number, steps: number][] = [[4, 8], [6, 4], [8, 4], [10, 4], [12, 4], [12, 8], [16, 4], [24, 2]];

interface Copy {
  /** vec4f that an invocation copies. */
  readonly quads: number;
  readonly workgroup: number;
  /** Whether those lie side by side, or a workgroup's size apart, or visited in a loop as `stretchOf` says. */
  readonly how: 'adjacent' | 'apart' | 'loop';
}
const COPIES: readonly Copy[] = [
  { quads: 1, workgroup: 64, how: 'apart' }, { quads: 1, workgroup: 256, how: 'apart' }, { quads: 4, workgroup: 64, how: 'apart' },
  { quads: 4, workgroup: 256, how: 'apart' }, { quads: 8, workgroup: 256, how: 'apart' }, { quads: 8, workgroup: 256, how: 'adjacent' },
  { quads: 4, workgroup: 64, how: 'loop' }, { quads: 32, workgroup: 64, how: 'loop' }, { quads: 64, workgroup: 64, how: 'loop' }, { quads: 128, workgroup: 64, how: 'loop' },
];
const WORDS = { adjacent: 'side by side', apart: 'a workgroup apart', loop: 'in a loop' } as const;
const NO_COPY = { QUADS: 1, WORKGROUP, ADJACENT: 0 };

/** Records the copy of x [n, 4] to y. */
const recordCopy = (x: Tensor, y: Tensor, { quads: perInvocation, workgroup, how }: Copy): void => {
  const quads = x.shape[0]!;
  const constants = { ACCUMULATORS: 1, STEPS: 1, WORKGROUP: workgroup, ADJACENT: how === 'adjacent' ? 1 : 0 };
  const kernel = how === 'loop' ? shader.kernel('copyLoop', { ...constants, QUADS: 1 }) : shader.kernel('copy', { ...constants, QUADS: perInvocation });
  dispatch(x.runtime, kernel, { x, y }, { quads, steps: perInvocation, loops: 0, factor: 0, shift: 0 },
    linearGrid(Math.ceil(quads / (workgroup * perInvocation))));
};

/** Enough work for a few milliseconds: a GPU needs thousands of workgroups to be full, a software driver a few. */
const sizes = (software: boolean) => (software ? { groups: 32, loops: 256, copyBytes: 32 * 2 ** 20 } : { groups: 8192, loops: 256, copyBytes: 256 * 2 ** 20 });

/** A kernel to measure a ceiling by. */
export interface Gauge {
  readonly name: string;
  /** Multiplications and additions, or bytes read and written, in a run. */
  readonly amount: number;
  readonly record: () => void;
}

const arithmeticGauges = (runtime: Runtime): Gauge[] => {
  const { groups, loops } = sizes(runtime.device.report.software);
  const quads = groups * WORKGROUP;
  const y = Tensor.allocate(runtime, [quads, 4], 'float32', 'ceiling');
  return VARIANTS.map(([accumulators, steps]) => {
    const kernel = shader.kernel('multiplyAdd', { ACCUMULATORS: accumulators, STEPS: steps, ...NO_COPY });
    return {
      name: `${accumulators} vec4 accumulators, ${steps} steps a loop`, amount: 2 * 4 * quads * loops * accumulators * steps,
      record: () => dispatch(runtime, kernel, { y }, { quads, steps: 0, loops, factor: 0.999, shift: 0.001 }, linearGrid(groups)),
    };
  });
};

const copyGauges = (runtime: Runtime): Gauge[] => {
  const bytes = Math.min(sizes(runtime.device.report.software).copyBytes, runtime.device.limits.maxStorageBufferBindingSize);
  const quads = Math.floor(bytes / 16);
  const x = ones([quads, 4], { runtime });
  const y = Tensor.allocate(runtime, [quads, 4], 'float32', 'ceiling');
  return COPIES.map((copy) => ({
    name: `${copy.quads} vec4 an invocation, ${WORDS[copy.how]}, workgroups of ${copy.workgroup}, ${Math.round(bytes / 2 ** 20)} MiB`,
    amount: 2 * 16 * quads, record: () => recordCopy(x, y, copy),
  }));
};

/** The fastest by turns, so that other work on the machine hits all alike, and the 10⁹ a second that it reached at best. */
const fastestOf = async (runtime: Runtime, gauges: readonly Gauge[], rounds: number): Promise<{ name: string; rate: number }> => {
  const least = gauges.map(() => Infinity);
  const watches: Stopwatch[] = [];
  for (const [i, { record }] of gauges.entries()) {
    const watch = (await stopwatch(runtime, record))!;
    watches.push(async () => {
      const ms = await watch();
      least[i] = Math.min(least[i]!, ms);
      return ms;
    });
  }
  const times = await relativeTimes(watches, rounds);
  const best = times.indexOf(Math.min(...times));
  return { name: gauges[best]!.name, rate: gauges[best]!.amount / least[best]! / 1e6 };
};

/** Measures both ceilings by the fastest of several kernels. */
export const measureCeiling = (runtime: Runtime, rounds: number): Promise<Ceiling> => scope(async () => {
  const arithmetic = await fastestOf(runtime, arithmeticGauges(runtime), rounds);
  const copy = await fastestOf(runtime, copyGauges(runtime), rounds);
  return { gflops: arithmetic.rate, arithmetic: arithmetic.name, gbs: copy.rate, copy: copy.name };
});

/** The kernels that reached the ceilings. */
export const gaugesOf = (runtime: Runtime, { arithmetic, copy }: Ceiling): [arithmetic: Gauge, copy: Gauge] => [
  arithmeticGauges(runtime).find(({ name }) => name === arithmetic)!, copyGauges(runtime).find(({ name }) => name === copy)!,
];
