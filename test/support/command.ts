/** Programs in processes of their own, and the commands as a person calls them. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const commands = fileURLToPath(new URL('..', import.meta.url));

interface Ended {
  code: number | null;
  signal: string | null;
  out: string;
  errors: string;
  seconds: number;
}

/** Lines that Dawn prints about limits which it lowers by itself. */
const NOISE = /^Warning: max\w+ artificially reduced.*\n?/gm;

/** Runs Node to its end, or ends it after so many seconds. */
export const runNode = (args: readonly string[], limit?: number): Promise<Ended> => new Promise((resolve) => {
  const start = performance.now();
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'], ...(limit ? { timeout: limit * 1000, killSignal: 'SIGKILL' } : {}) });
  const [out, errors]: [string[], string[]] = [[], []];
  child.stdout.setEncoding('utf8').on('data', (piece: string) => out.push(piece));
  child.stderr.setEncoding('utf8').on('data', (piece: string) => errors.push(piece));
  child.on('close', (code, signal) => resolve({
    code, signal, out: out.join(''), errors: errors.join('').replace(NOISE, ''), seconds: (performance.now() - start) / 1000,
  }));
});

/** Runs a built command to its end. */
export const call = (command: string, ...args: string[]): Promise<Ended> => runNode([join(commands, `${command}.js`), ...args]);
