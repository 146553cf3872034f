/** Times work on the adapter, by the clock and, for software drivers on Linux, by the processor time they used. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import type { Runtime } from '../src/kernels/runtime.js';

export interface Timing {
  /** Median time of one run by the clock, in milliseconds. */
  readonly wallMs: number;
  /**
   * Median processor time of the driver's workers for one run, divided by their number, and of the thread that starts them and copies
   * operands while they wait: the time it would take with all cores to itself, whatever else the machine does. Null where it cannot be
   * known (GPUs, other systems than Linux).
   */
  readonly driverMs: number | null;
  /** Runs in one submit, and how often that was timed. */
  readonly repeats: number;
  readonly rounds: number;
  /** The most that the ceilings' kernels took beside the rounds, over their best; 1 where nothing watched. */
  readonly noise: number;
  /** What those could have done meanwhile: the medians of the rounds. Null where nothing watched. */
  readonly possible: { readonly flops: number; readonly bytes: number } | null;
}

/** Of the ceilings' kernels: 10⁹ multiplications and additions, and bytes read and written, a second. */
export interface Rates {
  readonly gflops: number;
  readonly gbs: number;
}

/** What they reach at a moment, and how many times as long they take as in the best moment so far. */
export interface Look extends Rates {
  readonly noise: number;
}

/** Looks how quiet the machine is; see bench/beside.ts. */
export interface Watch {
  /** The best of all looks. */
  readonly best: Rates;
  look(): Promise<Look>;
  /** Waits a little for a better moment, or is out of patience. @param tries how often that was done for the same work */
  waits(tries: number): Promise<boolean>;
}

/** What the ceilings' kernels take at most beside a quiet round, over their best. */
export const QUIET = 1.1;

/** Long enough for the clock and for one thread's wake-up not to matter. */
const TARGET_MS = 60;
/** A GPU that waited while results were compared on the host runs at a fraction of its clock rate until it has worked for so long. */
const GPU_WARM_UP_MS = 400;
/** The recorder submits by itself at 256 or more. */
const MOST_DISPATCHES = 200;
const TASKS = '/proc/self/task';
const THREADS = Number(process.env.LP_NUM_THREADS || availableParallelism());

/** Whether a software driver's processor time can be read. */
export const countsDriverTime = (runtime: Runtime): boolean => runtime.device.report.software && existsSync(`${TASKS}/${process.pid}/schedstat`);

/** Processor milliseconds of each thread but the main one, which runs JavaScript. */
const threadTimes = (): Map<string, number> => {
  const times = new Map<string, number>();
  for (const thread of readdirSync(TASKS)) {
    if (thread === String(process.pid)) continue;
    try {
      times.set(thread, Number(readFileSync(`${TASKS}/${thread}/schedstat`, 'utf8').split(' ')[0]) / 1e6);
    } catch {
      // The thread ended between the two calls: it was not one of the driver's.
    }
  }
  return times;
};

/** The busiest threads are the driver's workers, as many as there are cores; the next one starts them. */
const driverTime = (before: ReadonlyMap<string, number>): number => {
  const used = [...threadTimes()].map(([thread, time]) => time - (before.get(thread) ?? 0)).sort((a, b) => b - a);
  return used.slice(0, THREADS).reduce((sum, time) => sum + time, 0) / THREADS + (used[THREADS] ?? 0);
};

/** Starts counting; the function it gives tells the driver's milliseconds so far, or null where they cannot be known. */
export const startDriverClock = (runtime: Runtime): (() => number | null) => {
  if (!countsDriverTime(runtime)) return () => null;
  const before = threadTimes();
  return () => driverTime(before);
};

/** A blink of sleep: Linux counts the time of a running thread at its ticks, 4 ms apart, and whenever it stops running. */
const blink = (): void => {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 0.01);
};

/** Processor milliseconds of the thread that runs JavaScript, or null where they cannot be known. Takes a tenth of a millisecond by the clock. */
export const scriptTime = (): number | null => {
  const file = `${TASKS}/${process.pid}/schedstat`;
  if (!existsSync(file)) return null;
  blink();
  return Number(readFileSync(file, 'utf8').split(' ')[0]) / 1e6;
};

interface Round {
  readonly wall: number;
  readonly driver: number;
}

/** Milliseconds of one run, `repeats` of which are submitted and waited for. */
export const timeOnce = async (runtime: Runtime, work: () => void, repeats: number, countThreads: boolean): Promise<Round> => {
  const before = countThreads ? threadTimes() : new Map<string, number>();
  const { submits } = runtime.recorder.statistics;
  const recording = performance.now();
  for (let i = 0; i < repeats; i++) work();
  // Where nothing was submitted while recording, all work lies ahead: only that is timed.
  const start = runtime.recorder.statistics.submits === submits ? performance.now() : recording;
  await runtime.idle();
  return { wall: (performance.now() - start) / repeats, driver: countThreads ? driverTime(before) / repeats : 0 };
};

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

export const geometricMean = (values: readonly number[]): number => Math.exp(mean(values.map(Math.log)));

export const median = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
};

