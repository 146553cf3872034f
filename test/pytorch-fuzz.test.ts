/** Damaged and hostile PyTorch files: each ends in a message, none runs code, fills the memory or hangs. */
import t, { type Test } from 'tap';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openTensorFile } from '../src/io/open-tensor-file.js';
import { bytes, call, dict, global, int, legacyFile, long, pickle, storage, tensor, text, tuple, uint64, writeZip } from './support/pickles.js';
import { portableUniform } from './support/portable.js';

const folder = t.testdir();
const path = join(folder, 'hostile.pth');
const ROUNDS = 700;
const FIXTURES = ['kinds.pth', 'kinds-legacy.pth', 'reference.ckpt', 'wvinzh.pth.tar'];

/** Opens a file and reads everything in it. */
const readAll = async (content: Buffer): Promise<'read' | 'refused'> => {
  writeFileSync(path, content);
  try {
    const { tensors } = await openTensorFile(path);
    for (const { read } of tensors.values()) read();
    return 'read';
  } catch (error) {
    if ((error as Error).name !== 'UserError') throw error;
    if (!(error as Error).message.startsWith(path)) throw new Error(`the message does not begin with the file: ${(error as Error).message}`, { cause: error });
    return 'refused';
  }
};

for (const name of FIXTURES) {
  const whole = readFileSync(join('test/fixtures/pytorch', name));

  t.test(`${name} cut off anywhere is refused`, async (t) => {
    const accepted: number[] = [];
    for (let length = 0; length < whole.length; length += length < whole.length - 70 ? 7 : 1) {
      if (await readAll(whole.subarray(0, length)) === 'read') accepted.push(length);
    }
    t.same(accepted, []);
  });

  t.test(`${name} with flipped bits is read or refused, never more`, async (t) => {
    const counts = { read: 0, refused: 0 };
    for (let round = 0; round < ROUNDS; round++) {
      const copy = Buffer.from(whole);
      const flips = 1 + Math.floor(portableUniform(1, round) * 4);
      for (let flip = 0; flip < flips; flip++) {
        copy[Math.floor(portableUniform(2 + flip, round) * copy.length)]! ^= 1 << Math.floor(portableUniform(9 + flip, round) * 8);
      }
      counts[await readAll(copy)]++;
    }
    t.ok(counts.refused > ROUNDS / 4, `${counts.refused} of ${ROUNDS} refused`);
    t.equal(counts.read + counts.refused, ROUNDS);
  });

  t.test(`${name} with scrambled stretches is read or refused, never more`, async (t) => {
    for (let round = 0; round < ROUNDS / 5; round++) {
      const copy = Buffer.from(whole);
      const from = Math.floor(portableUniform(20, round) * copy.length);
      for (let i = from; i < Math.min(copy.length, from + 40); i++) copy[i] = Math.floor(portableUniform(21 + round, i) * 256);
      await readAll(copy);
    }
    t.pass('each ended well');
  });
}

const refuse = async (t: Test, name: string, content: Buffer, message: RegExp): Promise<void> => {
  writeFileSync(path, content);
  await t.rejects(openTensorFile(path), { name: 'UserError', message }, name);
};

t.test('names that could run code are refused, however they are asked for', async (t) => {
  const ways: [string, Buffer, string][] = [
    ['GLOBAL and REDUCE', call('os', 'system', text('echo harm')), 'os.system'],
    ['GLOBAL alone', global('builtins', 'eval'), 'builtins.eval'],
    ['Python 2', call('__builtin__', 'execfile', text('x')), '__builtin__.execfile'],
    ['INST', bytes('(', text('echo harm'), 'ios\nsystem\n'), 'os.system'],
    ['OBJ', bytes('(', global('subprocess', 'Popen'), text('x'), 'o'), 'subprocess.Popen'],
    ['STACK_GLOBAL', bytes(text('posix'), text('system'), 0x93), 'posix.system'],
    ['NEWOBJ', bytes(global('socket', 'socket'), ')', 0x81), 'socket.socket'],
    ['a path into a permitted name', bytes(text('collections'), text('OrderedDict.__init__.__globals__'), 0x93),
      'collections.OrderedDict.__init__.__globals__'],
    ['the prototype of JavaScript', global('constructor', 'constructor'), 'constructor.constructor'],
    ['a loader inside PyTorch', call('torch.serialization', 'load', text('x')), 'torch.serialization.load'],
    ['a whole model', bytes(global('torchvision.models.resnet', 'ResNet'), ')', 0x81), 'torchvision.models.resnet.ResNet'],
  ];
  for (const [name, body, asked] of ways) {
    await refuse(t, name, legacyFile(body), new RegExp(`asks for "${asked.replaceAll('.', '\\.')}".*Nothing of it was executed`));
  }
  for (const name of ['constructor', '<toString', 'O8']) {
    await refuse(t, `NumPy numbers of type ${name}`, legacyFile(call('numpy.core.multiarray', 'scalar', call('numpy', 'dtype', text(name)), text('12345678'))),
      /NumPy numbers of type ".*" are not read; only f8, f4/);
  }
  await refuse(t, 'NumPy with another class', legacyFile(call('numpy.core.multiarray', '_reconstruct', global('torch', 'Size'), tuple(int(0)), text('b'))),
    /put together in a way that PyTorch and NumPy do not use/);
  await refuse(t, 'a permitted name that is no function', legacyFile(call('builtins', 'dict')), /it calls builtins\.dict/);
  await refuse(t, 'calling a text', legacyFile(bytes(text('os.system'), ')', 'R')), /it calls something that is no name/);
});

