/** Reading and writing safetensors files. */
import { writeFileAtomic } from './atomic.js';
import { FileReader } from './file-reader.js';
import { parseSafetensors, safetensorsPieces } from './safetensors-format.js';
import type { StoredTensor, TensorEntry, TensorFile } from './tensor-file.js';

export type { StoredTensor } from './tensor-file.js';

interface SafetensorsFile {
  tensors: Map<string, StoredTensor>;
  metadata: Record<string, string>;
}

/**
 * Writes tensors atomically. Equal content gives equal bytes, whatever the order of the map.
 *
 * @throws UserError when a tensor's shape, dtype and data disagree
 */
export const writeSafetensors = (
  path: string, tensors: ReadonlyMap<string, StoredTensor | TensorEntry>, metadata: Readonly<Record<string, string>> = {},
): void =>
  writeFileAtomic(path, safetensorsPieces(path, tensors, metadata));

/**
 * Opens a safetensors file and checks its header; the tensors are read when asked.
 *
 * @throws UserError naming file and tensor when the file is missing, cut off, inconsistent or of an unknown dtype
 */
export const openSafetensors = (path: string): TensorFile => parseSafetensors(new FileReader(path));

/** Reads all tensors of a safetensors file; errors as {@link openSafetensors}. */
export const readSafetensors = (path: string): SafetensorsFile => {
  const { tensors, facts } = openSafetensors(path);
  return {
    tensors: new Map([...tensors].map(([name, { dtype, shape, read }]) => [name, { dtype, shape, data: read() }])),
    metadata: Object.fromEntries(facts) as Record<string, string>,
  };
};
