/**
 * Text from files and their names as it may stand in a line of a terminal: control characters, which could move the cursor or
 * start a line of their own, are spelt out.
 */
export const printable = (text: string): string =>
  text.replace(/[\p{Cc}\p{Zl}\p{Zp}]/gu, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);

/** As {@link printable}, of a text of several lines. */
export const printableLines = (text: string): string => text.split('\n').map(printable).join('\n');

/** Remarks for the user, a line each. */
export const printNotes = (notes: readonly string[]): void => {
  for (const note of notes) console.log(`Note: ${printable(note)}`);
};
