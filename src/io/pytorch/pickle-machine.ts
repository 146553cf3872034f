/**
 * Reads Python's pickles as far as weights need them. Nothing is ever executed: a name that the pickle asks for is looked up
 * in a list of a few harmless ones, each of which only builds a plain value here. Any other name ends the reading.
 * Source of the opcodes: the documentation of Python's pickletools.
 */
import { UserError } from '../../errors.js';
import type { ByteSource } from './byte-source.js';

/** What a pickle may hold. Tuples and lists are arrays, dictionaries are maps; other objects are those of {@link Global}. */
export type PickleValue = null | boolean | number | bigint | string | Uint8Array | PickleValue[] | PickleMap | object;
export type PickleMap = Map<string | number, PickleValue>;

/** A name that pickles may ask for. */
export class Global {
  constructor(readonly name: string, readonly call: ((args: readonly PickleValue[]) => PickleValue) | null) {}
}

/** An object that takes its content after it was made (opcode BUILD). */
export abstract class Buildable {
  abstract build(state: PickleValue): void;
}

export interface PickleHost {
  /** The object behind a name; throws for all but the permitted ones. */
  find(name: string): PickleValue;
  /** The object behind a persistent id: PyTorch's storages. */
  persistent(id: PickleValue): PickleValue;
}

/** Real checkpoints need some ten thousand; a million of values fit any memory. */
const MOST_OPCODES = 1 << 20;
const LONGEST_PICKLE = 1 << 28;
const LONGEST_INTEGER = 64;

class PickleMachine {
  private readonly stack: PickleValue[] = [];
  /** Heights of the stack at the open MARKs. */
  private readonly marks: number[] = [];
  private readonly memo = new Map<number, PickleValue>();
  private readonly start: number;

  constructor(private readonly path: string, private readonly source: ByteSource, private readonly host: PickleHost) {
    this.start = source.position;
  }

  run(): PickleValue {
    for (let count = 0; count < MOST_OPCODES; count++) {
      if (this.source.position - this.start > LONGEST_PICKLE) break;
      const opcode = this.source.byte();
      if (opcode === STOP) return this.pop();
      const step = steps[opcode];
      if (!step) this.bad(`opcode 0x${opcode.toString(16).padStart(2, '0')} is not one that weights need`);
      step(this);
    }
    return this.bad('it is far longer than any list of weights');
  }

  bad(why: string): never {
    throw new UserError(`${this.path}: the pickle at byte ${this.source.position} cannot be read: ${why}. The file is damaged or holds something other than weights.`);
  }

  // -------------------------------------------------------------- the stack

  push(value: PickleValue): void {
    this.stack.push(value);
  }

  pop(): PickleValue {
    if (this.stack.length <= (this.marks.at(-1) ?? 0)) this.bad('it takes more from its stack than it put there');
    return this.stack.pop()!;
  }

  top(): PickleValue {
    const value = this.pop();
    this.push(value);
    return value;
  }

  mark(): void {
    this.marks.push(this.stack.length);
  }

  /** Everything above the last mark, which goes too. */
  popMark(): PickleValue[] {
    const from = this.marks.pop();
    return from === undefined ? this.bad('a mark is missing') : this.stack.splice(from);
  }

  remember(index: number): void {
    this.memo.set(index, this.top());
  }

  rememberNext(): void {
    this.remember(this.memo.size);
  }

  recall(index: number): void {
    if (!this.memo.has(index)) this.bad(`it refers to value ${index}, which it has not stored`);
    this.push(this.memo.get(index)!);
  }

  // -------------------------------------------------------------- arguments of opcodes

  byte(): number {
    return this.source.byte();
  }

  uint16(): number {
    return this.source.take(2).readUInt16LE();
  }

  uint32(): number {
    return this.source.take(4).readUInt32LE();
  }

  /** A length of eight bytes. Too large ones are refused by the source, which knows how many bytes there are. */
  uint64(): number {
    return Number(this.source.take(8).readBigUInt64LE());
  }

