/** For adapters without timestamps: each different dispatch of a step once more, many times over, under the clock. */
import type { BufferRange, RecorderObserver } from '../src/kernels/recorder.js';
import type { Grid } from '../src/kernels/grid.js';
import type { ParamValues } from '../src/kernels/params.js';
import type { Runtime } from '../src/kernels/runtime.js';
import type { Kernel } from '../src/kernels/shader.js';
import { figureOf, measure } from './clock.js';
import type { Pass } from './pass-timer.js';

interface Dispatch {
  readonly kernel: Kernel;
  readonly ranges: Readonly<Record<string, BufferRange>>;
  readonly params: ParamValues;
  readonly grid: Grid;
}

const ROUNDS = 3;

/**
 * Remembers what is dispatched. Replaying it writes over whatever its buffers hold by then: do it when nothing else is
 * to be computed.
 */
export class Replay implements RecorderObserver {
  private readonly dispatches: Dispatch[] = [];

  constructor(private readonly runtime: Runtime) {}

  dispatching(kernel: Kernel, ranges: Dispatch['ranges'], params: ParamValues, grid: Grid): null {
    this.dispatches.push({ kernel, ranges, params, grid });
    return null;
  }

  /** The time of each dispatch, in order; those of one kernel with equal parameters are timed once. */
  async read(): Promise<Pass[]> {
    const { recorder } = this.runtime;
    recorder.observe(null);
    const times = new Map<string, number>();
    const passes: Pass[] = [];
    for (const { kernel, ranges, params, grid } of this.dispatches) {
      const key = `${kernel.key} ${JSON.stringify(params)} ${grid.join()}`;
      const ms = times.get(key) ?? figureOf((await measure(this.runtime, () => recorder.dispatch(kernel, ranges, params, grid), ROUNDS))!);
      times.set(key, ms);
      passes.push({ kernel, ms });
    }
    return passes;
  }
}
