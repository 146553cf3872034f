/**
 * Other work on a shared machine takes caches and memory from a software adapter, for seconds at a time: kernels then take up to three times
 * as long, by processor time too, while the ceilings were reached in better moments. A small copy beside what is timed tells such moments.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Runtime } from '../src/kernels/runtime.js';
import { ones } from '../src/ops/index.js';
import { Tensor } from '../src/tensor/tensor.js';
import { recordCopy } from './ceiling.js';
import { countsDriverTime, timeOnce, type Watch } from './clock.js';

/** 4 MiB each, which caches hold that cores share, copied as often as takes some milliseconds. */
const [QUADS, WARM_UP, COPIES] = [2 ** 18, 2, 8];
const COPY = { quads: 32, workgroup: 64, how: 'loop' } as const;
/** To learn what the best is: copies over some seconds, since busy moments last as long. */
const [LOOKS, BETWEEN_MS] = [40, 50];
/** Rounds beyond those asked for: of one work, and of a whole run, which a machine that is always busy must not make endless. */
const [TRIES, TRIES_IN_ALL, PAUSE_MS] = [40, 1000, 100];

export class Canary implements Watch {
  private best = Infinity;
  private left = TRIES_IN_ALL;
  private readonly x: Tensor;
  private readonly y: Tensor;

  private constructor(private readonly runtime: Runtime) {
    this.x = ones([QUADS, 4], { runtime });
    this.y = Tensor.allocate(runtime, [QUADS, 4], 'float32', 'canary');
  }

  /** Null where the driver's processor time is not known: what a GPU needs does not depend on other programs' work on the processor. */
  static async open(runtime: Runtime): Promise<Canary | null> {
    if (!countsDriverTime(runtime)) return null;
    const canary = new Canary(runtime);
    for (let look = 0; look < LOOKS; look++) {
      await canary.noise();
      await sleep(BETWEEN_MS);
    }
    return canary;
  }

  async noise(): Promise<number> {
    const copy = (): void => recordCopy(this.x, this.y, COPY);
    // What was timed before has filled the caches with its own.
    await timeOnce(this.runtime, copy, WARM_UP, false);
    const { driver } = await timeOnce(this.runtime, copy, COPIES, true);
    this.best = Math.min(this.best, driver);
    return driver / this.best;
  }

  async waits(tries: number): Promise<boolean> {
    if (tries >= TRIES || this.left === 0) return false;
    this.left--;
    await sleep(PAUSE_MS);
    return true;
  }
}
