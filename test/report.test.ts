import t from 'tap';
import { Jimp } from 'jimp';
import { readFileSync } from 'node:fs';
import { Writable } from 'node:stream';
import { runInNewContext } from 'node:vm';
import { inputPicture } from '../src/train/image-cases.js';
import { EpochProgress, formatSeconds, metricsText } from '../src/train/progress.js';
import { heatColour } from '../src/train/report/colours.js';
import { escapeHtml, scriptJson } from '../src/train/report/html.js';
import {
  attentionGrid, cropPicture, drawBox, encodePng, heatmapOverlay, resizeMap, scaledPicture,
} from '../src/train/report/pictures.js';
import type { ImageCase, Picture, ReportData } from '../src/train/report/types.js';
import { renderReport, writeReport } from '../src/train/report/write-report.js';

/** A picture whose pixel (x, y) is given by a function. */
const picture = (width: number, height: number, colour: (x: number, y: number) => readonly [number, number, number]): Picture => {
  const rgba = new Uint8Array(width * height * 4);
  for (let i = 0; i < width * height; i++) rgba.set([...colour(i % width, Math.floor(i / width)), 255], 4 * i);
  return { width, height, rgba };
};

const at = ({ width, rgba }: Picture, x: number, y: number): number[] => [...rgba.subarray(4 * (y * width + x), 4 * (y * width + x) + 3)];
const map = (width: number, height: number, data: number[]) => ({ width, height, data });
const near = (t: { ok(value: boolean, what: string): void }, got: readonly number[], wanted: readonly number[], what: string) =>
  // Rounding to whole bytes may differ by one.
  t.ok(got.every((value, i) => Math.abs(value - wanted[i]!) <= 1), `${what}: ${got.join(',')} against ${wanted.join(',')}`);

t.test('heat colours: lightness rises throughout', async (t) => {
  const luminance = (a: number) => heatColour(a).map((value, i) => [0.2126, 0.7152, 0.0722][i]! * (value / 255) ** 2.2).reduce((sum, x) => sum + x);
  const steps = Array.from({ length: 101 }, (_, i) => luminance(i / 100));
  t.ok(steps.every((value, i) => i === 0 || value >= steps[i - 1]!), 'monotonic');
  t.ok(steps[0]! < 0.02 && steps[100]! > 0.8, 'from nearly black to nearly white');
  t.same(heatColour(-1), heatColour(0));
  t.same(heatColour(2), heatColour(1));
});

t.test('maps are enlarged with aligned corners', async (t) => {
  const enlarged = resizeMap(map(2, 2, [0, 3, 6, 9]), 4, 3);
  // By hand: columns 0, 1/3, 2/3, 1; rows 0, 1/2, 1.
  const wanted = [0, 1, 2, 3, 3, 4, 5, 6, 6, 7, 8, 9];
  t.ok([...enlarged].every((value, i) => Math.abs(value - wanted[i]!) < 1e-6), [...enlarged].join(','));
  t.same([...resizeMap(map(1, 1, [5]), 2, 1)], [5, 5]);
});

t.test('the overlay is the reference formula, normalised by picture', async (t) => {
  const image = picture(2, 1, (x) => (x ? [200, 100, 50] : [10, 20, 30]));
  // a = sqrt(1 / 4) = 0.5 and sqrt(4 / 4) = 1; mixed half and half.
  const overlay = heatmapOverlay(image, map(2, 1, [1, 4]));
  near(t, at(overlay, 0, 0), [10, 20, 30].map((value, k) => (value + heatColour(0.5)[k]!) / 2), 'a = 0.5');
  near(t, at(overlay, 1, 0), [200, 100, 50].map((value, k) => (value + heatColour(1)[k]!) / 2), 'a = 1');
  t.same([...heatmapOverlay(image, map(2, 1, [10, 40])).rgba], [...heatmapOverlay(image, map(2, 1, [1, 4])).rgba], 'scale does not matter');
  for (const bad of [[0, 0], [NaN, NaN], [-1, -1]]) {
    t.same([...heatmapOverlay(image, map(2, 1, bad), { share: 0 }).rgba], [...image.rgba], `map ${bad.join()} gives no NaN pixels`);
  }
});

t.test('crop, resize, box and grid', async (t) => {
  const image = picture(8, 6, (x, y) => [x * 30, y * 40, 7]);
  t.same([...cropPicture(image, { x0: 0, y0: 0, x1: 8, y1: 6 }).rgba], [...image.rgba], 'the whole picture is unchanged');
  t.same(at(cropPicture(image, { x0: 2, y0: 1, x1: 4, y1: 3 }, 2, 2), 1, 1), [90, 80, 7], 'a box at its own size is cut out');
  t.same(at(scaledPicture(picture(2, 2, () => [9, 8, 7]), 5, 3), 4, 2), [9, 8, 7]);
  const boxed = drawBox(image, { x0: 2, y0: 1, x1: 6, y1: 5 }, [255, 0, 0]);
  t.same([at(boxed, 2, 1), at(boxed, 5, 4), at(image, 2, 1)], [[255, 0, 0], [255, 0, 0], [60, 40, 7]], 'drawn into a copy');
  const grid = attentionGrid(image, Array.from({ length: 8 }, () => map(2, 2, [1, 0, 0, 0])), { tile: 8, gap: 1 });
  t.same([grid.width, grid.height], [4 * 9 - 1, 2 * 7 - 1], 'twice as many columns as rows');
});

