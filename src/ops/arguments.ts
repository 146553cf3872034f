import { fail } from '../errors.js';

/** Refuses a word that is none of an option's. JavaScript's callers have no compiler to tell them. */
export const checkChoice = (op: string, option: string, value: string, choices: readonly string[]): void => {
  if (!choices.includes(value)) fail(`${op}: ${option} must be ${choices.map((choice) => `"${choice}"`).join(' or ')}, got "${value}"`);
};

/** Refuses numbers that are no integers of at least `least`. */
export const checkIntegers = (op: string, option: string, values: readonly number[], least: number): void => {
  if (!values.every((value) => Number.isInteger(value) && value >= least)) fail(`${op}: ${option} [${values.join(', ')}] must hold integers of at least ${least}`);
};
