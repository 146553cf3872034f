import { fail } from '../errors.js';
import { Tensor } from '../tensor/tensor.js';

// JavaScript's callers have no compiler to tell them.

/** Refuses what is no tensor. @param index of the operand, from 0 */
export const checkTensor = (op: string, operand: Tensor, index: number): void => {
  if (!(operand instanceof Tensor)) fail(`${op}: operand ${index + 1} must be a tensor, got ${typeof operand}; tensor(...) makes one of numbers`);
};

/** Refuses what is no number. */
export const checkNumbers = (op: string, values: readonly number[]): void => {
  for (const value of values) if (typeof value !== 'number') fail(`${op}: a number is wanted, got ${typeof value}`);
};

/** Refuses a word that is none of an option's. */
export const checkChoice = (op: string, option: string, value: string, choices: readonly string[]): void => {
  if (!choices.includes(value)) fail(`${op}: ${option} must be ${choices.map((choice) => `"${choice}"`).join(' or ')}, got "${value}"`);
};

/** Refuses numbers that are no integers of at least `least`. */
export const checkIntegers = (op: string, option: string, values: readonly number[], least: number): void => {
  if (!values.every((value) => Number.isInteger(value) && value >= least)) fail(`${op}: ${option} [${values.join(', ')}] must hold integers of at least ${least}`);
};
