import { fail, refuseUnknown } from '../errors.js';
import type { Runtime } from '../kernels/runtime.js';
import { formatShape, type Shape } from '../tensor/shape.js';
import { Tensor } from '../tensor/tensor.js';

// JavaScript's callers have no compiler to tell them.

/** Refuses what is no tensor. @param index of the operand, from 0 */
export const checkTensor = (op: string, operand: Tensor, index: number): void => {
  if (!(operand instanceof Tensor)) fail(`${op}: operand ${index + 1} must be a tensor, got ${operand as unknown instanceof Promise ? 'a promise; await it' : `${operand === null ? 'null' : typeof operand}; tensor(...) makes one of numbers`}`);
};

/** Refuses what is no list of tensors. @param instead where such a list comes from */
export const checkTensors = (op: string, what: string, list: readonly Tensor[], instead: string): void => {
  if (!Array.isArray(list)) fail(`${op}: the ${what} must be a list of tensors, as of ${instead}, got ${describeValue(list)}`);
  list.forEach((item: unknown, i) => {
    if (!(item instanceof Tensor)) fail(`${op}: the ${what} must be tensors, as of ${instead}; number ${i + 1} is ${describeValue(item)}`);
  });
};

/** Refuses what is no function. @param usage how the call is written */
export const checkFunction = (op: string, fn: unknown, usage: string): void => {
  if (typeof fn !== 'function') fail(`${op}: the first argument must be a function, as in ${usage}, got ${describeValue(fn)}`);
};

/** A word for what somebody passed. */
const describeValue = (value: unknown): string =>
  (value instanceof Tensor ? 'a tensor' : typeof value === 'object' && value !== null ? `a ${value.constructor?.name ?? 'object'}` : String(value));

/** Tells of a tensor that is not on the device of those that it meets. */
export const refuseForeign = (op: string, { label, shape, runtime }: Tensor, others: Runtime): never => {
  const [own, wanted] = [runtime, others].map(({ device }) => device.report.name);
  return fail(`${op}: tensor "${label}" ${formatShape(shape)} is on another device (${own}) than the others (${wanted}); tensor(await x.data(), x.shape, { runtime }) brings it over`);
};

/** Refuses a number outside of its limits. */
export const checkWithin = (op: string, option: string, value: number, least: number, most = Infinity): void => {
  if (!(typeof value === 'number' && value >= least && value <= most)) fail(`${op}: ${option} must be a number ${most === Infinity ? `of at least ${least}` : `from ${least} to ${most}`}, got ${String(value)}`);
};

/** Refuses what is no number. */
export const checkNumbers = (op: string, values: readonly number[]): void => {
  for (const value of values) if (typeof value !== 'number') fail(`${op}: a number is wanted, got ${typeof value}`);
};

/** Options, refused where they lack what has no default. */
export const given = <T extends object>(op: string, options: T, ...needed: readonly (keyof T & string)[]): T => {
  const missing = needed.find((name) => ((options as T | null | undefined)?.[name] ?? null) === null);
  if (missing) fail(`${op}: the options must say ${missing}, as in { ${missing}: … }`);
  return options;
};

/** Refuses options that would be passed over in silence, such as those that PyTorch has and Pipit has not. */
export const checkNames = (op: string, options: object, known: readonly string[]): void => {
  if (typeof options !== 'object' || options === null) fail(`${op}: the options must be an object, as in { ${known[0]}: … }, got ${describeValue(options)}`);
  refuseUnknown(op, options, known);
};

/** Refuses a word that is none of an option's. */
export const checkChoice = (op: string, option: string, value: string, choices: readonly string[]): void => {
  if (!choices.includes(value)) fail(`${op}: ${option} must be ${choices.map((choice) => `"${choice}"`).join(' or ')}, got "${value}"`);
};

/** Refuses shapes other than those of logits [batch, classes] with labels [batch]. */
export const checkLabelled = (op: string, [logits, labels]: readonly Shape[]): void => {
  if (logits!.length !== 2 || labels!.length !== 1 || logits![0] !== labels![0]) {
    fail(`${op}: expects logits [batch, classes] and labels [batch], got ${formatShape(logits!)} and ${formatShape(labels!)}`);
  }
};

/** Refuses a list whose numbers are no integers of at least `least`. */
export const checkIntegers = (op: string, option: string, values: readonly number[], least: number): void => {
  const listed = Array.isArray(values);
  if (!listed || !values.every((value) => Number.isInteger(value) && value >= least)) fail(`${op}: ${option} ${listed ? formatShape(values) : String(values)} must hold integers of at least ${least}`);
};

export type Pair = readonly [number, number];

/** A number for both axes, or [vertical, horizontal]. */
export const pair = (op: string, option: string, value: number | Pair): Pair => {
  if (typeof value === 'number') return [value, value];
  if (Array.isArray(value) && value.length !== 2) fail(`${op}: ${option} must be a number for both axes, or [vertical, horizontal]; got ${formatShape(value)}`);
  return value;
};
