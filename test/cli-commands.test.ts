/** The commands as a person calls them: help, refusals, and a trained network measured and asked. */
import t from 'tap';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Jimp } from 'jimp';
import type { BenchFile } from '../bench/results.js';
import { generateImage } from '../src/data/synthetic.js';
import { provingCases } from '../src/ops/cases.js';
import { ops } from '../src/ops/registry.js';
import { call } from './support/command.js';

const folder = mkdtempSync(join(tmpdir(), 'pipit-commands-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

const run = join(folder, 'run');
const small = ['--train-images', '32', '--test-images', '16', '--epochs', '1', '--batch-size', '16', '--image-size', '32'];

/** Options each command must have; the help must give each exactly one line with an explanation. */
const promised: Record<string, string[]> = {
  train: ['dataset', 'data', 'model', 'attentions', 'image-size', 'batch-size', 'epochs', 'lr', 'weights', 'weights-ignore', 'seed', 'out', 'resume', 'eval-every', 'val-fraction', 'limit-train', 'limit-test', 'config'],
  eval: ['checkpoint', 'out', 'weights', 'trained-with', 'classes', 'data', 'split', 'test-theta', 'test-padding', 'average', 'batch-size', 'limit-test', 'workers', 'adapter', 'json'],
  predict: ['checkpoint', 'out', 'pictures', 'top', 'json', 'synthetic', 'adapter'],
  info: ['adapter', 'json'],
  bench: ['ops', 'json', 'compare', 'repeats', 'adapter'],
  gradcheck: ['ops', 'adapter', 'json', 'markdown'],
  convert: ['names', 'trained-with', 'classes', 'image-size', 'adapter'],
  inspect: ['json'],
  backbones: ['markdown', 'adapter'],
  parity: ['weights', 'fixture', 'tolerance', 'gradient-tolerance', 'adapter'],
};

for (const [command, options] of Object.entries(promised)) {
  t.test(`${command} explains and refuses`, async (t) => {
    const { code, out, errors } = await call(command, '--help');
    t.strictSame([code, errors], [0, '']);
    t.match(out, `Usage: node dist/${command}.js`);
    const lines = out.split('\n');
    for (const option of options) t.equal(lines.filter((line) => new RegExp(`^ +--${option}(?: [A-Z,.a-z]+)?  +\\S`).test(line)).length, 1, `one line for --${option}`);
    for (const line of lines.filter((l) => /^ {2}(-h, )?--/.test(l))) t.match(line, /^ {2}(?:-h, )?--[a-z-]+(?: \S+)? {2,}\S/, 'every option has its explanation on its line');
    const near = await call(command, `--${options[0]}x`);
    t.equal(near.code, 1);
    t.match(near.errors, `There is no option --${options[0]}x. Did you mean --${options[0]}?`);
    t.notMatch(near.errors, /\n {4}at /, 'no stack trace');
  });
}

t.test('info shows the machine and the adapter', async (t) => {
  const { code, out } = await call('info');
  t.equal(code, 0);
  for (const what of [/^Pipit +\d+\.\d+\.\d+$/m, /^Node +v\d+/m, /^webgpu +\d+/m, /^Adapter +\S+/m, /^Class +(?:lavapipe|swiftshader|gpu)/m, /^Matrix kernels +(?:broadcast|tile)/m, /maxStorageBufferBindingSize +\d+/]) t.match(out, what);
  const facts = JSON.parse((await call('info', '--json')).out) as { node: string; adapter: { name: string; limits: { maxBufferSize: number } } };
  t.equal(facts.node, process.version);
  t.match(out, facts.adapter.name);
  t.ok(facts.adapter.limits.maxBufferSize >= 2 ** 28, 'limits are the adapter\'s, at least WebGPU\'s default');
  const none = await call('info', '--adapter', 'no such adapter');
  t.equal(none.code, 1);
  t.match(none.out, /^Node +v/m, 'what is known is shown nevertheless');
  t.match(none.out, /The adapter "no such adapter" was asked for, but the one found is/);
});

t.test('gradcheck proves ops and writes their table', async (t) => {
  const [json, markdown] = [join(folder, 'checks.json'), join(folder, 'ops.md')];
  const { code, out, errors } = await call('gradcheck', '--ops', 'relu,matmul', '--json', json, '--markdown', markdown);
  t.equal(code, 0, errors);
  t.match(out, /^matmul +a·b tiny +\S+ +\S+ +elements +ok$/m);
  t.match(out, /^2 ops, \d+ checks, 0 failed/m);
  const { ops } = JSON.parse(readFileSync(json, 'utf8')) as { ops: { name: string; forward: { passed: boolean; error: number; tolerance: number }[] }[] };
  t.strictSame(ops.map(({ name }) => name), ['relu', 'matmul']);
  t.ok(ops.every(({ forward }) => forward.length > 0 && forward.every((v) => v.passed && v.error <= v.tolerance)));
  t.match(readFileSync(markdown, 'utf8'), /## Pointwise\n\n\| op \|[^\n]+\n[^\n]+\n\| relu \| yes \(elements, directions\) \| 7 \|/);
  const unknown = await call('gradcheck', '--ops', 'matmull');
  t.strictSame([unknown.code, unknown.errors.trim()], [1, '--ops: there is no op "matmull". Did you mean matmul?']);
});

t.test('docs/ops.md holds every op as its record is', async (t) => {
  const rows = [...readFileSync('docs/ops.md', 'utf8').matchAll(/^\| (\w+) \| (yes|no)\b[^|]*\| (\d+) \|/gm)].map(([, name, gradient, cases]) => `${name} ${gradient} ${cases}`);
  const records = ops.map((op) => `${op.name} ${op.backward ? 'yes' : 'no'} ${provingCases(op, { half: true }).length}`);
  t.strictSame(rows.sort(), records.sort(), 'else write it anew: node dist/gradcheck.js --markdown docs/ops.md');
});

t.test('a result that could not be written is refused before the work', async (t) => {
  const place = join(folder, 'no-folder');
  writeFileSync(place, '');
  for (const args of [['gradcheck', '--ops', 'add', '--json'], ['gradcheck', '--ops', 'add', '--markdown'], ['backbones', '--markdown'], ['bench', '--ops', 'add', '--json']] as [string, ...string[]][]) {
    for (const [parent, reason] of [[place, 'is a file, not a folder'], [join(folder, 'slip'), 'does not exist; create it first']] as const) {
      const { code, out, errors } = await call(...args, join(parent, 'x'));
      t.strictSame([code, out], [1, ''], args.join(' '));
      t.equal(errors, `${args.at(-1)}: ${join(parent, 'x')} cannot be written: ${reason.startsWith('does') ? 'the folder ' : ''}${parent} ${reason}.\n`);
    }
  }
  t.notOk(existsSync(join(folder, 'slip')), 'and no folder is made in vain');
  const [one, same] = [join(folder, 'twice'), join(folder, '.', 'twice')];
  const twice = await call('gradcheck', '--ops', 'add', '--json', one, '--markdown', same);
  t.strictSame([twice.code, twice.out, twice.errors], [1, '', `--json and --markdown name the same file, ${one}; give each its own.\n`], 'the second would take the place of the first');
});

t.test('bench times a checked op against the ceiling, and compares', async (t) => {
  const file = join(folder, 'bench.json');
  const { code, out, errors } = await call('bench', '--ops', 'signedSqrt', '--direction', 'forward', '--json', file);
  t.equal(code, 0, errors);
  const { ceiling, best, results, checks } = JSON.parse(readFileSync(file, 'utf8')) as BenchFile;
  t.ok(ceiling.gflops > 1 && ceiling.gbs > 0.1, `ceilings ${ceiling.gflops.toFixed(1)} GFLOP/s, ${ceiling.gbs.toFixed(1)} GB/s`);
  t.ok(checks[0]!.checks > 5, 'small cases were checked first');
  const [result] = results;
  t.equal(result!.op, 'signedSqrt');
  t.ok(result!.rounds >= 5);
  const ms = result!.driverMs ?? result!.wallMs;
  t.ok(Math.abs(result!.gbs - result!.bytes / ms / 1e6) < 1e-6 * result!.gbs, 'the rate follows from bytes and time');
  const possible = result!.possible?.bytes ?? 1e6 * ms * ceiling.gbs;
  t.ok(Math.abs(result!.share - result!.bytes / possible) < 1e-9, 'the share is of what the ceiling\'s kernel could have done meanwhile');
  t.ok(result!.share > 0.999 * result!.gbs / best.gbs, 'and no less than that of its best in this run');
  t.match(out, /^signedSqrt +2×26×26×768 +forward +[\d.]+/m);
  const again = await call('bench', '--ops', 'signedSqrt', '--direction', 'forward', '--compare', file);
  t.match(again.out, /^signedSqrt .* × (?:faster|slower)$/m);
  const wrong = await call('bench', '--ops', 'signedSqrt', '--compare', join(folder, 'none.json'));
  t.equal(wrong.code, 1);
  t.match(wrong.errors, /--compare: .*none\.json cannot be read/);
});

t.test('a network is trained', async (t) => {
  const { code, out, errors } = await call('train', ...small, '--out', run, '--report-images', '2', '--keep-every', '1');
  t.equal(code, 0, `${out}${errors}`);
  t.ok(existsSync(join(run, 'last.safetensors')));
});

t.test('eval finds the figures that training found', async (t) => {
  const file = join(folder, 'figures.json');
  const { code, out, errors } = await call('eval', '--out', run, '--json', file);
  t.equal(code, 0, errors);
  const [summary, figures] = [join(run, 'summary.json'), file].map((path) => JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>);
  for (const key of ['raw', 'crop', 'drop', 'refined', 'refinedOtherAverage', 'localisation', 'degenerateMaps']) t.strictSame(figures![key], summary![key], `${key} is that of the run, to the bit`);
  t.equal(figures!.split, 'test');
  t.match(out, /^Test accuracy in percent +top-1 +top-5$/m);
  for (const branch of ['raw', 'crop', 'drop', 'refined', 'refined, averaging logits']) t.match(out, new RegExp(`^ +${branch} +\\d+\\.\\d\\d +\\d+\\.\\d\\d$`, 'm'));
  t.match(out, /^Localisation: mean IoU \d\.\d{3}/m);
});

t.test('eval takes other splits and other ways to refine', async (t) => {
  const file = join(folder, 'other.json');
  const { code, out, errors } = await call('eval', '--checkpoint', join(run, 'epoch-001.safetensors'), '--split', 'train', '--test-theta', '0.6', '--batch-size', '7', '--workers', '0', '--json', file);
  t.equal(code, 0, errors);
  t.match(out, /^Training accuracy in percent/m);
  const figures = JSON.parse(readFileSync(file, 'utf8')) as { images: number; split: string; localisation: { meanIoU: number } };
  t.strictSame([figures.images, figures.split], [32, 'train']);
  const wide = join(folder, 'wide.json');
  await call('eval', '--out', run, '--split', 'train', '--test-theta', '0.05', '--json', wide);
  const other = JSON.parse(readFileSync(wide, 'utf8')) as typeof figures;
  t.not(other.localisation.meanIoU, figures.localisation.meanIoU, 'another threshold gives other boxes');
  const limited = await call('eval', '--out', run, '--limit-test', '8');
  t.match(limited.out, /8 test images/);
  const logits = await call('eval', '--out', run, '--limit-test', '8', '--average', 'logits');
  const table = logits.out.split('\n').filter((line) => /^Test accuracy|^ +(raw|crop|drop|refined)/.test(line));
  t.match(table.at(-1), /^ +refined, averaging probabilities /);
  t.strictSame(table.map((line) => line.length), Array.from({ length: 6 }, () => table[0]!.length), 'all columns end alike');
});

t.test('eval says what is missing', async (t) => {
  const refused = async (args: string[], message: RegExp): Promise<void> => {
    const { code, errors } = await call('eval', ...args);
    t.equal(code, 1);
    t.match(errors, message);
    t.notMatch(errors, /\n {4}at /, 'no stack trace');
  };
  await refused([], /name the weights: --checkpoint FILE, --out DIR for the folder of a run, or --weights FILE/);
  await refused(['--out', join(folder, 'nowhere')], /nowhere[\\/]last\.safetensors: there is no such checkpoint/);
  await refused(['--out', run, '--split', 'val'], /this run held no images out/);
  await refused(['--out', run, '--checkpoint', 'x'], /both name the weights/);
  await refused(['--out', run, '--split', 'tset'], /--split: "tset" is not allowed\. Did you mean test\?/);
  const damaged = join(folder, 'damaged.safetensors');
  writeFileSync(damaged, readFileSync(join(run, 'last.safetensors')));
  truncateSync(damaged, 5000);
  await refused(['--checkpoint', damaged], /damaged\.safetensors/);
});

/** A test image of the embedded set as a file, upright and twice as wide as high with the bird's picture at the left. */
const writeImage = async (path: string): Promise<void> => {
  const { pixels, width, height } = generateImage(1, 'test', 3);
  const rgba = Buffer.alloc(4 * 2 * width * height, 255);
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) for (let c = 0; c < 3; c++) {
    rgba[4 * (y * 2 * width + x) + c] = pixels[3 * (y * width + x) + c]!;
  }
  await new Jimp({ width: 2 * width, height, data: rgba }).write(path as `${string}.png`);
};

interface Answer {
  file: string;
  error?: string;
  width: number;
  height: number;
  raw: { label: string; probability: number }[];
  refined: { label: string; probability: number }[];
  box: { x0: number; y0: number; x1: number; y1: number };
}

t.test('predict names classes, probabilities and the box', async (t) => {
  const image = join(folder, 'wide.png');
  await writeImage(image);
  const pictures = join(folder, 'looked');
  const { code, out, errors } = await call('predict', image, '--out', run, '--pictures', pictures);
  t.equal(code, 0, errors);
  t.match(out, /wide\.png, 256 × 128 pixels\n +looked closer at x \d+ to \d+, y \d+ to \d+/);
  const answers = JSON.parse((await call('predict', image, '--out', run, '--json', '--top', '8')).out) as Answer[];
  const [answer] = answers;
  t.equal(answers.length, 1);
  for (const list of [answer!.raw, answer!.refined]) {
    t.equal(list.length, 8);
    // Eight classes in all: their probabilities, each rounded to float32, add up to 1.
    t.ok(Math.abs(list.reduce((sum, g) => sum + g.probability, 0) - 1) < 1e-5);
    t.ok(list.every((g, i) => i === 0 || g.probability <= list[i - 1]!.probability), 'most probable first');
  }
  const { x0, y0, x1, y1 } = answer!.box;
  t.ok(x0 >= 0 && y0 >= 0 && x1 <= 256 && y1 <= 128 && x1 > x0 && y1 > y0, `the box ${JSON.stringify(answer!.box)} lies in the picture`);
  const sizes: Record<string, [number, number]> = {};
  for (const kind of ['box', 'heat', 'maps', 'crop', 'drop']) {
    const { bitmap } = await Jimp.read(join(pictures, `wide-${kind}.png`));
    sizes[kind] = [bitmap.width, bitmap.height];
  }
  t.strictSame([sizes.box, sizes.heat, sizes.drop], [[256, 128], [32, 32], [32, 32]]);
  t.strictSame(sizes.crop, [Math.round(x1 - x0), Math.round(y1 - y0)], 'the crop has the size of the box');
});

t.test('a large photograph is shown in its own pixels, not in those of the square that the network got', async (t) => {
  const [width, height] = [640, 320];
  const data = Buffer.alloc(4 * width * height, 255);
  for (let i = 0; i < width * height; i++) data.set([Math.floor((i % width) / 4), Math.floor(i / width / 2), 90], 4 * i);
  const photograph = join(folder, 'photograph.png');
  await new Jimp({ width, height, data }).write(photograph as `${string}.png`);
  const pictures = join(folder, 'photograph');
  const [answer] = JSON.parse((await call('predict', photograph, '--out', run, '--json', '--pictures', pictures)).out) as [Answer];
  const { x0, y0, x1, y1 } = answer.box;
  const written = async (kind: string): Promise<Bitmap> => (await Jimp.read(join(pictures, `photograph-${kind}.png`))).bitmap;
  const [whole, crop] = [await written('box'), await written('crop')];
  t.strictSame([whole.width, whole.height], [width, height]);
  t.strictSame([crop.width, crop.height], [Math.round(x1 - x0), Math.round(y1 - y0)]);
  const middle = 4 * (Math.floor(crop.height / 2) * crop.width + Math.floor(crop.width / 2));
  const [red, green] = crop.data.subarray(middle, middle + 2);
  t.ok(Math.abs(red! - (x0 + x1) / 8) <= 1.5 && Math.abs(green! - (y0 + y1) / 4) <= 1.5, `the middle of the crop, ${red}, ${green}, is that of the box ${x0} to ${x1}, ${y0} to ${y1}`);
});
interface Bitmap { width: number; height: number; data: Uint8Array }

t.test('describing the pictures of one batch leaves the next batch as it is', async (t) => {
  const images = ['one.png', 'two.png'].map((name) => join(folder, name));
  for (const image of images) await writeImage(image);
  const options = ['--out', run, '--json', '--batch-size', '1'];
  const plain = await call('predict', ...images, ...options);
  const described = await call('predict', ...images, ...options, '--pictures', join(folder, 'one-by-one'));
  t.equal(described.code, 0, described.errors);
  t.strictSame(JSON.parse(described.out), JSON.parse(plain.out));
});

t.test('predict refuses bad images and goes on with the others', async (t) => {
  const good = join(folder, 'good.png');
  await writeImage(good);
  const [truncated, empty, missing] = ['truncated.png', 'empty.png', 'missing.png'].map((name) => join(folder, name)) as [string, string, string];
  writeFileSync(truncated, readFileSync(good).subarray(0, 3000));
  writeFileSync(empty, '');
  mkdirSync(join(folder, 'images'));
  const loop = join(folder, 'loop.png');
  symlinkSync('loop.png', loop);
  const { code, out, errors } = await call('predict', truncated, good, missing, empty, join(folder, 'images'), loop, '--out', run);
  t.equal(code, 1);
  t.match(out, 'good.png, 256 × 128 pixels');
  const lines = errors.trim().split('\n');
  t.equal(lines.length, 5, 'one line for each');
  t.match(lines[0], /^image .*truncated\.png (?:is truncated or damaged|could not be decoded)/);
  t.match(lines[1], /^image .*missing\.png is not on disk$/);
  t.match(lines[2], /^image .*empty\.png is empty \(0 bytes\)$/);
  t.match(lines[3], /images is a folder, not a picture/);
  t.match(lines[4], /^image .*loop\.png is a symbolic link that leads back to itself$/);
  mkdirSync(join(folder, 'parts', 'tray 1'), { recursive: true });
  for (const name of ['b.png', 'tray 1/a.png']) writeFileSync(join(folder, 'parts', name), readFileSync(good));
  for (const name of ['c.heic', 'notes.txt', '.hidden.png']) writeFileSync(join(folder, 'parts', name), 'no picture');
  const below = await call('predict', join(folder, 'parts'), '--out', run, '--json');
  t.equal(below.code, 1, below.errors);
  t.match(JSON.parse(below.out), [{ file: join(folder, 'parts', 'b.png') }, { file: join(folder, 'parts', 'tray 1/a.png') }, { error: /c\.heic is not an image/ }], 'the pictures of a folder, with those that cannot be read');
  const all = await call('predict', missing, '--out', run, '--json');
  t.equal(all.code, 1);
  t.match((JSON.parse(all.out) as Answer[])[0], { file: missing, error: /is not on disk/ });
  const twoLines = await call('predict', join(folder, 'two\nlines.png'), '--out', run);
  t.match(twoLines.errors, /two\\u000alines\.png is not on disk\n$/, 'a name of two lines stays on one');
  const none = await call('predict', '--out', run);
  t.strictSame([none.code, none.errors.trim()], [1, 'name at least one IMAGE, or try --synthetic 4 with a network trained on the embedded data set']);
});

t.test('predict tries embedded images without any file', async (t) => {
  const { code, out, errors } = await call('predict', '--synthetic', '3', '--out', run, '--top', '2', '--batch-size', '2');
  t.equal(code, 0, errors);
  t.strictSame([...out.matchAll(/^embedded-(\d), 128 × 128 pixels, truly .+ pipit$/gm)].map((m) => m[1]), ['0', '1', '2']);
  t.equal([...out.matchAll(/^ +[\d.]+ % .+ % .+$/gm)].length, 6, 'two classes for each');
});
