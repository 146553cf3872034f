// `npm test`: set-up, type check, lint, layer check, every test, then the kernels' tests with each of their variants forced; the last line counts them.
//   npm test                 everything
//   npm test -- conv report  only the test files whose name holds one of these words, without the checks
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { vulkanEnvironment } from '../src/device/vulkan-env.mjs';
import { setUp } from './setup-steps.mjs';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const TESTS = 'dist/test';
/** A software adapter takes all cores by itself; a second process fills the gaps. */
const JOBS = 2;
const LIMIT_SECONDS = 600;

const CHECKS = [
  { name: 'type check', args: ['node_modules/typescript/bin/tsc', '--noEmit'] },
  { name: 'lint', args: ['node_modules/eslint/bin/eslint.js', '.', '--max-warnings', '0'] },
  { name: 'layers', args: ['scripts/check-layers.mjs'] },
];

/** What GPUs get: tiles in workgroup memory, and work shared out among many invocations. */
const AS_ON_GPUS = { PIPIT_GEMM: 'tile', PIPIT_LAUNCH: 'gpu' };
/** Kernels that this adapter would not choose by itself, and what must hold for them too. */
const VARIANTS = [
  AS_ON_GPUS, { PIPIT_GEMM: 'plain' }, { PIPIT_IMAGES: 'off' }, { PIPIT_WINOGRAD: 'on' }, { PIPIT_WINOGRAD: 'off' }, { PIPIT_ROBUSTNESS: 'on' },
];
/** Other tests ask for float16 themselves. Of GPUs' kernels matrix units take products, where there are some. */
const PRECISION_RUNS = [{ PIPIT_PRECISION: 'mixed' }, { PIPIT_PRECISION: 'mixed', ...AS_ON_GPUS }].map((env) => ({ file: `${TESTS}/ops.test.js`, env }));
/** What only products (and pooling) have: which loops and images a processor gets by itself depends on it, and w is held where there are many rows. */
const PRODUCT_RUNS = [{ PIPIT_LOOPS: 'long' }, { PIPIT_LOOPS: 'short' }, { PIPIT_HELD: 'on' }, { PIPIT_IMAGES: 'on' }, { PIPIT_IMAGES: 'few' }].map((env) => ({
  file: `${TESTS}/ops.test.js`, env: { ...env, PIPIT_OPS: 'matmul,conv2d,convBatchNorm2d,einsum,attentionPool,maxPool2d,avgPool2d' },
}));
/** Where Chromium brings another software adapter: what one compiler gets right another may not. Convolutions take that one minutes. */
const ADAPTER_RUNS = vulkanEnvironment('swiftshader').VK_DRIVER_FILES
  ? [{ file: `${TESTS}/ops.test.js`, env: { PIPIT_ADAPTER: 'swiftshader', PIPIT_OPS: '-conv2d,-convBatchNorm2d' } }] : [];
const VARIANT_TESTS = ['ops', 'random-shapes', 'extremes', 'autograd', 'accumulate', 'determinism'].map((name) => `${TESTS}/${name}.test.js`);
const VARIANT_RUNS = VARIANTS.flatMap((env) => VARIANT_TESTS.map((file) => ({ file, env })));

const tally = { passed: 0, failed: 0 };
const since = (start) => `${((performance.now() - start) / 1000).toFixed(1)} s`;

const runCheck = ({ name, args }) => {
  const start = performance.now();
  const done = spawnSync(process.execPath, args, { cwd: ROOT, encoding: 'utf8' });
  const ok = done.status === 0;
  tally[ok ? 'passed' : 'failed'] += 1;
  console.log(`${ok ? 'ok  ' : 'FAIL'}  ${name}  ${since(start)}`);
  if (!ok) console.log(`${done.stdout}${done.stderr}`.trimEnd());
};

/** @param runs files, each with the environment that it needs beyond the one at hand */
const runTests = async (runs) => {
  // Loaded late: on a fresh clone its packages arrive only with the set-up.
  const { runTapFile } = await import('./run-tap-file.mjs');
  const waiting = [...runs];
  const work = async () => {
    for (let run = waiting.shift(); run; run = waiting.shift()) {
      const { file, env } = run;
      const { passed, failed, seconds, report } = await runTapFile(file, { cwd: ROOT, limitSeconds: LIMIT_SECONDS, env });
      tally.passed += passed;
      tally.failed += failed;
      const name = [...Object.entries(env).map((pair) => pair.join('=')), file].join(' ');
      console.log(`${failed ? 'FAIL' : 'ok  '}  ${name}  ${passed + failed} assertions  ${seconds.toFixed(1)} s${report ? `\n${report}` : ''}`);
    }
  };
  await Promise.all(Array.from({ length: JOBS }, work));
};

const testFiles = (words) => {
  const folder = join(ROOT, TESTS);
  const all = existsSync(folder) ? readdirSync(folder, { recursive: true }).map(String).filter((name) => name.endsWith('.test.js')).sort() : [];
  return all.filter((name) => words.length === 0 || words.some((word) => name.includes(word))).map((name) => `${TESTS}/${name}`);
};

const main = async (words) => {
  const start = performance.now();
  setUp({ alwaysBuild: true });
  if (words.length === 0) CHECKS.forEach(runCheck);
  const files = testFiles(words);
  if (files.length === 0) throw new Error(`No test file matches ${words.join(' ') || TESTS}.`);
  const variants = words.length === 0 ? [...VARIANT_RUNS, ...PRECISION_RUNS, ...PRODUCT_RUNS, ...ADAPTER_RUNS] : [];
  await runTests([...files.map((file) => ({ file, env: {} })), ...variants]);
  console.log(`\n${files.length} test files${variants.length ? `, and ${variants.length} times one with a variant forced,` : ''} in ${since(start)}`);
};

try {
  await main(process.argv.slice(2));
} catch (error) {
  console.log(`[test] ${error.message}`);
  tally.failed += 1;
}
console.log(`${tally.passed} passed, ${tally.failed} failed`);
process.exitCode = tally.failed === 0 ? 0 : 1;
