/**
 * An error caused by what the user gave us (options, files, shapes), not by a fault of Pipit.
 * Commands print its message alone; anything else is shown with its stack.
 */
export class UserError extends Error {
  override readonly name: string = 'UserError';
}

/** Throws a {@link UserError}; the message says what was wrong, where, and what to do. */
export function fail(message: string): never {
  throw new UserError(message);
}

/** Refuses options of a name that there is not, which would be passed over in silence. @param hint about the one that was met */
export const refuseUnknown = (op: string, options: object, known: readonly string[], hint: (unknown: string) => string = () => ''): void => {
  const unknown = Object.keys(options).find((name) => !known.includes(name));
  if (unknown) fail(`${op}: there is no option "${unknown}"; there are ${known.join(', ')}${hint(unknown)}`);
};

/** A count for a message: `1 epoch`, `2 epochs`. */
export const counted = (count: number, one: string, more = `${one}s`): string => `${count} ${count === 1 ? one : more}`;

/** A path as an argument of a command that a message names, to be copied into a shell. */
export const inCommand = (path: string): string => (/^[\p{L}\p{N}_@%+=:,./\\-]+$/u.test(path) ? path : `"${path.replace(/["$`]/g, '\\$&')}"`);
