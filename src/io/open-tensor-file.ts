/** Opens a file of tensors by what it contains, not by what it is called. */
import { UserError } from '../errors.js';
import { FileReader } from './file-reader.js';
import { openTorchLegacy, openTorchZip } from './pytorch/read.js';
import { openSafetensors } from './safetensors.js';
import type { TensorFile } from './tensor-file.js';

const SNIFFED = 512;
const startsWith = (bytes: Buffer, text: string, at = 0): boolean => bytes.toString('latin1', at, at + text.length) === text;

/** Files that people take for weights, and what to do with them. */
const known: readonly [(bytes: Buffer) => boolean, string][] = [
  [(b) => b.length === 0, 'is empty. Copy or download it again'],
  [(b) => startsWith(b, 'version https://git-lfs'), 'is only a pointer of Git LFS. Fetch the file itself with "git lfs pull"'],
  [(b) => /^\s*<(!doctype|html|\?xml)/i.test(b.toString('latin1')), 'is a web page, not weights. The download went wrong'],
  [(b) => startsWith(b, '\x1f\x8b'), 'is compressed with gzip. Unpack it first'],
  [(b) => startsWith(b, 'ustar', 257), 'is a tar archive. Unpack it first (PyTorch before 0.1.10 wrote such files; load and save those again with PyTorch)'],
  [(b) => startsWith(b, '\x93NUMPY'), 'is a NumPy array, not a set of named tensors'],
  [(b) => startsWith(b, '\x89HDF'), 'is an HDF5 file (Keras or TensorFlow). Convert it to safetensors first'],
  [(b) => startsWith(b, '\xff\xd8\xff') || startsWith(b, '\x89PNG'), 'is a picture, not weights'],
];

/** The first pickle of a legacy file begins with its protocol and a long integer. */
const isPickle = (bytes: Buffer): boolean => bytes[0] === 0x80 && bytes[1]! <= 5;

/**
 * Opens safetensors and PyTorch files (.pth, .pt, .ckpt, .pth.tar). Nothing in them is executed.
 *
 * @throws UserError when it is something else, damaged, or asks for more than weights
 */
export const openTensorFile = async (path: string): Promise<TensorFile> => {
  const file = new FileReader(path);
  const start = Buffer.from(file.read(0, Math.min(file.size, SNIFFED)));
  const mistake = known.find(([matches]) => matches(start));
  if (mistake) throw new UserError(`${path} ${mistake[1]}.`);
  if (startsWith(start, 'PK')) return openTorchZip(file);
  if (isPickle(start)) return openTorchLegacy(file);
  if (start[8] === '{'.charCodeAt(0)) return openSafetensors(path);
  throw new UserError(`${path} is neither a safetensors file nor one of torch.save. Give weights as .safetensors, .pth, .pt or .ckpt.`);
};
