/** Candidates for an adapter's settings, timed by turns. */
import { causeOf, usableDevice } from '../src/cli/open-runtime.js';
import type { Device } from '../src/device/device.js';
import { type Tuning, tuningKey } from '../src/kernels/gemm-family.js';
import { Runtime } from '../src/kernels/runtime.js';
import { scope } from '../src/tensor/scope.js';
import { geometricMean, relativeTimes, type Stopwatch, stopwatch } from './clock.js';
import type { Direction } from './results.js';
import { chosenSubjects } from './subjects.js';

/** A piece of work whose time decides. */
export interface Trial {
  readonly op: string;
  readonly case: string;
}

export interface Contest {
  readonly trials: readonly Trial[];
  readonly directions: readonly Direction[];
  /** Turns that each candidate has at each piece of work. */
  readonly rounds: number;
}

/** A candidate that is so much slower after the first few trials is not tried on the others. */
const [HOPELESS, FEW] = [1.5, 3];

/** The device that is tried: another on the same adapter once something was rejected there. */
export interface TestStand {
  device: Device;
}

/** How a candidate compares with the first: the geometric mean of its times over the first's, Infinity where it computes something wrong or fails. */
export interface Standing {
  readonly ratio: number;
  readonly failure: Error | undefined;
}

interface Candidate {
  readonly tuning: Tuning;
  runtime: Runtime;
  /** Of its times to the first candidate's, by trial and direction. */
  readonly ratios: number[];
  failure?: Error;
}

const runtimeOn = ({ device }: TestStand, tuning: Tuning): Runtime => new Runtime(device, { tuning: { [tuningKey(device.report)]: tuning } });

const meanRatio = (ratios: readonly number[]): number => (ratios.includes(Infinity) ? Infinity : geometricMean(ratios));

const readied = async ({ runtime }: Candidate, { op, case: name }: Trial, directions: readonly Direction[]): Promise<(Stopwatch | null)[]> => {
  const [subject] = chosenSubjects(op);
  const watches: (Stopwatch | null)[] = [];
  for (const work of subject!.prepare(runtime, name, (direction) => directions.includes(direction))) {
    const check = await work.check();
    const right = !check || check.error <= check.tolerance;
    watches.push(right ? await stopwatch(runtime, work.record) : null);
  }
  return watches;
};

/** Thrown with the candidate at whose turn it happened. */
class Failure extends Error {
  constructor(readonly candidate: Candidate, readonly reason: unknown) { super('a candidate failed'); }
}

const attempt = async <T>(candidate: Candidate, action: () => Promise<T>): Promise<T> => {
  try {
    return await action();
  } catch (error) {
    throw new Failure(candidate, error);
  }
};

/** By direction of a trial, how the candidates compare. */
const ratiosOf = (candidates: readonly Candidate[], trial: Trial, { directions, rounds }: Contest): Promise<number[][]> => scope(async () => {
  const watches: (Stopwatch | null)[][] = [];
  for (const candidate of candidates) {
    const own = await attempt(candidate, () => readied(candidate, trial, directions));
    watches.push(own.map((watch) => watch && (() => attempt(candidate, watch))));
  }
  const ratios: number[][] = [];
  for (const k of watches[0]!.keys()) ratios.push(await relativeTimes(watches.map((own) => own[k]!), rounds));
  for (const { runtime } of candidates) runtime.device.pool.trim();
  return ratios;
});

/** One trial of all candidates that are left; where one fails, of the others, from the start. */
const hold = async (stand: TestStand, candidates: readonly Candidate[], trial: Trial, contest: Contest): Promise<void> => {
  const left = candidates.filter(({ failure }) => !failure);
  if (left.length === 0) return;
  try {
    const ratios = await ratiosOf(left, trial, contest);
    left.forEach((candidate, i) => candidate.ratios.push(...ratios.map((ofDirection) => ofDirection[i]!)));
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    const { candidate, reason } = error;
    candidate.failure = await causeOf(candidate.runtime, reason);
    stand.device = await usableDevice(candidate.runtime);
    for (const one of candidates) if (one.runtime.device !== stand.device) one.runtime = runtimeOn(stand, one.tuning);
    await hold(stand, candidates, trial, contest);
  }
};

/** How the candidates compare with the first of them. */
export const compare = async (stand: TestStand, contest: Contest, tunings: readonly Tuning[]): Promise<Standing[]> => {
  const candidates = tunings.map((tuning): Candidate => ({ tuning, runtime: runtimeOn(stand, tuning), ratios: [] }));
  for (const [number, trial] of contest.trials.entries()) {
    await hold(stand, candidates.filter(({ ratios }) => number < FEW || meanRatio(ratios) <= HOPELESS), trial, contest);
  }
  return candidates.map(({ ratios, failure }) => ({ ratio: failure ? Infinity : meanRatio(ratios), failure }));
};