const doubled = (levels: number): Buffer => bytes(']', 'q', 0, ...Array.from({ length: levels }, (_, i) => bytes('](h', i, 'h', i, 'e', 'q', i + 1)));
const floats = (count: number): Record<string, Float32Array> => ({ 0: new Float32Array(count) });
const one = storage('0', int(4));
const shape = (...sizes: bigint[]): Buffer[] => sizes.map(long);

t.test('bombs are refused before they burst', async (t) => {
  const before = process.resourceUsage().maxRSS;
  const manyCopies = (value: Buffer, copy: Buffer): Buffer => bytes(value, 'q', 0, '0](', ...Array.from({ length: 2000 }, () => copy), 'e');
  const wideDict = bytes('}(', ...Array.from({ length: 20_000 }, (_, i) => bytes(int(i), 'N')), 'u');
  const bombs: [string, Buffer, RegExp][] = [
    ['lists doubled 22 times', doubled(22), /more than 1048576 values/],
    ['a list within itself', bytes(']q', 0, 'h', 0, 'a'), /nested deeper than 24 levels/],
    ['deep nesting', bytes(')', Buffer.alloc(500_000, 0x85)), /nested deeper than 24 levels/],
    ['two million values', bytes('(', Buffer.alloc(2_000_000, 'N'), 'l'), /far longer than any list of weights/],
    ['a text of 2⁶³ bytes', bytes(0x8d, uint64(2n ** 63n)), /more bytes are announced/],
    ['bytes of 2⁶³', bytes(0x8e, uint64(2n ** 63n)), /more bytes are announced/],
    ['an integer of 2³¹ bytes', bytes(0x8b, 255, 255, 255, 127), /an integer has 2147483647 bytes/],
    ['a line without end', bytes('c', Buffer.alloc(100_000, 'a')), /does not end/],
    ['one dictionary copied 2,000 times', manyCopies(wideDict, bytes(global('collections', 'OrderedDict'), '(h', 0, 'tR')),
      /makes more than 268435456 bytes out of a few/],
    ['one text encoded 2,000 times', manyCopies(text('x'.repeat(1 << 20)), bytes(global('_codecs', 'encode'), '(h', 0, text('latin1'), 'tR')),
      /makes more than 268435456 bytes out of a few/],
    ['one number shown a million times', dict({ x: tensor(one, int(0), shape(1000n, 1000n), shape(0n, 0n)) }), /an expanded view/],
    ['a tensor of 2⁶⁰ elements', dict({ x: tensor(one, int(0), shape(2n ** 30n, 2n ** 30n), shape(0n, 0n)) }), /goes beyond its storage|valid offset/],
  ];
  for (const [name, body, message] of bombs) await refuse(t, name, legacyFile(body, name.includes('shown') || name.includes('2⁶⁰') ? floats(4) : {}), message);
  const shared = dict(Object.fromEntries(Array.from({ length: 300 },
    (_, i) => [`w${i}`, i === 0 ? bytes(tensor(storage('0', int(100_000)), int(0), shape(100_000n), shape(1n)), 'q', 0) : bytes('h', 0)])));
  await refuse(t, 'one storage under 300 names', legacyFile(shared, floats(100_000)), /its tensors show 120000000/);
  const grown = (process.resourceUsage().maxRSS - before) / 1024;
  // Texts and dictionaries within their allowance of 256 MiB, twice for copies not yet collected.
  t.ok(grown < 900, `the process grew by ${grown.toFixed(0)} MiB`);
});

