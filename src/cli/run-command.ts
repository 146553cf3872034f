/** The frame around every command: how errors end it, and what Ctrl-C does. */
import { UserError } from '../errors.js';
import { printableLines } from '../train/printable.js';
import { HelpShown } from './options.js';

const USER_ERROR = 1;
const FAULT = 2;
export const INTERRUPTED = 130;

/** A reader such as `head` may close our output early; that is its right and no fault of ours. */
const tolerateClosedOutput = (outlivesReader: boolean): void => {
  const onClosed = (stream: NodeJS.WriteStream, react: () => void): void => {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      // EIO: the terminal was closed.
      if (error.code !== 'EPIPE' && error.code !== 'EIO') throw error;
      react();
    });
  };
  onClosed(process.stdout, () => outlivesReader || process.exit(0));
  onClosed(process.stderr, () => {});
};

/** What is printed for an error and the exit code it gives. */
export const errorReport = (error: unknown): { text: string; code: number } => {
  if (error instanceof UserError) return { text: printableLines(error.message), code: USER_ERROR };
  const stack = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { text: `This is a fault of Pipit, not of your input. Please report it with these lines:\n${stack}`, code: FAULT };
};

/** Ends the process at once, after the text is out: a device or worker may still hold the event loop. */
const endWith = (error: unknown): void => {
  const { text, code } = errorReport(error);
  process.stderr.write(`${text}\n`, () => process.exit(code));
};

/**
 * Runs a command. A UserError prints its message alone and gives exit code 1; anything else prints its stack and
 * gives 2. `main` may return an exit code. After success the process ends by itself when nothing is left to do.
 *
 * @param outlivesReader goes on in silence when nobody reads the output any more: for commands whose files are what counts
 */
export const runCommand = async (main: () => Promise<number | void> | number | void, { outlivesReader = false } = {}): Promise<void> => {
  tolerateClosedOutput(outlivesReader);
  process.on('uncaughtException', endWith);
  process.on('unhandledRejection', endWith);
  try {
    process.exitCode = (await main()) ?? 0;
  } catch (error) {
    if (!(error instanceof HelpShown)) endWith(error);
  }
};

/**
 * The first Ctrl-C (or SIGTERM, or SIGHUP when the terminal is closed) calls `callback`, which should let the current step finish, save and say how to
 * resume; the second ends the process with code 130.
 *
 * @returns a function that takes the hook away
 */
export const onInterrupt = (callback: () => void): (() => void) => {
  let asked = false;
  const handler = (): void => {
    if (asked) process.exit(INTERRUPTED);
    asked = true;
    callback();
  };
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const signal of signals) process.on(signal, handler);
  return () => {
    for (const signal of signals) process.off(signal, handler);
  };
};
