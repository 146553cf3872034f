import { existsSync } from 'node:fs';
import { fail, inCommand } from '../errors.js';
import { checkpointFile } from './run-folder.js';

/** Ends a run whose numbers are no longer finite. What its folder holds stays as it is, and is named only where it is there. */
export const diverged = (out: string, step: number, what: string): never => {
  const last = checkpointFile(out, 'last');
  const goOn = existsSync(last)
    ? `The last good checkpoint is ${last}; go on from it with: node dist/train.js --out ${inCommand(out)} --resume, and a lower --lr or with --clip-grad-norm.`
    : 'No checkpoint was written before; start again with a lower --lr or with --clip-grad-norm.';
  return fail(`Training has diverged: ${what} at step ${step}. ${goOn} The option --debug-nan finds the first op that gives no finite number.`);
};
