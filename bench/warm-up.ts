/** How long training takes to get going: real processes, without compiled shaders on disk and with them. */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { INTERRUPTED, onInterrupt } from '../src/cli/run-command.js';
import { UserError } from '../src/errors.js';

interface Start {
  /** From the start of the process to the end of the first training step. */
  readonly wallSeconds: number;
  /** Processor time of all its threads until then; null where the system does not tell. */
  readonly processorSeconds: number | null;
}

interface WarmUp {
  /** With an empty shader cache, and once more with what the first start left there. */
  readonly cold: Start;
  readonly second: Start;
}

/** What is asked of them, in seconds of wall time on two cores. */
const WARM_UP_BARS = { cold: 20, second: 3 } as const;

/** The line that training prints when its first step has been executed. */
const FIRST_STEP = /first step done/;

/** Mesa's and NVIDIA's drivers keep compiled shaders in these folders. */
const cacheVariables = (folder: string) => ({ MESA_SHADER_CACHE_DIR: folder, __GL_SHADER_DISK_CACHE_PATH: folder });

/** Clock ticks a second in Linux's account of processes. */
const TICKS = 100;

const processorSeconds = (pid: number): number | null => {
  const file = `/proc/${pid}/stat`;
  if (!existsSync(file)) return null;
  // The second field is a name in parentheses that may hold blanks; user and system time are the 14th and 15th.
  const fields = readFileSync(file, 'utf8').replace(/^.*\) /s, '').split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS;
};

/** Starts a command, waits for the line of the first step, and ends it. */
export const timeStart = (command: readonly string[], env: NodeJS.ProcessEnv): Promise<Start> => new Promise((resolve, reject) => {
  const begin = performance.now();
  const child = spawn(process.execPath, command, { env, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  let found: Start | null = null;
  const read = (chunk: Buffer): void => {
    output += chunk.toString();
    if (found || !FIRST_STEP.test(output)) return;
    found = { wallSeconds: (performance.now() - begin) / 1000, processorSeconds: processorSeconds(child.pid!) };
    kill();
  };
  const kill = (): void => void child.kill('SIGKILL');
  // Before its folder is removed.
  process.prependOnceListener('exit', kill);
  child.stdout.on('data', read);
  child.stderr.on('data', read);
  child.on('error', reject);
  child.on('close', () => {
    process.off('exit', kill);
    if (found) resolve(found);
    else reject(new UserError(`The training that was to be timed ended before its first step:\n${output.trim()}`));
  });
});

/** @param options those of the training command that say what is trained */
export const measureWarmUp = async (options: readonly string[]): Promise<WarmUp> => {
  const forget = onInterrupt(() => process.exit(INTERRUPTED));
  const folder = mkdtempSync(join(tmpdir(), 'pipit-warm-up-'));
  const remove = (): void => rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  process.once('exit', remove);
  try {
    const train = fileURLToPath(new URL('train.js', import.meta.url));
    const start = (name: string): Promise<Start> =>
      timeStart([train, ...options, '--out', join(folder, name)], { ...process.env, ...cacheVariables(join(folder, 'shaders')) });
    return { cold: await start('cold'), second: await start('second') };
  } finally {
    forget();
    process.off('exit', remove);
    remove();
  }
};

const line = (name: string, { wallSeconds, processorSeconds: used }: Start, bar: number): string =>
  `${name.padEnd(46)} ${wallSeconds.toFixed(1)} s by the clock${used === null ? '' : `, ${used.toFixed(1)} s of processor time`} (bar ${bar} s)`;

export const warmUpLines = ({ cold, second }: WarmUp): string[] => [
  'From the start of the process to the end of the first training step:',
  line('  first start, no compiled shaders on disk', cold, WARM_UP_BARS.cold), line('  second start', second, WARM_UP_BARS.second),
];
