import t from 'tap';
import { appendFileSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseSafetensors, rangesOf } from '../src/io/safetensors-format.js';
import { openSafetensors, readSafetensors, type StoredTensor, writeSafetensors } from '../src/io/safetensors.js';
import { type Dtype, toFloat32 } from '../src/io/tensor-file.js';
import { portableUniform } from './support/portable.js';

const example = (): Map<string, StoredTensor> => new Map<string, StoredTensor>([
  ['u8', { dtype: 'U8', shape: [3], data: Uint8Array.of(1, 2, 255) }],
  ['weights', { dtype: 'F32', shape: [2, 3], data: Float32Array.of(1, -0, NaN, Infinity, 1e-45, -2.5) }],
  ['step', { dtype: 'I64', shape: [], data: BigInt64Array.of(-(2n ** 62n)) }],
  ['exact', { dtype: 'F64', shape: [1], data: Float64Array.of(0.1) }],
  ['labels', { dtype: 'I32', shape: [2], data: Int32Array.of(-1, 7) }],
  ['rng', { dtype: 'U32', shape: [2], data: Uint32Array.of(0xffffffff, 3) }],
  ['empty', { dtype: 'F32', shape: [0, 4], data: new Float32Array(0) }],
]);

/** A file built by hand, so that reading does not lean on our own writer. */
const handmade = (header: string | object, data: Uint8Array = new Uint8Array(0)): Buffer => {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([length, json, data]);
};

const bits = (data: StoredTensor['data']) => [...new Uint8Array(data.buffer, data.byteOffset, data.byteLength)];

t.test('round trip keeps every bit, shape, dtype and the metadata', async (t) => {
  const path = join(t.testdir(), 'a.safetensors');
  writeSafetensors(path, example(), { format: 'pt', note: 'ä"\n' });
  const { tensors, metadata } = readSafetensors(path);
  t.same(metadata, { format: 'pt', note: 'ä"\n' });
  t.equal(tensors.size, 7);
  for (const [name, wanted] of example()) {
    const got = tensors.get(name)!;
    t.equal(got.dtype, wanted.dtype, name);
    t.same(got.shape, wanted.shape, name);
    t.same(bits(got.data), bits(wanted.data), `${name}: bits`);
  }
});

t.test('bytes depend on the content alone, and data starts aligned', async (t) => {
  const folder = t.testdir();
  writeSafetensors(join(folder, 'a'), example(), { a: '1', b: '2' });
  writeSafetensors(join(folder, 'b'), new Map([...example()].reverse()), { b: '2', a: '1' });
  const bytes = readFileSync(join(folder, 'a'));
  t.ok(bytes.equals(readFileSync(join(folder, 'b'))));
  const headerLength = Number(bytes.readBigUInt64LE(0));
  t.equal(headerLength % 8, 0, 'header padded to 8 bytes');
  const header = JSON.parse(bytes.toString('utf8', 8, 8 + headerLength));
  t.equal(header.exact.data_offsets[0] % 8, 0);
  t.equal(header.weights.data_offsets[0] % 4, 0);
  t.equal(bytes.readFloatLE(8 + headerLength + header.weights.data_offsets[0] + 20), -2.5, 'little-endian, row-major');
});

t.test('reads a file made by hand, and views into larger arrays are written as such', async (t) => {
  const folder = t.testdir();
  const path = join(folder, 'h');
  writeFileSync(path, handmade({ x: { dtype: 'F32', shape: [1, 2], data_offsets: [1, 9] }, y: { dtype: 'U8', shape: [1], data_offsets: [0, 1] } },
    Buffer.concat([Buffer.of(9), Buffer.from(Float32Array.of(1.5, -3).buffer)])));
  t.same([...readSafetensors(path).tensors.get('x')!.data], [1.5, -3], 'an unaligned tensor');
  // Node's Buffer, whose slice() is a view, and which lies anywhere in a larger one.
  for (const shift of [0, 1, 2, 3]) {
    const shifted = Buffer.concat([Buffer.alloc(shift), readFileSync(path)]).subarray(shift);
    t.same([...parseSafetensors(rangesOf(shifted, 'bytes')).tensors.get('x')!.read()], [1.5, -3], `an unaligned tensor in a Buffer that begins at ${shift}`);
  }
  writeFileSync(path, handmade({ x: { dtype: 'U8', shape: [2], data_offsets: [0, 2] }, none: { dtype: 'U8', shape: [0], data_offsets: [0, 0] } },
    Buffer.of(1, 2)));
  t.same([...readSafetensors(path).tensors.keys()], ['x', 'none'], 'one without numbers begins where another does');
  const view = Float32Array.of(0, 1, 2, 3).subarray(1, 3);
  writeSafetensors(path, new Map([['v', { dtype: 'F32' as const, shape: [2], data: view }]]));
  t.same([...readSafetensors(path).tensors.get('v')!.data], [1, 2]);
});

