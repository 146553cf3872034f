/** Where the time of a training step goes: by kernel, in JavaScript, and in waiting. */
import type { RecorderObserver, RecorderStatistics } from '../src/kernels/recorder.js';
import type { Runtime } from '../src/kernels/runtime.js';
import type { Kernel } from '../src/kernels/shader.js';
import { median, scriptTime, startDriverClock } from './clock.js';
import { type KernelTime, PassTimer } from './pass-timer.js';
import { Replay } from './replay.js';

const STEPS = 5;
/** Recording is short beside what a shared machine does to it. */
const SCRIPT_STEPS = 15;
/** Steps before anything is timed: at least so many, and while they take no longer together, enough for JavaScript's compiler to settle. */
const WARM_UP = { least: 3, most: 60, ms: 4000 };

export interface KernelShare {
  readonly kernel: string;
  /** Whether it multiplies matrices or convolves; all else is overhead of the network. */
  readonly product: boolean;
  /** In one step. */
  readonly dispatches: number;
  readonly ms: number;
}

export interface Profile {
  /** How kernels were timed. */
  readonly method: 'timestamps' | 'replay';
  readonly kernels: readonly KernelShare[];
  /** Whole steps as training runs them, nothing watched: time by the clock, and of the driver's threads (see clock.ts). */
  readonly wallMs: number;
  readonly driverMs: number | null;
  /** Share of the steps in which the adapter was at work; null without timestamps. */
  readonly busy: number | null;
  /** What JavaScript spends on a step: recording, and handing over; processor time where the system tells it, and by the clock. */
  readonly script: { readonly encodeMs: number; readonly encodeWallMs: number; readonly submitWallMs: number };
  /** In one step. */
  readonly counts: RecorderStatistics;
}

/** Shaders behind convolutions and matrix products, their transforms included. */
const isProduct = ({ shader }: Kernel): boolean => /^(gemm|conv|winograd)/.test(shader.name);

interface Spent {
  readonly wall: number;
  /** Processor time; 0 where the system does not tell it. */
  readonly script: number;
}

const NOTHING: Spent = { wall: 0, script: 0 };

/** Processor time that looking at it takes. */
const timeOfLook = (): number => {
  const looks = Array.from({ length: 21 }, () => scriptTime() ?? 0);
  return median(looks.slice(1).map((look, i) => look - looks[i]!));
};

/** Tells recording from submitting. To look at the clocks takes time as well, which counts as neither. */
class ScriptClock implements RecorderObserver {
  recording = NOTHING;
  handingOver = NOTHING;
  private from = NOTHING;
  private readonly look = timeOfLook();

  start(): void {
    this.recording = this.handingOver = NOTHING;
    this.since(NOTHING);
  }

  submitting(): void {
    this.recording = this.since(this.recording);
  }

  submitted(): void {
    this.handingOver = this.since(this.handingOver);
  }

  /** Adds what was spent since the last look. */
  private since({ wall, script }: Spent): Spent {
    const { from } = this;
    const now = performance.now();
    const scriptNow = scriptTime() ?? 0;
    this.from = { wall: performance.now(), script: scriptNow };
    return { wall: wall + now - from.wall, script: script + scriptNow - from.script - this.look };
  }
}

const difference = (after: RecorderStatistics, before: RecorderStatistics): RecorderStatistics => ({
  dispatches: after.dispatches - before.dispatches, submits: after.submits - before.submits, readBacks: after.readBacks - before.readBacks,
  bindGroups: after.bindGroups - before.bindGroups,
});

