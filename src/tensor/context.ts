/** The modules whose forward is running, outermost first: errors and the debug mode name them. */
const path: string[] = [];

export const pushModule = (name: string): void => {
  path.push(name);
};

export const popModule = (): void => {
  path.pop();
};

/** Dotted path of the running module; empty outside of modules. */
export const modulePath = (): string => path.join('.');
