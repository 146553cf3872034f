/** The package as a project finds it: its entries, and declarations that are whole by themselves under strict settings. */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const { exports: entries, dependencies, scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as
  { exports: Record<string, unknown>; dependencies: Record<string, string>; scripts: Record<string, string> };

/** Runs the compiler in a folder. @returns what it said */
const tsc = (folder: string, ...args: string[]): string =>
  spawnSync(process.execPath, [join(ROOT, 'node_modules/typescript/bin/tsc'), ...args], { cwd: folder, encoding: 'utf8' }).stdout;

/** A project with the package installed: scripts as they are built, declarations as `npm run types` makes them. */
const project = (folder: string): { readonly installed: string; readonly said: string } => {
  const installed = join(folder, 'node_modules/pipit');
  mkdirSync(installed, { recursive: true });
  cpSync(join(ROOT, 'package.json'), join(installed, 'package.json'));
  const said = tsc(ROOT, '-p', 'src', '--outDir', join(installed, 'dist/types'));
  for (const name of ['index.js', 'browser.js']) writeFileSync(join(installed, 'dist', name), '');
  for (const name of Object.keys(dependencies).filter((name) => name.startsWith('@webgpu/'))) {
    mkdirSync(join(folder, 'node_modules/@webgpu'), { recursive: true });
    symlinkSync(join(ROOT, 'node_modules', name), join(folder, 'node_modules', name));
  }
  return { installed, said };
};

/** Types that follow from calls must have names that other projects can write: the compiler refuses to declare the exports otherwise. */
const CONSUMER = `
import {
  type CommonOptions, Linear, NanTracer, open, openTrained, Optimizer, type OptimizerPart, type OptimizerRules, type Runtime, SGD, sgdStep, sign, tensor, type Tensor as Weights, write,
} from 'pipit';
import { open as openInPage, type Tensor } from 'pipit/browser';
const net = new Linear(2, 2);
export const saved = await new SGD(net.parameters(), { lr: 0.1 }).stateDict();
export const children = net.namedChildren();
const pictures = [document.createElement('canvas'), new Image(), new ImageData(1, 1), await createImageBitmap(new Blob())];
export const box = (await openTrained(new Uint8Array(0)).predict(pictures))[0]?.box;
const runtime: Runtime = await open({ adapter: 'lavapipe' });
export const { report, limits } = runtime.device;
export const plan = runtime.planMemory(() => {});
export const tracer = new NanTracer(await openInPage({ software: true }));
export const weight: Tensor = net.weight;
export const made = [tensor(Uint8Array.of(1)), tensor([Float64Array.of(1), [2]]), tensor([[true], [false]]), tensor(true), tensor(new Uint8ClampedArray(4), [2, 2])];
// @ts-expect-error BigInts are no numbers
tensor(BigInt64Array.of(1n));
// @ts-expect-error nor are strings
tensor(['1']);
write(weight, [1, 2, 3, 4]);
write(weight, new Uint8Array(4));
const rules: OptimizerRules<CommonOptions> = { name: 'SignSGD', options: ['lr', 'weightDecay'], check: () => {}, vectors: () => [] };
export class SignSGD extends Optimizer<CommonOptions> {
  constructor(parameters: readonly Weights[], options: CommonOptions) {
    super(rules, parameters, options);
  }

  protected override update({ weights, gradients, group: { weightDecay = 0 }, lr }: OptimizerPart): void {
    sgdStep(weights, sign(gradients), null, { lr, weightDecay, step: this.liveStep });
  }
}
`;

t.test('declarations need nothing else, and what they infer has names', (t) => {
  const folder = t.testdir({
    'consumer.ts': CONSUMER, 'package.json': '{"type":"module"}',
    'tsconfig.json': JSON.stringify({
      compilerOptions: {
        target: 'ES2022', lib: ['ES2023', 'DOM'], module: 'node16', strict: true, exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true,
        skipLibCheck: false, types: [],
        declaration: true, outDir: 'out',
      },
      files: ['consumer.ts'],
    }),
  });
  const { installed, said } = project(folder);
  t.equal(said, '');
  t.equal(tsc(folder), '');
  const targets = (entry: unknown): string[] => (typeof entry === 'string' ? [entry] : Object.values(entry as object).flatMap(targets));
  for (const target of targets(entries)) t.ok(existsSync(join(installed, target)), target);
  t.end();
});

t.test('what the package needs is made before it is packed, although npm is told to run no scripts by itself', (t) => {
  t.match(readFileSync(join(ROOT, '.npmrc'), 'utf8'), /^ignore-scripts=true$/m, 'which passes over prepack');
  t.equal(scripts.pack, 'npm run build && npm run types && npm pack');
  t.end();
});

t.test('what the texts in the package link to is in it, too', (t) => {
  const { stdout } = spawnSync('npm', ['pack', '--dry-run', '--json'], { cwd: ROOT, encoding: 'utf8', shell: process.platform === 'win32' });
  const files = new Set((JSON.parse(stdout) as [{ files: { path: string }[] }])[0].files.map(({ path }) => path));
  const texts = [...files].filter((path) => path.endsWith('.md'));
  t.ok(['README.md', 'docs/ops.md'].every((path) => texts.includes(path)));
  for (const text of texts) {
    const targets = [...readFileSync(join(ROOT, text), 'utf8').matchAll(/\]\(([^)#]+)/g)].map(([, target]) => target!).filter((target) => !/^\w+:/.test(target));
    t.same(targets.map((target) => posix.join(posix.dirname(text), target)).filter((path) => !files.has(path)), [], text);
  }
  t.end();
});