t.test('every truncation is refused with the name of the file', async (t) => {
  const path = join(t.testdir(), 'cut.safetensors');
  writeSafetensors(path, example(), { a: 'b' });
  const whole = readFileSync(path);
  const accepted: number[] = [];
  for (let length = 0; length < whole.length; length++) {
    writeFileSync(path, whole.subarray(0, length));
    try {
      readSafetensors(path);
      accepted.push(length);
    } catch (error) {
      if ((error as Error).name !== 'UserError' || !(error as Error).message.includes(path)) accepted.push(length);
    }
  }
  t.same(accepted, []);
  writeFileSync(path, Buffer.concat([whole, Buffer.of(0)]));
  t.throws(() => readSafetensors(path), /1 bytes at the end belong to nothing/);
});

const entry = (dtype: string, shape: unknown, range: unknown) => ({ dtype, shape, data_offsets: range });

const damaged: [string, Buffer, RegExp][] = [
  ['header length absurd', Buffer.from('ffffffffffffff7f', 'hex'), /announces a header of/],
  ['header not JSON', handmade('{nope'), /header is not JSON/],
  ['header is a list', handmade('[]'), /header is not an object/],
  ['unknown dtype', handmade({ x: entry('F8_E4M3', [2], [0, 2]) }, new Uint8Array(2)), /dtype F8_E4M3; only F64, F32/],
  ['dtype of the prototype', handmade({ x: entry('constructor', [1], [0, 2]) }, new Uint8Array(2)), /dtype constructor/],
  ['no dtype', handmade({ x: null }), /has no dtype/],
  ['negative size', handmade({ x: entry('U8', [-1], [0, 1]) }, new Uint8Array(1)), /no valid shape/],
  ['range backwards', handmade({ x: entry('U8', [1], [1, 0]) }, new Uint8Array(1)), /no valid byte range/],
  ['range of three', handmade({ x: entry('U8', [1], [0, 1, 1]) }, new Uint8Array(1)), /no valid byte range/],
  ['range against shape', handmade({ x: entry('F32', [2], [0, 4]) }, new Uint8Array(4)), /needs 8 bytes for F32 \[2\] but its byte range has 4/],
  ['overlap', handmade({ x: entry('U8', [2], [0, 2]), y: entry('U8', [2], [1, 3]) }, new Uint8Array(3)), /"x" and "y" overlap/],
  ['gap', handmade({ x: entry('U8', [1], [0, 1]), y: entry('U8', [1], [2, 3]) }, new Uint8Array(3)), /1 bytes before tensor "y"/],
  ['cut off', handmade({ x: entry('U8', [9], [0, 9]) }, new Uint8Array(3)), /only 3 bytes are there: the file is cut off/],
  ['metadata not text', handmade({ __metadata__: { a: 1 } }), /__metadata__ must map names to texts/],
];

for (const [what, bytes, message] of damaged) {
  t.test(`refused: ${what}`, async (t) => {
    const path = join(t.testdir(), 'bad.safetensors');
    writeFileSync(path, bytes);
    t.throws(() => readSafetensors(path), { name: 'UserError', message });
    t.throws(() => readSafetensors(path), new RegExp('bad\\.safetensors'), 'names the file');
  });
}

t.test('flipped bits and scrambled stretches are read or refused, never more', async (t) => {
  const path = join(t.testdir(), 'fuzzed.safetensors');
  writeSafetensors(path, example(), { note: 'a' });
  const whole = readFileSync(path);
  const before = process.resourceUsage().maxRSS;
  const header = 8 + Number(whole.readBigUInt64LE(0));
  let refused = 0;
  for (let round = 0; round < 3000; round++) {
    const copy = Buffer.from(whole);
    const [flips, longest] = [1 + Math.floor(portableUniform(1, round) * 4), round % 5 === 0 ? 30 : 1];
    for (let flip = 0; flip < flips; flip++) {
      // Nine in ten hit the length or the header: numbers may be any.
      const reach = portableUniform(2 + flip, round) < 0.9 ? header : copy.length;
      const from = Math.floor(portableUniform(7 + flip, round) * reach);
      for (let i = from; i < Math.min(reach, from + longest); i++) copy[i]! ^= 1 << Math.floor(portableUniform(12 + flip, round + i) * 8);
    }
    writeFileSync(path, copy);
    try {
      for (const { read } of openSafetensors(path).tensors.values()) read();
    } catch (error) {
      if ((error as Error).name !== 'UserError' || !(error as Error).message.includes(path)) throw error;
      refused++;
    }
  }
  t.ok(refused > 1500, `${refused} of 3000 refused`);
  const grown = (process.resourceUsage().maxRSS - before) / 1024;
  // The file has some hundred bytes; what is left is garbage that was not collected yet.
  t.ok(grown < 200, `the process grew by ${grown.toFixed(0)} MiB`);
});