t.test('PNG files hold the same pixels', async (t) => {
  const image = picture(5, 3, (x, y) => [x * 50, y * 100, 13]);
  const { bitmap } = await Jimp.read(await encodePng(image));
  t.same([bitmap.width, bitmap.height], [5, 3]);
  t.same([...bitmap.data], [...image.rgba]);
});

const example = (): ImageCase => ({
  image: picture(16, 16, (x, y) => [x * 16, y * 16, 0]), name: 'one.jpg', trueLabel: 'A <i>bird</i>', trueBox: { x0: 1, y0: 2, x1: 11, y1: 12 },
  meanMap: map(2, 2, [0, 1, 2, 3]), maps: [map(2, 2, [1, 0, 0, 1])],
  cropBox: { x0: 2, y0: 2, x1: 12, y1: 12 }, iou: 0.75, dropped: picture(16, 16, () => [0, 0, 0]),
  rawTop: [{ label: 'other', probability: 0.6 }, { label: 'A <i>bird</i>', probability: 0.4 }],
  refinedTop: [{ label: 'A <i>bird</i>', probability: 0.9 }],
});

const data = (): ReportData => ({
  title: 'Run </title><script>alert(1)</script>', adapter: 'llvmpipe', dataset: { name: 'birds', classes: 10, trainImages: 1200, testImages: 300 },
  config: { name: '</script><script>alert(2)</script>', lr: 0.1 }, seconds: 125, steps: 1000, imagesPerSecond: 33.3, weightsHash: 'abc123',
  accuracy: { raw: { top1: 81.25, top5: 97 }, crop: { top1: 85, top5: 98 }, drop: { top1: 61, top5: 90 }, refined: { top1: 87.5, top5: 99 } },
  localisation: { meanIoU: 0.683, corLoc50: 88.4, images: 300 },
  history: [{ epoch: 1, trainLoss: 2, trainRaw: 50 }, { epoch: 2, trainLoss: NaN, testRaw: 60, testRefined: 70 }],
  cases: [example()], notes: ['2 maps were constant <zero>'],
});

