/** Calls `leave` when `fn` has ended, however it ends; for an async `fn`, when its promise settles. */
const leaving = <T>(fn: () => T, leave: () => void): T => {
  let result: T;
  try {
    result = fn();
  } catch (error) {
    leave();
    throw error;
  }
  if (result instanceof Promise) return result.finally(leave) as T;
  leave();
  return result;
};

/**
 * A setting that holds while functions run, async ones included. Of several that are open the one begun last decides, whatever the order in which
 * they end: async ones that overlap share one setting, since nobody can tell whose turn it is, but none leaves it behind.
 */
export class Extents<T> {
  private readonly open: { readonly value: T }[] = [];
  /** What holds now. */
  current: T;

  /** @param outside what holds where none is open */
  constructor(private readonly outside: T) {
    this.current = outside;
  }

  /** Runs `fn` with `value`. @param leave is called when it has ended */
  within<R>(value: T, fn: () => R, leave?: () => void): R {
    const entry = { value };
    this.open.push(entry);
    this.current = value;
    return leaving(fn, () => {
      this.open.splice(this.open.lastIndexOf(entry), 1);
      this.current = this.open.length ? this.open[this.open.length - 1]!.value : this.outside;
      leave?.();
    });
  }
}
