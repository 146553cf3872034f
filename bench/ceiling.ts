/** The adapter's ceilings, measured in the same run as everything that is compared with them. */
import source from './ceiling.wgsl';
import { linearGrid } from '../src/kernels/grid.js';
import type { Runtime } from '../src/kernels/runtime.js';
import { Shader } from '../src/kernels/shader.js';
import { dispatch, WORKGROUP } from '../src/ops/op.js';
import { ones } from '../src/ops/index.js';
import { scope } from '../src/tensor/scope.js';
import { Tensor } from '../src/tensor/tensor.js';
import { fastest, figureOf, measure } from './clock.js';

export interface Ceiling {
  /** 10⁹ multiplications and additions a second in registers, and the variant that reached them. */
  readonly gflops: number;
  readonly arithmetic: string;
  /** 10⁹ bytes a second, read and written, by the best copy kernel. */
  readonly gbs: number;
  readonly copy: string;
}

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
export const recordCopy = (x: Tensor, y: Tensor, { quads: perInvocation, workgroup, how }: Copy): void => {
  const quads = x.shape[0]!;
  const constants = { ACCUMULATORS: 1, STEPS: 1, WORKGROUP: workgroup, ADJACENT: how === 'adjacent' ? 1 : 0 };
  const kernel = how === 'loop' ? shader.kernel('copyLoop', { ...constants, QUADS: 1 }) : shader.kernel('copy', { ...constants, QUADS: perInvocation });
  dispatch(x.runtime, kernel, { x, y }, { quads, steps: perInvocation, loops: 0, factor: 0, shift: 0 },
    linearGrid(Math.ceil(quads / (workgroup * perInvocation))));
};

/** Enough work for a few milliseconds: a GPU needs thousands of workgroups to be full, a software driver a few. */
const sizes = (software: boolean) => (software ? { groups: 32, loops: 256, copyBytes: 32 * 2 ** 20 } : { groups: 8192, loops: 256, copyBytes: 256 * 2 ** 20 });

const arithmeticCeiling = async (runtime: Runtime, rounds: number): Promise<Pick<Ceiling, 'gflops' | 'arithmetic'>> => {
  const { groups, loops } = sizes(runtime.device.report.software);
  const quads = groups * WORKGROUP;
  let best = { gflops: 0, arithmetic: '' };
  for (const [accumulators, steps] of VARIANTS) {
    const y = Tensor.allocate(runtime, [quads, 4], 'float32', 'ceiling');
    const kernel = shader.kernel('multiplyAdd', { ACCUMULATORS: accumulators, STEPS: steps, ...NO_COPY });
    const timing = await measure(
      runtime, () => dispatch(runtime, kernel, { y }, { quads, steps: 0, loops, factor: 0.999, shift: 0.001 }, linearGrid(groups)),
      rounds, { choose: fastest },
    );
    const gflops = (2 * 4 * quads * loops * accumulators * steps) / figureOf(timing!) / 1e6;
    if (gflops > best.gflops) best = { gflops, arithmetic: `${accumulators} vec4 accumulators, ${steps} steps a loop` };
    y.release();
  }
  return best;
};

const copyCeiling = async (runtime: Runtime, rounds: number): Promise<Pick<Ceiling, 'gbs' | 'copy'>> => {
  const bytes = Math.min(sizes(runtime.device.report.software).copyBytes, runtime.device.limits.maxStorageBufferBindingSize);
  const quads = Math.floor(bytes / 16);
  const x = ones([quads, 4], { runtime });
  const y = Tensor.allocate(runtime, [quads, 4], 'float32', 'ceiling');
  let best = { gbs: 0, copy: '' };
  for (const copy of COPIES) {
    const timing = await measure(runtime, () => recordCopy(x, y, copy), rounds, { choose: fastest });
    const gbs = (2 * 16 * quads) / figureOf(timing!) / 1e6;
    if (gbs > best.gbs) best = { gbs, copy: `${copy.quads} vec4 an invocation, ${WORDS[copy.how]}, workgroups of ${copy.workgroup}, ${Math.round(bytes / 2 ** 20)} MiB` };
  }
  return best;
};

/** Measures both ceilings; of several kernels and rounds the fastest counts. */
export const measureCeiling = (runtime: Runtime, rounds: number): Promise<Ceiling> =>
  scope(async () => ({ ...await arithmeticCeiling(runtime, rounds), ...await copyCeiling(runtime, rounds) }));
