/**
 * Opens what `torch.save` wrote: since PyTorch 1.6 a zip archive with a pickle and one member for each storage, before that a row
 * of pickles with the storages behind them.
 */
import { UserError } from '../../errors.js';
import type { FileReader } from '../file-reader.js';
import { byteCount, type TensorFile } from '../tensor-file.js';
import { ByteSource } from './byte-source.js';
import { flatten } from './flatten.js';
import { TorchHost } from './globals.js';
import { type PickleValue, readPickle } from './pickle-machine.js';
import { listZip, type Member, verifyMember } from './zip.js';

/** Tied weights share a storage; a file that shows its bytes again and again only wants to fill somebody's disk. */
const MOST_SHARING = 16;

const toFile = (file: FileReader, format: string, root: PickleValue): TensorFile => {
  const { path, size } = file;
  const { tensors, facts, dictionaries } = flatten(path, root);
  const shown = [...tensors.values()].reduce((sum, tensor) => sum + byteCount(tensor), 0);
  if (shown > MOST_SHARING * size) throw new UserError(`${path} has ${size} bytes but its tensors show ${shown}. Save it again with each tensor once.`);
  return { path, format, tensors, facts, dictionaries };
};

const findPickle = (path: string, members: ReadonlyMap<string, Member>): Member => {
  const pickles = [...members.values()].filter(({ name }) => /^[^/]+\/data\.pkl$/.test(name));
  if (pickles.length !== 1) throw new UserError(`${path} is a zip archive but not one of torch.save: ${pickles.length} members are called data.pkl. Give the .pth, .pt or .ckpt file itself.`);
  const folder = pickles[0]!.name.replace('data.pkl', '');
  if (members.has(`${folder}constants.pkl`)) throw new UserError(`${path} is a TorchScript program, not weights. In PyTorch: torch.save(torch.jit.load(…).state_dict(), …).`);
  return pickles[0]!;
};

const checkByteOrder = (file: FileReader, member: Member | undefined): void => {
  if (!member) return;
  const order = Buffer.from(file.read(member.offset, Math.min(member.size, 16))).toString();
  if (order !== 'little') throw new UserError(`${file.path} was written on a machine with "${order}" byte order; only little is read. Save it again on another machine.`);
};

/** Opens a zip archive of torch.save. */
export const openTorchZip = async (file: FileReader): Promise<TensorFile> => {
  const members = await listZip(file);
  const pickle = findPickle(file.path, members);
  const folder = pickle.name.replace('data.pkl', '');
  checkByteOrder(file, members.get(`${folder}byteorder`));
  verifyMember(file, pickle, null);
  const host = new TorchHost(file.path);
  const root = readPickle(file.path, new ByteSource(file, pickle.offset, pickle.offset + pickle.size), host);
  for (const storage of host.storages.values()) {
    const member = members.get(`${folder}data/${storage.key}`);
    if (member) storage.locate(file, member.offset, member.size, (bytes) => verifyMember(file, member, bytes));
    else throw new UserError(`${file.path}: the member data/${storage.key} with the numbers of a tensor is missing. The file is damaged; use another copy.`);
  }
  return toFile(file, 'PyTorch', root);
};

const MAGIC = 0x1950a86a20f9469cfc6cn;
const PROTOCOL = 1001;
const LENGTH_BYTES = 8;

/** Opens a file of torch.save before PyTorch 1.6: magic number, protocol, system, value, keys of storages, storages. */
export const openTorchLegacy = (file: FileReader): TensorFile => {
  const { path, size } = file;
  const source = new ByteSource(file, 0, size);
  const host = new TorchHost(path);
  const next = (): PickleValue => readPickle(path, source, host);
  if (next() !== MAGIC) throw new UserError(`${path} is a Python pickle, but torch.save did not write it. Save model.state_dict() with torch.save.`);
  const [protocol, system] = [next(), next()];
  if (protocol !== PROTOCOL) throw new UserError(`${path} has PyTorch's file version ${String(protocol)}; only ${PROTOCOL} is read. Load and save the file again with PyTorch.`);
  if (system instanceof Map && system.get('little_endian') === false) throw new UserError(`${path} was written in big-endian byte order; only little-endian is read. Save it again on another machine.`);
  const [root, keys] = [next(), next()];
  if (!Array.isArray(keys)) throw new UserError(`${path}: the list of storages is missing. The file is half-written or damaged; use another copy.`);
  for (const key of keys as PickleValue[]) {
    const storage = typeof key === 'string' ? host.storages.get(key) : undefined;
    if (!storage) throw new UserError(`${path}: its list of storages names one that no tensor uses. The file is damaged; use another copy.`);
    const length = Number(source.take(LENGTH_BYTES).readBigUInt64LE());
    const at = source.position;
    storage.locate(file, at, length === storage.length ? Math.min(storage.bytes, size - at) : length * (storage.bytes / storage.length));
    source.skip(storage.bytes);
  }
  return toFile(file, 'PyTorch before 1.6', root);
};
