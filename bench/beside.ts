/**
 * Other work on a shared machine slows a software adapter down, for seconds at a time and by processor time too: what a core's second thread and other
 * machines take of caches and memory is missing. It slows the ceilings' kernels as well, so that these run beside everything that is timed.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Runtime } from '../src/kernels/runtime.js';
import { better, type Ceiling, type Gauge, gaugesOf } from './ceiling.js';
import { countsDriverTime, type Look, type Rates, timeOnce, type Watch } from './clock.js';

/** A look takes some 10 ms with each kernel. */
const [MULTIPLY_ADDS, COPIES] = [4, 2];
/** To learn what the best is: looks over some seconds, since busy moments last as long. */
const [LOOKS, BETWEEN_MS] = [20, 50];
/** Rounds beyond those asked for: of one work, and of a whole run, which a machine that is always busy must not make endless. */
const [TRIES, TRIES_IN_ALL, PAUSE_MS] = [10, 400, 100];

export class Beside implements Watch {
  private left = TRIES_IN_ALL;

  private constructor(private readonly runtime: Runtime, private readonly arithmetic: Gauge, private readonly copy: Gauge, public best: Rates) {}

  /**
   * Null where the driver's processor time is not known: what a GPU needs does not depend on other programs' work on the processor.
   *
   * @param best what was seen before, on a device that had to be opened anew
   */
  static async open(runtime: Runtime, ceiling: Ceiling, best: Rates = { gflops: 0, gbs: 0 }): Promise<Beside | null> {
    if (!countsDriverTime(runtime)) return null;
    const beside = new Beside(runtime, ...gaugesOf(runtime, ceiling), best);
    for (let look = 0; look < LOOKS; look++) {
      await beside.look();
      await sleep(BETWEEN_MS);
    }
    return beside;
  }

  async look(): Promise<Look> {
    const gflops = await this.rate(this.arithmetic, MULTIPLY_ADDS);
    const gbs = await this.rate(this.copy, COPIES);
    this.best = better(this.best, { gflops, gbs });
    return { gflops, gbs, noise: Math.max(this.best.gflops / gflops, this.best.gbs / gbs) };
  }

  private async rate({ amount, record }: Gauge, repeats: number): Promise<number> {
    return amount / (await timeOnce(this.runtime, record, repeats, true)).driver / 1e6;
  }

  async waits(tries: number): Promise<boolean> {
    if (tries >= TRIES || this.left === 0) return false;
    this.left--;
    await sleep(PAUSE_MS);
    return true;
  }
}
