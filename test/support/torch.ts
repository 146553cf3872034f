/** PyTorch as a second opinion, where Debian's package is installed. */
import { spawnSync } from 'node:child_process';

const PYTHON = '/usr/bin/python3';

/** Why tests with PyTorch are left out here; '' when they run. */
export const torchMissing = (): string =>
  (spawnSync(PYTHON, ['-c', 'import torch']).status === 0 ? '' : `${PYTHON} has no PyTorch; on Debian: apt-get install python3-torch`);

/** Runs a script of test/reference and returns what it printed as JSON. */
export const runTorch = (script: string, ...args: readonly string[]): unknown => {
  const { status, stdout, stderr } = spawnSync(PYTHON, [`test/reference/${script}`, ...args], { encoding: 'utf8', maxBuffer: 2 ** 28 });
  if (status !== 0) throw new Error(`${script} ended with ${String(status)}:\n${stderr}`);
  return JSON.parse(stdout) as unknown;
};