t.test('tensors cannot reach outside their storage', async (t) => {
  const lies: [string, Buffer, RegExp][] = [
    ['offset', tensor(one, int(4), shape(1n), shape(1n)), /goes beyond its storage 0 of 4 numbers/],
    ['negative offset', tensor(one, int(-1), shape(1n), shape(1n)), /no valid offset, shape or strides/],
    ['stride', tensor(one, int(0), shape(2n, 2n), shape(3n, 1n)), /goes beyond its storage/],
    ['negative stride', tensor(one, int(3), shape(2n), shape(-1n)), /no valid offset, shape or strides/],
    ['negative size', tensor(one, int(0), shape(-1n), shape(1n)), /no valid offset, shape or strides/],
    ['strides of another rank', tensor(one, int(0), shape(2n, 2n), shape(1n)), /no valid offset, shape or strides/],
    ['a size that is text', tensor(one, int(0), [text('4')], shape(1n)), /no valid offset, shape or strides/],
    ['no storage', tensor(text('0'), int(0), shape(1n), shape(1n)), /has no storage/],
    ['a storage of another kind', bytes(tuple(text('module'), text('x')), 'Q'), /something other than a storage/],
    ['a storage of negative length', storage('0', int(-4)), /something other than a storage/],
    ['a storage described twice', tuple(one, storage('0', int(4), 'DoubleStorage')), /described in two ways/],
  ];
  for (const [name, body, message] of lies) await refuse(t, name, legacyFile(dict({ x: body }), floats(4)), message);
  await refuse(t, 'a storage longer than announced', legacyFile(dict({ x: tensor(one, int(0), shape(4n), shape(1n)) }), floats(5)),
    /storage 0 needs 16 bytes .* but 20 are there/);
  await refuse(t, 'a storage nobody uses', legacyFile(dict({}), floats(4)), /names one that no tensor uses/);
});

t.test('pickles that misuse their stack', async (t) => {
  const misuses: [string, Buffer][] = [
    ['nothing to return', bytes()], ['pop', bytes('0')], ['append to a number', bytes(int(1), 'Na')], ['append to a dictionary', bytes('}Na')],
    ['a key without value', bytes('}(Nu')],
    ['a list as key', bytes('}(]Nu')], ['mark missing', bytes('t')], ['unknown memo', bytes('h', 7)], ['unknown opcode', bytes(0xff)],
    ['below a mark', bytes('N(0')],
    ['attributes for a number', bytes(int(1), '}b')], ['digits that are none', bytes('Ione\n')], ['a float that is none', bytes('Fx\n')],
    ['a literal that is none', bytes('Sx\n')],
  ];
  for (const [name, body] of misuses) await refuse(t, name, legacyFile(body), /cannot be read: .* The file is damaged or holds something other than weights/);
});

t.test('archives that are not as PyTorch writes them', async (t) => {
  const body = pickle(dict({ x: tensor(one, int(0), shape(4n), shape(1n)) }));
  const data = Buffer.from(Float32Array.of(1, 2, 3, 4).buffer);
  const archive = (...members: [string, Buffer][]) => members;
  const good = archive(['a/data.pkl', body], ['a/data/0', data]);
  const cases: [string, ReturnType<typeof archive>, boolean, RegExp][] = [
    ['compressed: a zip bomb', archive(['a/data.pkl', body], ['a/data/0', Buffer.alloc(1 << 26)]), true, /is compressed or encrypted/],
    ['no pickle', archive(['a/x', data]), false, /is a zip archive but not one of torch\.save/],
    ['two pickles', [...good, ['b/data.pkl', body]], false, /2 members are called data\.pkl/],
    ['the same member twice', [...good, ['a/data/0', data]], false, /two members are called "a\/data\/0"/],
    ['storage missing', archive(['a/data.pkl', body]), false, /data\/0 with the numbers of a tensor is missing/],
    ['storage too short', archive(['a/data.pkl', body], ['a/data/0', data.subarray(4)]), false, /storage 0 needs 16 bytes \(4 × F32\) but 12 are there/],
    ['big-endian', [...good, ['a/byteorder', Buffer.from('big')]], false, /"big" byte order/],
    ['TorchScript', [...good, ['a/constants.pkl', body]], false, /is a TorchScript program/],
  ];
  await writeZip(path, good);
  t.same([...(await openTensorFile(path)).tensors.get('x')!.read()], [1, 2, 3, 4], 'the same without a fault is read');
  for (const [name, members, compress, message] of cases) {
    await writeZip(path, members, compress);
    await t.rejects(openTensorFile(path), { name: 'UserError', message }, name);
  }
  await writeZip(path, good);
  const changed = readFileSync(path);
  changed[changed.indexOf(data)]! ^= 1;
  writeFileSync(path, changed);
  const { tensors } = await openTensorFile(path);
  t.throws(() => tensors.get('x')!.read(), { name: 'UserError', message: /the bytes of "a\/data\/0" do not have the checksum/ });
});
