import { fail } from '../errors.js';
import type { Tensor } from './tensor.js';

/** Anything with resources that end with a scope: tensors, and the tape's nodes. */
export interface Scoped {
  endScope(): void;
}

class Scope {
  readonly members = new Set<Scoped>();
  /** Outlive this scope, but not its outermost parent (the tape's nodes). Most scopes have none. */
  inherited: Set<Scoped> | null = null;
  ended = false;

  constructor(private readonly opener: Scope | null) {}

  /** The innermost scope around this one that is still open. */
  get parent(): Scope | null {
    return this.opener?.ended ? this.opener.parent : this.opener;
  }
}

let current: Scope | null = null;

/** Registers what ends with the innermost scope. */
export const track = (member: Scoped): void => {
  current?.members.add(member);
};

/** Registers what lives until the outermost scope ends. */
export const trackOutermost = (member: Scoped): void => {
  if (current) (current.inherited ??= new Set()).add(member);
};

export const untrack = (member: Scoped): void => {
  for (let scope = current; scope; scope = scope.parent) {
    if (scope.members.delete(member) || scope.inherited?.delete(member)) return;
  }
};

/** Gives what no open scope has to the innermost one. */
export const adopt = (member: Scoped): void => {
  for (let scope = current; scope; scope = scope.parent) if (scope.members.has(member) || scope.inherited?.has(member)) return;
  track(member);
};

/** Whether the innermost scope is the one that ends a tensor: it was made here, or returned to here, and nobody keeps it. */
export const endsHere = (member: Scoped): boolean => current?.members.has(member) ?? false;

/** Lets a member end together with another one: a gradient with its leaf, which may live in an outer scope or in none. */
export const trackWith = (owner: Scoped, member: Scoped): void => {
  untrack(member);
  for (let scope = current; scope; scope = scope.parent) {
    if (scope.members.has(owner)) {
      scope.members.add(member);
      return;
    }
  }
};

/**
 * Runs `fn`; every tensor made inside is released at the end, except those that `fn` returns
 * (directly or in arrays and plain objects) and those marked with `keep()`. Works with async functions:
 * the scope then ends when the promise settles. Async scopes must nest; two that run side by side
 * are refused, since nobody could tell whose tensors are whose. For the same reason, what other code makes while an async scope waits belongs to that scope:
 * mark with `keep()` what shall outlive it.
 */
export const scope = <T>(fn: () => T): T => {
  const opened = new Scope(current);
  current = opened;
  let result: T;
  try {
    result = fn();
  } catch (error) {
    close(opened, undefined);
    throw error;
  }
  if (result instanceof Promise) {
    return result.then(
      (value) => { close(opened, value); return value; },
      (error: unknown) => { close(opened, undefined); throw error; },
    ) as T;
  }
  close(opened, result);
  return result;
};

const close = (ended: Scope, result: unknown): void => {
  const overlapping = current !== ended;
  ended.ended = true;
  // Few things are returned: looking through an array costs less than making a set.
  const returned: Scoped[] = [];
  collect(result, returned);
  for (const member of ended.members) {
    if (!returned.includes(member)) member.endScope();
    else ended.parent?.members.add(member);
  }
  if (ended.inherited) bequeath(ended.inherited, ended.parent);
  if (overlapping) fail('two async scopes overlap: a scope ended while one opened later was still running; await the inner scope before the outer one ends');
  current = ended.parent;
};

const bequeath = (members: Set<Scoped>, heir: Scope | null): void => {
  if (!heir) for (const member of members) member.endScope();
  else if (!heir.inherited) heir.inherited = members;
  else for (const member of members) heir.inherited.add(member);
};

const isScoped = (value: unknown): value is Scoped => typeof value === 'object' && value !== null && 'endScope' in value;

const collect = (value: unknown, into: Scoped[]): void => {
  if (value === null || typeof value !== 'object' || ArrayBuffer.isView(value)) return;
  if (isScoped(value)) {
    into.push(value);
    collect((value as Partial<Tensor>).grad, into);
  } else if (Array.isArray(value)) for (const item of value) collect(item, into);
  else if (Object.getPrototypeOf(value) === Object.prototype) for (const item of Object.values(value)) collect(item, into);
};

/** Takes a tensor out of its scope: it lives until its owner (a module, an optimiser) releases it. */
export const keep = <T extends Tensor>(tensor: T): T => {
  if (!isScoped(tensor)) fail(`keep: a tensor is wanted, got ${Array.isArray(tensor) ? 'a list; keep each of its tensors' : String(tensor)}`);
  untrack(tensor);
  if (tensor.grad) untrack(tensor.grad);
  return tensor;
};
