import { createHash } from 'node:crypto';
import type { AnyModule } from '../nn/module.js';

/** SHA-256 over names, shapes and bits of all parameters and buffers: equal runs have equal hashes. */
export const weightsHash = async (module: Pick<AnyModule, 'stateDict'>): Promise<string> => {
  const hash = createHash('sha256');
  for (const [name, { shape, data }] of await module.stateDict()) {
    hash.update(`${name}[${shape.join(',')}]`);
    hash.update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
  return hash.digest('hex').slice(0, 16);
};
