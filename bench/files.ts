/** The files that a run leaves. */
import { fail, UserError } from '../src/errors.js';
import { writeFileAtomic } from '../src/io/atomic.js';

export const asJson = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;

/** Every file is tried, whatever becomes of the others. */
export const writeFiles = (contents: readonly (readonly [path: string | undefined, content: () => string])[]): void => {
  const complaints: string[] = [];
  for (const [path, content] of contents) {
    try {
      if (path !== undefined) writeFileAtomic(path, content());
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      complaints.push(error.message);
    }
  }
  if (complaints.length) fail(complaints.join('\n'));
};
