/** The modules whose forward is running, outermost first: errors and the debug mode name them. */
let path: string[] = [];

export const pushModule = (name: string): void => {
  path.push(name);
};

export const popModule = (): void => {
  path.pop();
};

/** Dotted path of the running module; empty outside of modules. */
export const modulePath = (): string => path.join('.');

/** Runs `fn` in the name of a module that is not running any more: `name` is what {@link modulePath} said then. */
export const inModule = <T>(name: string, fn: () => T): T => {
  const before = path;
  path = name ? [name] : [];
  try {
    return fn();
  } finally {
    path = before;
  }
};
