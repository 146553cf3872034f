/** Writes what `torch.load` opens: a zip archive of a pickle and one member for each tensor's numbers. */
import { Readable } from 'node:stream';
import { ZipFile } from 'yazl';
import { fail } from '../../errors.js';
import { writeStreamAtomic } from '../atomic.js';
import { byteCount, bytesOf, checkTensor, type TensorEntry } from '../tensor-file.js';
import { type Picklable, writePickle } from './pickle-writer.js';
import { storageName } from './storages.js';

export { type Picklable, PicklableTensor } from './pickle-writer.js';

/** Equal content gives equal bytes: no member carries the time of its writing. */
const MEMBER = { compress: false, mtime: new Date(1980, 0, 1), mode: 0o100644, forceDosTimestamp: true } as const;
const FORMAT_VERSION = '3\n';

/** Puts a tensor into the archive; it is read only when its turn comes. */
const addTensor = (zip: ZipFile, path: string, key: number, tensor: TensorEntry): void => {
  zip.addReadStreamLazy(`archive/data/${key}`, { ...MEMBER, size: byteCount(tensor) }, (done) => {
    try {
      const data = tensor.read();
      checkTensor(path, `storage ${key}`, { dtype: tensor.dtype, shape: tensor.shape, data });
      done(null, Readable.from([bytesOf(data)], { objectMode: false }));
    } catch (error) {
      done(error as Error, Readable.from([]));
    }
  });
};

/**
 * Writes a value atomically as torch.save would.
 *
 * @throws UserError when the file cannot be written or a tensor has a number type PyTorch lacks
 */
export const writeTorch = async (path: string, value: Picklable): Promise<void> => {
  const { pickle, tensors } = writePickle(value);
  const zip = new ZipFile();
  zip.addBuffer(pickle, 'archive/data.pkl', MEMBER);
  zip.addBuffer(Buffer.from('little'), 'archive/byteorder', MEMBER);
  tensors.forEach((tensor, key) => addTensor(zip, path, key, tensor));
  zip.addBuffer(Buffer.from(FORMAT_VERSION), 'archive/version', MEMBER);
  const output = zip.outputStream as Readable;
  zip.on('error', (error: Error) => output.destroy(error));
  zip.end();
  await writeStreamAtomic(path, output as AsyncIterable<Uint8Array>);
};

/** Refuses number types that PyTorch 1 has no storage for. */
export const checkTorchDtypes = (path: string, tensors: ReadonlyMap<string, TensorEntry>): void => {
  for (const [name, { dtype }] of tensors) if (!storageName(dtype)) fail(`${path}: tensor "${name}" has dtype ${dtype}, which PyTorch's files do not know; write .safetensors instead`);
};
