import { UserError } from '../../errors.js';
import type { FileReader } from '../file-reader.js';

const WINDOW = 1 << 16;
/** Longest line of a pickle's text opcodes; real ones are names. */
const LONGEST_LINE = 1 << 16;
/** Longest text or block of bytes: a pickle keeps the numbers of its tensors elsewhere. */
const LONGEST_PIECE = 1 << 28;
const NEWLINE = 10;

/** Reads a part of a file from front to back. Only a small window of it is in memory. */
export class ByteSource {
  private window: Buffer = Buffer.alloc(0);
  /** Place of the window's first byte in the file. */
  private windowStart: number;

  constructor(private readonly file: FileReader, private at: number, private readonly end: number) {
    this.windowStart = at;
  }

  /** Place of the next byte in the file. */
  get position(): number {
    return this.at;
  }

  byte(): number {
    return this.take(1)[0]!;
  }

  /** The next bytes; they may be views of the window and must be used at once or copied. */
  take(count: number): Buffer {
    this.require(count);
    if (count > LONGEST_PIECE) throw new UserError(`${this.file.path}: a single value at byte ${this.at} has ${count} bytes. The file is damaged or holds something other than weights.`);
    const from = this.at;
    this.at += count;
    if (count > WINDOW) return Buffer.from(this.file.read(from, count).buffer);
    if (from < this.windowStart || this.at > this.windowStart + this.window.length) {
      this.window = Buffer.from(this.file.read(from, Math.min(WINDOW, this.end - from)).buffer);
      this.windowStart = from;
    }
    return this.window.subarray(from - this.windowStart, this.at - this.windowStart);
  }

  /** Passes over bytes without reading them. */
  skip(count: number): void {
    this.require(count);
    this.at += count;
  }

  /** Text up to the next line end, which is skipped. */
  line(): string {
    const bytes: number[] = [];
    for (let next = this.byte(); next !== NEWLINE; next = this.byte()) {
      if (bytes.push(next) > LONGEST_LINE) throw new UserError(`${this.file.path}: a line of text at byte ${this.at} does not end. The file is damaged or no pickle; use another copy.`);
    }
    return Buffer.from(bytes).toString('latin1');
  }

  private require(count: number): void {
    if (count > this.end - this.at) {
      throw new UserError(`${this.file.path} ends too early: at byte ${this.at}, ${count} more bytes are announced but only ${this.end - this.at} are there. It is half-written or damaged; use another copy.`);
    }
  }
}
