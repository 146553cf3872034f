/**
 * Every op record, and ten steps of WS-DAN beside PyTorch's, in a browser: without Dawn's flags, with its own clamping of indices.
 * `PIPIT_BROWSER` names another Chromium than the one that is installed.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Jimp } from 'jimp';
import t from 'tap';
import { worstError } from '../src/autograd/verify.js';
import { findBrowser, runPage } from './support/browser.js';
import { checkLearning, documentedExample } from './support/example.js';
import { LIBRARY, type PageTask, type Report } from './support/page-task.js';
import { trainedBytes } from './support/default-training.js';
import { patternPicture } from './support/pictures.js';
import { openRuntime } from './support/runtime.js';
import { readStepFixture } from './support/step-fixture.js';
import type { Predicted } from '../src/train/predict.js';
import type { Picture } from '../src/train/picture.js';
import { openTrained } from '../src/train/trained-model.js';

const browser = findBrowser();
/** The longest single case takes a few seconds, most of them its compilation, on an idle machine. */
const PATIENCE_MS = 120_000;

const select = <K extends Report['kind']>(reports: readonly Report[], kind: K) => reports.filter((r): r is Extract<Report, { kind: K }> => r.kind === kind);

/**
 * A page's module that prints what a checkpoint's network sees in a picture, then whether it sees the same in all that a page can draw, and what is said of
 * an image without pixels, of one from another origin, and of options that Node alone has.
 */
const lookingModule = (checkpoint: Uint8Array, { width, height, data }: Picture): string => `
  import { open, openTrained } from '${LIBRARY}';
  const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  await open();
  const model = openTrained(bytesOf('${Buffer.from(checkpoint).toString('base64')}'));
  const picture = new ImageData(new Uint8ClampedArray(bytesOf('${Buffer.from(data).toString('base64')}')), ${width}, ${height});
  const seen = async (shown) => JSON.stringify((await model.predict([shown]))[0]);
  const expected = await seen(picture);
  console.log(expected);
  const canvas = Object.assign(document.createElement('canvas'), { width: ${width}, height: ${height} });
  canvas.getContext('2d').putImageData(picture, 0, 0);
  const bitmap = await createImageBitmap(canvas);
  const offscreen = new OffscreenCanvas(${width}, ${height});
  offscreen.getContext('2d').drawImage(bitmap, 0, 0);
  const image = Object.assign(new Image(10, 10), { src: canvas.toDataURL() });
  await image.decode();
  const frame = new VideoFrame(bitmap, { timestamp: 0 });
  const inFrame = Object.assign(document.body.appendChild(document.createElement('iframe')).contentDocument.createElement('canvas'), { width: ${width}, height: ${height} });
  inFrame.getContext('2d').putImageData(picture, 0, 0);
  const same = {};
  for (const [name, shown] of Object.entries({ canvas, bitmap, offscreen, image, frame, inFrame })) same[name] = await seen(shown) === expected;
  console.log(JSON.stringify(same));
  const foreign = Object.assign(new Image(), { src: 'http://another.localhost:' + location.port + '/a.png' });
  await foreign.decode();
  for (const refused of [seen(new Image()), seen(foreign), open({ adapter: 'swiftshader' })]) console.log(await refused.catch(({ name, message }) => name + ' ' + message));
`;

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

await t.test('a network that was trained in Node', { skip }, async (t) => {
  const runtime = await openRuntime();
  const picture = patternPicture(80, 60, 1);
  const png = await new Jimp({ width: picture.width, height: picture.height, data: Buffer.from(picture.data) }).getBuffer('image/png');
  const bytes = await trainedBytes(runtime, join(t.testdir({}), 'last.safetensors'), ['wagtail', 'pipit', 'lark'], 3, '--image-size', '32',
    '--batch-size', '4', '--attentions', '4');
  const [expected] = await openTrained(bytes).predict([picture]) as [Predicted];
  runtime.device.close();

  await t.test('sees the same in a page', async (t) => {
    const reports = await runPage(browser, { example: lookingModule(bytes, picture), files: { '/a.png': png } }, PATIENCE_MS);
    t.equal(select(reports, 'end')[0]!.failure, undefined);
    const [first, same, ...refused] = select(reports, 'said')[0]!.text.split('\n') as [string, string, string, string, string];
    const seen = JSON.parse(first) as Predicted;
    for (const kind of ['raw', 'refined'] as const) {
      t.same(seen[kind]!.map(({ label }) => label), expected[kind]!.map(({ label }) => label));
      // Logits are sums over features of norm 100; adapters order those sums differently.
      seen[kind]!.forEach(({ probability }, i) => t.ok(Math.abs(probability - expected[kind]![i]!.probability) < 1e-4, `${kind} ${i}: ${probability}`));
    }
    t.same(seen.box, expected.box, 'pixels beyond the threshold are the same');
    t.same(JSON.parse(same), { canvas: true, bitmap: true, offscreen: true, image: true, frame: true, inFrame: true });
    t.match(refused[0], /predict: picture 1 has no pixels; an image has them after `await image\.decode\(\)`/);
    t.match(refused[1], /^UserError predict: the browser does not give the pixels of picture 1 \(80 × 60\): .*tainted.* crossOrigin = "anonymous" before its src/);
    t.match(refused[2], /^UserError open: there is no option "adapter"; there are software, gemm/);
  });

  await t.test('shows it in the page that looks at pictures', async (t) => {
    const file = (path: string): Buffer => readFileSync(fileURLToPath(new URL(`../../${path}`, import.meta.url)));
    const files = { '/docs/look.html': file('docs/look.html'), '/dist/browser.js': file('dist/browser.js'), '/last.safetensors': bytes, '/a.png': png };

    const reports = await runPage(browser, { files, page: '/docs/look.html?checkpoint=/last.safetensors&picture=/a.png&picture=/a.png' }, PATIENCE_MS);
    const { text } = select(reports, 'said')[0]!;
    t.match(text, /Looked at 2 pictures\./);
    const percent = ({ label, probability }: { label: string; probability: number }): string => `${(100 * probability).toFixed(1)} % ${label}`;
    for (const guess of [...expected.raw, ...expected.refined!]) t.equal(text.split(percent(guess)).length, 3, `${percent(guess)} beside both pictures`);

    const failed = await runPage(browser, { files, page: '/docs/look.html?checkpoint=/a.png' }, PATIENCE_MS);
    t.match(select(failed, 'said')[0]!.text, /the checkpoint is not a safetensors file or is damaged/);
  });
});

await t.test('a browser without an adapter says what to do', { skip }, async (t) => {
  const reports = await runPage(browser, {}, PATIENCE_MS, []);
  t.match(select(reports, 'end')[0]!.failure, /This browser offers no WebGPU adapter\. Its page about the GPU .* says why/);
});
