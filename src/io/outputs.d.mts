/**
 * What is wrong with the files that a run is to write, each by the option that names it, as a sentence: a missing folder, no
 * permission, a folder in its place, or one file for two purposes. Undefined where all can be written.
 */
export function outputComplaint(outputs: Readonly<Record<string, string | undefined>>): string | undefined;
