/** Calls `leave` when `fn` has ended, however it ends; for an async `fn`, when its promise settles. */
export const leaving = <T>(fn: () => T, leave: () => void): T => {
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
