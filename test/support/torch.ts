/** PyTorch as a second opinion, where Debian's packages are installed. */
import { spawnSync } from 'node:child_process';

const PYTHON = '/usr/bin/python3';

/** Why tests with PyTorch, or with torchvision, which imports it, are left out here; '' when they run. */
export const torchMissing = (module: 'torch' | 'torchvision' = 'torch'): string =>
  (spawnSync(PYTHON, ['-c', `import ${module}`]).status === 0 ? '' : `${PYTHON} has no ${module}; on Debian: apt-get install python3-${module}`);

/** Runs a script of test/reference and returns what it printed as JSON. */
export const runTorch = (script: string, ...args: readonly string[]): unknown => {
  const { status, stdout, stderr } = spawnSync(PYTHON, [`test/reference/${script}`, ...args], { encoding: 'utf8', maxBuffer: 2 ** 28 });
  if (status !== 0) throw new Error(`${script} ended with ${String(status)}:\n${stderr}`);
  return JSON.parse(stdout) as unknown;
};
