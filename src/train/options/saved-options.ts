import { fail } from '../../errors.js';
import type { Checkpoint } from '../checkpoint-meta.js';
import { parseConfig } from './config-values.js';
import { type ResultOptions, resultOptions } from './train-options.js';

/** What describes the network and has no default of its own: every checkpoint must tell it. */
const NEEDED = ['model', 'imageSize', 'batchSize', 'attentions'] as const;

/**
 * The options that a checkpoint was trained with. One of an earlier version lacks later options; their defaults are what it was trained with.
 *
 * @throws UserError when an option is missing or has a value that no run could have had
 */
export const savedOptions = ({ options, file: { path } }: Checkpoint): ResultOptions => {
  const { values } = parseConfig(resultOptions, path, Object.fromEntries(Object.keys(resultOptions).map((name) => [name, options[name] ?? null])));
  const missing = NEEDED.find((name) => values[name] === undefined);
  if (missing) fail(`${path}: the metadata does not tell the option "${missing}" of training; use another checkpoint`);
  return values;
};
