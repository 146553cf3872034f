// The command line of run.sh, which hands it on to suite.mjs.
import { parseArgs } from 'node:util';

export const PARTS = ['gradcheck', 'kernels', 'halves', 'step', 'run', 'pytorch', 'variants', 'tests'];

export const HELP = `Usage: sh run.sh [options]       results go to $OUT, or to ./results
  --only PART,...    of ${PARTS.join(', ')} (default: all, in this order)
  --small            tiny sizes, to see that everything runs (also without a GPU)
  --adapter NAME     lavapipe, swiftshader or a part of the adapter's name (default: a GPU)
  --quick            of the kernels only the products and convolutions of the report
  --limit SECONDS    longest time for one part (default 600)`;

const options = {
  out: { type: 'string', default: 'results' }, only: { type: 'string' }, small: { type: 'boolean', default: false }, adapter: { type: 'string', default: '' },
  limit: { type: 'string', default: '600' }, quick: { type: 'boolean', default: false }, help: { type: 'boolean', default: false },
};

const parse = (args) => {
  try {
    return parseArgs({ args, options }).values;
  } catch (error) {
    throw new Error(`${error.message}\n${HELP}`, { cause: error });
  }
};

const chosenParts = (text) => {
  const names = text?.split(',').map((name) => name.trim()) ?? PARTS;
  const unknown = names.find((name) => !PARTS.includes(name));
  if (unknown !== undefined) throw new Error(`--only: there is no part "${unknown}"\n${HELP}`);
  return PARTS.filter((name) => names.includes(name));
};

const seconds = (text) => {
  const value = Number(text);
  // A timer takes no more milliseconds than these.
  if (!(value > 0 && 1000 * value < 2 ** 31)) throw new Error(`--limit must be a number of seconds above 0 and below 2147483, got "${text}"`);
  return value;
};

/** Throws an error with a message for the user. */
export const readOptions = (args) => {
  const { only, limit, ...values } = parse(args);
  return { ...values, limit: seconds(limit), parts: chosenParts(only) };
};