t.test('the report is one file without any address', async (t) => {
  const folder = t.testdir({});
  const path = await writeReport(folder, data());
  const html = readFileSync(path, 'utf8');
  t.match(path, /report\.html$/);
  t.same(html.match(/(?:src|href)="(?!data:)[^"]*"/g), null, 'nothing is loaded');
  t.notMatch(html, /@import|url\(\s*["']?https?:/);
  t.notMatch(html, /<script>alert|<i>bird|<zero>/, 'texts of the user stay texts');
  t.match(html, /A &lt;i&gt;bird&lt;\/i&gt;/);
  for (const text of ['87.5', '81.3', '97.0', '61.0', '0.683', '88.4', 'abc123', 'llvmpipe', '2 min 05 s', 'IoU 0.75', 'raw top-1, refined +6.3']) {
    t.ok(html.includes(text), text);
  }
  t.equal(html.match(/<img /g)?.length, 5, 'picture, heat map, crop, dropped region, attention maps');
  t.match(html, /bad">✗ raw[\s\S]*good">✓ refined/);
  t.match(html, /class="box true" x="1\.0" y="2\.0" width="10\.0" height="10\.0"/);
  t.equal(html, await renderReport(data()), 'equal data give equal text');
});

t.test('curves: gaps, missing series and scripts', async (t) => {
  const html = await renderReport(data());
  const curves = JSON.parse(/window\.pipitCurves = (\{.*?\});\n/s.exec(html)![1]!);
  t.same(curves.epochs, [1, 2]);
  t.same(curves.charts[0].series.map((s: { values: unknown }) => s.values), [[2, null]], 'NaN becomes a gap');
  t.same(curves.charts[1].series.map((s: { label: string }) => s.label), ['test refined', 'test raw', 'training raw']);
  const held = await renderReport({ ...data(), dataset: { ...data().dataset, heldOutImages: 77 } });
  t.match(held, /1.200 training, 77 held-out and 300 test images/);
  const heldLabels = JSON.parse(/window\.pipitCurves = (\{.*?\});\n/s.exec(held)![1]!).charts[1].series.map((s: { label: string }) => s.label);
  t.same(heldLabels, ['held-out refined', 'held-out raw', 'training raw'], 'what was not measured on test images is not called so');
  t.ok(html.includes('uPlot'), 'the plotting code is inside');
  const classes = [{ label: '<ok>', images: 9, right: 9, takenFor: [] }, { label: 'burr', images: 2, right: 1, takenFor: [{ label: '<ok>', images: 1 }] }];
  t.match(await renderReport({ ...data(), classes }), /<details open><summary>Class by class, 75\.0.%.*<td>&lt;ok&gt;<\/td><td class="n">9<\/td><td class="n">100\.0.%<\/td>.*<td>&lt;ok&gt; \(1\)<\/td>/s);
  const bare = await renderReport({ ...data(), history: [], cases: [], localisation: undefined, notes: undefined });
  t.notMatch(bare, /uPlot|<h2>Localisation|Where it looks|class="notes"/);
  t.equal(scriptJson({ a: '</script>' }), '{"a":"\\u003c/script>"}');
  t.equal(escapeHtml(`<a b="c" d='e'>&`), '&lt;a b=&quot;c&quot; d=&#39;e&#39;&gt;&amp;');
});

const capture = (tty: boolean) => {
  const written = { text: '' };
  const writable = new Writable({ write: (chunk, _, next) => { written.text += chunk; next(); } });
  const stream = Object.assign(writable, { isTTY: tty, columns: 200, cursorTo: () => true, clearLine: () => true });
  return { stream, written };
};

t.test('progress without a terminal: a line now and then and one at the end', async (t) => {
  const { stream, written } = capture(false);
  let clock = 0;
  const progress = new EpochProgress({ label: 'Epoch 1/2', total: 100, stream, quietSeconds: 10, now: () => clock });
  for (let i = 1; i <= 100; i++) {
    clock += 250;
    const metrics = { loss: 2.5 - i / 100, raw: { top1: 50, top5: 75 }, crop: { top1: 40, top5: 60 }, drop: { top1: 30, top5: 55 } };
    progress.update(i, i % 10 === 0 ? metrics : undefined);
  }
  progress.finish();
  t.same(written.text.trim().split('\n'), [
    'Epoch 1/2  40/100 [00:10, ETA 00:15, 4.00 batches/s] loss 2.1000, raw 50.00 (75.00), crop 40.00 (60.00), drop 30.00 (55.00)',
    'Epoch 1/2  80/100 [00:20, ETA 00:05, 4.00 batches/s] loss 1.7000, raw 50.00 (75.00), crop 40.00 (60.00), drop 30.00 (55.00)',
    'Epoch 1/2  100/100 [00:25, 4.00 batches/s] loss 1.5000, raw 50.00 (75.00), crop 40.00 (60.00), drop 30.00 (55.00)',
  ]);
});

t.test('progress on a terminal: a bar', async (t) => {
  const { stream, written } = capture(true);
  let clock = 0;
  const progress = new EpochProgress({ label: 'Epoch 2/2', total: 4, done: 1, stream, now: () => clock });
  clock = 2000;
  progress.update(2, { loss: 1 });
  progress.log('saved');
  progress.finish();
  t.match(written.text, /Epoch 2\/2 .*2\/4 .*0\.50 batches\/s\] loss 1\.0000/);
  t.match(written.text, /saved\n/);
});

t.test('durations and metrics as text', async (t) => {
  t.same([0, 59.6, 75, 3700, Infinity].map(formatSeconds), ['00:00', '01:00', '01:15', '1:01:40', '--:--']);
  t.equal(metricsText({}), '');
  t.equal(metricsText({ loss: 2, terms: { raw: 1.5, center: 0.25 } }), 'loss 2.0000 (raw 1.5000, center 0.2500)');
  t.equal(metricsText({ loss: 2, terms: { raw: 2 } }), 'loss 2.0000', 'a single term is the loss');
  t.equal(metricsText({ loss: 1, drop: { top1: 1, top5: 2 } }), 'loss 1.0000, drop 1.00 (2.00)');
});

t.test('a curve of few points shows them: a line needs two', async (t) => {
  const history = Array.from({ length: 5 }, (_, i) => ({ epoch: i + 1, trainLoss: 5 - i, ...(i === 4 ? { testLoss: 2 } : {}) }));
  const script = /<script>(window\.pipitCurves = [\s\S]*?)<\/script>/.exec(await renderReport({ ...data(), history }))![1];
  const drawn: { series: { label: string; points?: { show: boolean } }[] }[] = [];
  const nothing = (): void => undefined;
  runInNewContext(script!, {
    window: {}, document: { getElementById: () => ({ clientWidth: 400 }) }, getComputedStyle: () => ({ getPropertyValue: () => '#000' }),
    addEventListener: nothing, matchMedia: () => ({ addEventListener: nothing }), uPlot: function (options: (typeof drawn)[0]) { drawn.push(options); },
  });
  const loss = drawn[0]!.series.filter(({ points }) => points);
  t.same(loss.map(({ label, points }) => [label, points!.show]), [['training', false], ['test', true]]);
});

t.test('the picture that is dropped from has the colours the network saw', async (t) => {
  const [mean, std] = [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]] as [[number, number, number], [number, number, number]];
  const black = mean.map((m, c) => -m / std[c]!);
  const seen = inputPicture(Float32Array.of(...black, 0, 0, 0, ...black, ...black, ...Array<number>(12).fill(0)), 0, 2, { mean, std });
  t.same([at(seen, 0, 0), at(seen, 1, 0)], [[0, 0, 0], [124, 116, 104]], '--drop-fill black, and the mean');
  t.same(at(inputPicture(new Float32Array(3), 0, 1, { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] }), 0, 0), [128, 128, 128], '--normalize inception');
});