  int32(): number {
    return this.source.take(4).readInt32LE();
  }

  float64(): number {
    return this.source.take(8).readDoubleBE();
  }

  text(length: number, encoding: 'utf8' | 'latin1' = 'utf8'): string {
    return this.source.take(length).toString(encoding);
  }

  bytes(length: number): Uint8Array {
    return Uint8Array.from(this.source.take(length));
  }

  line(): string {
    return this.source.line();
  }

  /** A little-endian integer in two's complement. */
  long(length: number): number | bigint {
    if (length > LONGEST_INTEGER) this.bad(`an integer has ${length} bytes`);
    const hex = Buffer.from(this.source.take(length)).reverse().toString('hex');
    const value = BigInt.asIntN(8 * length, hex ? BigInt(`0x${hex}`) : 0n);
    return BigInt.asIntN(53, value) === value ? Number(value) : value;
  }

  // -------------------------------------------------------------- building values

  append(values: readonly PickleValue[]): void {
    const list = this.top();
    if (!Array.isArray(list)) this.bad('it appends to something that is no list');
    for (const value of values) (list as PickleValue[]).push(value);
  }

  setItems(pairs: readonly PickleValue[]): void {
    const map = this.top();
    if (!(map instanceof Map)) this.bad('it sets an entry of something that is no dictionary');
    this.fill(map as PickleMap, pairs);
  }

  fill(map: PickleMap, pairs: readonly PickleValue[]): PickleMap {
    if (pairs.length % 2 !== 0) this.bad('a key has no value');
    for (let i = 0; i < pairs.length; i += 2) map.set(this.key(pairs[i]!), pairs[i + 1]!);
    return map;
  }

  /** Python 2 numbered an optimiser's parameters by addresses: integers of any size. */
  private key(key: PickleValue): string | number {
    if (typeof key === 'bigint' || typeof key === 'boolean') return String(key);
    return typeof key === 'string' || typeof key === 'number' ? key : this.bad('a dictionary has a key that is neither text nor number');
  }

  find(module: PickleValue, name: PickleValue): void {
    if (typeof module !== 'string' || typeof name !== 'string') this.bad('it asks for something whose name is no text');
    this.push(this.host.find(`${module as string}.${name as string}`));
  }

  call(callable: PickleValue, args: PickleValue): void {
    if (!(callable instanceof Global)) this.bad('it calls something that is no name');
    const { name, call } = callable as Global;
    if (!call) this.bad(`it calls ${name}`);
    if (!Array.isArray(args)) this.bad(`it calls ${name} without a list of arguments`);
    this.push(call(args as PickleValue[]));
  }

  build(state: PickleValue): void {
    const object = this.top();
    if (object instanceof Buildable) object.build(state);
    // A state dictionary carries its modules' versions as an attribute; nothing here needs them.
    else if (!(object instanceof Map)) this.bad('it gives attributes to something that takes none');
  }

  persistent(id: PickleValue): void {
    this.push(this.host.persistent(id));
  }
}

const STOP = '.'.charCodeAt(0);
type Step = (m: PickleMachine) => void;

/** Text opcodes write numbers as digits; True and False are I01 and I00. */
const parsedInteger = (m: PickleMachine, line: string): PickleValue => {
  if (line === '00' || line === '01') return line === '01';
  const digits = line.replace(/L$/, '');
  if (!/^-?\d{1,100}$/.test(digits)) m.bad('a number is no number');
  const value = BigInt(digits);
  return BigInt.asIntN(53, value) === value ? Number(value) : value;
};

const parsedFloat = (m: PickleMachine, line: string): number => (line.trim() === '' || (Number.isNaN(Number(line)) && line !== 'nan') ? m.bad('a number is no number') : Number(line));

