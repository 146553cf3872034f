/** The commands as a person calls them. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const commands = fileURLToPath(new URL('..', import.meta.url));

interface Ended {
  code: number | null;
  out: string;
  errors: string;
}

/** Lines that Dawn prints about limits which it lowers by itself. */
const NOISE = /^Warning: max\w+ artificially reduced.*\n?/gm;

/** Runs a built command to its end. */
export const call = (command: string, ...args: string[]): Promise<Ended> => new Promise((resolve) => {
  const child = spawn(process.execPath, [join(commands, `${command}.js`), ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const [out, errors]: [string[], string[]] = [[], []];
  child.stdout.setEncoding('utf8').on('data', (piece: string) => out.push(piece));
  child.stderr.setEncoding('utf8').on('data', (piece: string) => errors.push(piece));
  child.on('close', (code) => resolve({ code, out: out.join(''), errors: errors.join('').replace(NOISE, '') }));
});
