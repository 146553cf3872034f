/**
 * Every op record, and ten steps of WS-DAN beside PyTorch's, in a browser: without Dawn's flags, with its own clamping of indices.
 * `PIPIT_BROWSER` names another Chromium than the one that is installed.
 */
import t from 'tap';
import { worstError } from '../src/autograd/verify.js';
import { findBrowser, runPage } from './support/browser.js';
import { checkLearning, documentedExample } from './support/example.js';
import { LIBRARY, type PageTask, type Report } from './support/page-task.js';
import { readStepFixture } from './support/step-fixture.js';

const browser = findBrowser();
/** The longest single case takes a few seconds, most of them its compilation, on an idle machine. */
const PATIENCE_MS = 120_000;

const select = <K extends Report['kind']>(reports: readonly Report[], kind: K) => reports.filter((r): r is Extract<Report, { kind: K }> => r.kind === kind);

const runs: [string, PageTask][] = [
  ['all ops with the kernels that the adapter gets', {}],
  ['products in workgroup memory', { gemm: 'tile', only: ['conv2d', 'matmul'] }],
  ['products without subgroups', { gemm: 'plain', only: ['conv2d', 'matmul'] }],
];

const skip = browser ? false : 'no Chromium is installed';

for (const [name, task] of runs) {
  await t.test(name, { skip }, async (t) => {
    const reports = await runPage(browser, task, PATIENCE_MS);
    t.comment(select(reports, 'adapter')[0]);
    const cases = select(reports, 'case');
    t.ok(cases.length > 50, `${cases.length} cases`);
    for (const { op, passed, text } of cases) t.ok(passed, `${op} ${text}`);
    t.equal(select(reports, 'end')[0]!.failure, undefined);
  });
}

await t.test('WS-DAN trains as in PyTorch', { skip }, async (t) => {
  const { recipe, numbers, bandOf } = readStepFixture();
  const reports = await runPage(browser, { only: [], recipe, steps: 10 }, PATIENCE_MS);
  t.equal(select(reports, 'end')[0]!.failure, undefined);
  const steps = select(reports, 'step');
  t.equal(steps.length, 10);
  const expected = numbers('terms');
  steps.forEach(({ losses }, step) => {
    const { error } = worstError(losses, expected.subarray(4 * step, 4 * step + 4));
    t.ok(error < bandOf(step), `step ${step + 1}: ${error.toExponential(1)} of ${bandOf(step).toExponential(1)}`);
  });
});

await t.test('the example of the documentation runs', { skip }, async (t) => {
  const reports = await runPage(browser, { example: documentedExample(LIBRARY) }, PATIENCE_MS);
  t.equal(select(reports, 'end')[0]!.failure, undefined);
  const { text } = select(reports, 'said')[0]!;
  t.match(text, /^Training on google swiftshader/);
  checkLearning(t, text);
});

await t.test('a browser without an adapter says what to do', { skip }, async (t) => {
  const reports = await runPage(browser, {}, PATIENCE_MS, []);
  t.match(select(reports, 'end')[0]!.failure, /This browser offers no WebGPU adapter\. Its page about the GPU .* says why/);
});