/** Protocol 0 writes texts as Python literals; only those without escapes are names. */
const parsedText = (m: PickleMachine, line: string): string => /^(['"])([^\\]*)\1$/.exec(line)?.[2] ?? m.bad('a text is not written as one');

const tuple = (count: number): Step => (m) => {
  const items = Array.from({ length: count }, () => m.pop()).reverse();
  m.push(items);
};

const byName: Record<string, Step> = {
  '(': (m) => m.mark(),
  '0': (m) => { m.pop(); },
  '1': (m) => { m.popMark(); },
  '2': (m) => m.push(m.top()),
  N: (m) => m.push(null),
  I: (m) => m.push(parsedInteger(m, m.line())),
  L: (m) => m.push(parsedInteger(m, m.line())),
  J: (m) => m.push(m.int32()),
  K: (m) => m.push(m.byte()),
  M: (m) => m.push(m.uint16()),
  F: (m) => m.push(parsedFloat(m, m.line())),
  G: (m) => m.push(m.float64()),
  S: (m) => m.push(parsedText(m, m.line())),
  V: (m) => m.push(m.line()),
  // Python 2 kept bytes in its texts; latin1 keeps each byte as one character.
  T: (m) => m.push(m.text(m.uint32(), 'latin1')),
  U: (m) => m.push(m.text(m.byte(), 'latin1')),
  X: (m) => m.push(m.text(m.uint32())),
  B: (m) => m.push(m.bytes(m.uint32())),
  C: (m) => m.push(m.bytes(m.byte())),
  ']': (m) => m.push([]),
  l: (m) => m.push(m.popMark()),
  a: (m) => { const value = m.pop(); m.append([value]); },
  e: (m) => { const values = m.popMark(); m.append(values); },
  ')': (m) => m.push([]),
  t: (m) => m.push(m.popMark()),
  '}': (m) => m.push(new Map()),
  d: (m) => m.push(m.fill(new Map(), m.popMark())),
  s: (m) => { const value = m.pop(); const key = m.pop(); m.setItems([key, value]); },
  u: (m) => { const pairs = m.popMark(); m.setItems(pairs); },
  c: (m) => { const module = m.line(); m.find(module, m.line()); },
  R: (m) => { const args = m.pop(); m.call(m.pop(), args); },
  b: (m) => { const state = m.pop(); m.build(state); },
  i: (m) => { const args = m.popMark(); const module = m.line(); m.find(module, m.line()); m.call(m.pop(), args); },
  o: (m) => { const [callable = null, ...args] = m.popMark(); m.call(callable, args); },
  P: (m) => m.persistent(m.line()),
  Q: (m) => m.persistent(m.pop()),
  g: (m) => m.recall(Number(m.line())),
  h: (m) => m.recall(m.byte()),
  j: (m) => m.recall(m.uint32()),
  p: (m) => m.remember(Number(m.line())),
  q: (m) => m.remember(m.byte()),
  r: (m) => m.remember(m.uint32()),
};

const byNumber: Record<number, Step> = {
  0x80: (m) => { m.byte(); },
  0x81: (m) => { const args = m.pop(); m.call(m.pop(), args); },
  0x85: tuple(1),
  0x86: tuple(2),
  0x87: tuple(3),
  0x88: (m) => m.push(true),
  0x89: (m) => m.push(false),
  0x8a: (m) => m.push(m.long(m.byte())),
  0x8b: (m) => m.push(m.long(m.uint32())),
  0x8c: (m) => m.push(m.text(m.byte())),
  0x8d: (m) => m.push(m.text(m.uint64())),
  0x8e: (m) => m.push(m.bytes(m.uint64())),
  0x93: (m) => { const name = m.pop(); m.find(m.pop(), name); },
  0x94: (m) => m.rememberNext(),
  // A frame only says how many bytes follow.
  0x95: (m) => { m.uint64(); },
};

const steps: readonly (Step | undefined)[] = Array.from({ length: 256 }, (_, code) => byNumber[code] ?? byName[String.fromCharCode(code)]);

/** Reads one pickle; the source stands behind it then. */
export const readPickle = (path: string, source: ByteSource, host: PickleHost): PickleValue => new PickleMachine(path, source, host).run();
