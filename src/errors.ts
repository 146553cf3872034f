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

/** A count for a message: `1 epoch`, `2 epochs`. */
export const counted = (count: number, one: string, more = `${one}s`): string => `${count} ${count === 1 ? one : more}`;
