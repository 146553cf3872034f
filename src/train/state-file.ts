/** A module's weights in files. */
import { fail } from '../errors.js';
import { openTensorFile } from '../io/open-tensor-file.js';
import { writeSafetensors } from '../io/safetensors.js';
import type { StateDict } from '../nn/module.js';
import { checkState, fromStored } from './state-bytes.js';
import { stateToFile } from './state-layout.js';

const checkPath = (op: string, path: unknown): void => {
  if (typeof path !== 'string' || path === '') fail(`${op}: the path of a file must be a text, got ${path === '' ? 'an empty one' : path === null ? 'null' : typeof path}`);
};

/**
 * Writes weights, those of `await module.stateDict()`, to a safetensors file, atomically; see `save` for what is in it.
 *
 * @throws UserError when the file cannot be written
 */
export const saveFile = (state: StateDict, path: string): void => {
  checkState('saveFile', state);
  checkPath('saveFile', path);
  writeSafetensors(path, stateToFile(state));
};

/**
 * Weights from a file, for `module.loadStateDict(…)`: of `saveFile`, of a checkpoint that training wrote, or of PyTorch (.safetensors, .pth, .pt, .ckpt).
 * What `load` says of layouts holds here, too.
 *
 * @throws UserError when the file is missing, something else, or damaged
 */
export const loadFile = async (path: string): Promise<StateDict> => {
  checkPath('loadFile', path);
  return fromStored(await openTensorFile(path));
};
