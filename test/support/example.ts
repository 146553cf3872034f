import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const source = fileURLToPath(new URL('../../src/index.ts', import.meta.url));

/** The example of the public surface's documentation, importing from where `library` says. */
export const documentedExample = (library: string): string =>
  /```js\n([\s\S]*?) \* ```/.exec(readFileSync(source, 'utf8'))![1]!.replace(/^ \* ?/gm, '').replace("'pipit'", JSON.stringify(library));

type Tap = { equal(a: number, b: number): boolean; ok(value: boolean, text: string): boolean };

/** Whether it learned exclusive or, by the losses it prints. */
export const checkLearning = (t: Tap, output: string): void => {
  const losses = [...output.matchAll(/loss ([\d.]+)/g)].map((match) => Number(match[1]));
  t.equal(losses.length, 6);
  t.ok(losses[0]! > 0.5 && losses[5]! < 0.05, `it learns exclusive or: ${losses.join(', ')}`);
};
