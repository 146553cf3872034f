/** Verdicts on ops as lines of a table. */
import type { Verdict } from '../autograd/verify.js';
import { UserError } from '../errors.js';

export const errorText = ({ error }: Verdict): string => (error === 0 ? 'exact' : error.toExponential(1));

/** A check that threw allows no error: there was none to compare. */
const reason = ({ tolerance, note }: Verdict): string => (tolerance ? `may err by ${tolerance}; ${note}` : note);

export const verdictText = (forward: Verdict, gradient: Verdict | null): string => {
  const wrong = [forward, gradient].filter((v): v is Verdict => v !== null && !v.passed);
  return wrong.length ? `FAILED: ${wrong.map((v) => `${v === forward ? 'forward' : 'gradient'}: ${reason(v)}`).join('; ')}` : 'ok';
};

/** What checks threw: the cases of an op mostly meet the same fault, whose lines and stack are shown once. */
export class Faults {
  private readonly told = new Set<string>();

  describe(error: unknown): string {
    if (!(error instanceof Error)) return String(error);
    if (error instanceof UserError) return error.message;
    if (this.told.has(error.message)) return `${error.message.split('\n', 1)[0]!} (as above)`;
    this.told.add(error.message);
    return error.stack ?? error.message;
  }
}