t.test('missing file, folder, and wrong tensors', async (t) => {
  const folder = t.testdir();
  t.throws(() => readSafetensors(join(folder, 'none')), { name: 'UserError', message: /none cannot be read: there is no such file/ });
  t.throws(() => readSafetensors(folder), { name: 'UserError', message: /is not a file/ });
  const write = (dtype: Dtype, shape: number[], name = 'x') =>
    () => writeSafetensors(join(folder, 'w'), new Map([[name, { dtype, shape, data: Float32Array.of(1, 2) }]]));
  t.throws(write('F32', [3]), { name: 'UserError', message: /shape \[3\] = 3 elements but 2 values/ });
  t.throws(write('I32', [2]), { name: 'UserError', message: /says dtype I32 but holds a Float32Array/ });
  t.throws(write('F32', [2], '__metadata__'), { name: 'UserError' });
});

t.test('half floats, small integers and booleans become float32', async (t) => {
  const path = join(t.testdir(), 'kinds');
  // Published bit patterns of IEEE half precision: 1, −2, 65504, the smallest subnormal, 1/3 rounded, −0, infinities, NaN.
  const half = Uint16Array.of(0x3c00, 0xc000, 0x7bff, 0x0001, 0x3555, 0x8000, 0x7c00, 0xfc00, 0x7e00);
  writeSafetensors(path, new Map<string, StoredTensor>([
    ['half', { dtype: 'F16', shape: [9], data: half }],
    ['brain', { dtype: 'BF16', shape: [4], data: Uint16Array.of(0x3f80, 0xc000, 0x7f7f, 0x0001) }],
    ['long', { dtype: 'I64', shape: [2], data: BigInt64Array.of(-3n, 2n ** 40n) }],
    ['short', { dtype: 'I16', shape: [1], data: Int16Array.of(-300) }],
    ['flags', { dtype: 'BOOL', shape: [2], data: Uint8Array.of(1, 0) }],
    ['exact', { dtype: 'F64', shape: [1], data: Float64Array.of(0.1) }],
  ]));
  const { tensors } = openSafetensors(path);
  const numbers = (name: string) => [...toFloat32(tensors.get(name)!.dtype, tensors.get(name)!.read())];
  t.strictSame(numbers('half'), [1, -2, 65504, 2 ** -24, 0.333251953125, -0, Infinity, -Infinity, NaN]);
  t.strictSame(numbers('brain'), [1, -2, 3.3895313892515355e38, 2 ** -133]);
  t.strictSame([...numbers('long'), ...numbers('short'), ...numbers('flags'), ...numbers('exact')], [-3, 2 ** 40, -300, 1, 0, Math.fround(0.1)]);
});

t.test('a tensor behind 3 GiB is read alone, and a file that changes is refused', async (t) => {
  const path = join(t.testdir(), 'large');
  const large = 3 * 2 ** 30;
  const start = handmade({ large: entry('U8', [large], [0, large]), last: entry('F32', [2], [large, large + 8]) });
  writeFileSync(path, start);
  // The gap takes no space on disk.
  truncateSync(path, start.length + large);
  appendFileSync(path, Buffer.from(Float32Array.of(1.5, -3).buffer));
  const { tensors } = openSafetensors(path);
  t.same([...tensors.get('last')!.read()], [1.5, -3]);
  appendFileSync(path, Buffer.of(0));
  t.throws(() => tensors.get('last')!.read(), { name: 'UserError', message: /large was changed while it was read/ });
  truncateSync(path, statSync(path).size - 1);
  utimesSync(path, 1, 1);
  t.throws(() => tensors.get('last')!.read(), { name: 'UserError', message: /large was changed while it was read/ },
    'of the same length, as checkpoints of one run are');
  rmSync(path);
});

t.test('tensors are read while writing, one at a time, and a failure leaves no file', async (t) => {
  const folder = t.testdir();
  const order: string[] = [];
  const lazy = (name: string, shape: number[]) => ({ dtype: 'F32' as const, shape, read: () => { order.push(name); return Float32Array.of(1, 2); } });
  writeSafetensors(join(folder, 'a'), new Map([['y', lazy('y', [2])], ['x', lazy('x', [2])]]));
  t.same(order, ['x', 'y']);
  t.throws(() => writeSafetensors(join(folder, 'b'), new Map([['x', lazy('x', [3])]])),
    { name: 'UserError', message: /shape \[3\] = 3 elements but 2 values/ });
  t.same(readdirSync(folder), ['a']);
});