const warmUp = async (runtime: Runtime, work: () => void, repeats: number): Promise<void> => {
  const start = performance.now();
  while (performance.now() - start < GPU_WARM_UP_MS) await timeOnce(runtime, work, repeats, false);
};

const NOTHING_SEEN: Look = { gflops: 0, gbs: 0, noise: 1 };

interface WatchedRound extends Round {
  readonly noise: number;
  /** Of the ceilings' kernels in this time. */
  readonly flops: number;
  readonly bytes: number;
}

/** @param looks before and after the round */
const watched = (round: Round, looks: readonly Look[]): WatchedRound => {
  const inTheTime = (rate: 'gflops' | 'gbs'): number => round.driver * 1e6 * mean(looks.map((look) => look[rate]));
  return { ...round, noise: Math.max(...looks.map(({ noise }) => noise)), flops: inTheTime('gflops'), bytes: inTheTime('gbs') };
};

/** So many rounds, the quietest of those that the watch's patience allows. */
const quietRounds = async (time: () => Promise<Round>, rounds: number, watch: Watch | null): Promise<WatchedRound[]> => {
  const all: WatchedRound[] = [];
  const isQuiet = (): boolean => all.filter(({ noise }) => noise <= QUIET).length >= rounds;
  const look = async (): Promise<Look> => (watch ? await watch.look() : NOTHING_SEEN);
  let before = await look();
  do {
    const round = await time();
    const after = await look();
    all.push(watched(round, [before, after]));
    before = after;
  } while (all.length < rounds || (watch && !isQuiet() && await watch.waits(all.length - rounds)));
  return all.sort((a, b) => a.noise - b.noise).slice(0, rounds);
};

/** Compiles and warms up `work`, which records dispatches. @returns how many runs of it go into one submit; null when it consists of no dispatch at all */
const settle = async (runtime: Runtime, work: () => void): Promise<number | null> => {
  const countThreads = countsDriverTime(runtime);
  await runtime.idle();
  await timeOnce(runtime, work, 1, false);
  const { dispatches } = runtime.recorder.statistics;
  const second = await timeOnce(runtime, work, 1, countThreads);
  const perRun = runtime.recorder.statistics.dispatches - dispatches;
  if (perRun === 0) return null;
  const estimate = Math.max(0.002, countThreads ? second.driver : second.wall);
  const repeats = Math.max(1, Math.min(Math.floor(TARGET_MS / estimate), Math.floor(MOST_DISPATCHES / perRun)));
  if (!runtime.device.report.software) await warmUp(runtime, work, repeats);
  return repeats;
};

/**
 * Times `work`, which records dispatches: the first run compiles and is thrown away, a second one decides how many
 * go into one submit, then `rounds` submits are timed until they are finished; more where `watch` says that the machine was busy.
 *
 * @returns null when the work consists of no dispatch at all, as where a backward hands its gradient through
 */
export const measure = async (runtime: Runtime, work: () => void, rounds: number, watch: Watch | null = null): Promise<Timing | null> => {
  const countThreads = countsDriverTime(runtime);
  const repeats = await settle(runtime, work);
  if (repeats === null) return null;
  const timed = await quietRounds(() => timeOnce(runtime, work, repeats, countThreads), rounds, watch);
  const middle = (which: keyof WatchedRound): number => median(timed.map((round) => round[which]));
  return {
    wallMs: middle('wall'), driverMs: countThreads ? middle('driver') : null, repeats, rounds, noise: Math.max(...timed.map(({ noise }) => noise)),
    possible: watch && { flops: middle('flops'), bytes: middle('bytes') },
  };
};

/** Times one submit, in milliseconds a run. */
export type Stopwatch = () => Promise<number>;

/** Readies `work` for being timed in turns with others. @returns null as {@link measure} */
export const stopwatch = async (runtime: Runtime, work: () => void): Promise<Stopwatch | null> => {
  const repeats = await settle(runtime, work);
  if (repeats === null) return null;
  const countThreads = countsDriverTime(runtime);
  return async () => {
    const { wall, driver } = await timeOnce(runtime, work, repeats, countThreads);
    return countThreads ? driver : wall;
  };
};

/**
 * How long each takes, over the first that there is: medians of rounds, in each of which all have their turn one behind the other, so that
 * what else the machine does hits them alike, and is measured by the mean of all. Infinity for null.
 */
export const relativeTimes = async (watches: readonly (Stopwatch | null)[], rounds: number): Promise<number[]> => {
  const shares = watches.map((watch): number[] => (watch ? [] : [Infinity]));
  for (let round = 0; round < rounds; round++) {
    const turns: (readonly [number, number])[] = [];
    for (const [i, watch] of watches.entries()) if (watch) turns.push([i, await watch()]);
    const ofAll = geometricMean(turns.map(([, ms]) => ms));
    for (const [i, ms] of turns) shares[i]!.push(ms / ofAll);
  }
  const medians = shares.map(median);
  const first = medians.find((share) => share < Infinity) ?? 1;
  return medians.map((share) => share / first);
};

/** The figure to judge by: the driver's time where it is known, since shared machines make the clock's meaningless. */
export const figureOf = ({ wallMs, driverMs }: Pick<Timing, 'wallMs' | 'driverMs'>): number => driverMs ?? wallMs;
