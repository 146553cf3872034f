/** A module's weights as the bytes of a safetensors file and back, wherever the bytes are kept. */
import { parseSafetensors, safetensorsPieces, rangesOf } from '../io/safetensors-format.js';
import type { TensorFile } from '../io/tensor-file.js';
import type { StateDict } from '../nn/module.js';
import { fromFileEntry, stateToFile } from './state-layout.js';
import { isCounter } from './weights/naming.js';
import { weightsIn } from './weights/weights.js';

/** The state in a file: as float32, without an optimiser's vectors and PyTorch's counters of batches. */
export const fromStored = (file: TensorFile): StateDict =>
  new Map([...weightsIn(file)].filter(([name]) => !isCounter(name)).map(([name, entry]) => [name, fromFileEntry(name, entry)]));

/**
 * The bytes of a safetensors file with these weights, for `module.stateDict()`; equal weights give equal bytes. Convolutions and linear layers lie
 * in PyTorch's layouts, so that `safetensors.torch.load_file` gives PyTorch what it expects.
 */
export const save = (state: StateDict): Uint8Array<ArrayBuffer> => {
  const pieces = [...safetensorsPieces('the weights', stateToFile(state))];
  const bytes = new Uint8Array(pieces.reduce((sum, { byteLength }) => sum + byteLength, 0));
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.byteLength;
  }
  return bytes;
};

/**
 * Weights from the bytes of a safetensors file, for `module.loadStateDict(…)`: those of {@link save}, of PyTorch, or of a checkpoint that training wrote.
 *
 * @throws UserError when the bytes are something else or damaged
 */
export const load = (bytes: Uint8Array): StateDict => fromStored(parseSafetensors(rangesOf(bytes, 'what was given')));
