/** A module's weights as the bytes of a safetensors file and back, wherever the bytes are kept. */
import { fail } from '../errors.js';
import { parseSafetensors, safetensorsPieces, rangesOf } from '../io/safetensors-format.js';
import type { TensorFile } from '../io/tensor-file.js';
import type { StateDict } from '../nn/module.js';
import { type FileTensor, fromFileEntry, stateToFile } from './state-layout.js';
import { isCounter } from './weights/naming.js';
import { stateIn } from './weights/weights.js';

/** Refuses what is no state, such as the promise of one or the module itself. */
export const checkState = (op: string, state: unknown): void => {
  if (!(state instanceof Map)) fail(`${op}: the weights must be a state, as \`await module.stateDict()\` gives it, got ${state === null ? 'null' : typeof state}`);
  for (const [name, entry] of state as Map<string, Partial<FileTensor> | null>) {
    if (!(Array.isArray(entry?.shape) && entry.data instanceof Float32Array)) fail(`${op}: "${name}" must be { shape, data } with a Float32Array, as in \`await module.stateDict()\``);
  }
};

/** The state in a file: as float32, without an optimiser's vectors and PyTorch's counters of batches. */
export const fromStored = (file: TensorFile): StateDict =>
  new Map([...stateIn(file)].filter(([name]) => !isCounter(name)).map(([name, entry]) => [name, fromFileEntry(name, entry)]));

/**
 * The bytes of a safetensors file with these weights, for `module.stateDict()`; equal weights give equal bytes. Convolutions and linear layers lie
 * in PyTorch's layouts, so that `safetensors.torch.load_file` gives PyTorch what it expects.
 *
 * A state does not tell whose its tensors are; names and shapes decide. Tensors whose name ends in `weight` go out as `[out, in, kh, kw]` where they
 * have four axes and are turned over where they have two; all others lie as they are. {@link load} undoes exactly that, so what Pipit saves it loads
 * unchanged. Only for another program it matters that a table of rows, such as an embedding, arrives turned over if its name ends in `weight`: give
 * it another name.
 *
 * @throws UserError when it is no state
 */
export const save = (state: StateDict): Uint8Array<ArrayBuffer> => {
  checkState('save', state);
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
 * Tensors of two axes whose name ends in `weight` are taken for linear layers' and turned over. PyTorch's embeddings have such names, too: turn their
 * tables back, `transpose(tensor(data, shape), 0, 1)`, before they go into a state of `[rows, width]`.
 *
 * A linear layer behind a flattened map expects PyTorch's order of its inputs, channels first: `flatten(permute(x, [0, 3, 1, 2]), 1)`, not `flatten(x, 1)`.
 *
 * @throws UserError when the bytes are something else or damaged
 */
export const load = (bytes: Uint8Array | ArrayBuffer): StateDict => fromStored(parseSafetensors(rangesOf(bytes, 'what was given')));