/** Each step starts with an idle adapter: nothing competes with JavaScript until the first submit. The median step counts. */
const measureScript = async (runtime: Runtime, step: () => void): Promise<Pick<Profile, 'script' | 'counts'>> => {
  const { recorder } = runtime;
  const before = { ...recorder.statistics };
  const clock = new ScriptClock();
  recorder.observe(clock);
  const steps: { recording: Spent; handingOver: Spent }[] = [];
  for (let i = 0; i < SCRIPT_STEPS; i++) {
    clock.start();
    step();
    recorder.flush();
    // What follows the last submit is part of recording, too.
    clock.submitting();
    steps.push({ recording: clock.recording, handingOver: clock.handingOver });
    await runtime.idle();
  }
  recorder.observe(null);
  const total = difference(recorder.statistics, before);
  const recording = (part: keyof Spent): number => median(steps.map((s) => s.recording[part]));
  const each = (count: number): number => count / SCRIPT_STEPS;
  return {
    script: {
      encodeMs: recording(scriptTime() === null ? 'wall' : 'script'), encodeWallMs: recording('wall'), submitWallMs: median(steps.map((s) => s.handingOver.wall)),
    },
    counts: { dispatches: each(total.dispatches), submits: each(total.submits), readBacks: each(total.readBacks), bindGroups: each(total.bindGroups) },
  };
};

/** Steps one behind the other, as training runs them; with timestamps on passes as they are, which separate nothing. */
const measureSteps = async (runtime: Runtime, step: () => void, timestamps: boolean): Promise<Pick<Profile, 'wallMs' | 'driverMs' | 'busy'>> => {
  const timer = timestamps ? new PassTimer(runtime, 'pass') : null;
  runtime.recorder.observe(timer);
  const driver = startDriverClock(runtime);
  const start = performance.now();
  for (let i = 0; i < STEPS; i++) {
    step();
    await runtime.endStep();
  }
  await runtime.idle();
  const wall = performance.now() - start;
  const driverMs = driver();
  const busy = timer ? (await timer.busyTime()) / wall : null;
  runtime.recorder.observe(null);
  return { wallMs: wall / STEPS, driverMs: driverMs === null ? null : driverMs / STEPS, busy };
};

/** Steps repeat the same dispatches: of each the median over the steps counts. */
const medianStep = (passes: readonly KernelTime[], steps: number): KernelTime[] => {
  const each = passes.length / steps;
  if (!Number.isInteger(each)) throw new Error(`${steps} equal steps cannot have ${passes.length} dispatches`);
  return passes.slice(0, each).map(({ kernel }, i) => ({ kernel, ms: median(Array.from({ length: steps }, (_, s) => passes[s * each + i]!.ms)) }));
};

const measureKernels = async (runtime: Runtime, step: () => void, timestamps: boolean): Promise<KernelTime[]> => {
  const timer = timestamps ? new PassTimer(runtime, 'dispatch') : new Replay(runtime);
  const steps = timestamps ? STEPS : 1;
  runtime.recorder.observe(timer);
  for (let i = 0; i < steps; i++) {
    step();
    await runtime.idle();
  }
  runtime.recorder.observe(null);
  return medianStep(await timer.kernelTimes(), steps);
};

/** Kernels of one entry point together, whatever their constants. */
const byKernel = (passes: readonly KernelTime[]): KernelShare[] => {
  const found = new Map<string, KernelShare>();
  for (const { kernel, ms } of passes) {
    const name = `${kernel.shader.name}.${kernel.entry}`;
    const sum = found.get(name) ?? { kernel: name, product: isProduct(kernel), dispatches: 0, ms: 0 };
    found.set(name, { ...sum, dispatches: sum.dispatches + 1, ms: sum.ms + ms });
  }
  return [...found.values()].sort((a, b) => b.ms - a.ms);
};

/** @param timestamps whether kernels are timed by the adapter itself; by default where it can */
export const profileStep = async (runtime: Runtime, step: () => void, timestamps = PassTimer.isPossible(runtime)): Promise<Profile> => {
  const start = performance.now();
  for (let i = 0; i < WARM_UP.least || (i < WARM_UP.most && performance.now() - start < WARM_UP.ms); i++) {
    step();
    await runtime.idle();
  }
  const script = await measureScript(runtime, step);
  const steps = await measureSteps(runtime, step, timestamps);
  const kernels = byKernel(await measureKernels(runtime, step, timestamps));
  return { method: timestamps ? 'timestamps' : 'replay', kernels, ...steps, ...script };
};
