/** Which kernels the environment and the tuning file ask for. */
import { existsSync, readFileSync } from 'node:fs';
import { fail } from '../errors.js';
import type { GemmOptions, TuningTable } from '../kernels/gemm-family.js';

/** Written by `node dist/bench.js --tune`, read from the working folder; `PIPIT_TUNING` names another file. */
export const TUNING_FILE = 'pipit-tuning.json';

/** A tuning file's table; empty if the default file does not exist. */
export const readTuning = (path = process.env.PIPIT_TUNING): TuningTable => {
  const file = path ?? TUNING_FILE;
  if (path === undefined && !existsSync(file)) return {};
  try {
    const table = JSON.parse(readFileSync(file, 'utf8')) as unknown;
    if (typeof table === 'object' && table !== null && !Array.isArray(table)) return table as TuningTable;
    return fail('it holds no table of adapters');
  } catch (error) {
    return fail(`The tuning file ${file} cannot be read: ${(error as Error).message}. Make it anew with "node dist/bench.js --tune", or remove it.`);
  }
};

/** `PIPIT_GEMM`, `PIPIT_WINOGRAD`, `PIPIT_IMAGES` and `PIPIT_MATRICES` force a variant of the kernels. */
export const kernelOptions = (): GemmOptions =>
  ({ gemm: process.env.PIPIT_GEMM, winograd: process.env.PIPIT_WINOGRAD, images: process.env.PIPIT_IMAGES, matrices: process.env.PIPIT_MATRICES, tuning: readTuning() });
