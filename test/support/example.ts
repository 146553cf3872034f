import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const source = fileURLToPath(new URL('../../src/index.ts', import.meta.url));

/** The example of the public surface's documentation, importing from where `library` says. */
export const documentedExample = (library: string): string =>
  /```js\n([\s\S]*?) \* ```/.exec(readFileSync(source, 'utf8'))![1]!.replace(/^ \* ?/gm, '').replace("'pipit'", JSON.stringify(library));

/** Whether it learned exclusive or, by the losses it prints. */
export const learnedXor = (output: string): boolean => {
  const losses = [...output.matchAll(/loss ([\d.]+)/g)].map((match) => Number(match[1]));
  return losses.length === 6 && losses[0]! > 0.5 && losses[5]! < 0.05;
};
