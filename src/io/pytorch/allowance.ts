import { UserError } from '../../errors.js';

/** Memory of an entry in a dictionary, roughly. */
export const ENTRY_BYTES = 64;
const MOST_BYTES = 1 << 28;

/** Bounds what a pickle can make of values that it holds once: a few bytes can ask for thousands of copies. */
export class Allowance {
  private spent = 0;

  constructor(private readonly path: string) {}

  spend(bytes: number): void {
    this.spent += bytes;
    if (this.spent > MOST_BYTES) throw new UserError(`${this.path} makes more than ${MOST_BYTES} bytes out of a few. The file holds something other than weights.`);
  }
}
