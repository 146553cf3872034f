/** For adapters without timestamps: each different dispatch of a step once more, many times over, under the clock. */
import type { Dispatch, RecorderObserver } from '../src/kernels/recorder.js';
import type { Runtime } from '../src/kernels/runtime.js';
import { figureOf, measure } from './clock.js';
import type { KernelTime } from './pass-timer.js';

const ROUNDS = 3;

/**
 * Remembers what is dispatched. Replaying it writes over whatever its buffers hold by then: do it when nothing else is
 * to be computed.
 */
export class Replay implements RecorderObserver {
  private readonly dispatches: Dispatch[] = [];

  constructor(private readonly runtime: Runtime) {}

  dispatching(dispatch: Dispatch): null {
    this.dispatches.push(dispatch);
    return null;
  }

  /** The time of each dispatch, in order; those of one kernel with equal parameters are timed once. */
  async kernelTimes(): Promise<KernelTime[]> {
    const { recorder } = this.runtime;
    const times = new Map<string, number>();
    const found: KernelTime[] = [];
    for (const { kernel, ranges, params, grid } of this.dispatches) {
      const key = `${kernel.key} ${JSON.stringify(params)} ${grid.join()}`;
      const again = (): void => {
        recorder.forgetImages();
        recorder.dispatch(kernel, ranges, params, grid);
      };
      const ms = times.get(key) ?? figureOf((await measure(this.runtime, again, ROUNDS))!);
      times.set(key, ms);
      found.push({ kernel, ms });
    }
    return found;
  }
}
