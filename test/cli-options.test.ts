import t from 'tap';
import { spawn } from 'node:child_process';
import { build } from 'esbuild';
import { join } from 'node:path';
import { UserError } from '../src/errors.js';
import { choice, configFile, flag, int, kebab, number, numbers, parseOptions, text, toConfig } from '../src/cli/options.js';
import { otherNames } from '../src/cli/other-names.js';
import { trainOptions } from '../src/train/options/train-options.js';
import { nearest } from '../src/train/options/nearest.js';
import { errorReport } from '../src/cli/run-command.js';

const options = {
  config: configFile(),
  dataset: choice(['synthetic', 'aircraft', 'cub'], { default: 'synthetic', help: 'what to train on' }),
  data: text({ placeholder: 'DIR', help: 'folder of the dataset' }),
  epochs: int({ min: 1, max: 1000, default: 14, help: 'epochs to train' }),
  lr: number({ min: 0, aboveMin: true, default: 0.02, help: 'initial learning rate' }),
  imageSize: int({ min: 32, help: 'side of the square input', defaultText: 'by dataset' }),
  scale: number({ default: 100, help: 'factor', defaultText: '100, or preset' }),
  cropThreshold: numbers({ length: 2, min: 0, max: 1, ascending: true, default: [0.4, 0.6], help: 'range of the crop threshold' }),
  skipBadImages: flag({ help: 'count bad images and go on' }),
  centerLoss: flag({ default: true, help: 'use the center loss' }),
};
const command = { name: 'train', summary: 'Trains.', options, more: ['Presets:', '  none'], examples: ['node dist/train.js --epochs 2'] };
const parse = (...args: string[]) => parseOptions(command, args, () => undefined);

t.test('defaults, and types that follow the declaration', async (t) => {
  const { values, source, positional } = parse();
  // These lines fail to compile when the inferred types are wrong.
  const typed: { epochs: number; imageSize: number | undefined; dataset: 'synthetic' | 'aircraft' | 'cub'; centerLoss: boolean } = values;
  t.same(typed, {
    config: undefined, dataset: 'synthetic', data: undefined, epochs: 14, lr: 0.02, imageSize: undefined, scale: 100,
    cropThreshold: [0.4, 0.6], skipBadImages: false, centerLoss: true,
  });
  t.ok(Object.values(source).every((from) => from === 'default'));
  t.same(positional, []);
});

t.test('values in every form', async (t) => {
  const { values, source } = parse('--epochs=3', '--lr', '1e-3', '--image-size', '96', '--crop-threshold', '0.1,0.2', '--skip-bad-images', '--no-center-loss', '--data', 'a b');
  t.match(values, { epochs: 3, lr: 0.001, imageSize: 96, skipBadImages: true, centerLoss: false, data: 'a b' });
  t.same(values.cropThreshold, [0.1, 0.2]);
  t.equal(source.imageSize, 'command line');
  t.equal(source.dataset, 'default');
  t.equal(parse('--epochs', '3', '--epochs', '5').values.epochs, 5, 'the last one counts');
  t.equal(parse('--skip-bad-images', '--no-skip-bad-images').values.skipBadImages, false);
});

const refused: [string[], RegExp][] = [
  [['--epochs', 'x'], /^--epochs: "x" is not allowed\. Allowed: a whole number from 1 to 1000\.$/],
  [['--epochs', '0'], /^--epochs: "0" is not allowed/],
  [['--epochs', '1001'], /from 1 to 1000/],
  [['--epochs', '2.5'], /^--epochs: "2.5" is not allowed/],
  [['--epochs', ''], /^--epochs: "" is not allowed/],
  [['--epochs', 'Infinity'], /^--epochs: "Infinity"/],
  [['--lr', '-1'], /^--lr: "-1" is not allowed\. Allowed: a number above 0\.$/],
  [['--lr', '0'], /^--lr: "0"/],
  [['--lr', 'NaN'], /^--lr: "NaN"/],
  [['--dataset', 'aircrafts'], /^--dataset: "aircrafts" is not allowed\. Did you mean aircraft\? Allowed: synthetic, aircraft, cub\.$/],
  [['--crop-threshold', '0.4'], /2 numbers separated by commas, each from 0 to 1/],
  [['--crop-threshold', '0.4,1.5'], /each from 0 to 1/],
  [['--crop-threshold', '0.6,0.4'], /^--crop-threshold: "0\.6,0\.4" is not allowed\. Allowed: 2 numbers separated by commas, each from 0 to 1, the smaller one first\.$/],
  [['--data', '--epochs'], /^--data: "--epochs" is not allowed\. The value is missing before --epochs\./],
  [['--data'], /^--data needs a value: --data DIR\./],
  [['--epoch', '3'], /^There is no option --epoch\. Did you mean --epochs\?/],
  [['--image_size', '3'], /Did you mean --image-size\?/],
  [['--skip-bad-image'], /Did you mean --skip-bad-images\?/],
  [['--qqqqqqqqqq'], /^There is no option --qqqqqqqqqq\. "node dist\/train\.js --help" lists all options\.$/],
  [['stray'], /^"stray" was not expected/],
];

t.test('wrong command lines say option, value and what is allowed', async (t) => {
  for (const [args, message] of refused) t.throws(() => parse(...args), { name: 'UserError', message }, args.join(' '));
});

t.test('a placeholder for a list is shown as a name', async (t) => {
  const list = { name: 'x', summary: '', options: { ops: text({ help: 'h', placeholder: 'NAME,...' }) } };
  t.throws(() => parseOptions(list, ['--ops'], () => undefined), { name: 'UserError', message: /^--ops needs a value: --ops NAME\. / });
});

t.test('what other programs call an option is known', async (t) => {
  const train = (option: string): unknown => parseOptions({ name: 'train', summary: '', options: trainOptions, otherNames }, [option, '1'], () => undefined);
  t.throws(() => train('--learning_rate'), { name: 'UserError', message: /^There is no option --learning_rate\. Here it is --lr\. "node dist\/train\.js --help" lists/ });
  t.throws(() => train('--lerning-rate'), { message: /^There is no option --lerning-rate\. Here it is --lr\./ }, 'with a slip');
  t.throws(() => train('--eval-only'), { message: /Here it is a command of its own, node dist\/eval\.js\./ });
  t.throws(() => train('-b'), { message: /^There is no option -b\. Here it is --batch-size\./ });
  const config = t.testdir({ 'c.json': '{"learning_rate": 0.1}', 'd.json': '{"earlyStopping": 3}', 'e.json': '{"constructor": 3}' });
  const fromFile = (name: string): unknown => parseOptions({ name: 'train', summary: '', options: trainOptions, otherNames }, ['--config', join(config, name)], () => undefined);
  t.throws(() => fromFile('c.json'), { name: 'UserError', message: /c\.json: there is no option "learning_rate"\. Here it is --lr\.$/ }, 'in a file, too');
  t.throws(() => fromFile('d.json'), { message: /d\.json: there is no option "earlyStopping"\. Here it is --patience\.$/ });
  t.throws(() => fromFile('e.json'), { message: /there is no option "constructor"\.(?! Here)/ });
  t.throws(() => train('--constructor'), { message: /^There is no option --constructor\. (?!Here)/ });
  const known = Object.keys(trainOptions).map(kebab);
  for (const [other, here] of Object.entries(otherNames)) {
    t.notOk(known.includes(other), other);
    for (const [, name] of here.matchAll(/--([a-z-]+)/g)) t.ok(known.includes(name!), `${other} is ${here}`);
  }
});

t.test('--help has a line for each option', async (t) => {
  let help = '';
  t.throws(() => parseOptions(command, ['--help'], (line) => { help += line; }), { name: 'HelpShown' });
  const lines = help.split('\n');
  for (const name of ['--config FILE.json', '--dataset NAME', '--data DIR', '--epochs N', '--lr N', '--image-size N', '--crop-threshold N,N', '--skip-bad-images', '--no-center-loss']) {
    t.equal(lines.filter((line) => line.startsWith(`  ${name} `)).length, 1, name);
  }
  t.match(help, /epochs to train \(default: 14\)/);
  t.match(help, /side of the square input \(default: by dataset\)/);
  t.match(help, /factor \(default: 100, or preset\)/);
  t.match(help, /\n\nPresets:\n {2}none\n\nExamples:/);
  t.match(help, /what to train on: synthetic, aircraft, cub \(default: synthetic\)/);
  t.match(help, /Examples:\n {2}node dist\/train\.js --epochs 2/);
});

t.test('a config file counts above defaults and below the command line', async (t) => {
  const folder = t.testdir({
    'good.json': JSON.stringify({ epochs: 5, 'image-size': 64, lr: 0.5, centerLoss: false, cropThreshold: [0.2, 0.3], data: null }),
    'typo.json': '{"epoch": 5}',
    'wrong.json': '{"epochs": true}',
    'torn.json': '{"epochs": ',
    'list.json': '[1]',
  });
  const { values, source } = parse('--config', join(folder, 'good.json'), '--lr', '0.1', '--center-loss');
  t.match(values, { epochs: 5, imageSize: 64, lr: 0.1, centerLoss: true, dataset: 'synthetic', data: undefined });
  t.same(values.cropThreshold, [0.2, 0.3]);
  t.match(source, { epochs: 'config', lr: 'command line', dataset: 'default', data: 'default', centerLoss: 'command line' });
  const refuse = (file: string, message: RegExp) => t.throws(() => parse('--config', join(folder, file)), { name: 'UserError', message });
  refuse('typo.json', /typo\.json: there is no option "epoch"\. Did you mean "epochs"\?/);
  refuse('wrong.json', /wrong\.json: "epochs": true is not allowed\. Allowed: a whole number from 1 to 1000\./);
  refuse('torn.json', /cannot be read as JSON/);
  refuse('list.json', /must hold one JSON object/);
  refuse('absent.json', /there is no file .*absent\.json/);
});

t.test('toConfig writes what --config reads back', async (t) => {
  const first = parse('--epochs', '7', '--crop-threshold', '0.1,0.9', '--skip-bad-images', '--data', 'x').values;
  const folder = t.testdir({ 'config.json': JSON.stringify(toConfig(options, first)) });
  const again = parse('--config', join(folder, 'config.json')).values;
  t.same({ ...again, config: undefined }, first);
});

t.test('positional arguments stand anywhere, and too few are refused', async (t) => {
  const predict = { name: 'predict', summary: 'Predicts.', options: { topK: int({ min: 1, default: 5, help: 'how many' }) }, positional: { name: 'IMAGE', help: 'pictures', atLeast: 1 } };
  const { positional, values } = parseOptions(predict, ['a.jpg', '--top-k', '3', 'b.jpg'], () => undefined);
  t.same(positional, ['a.jpg', 'b.jpg']);
  t.equal(values.topK, 3);
  t.throws(() => parseOptions(predict, [], () => undefined), { name: 'UserError', message: /At least one IMAGE is needed/ });
});

t.test('nearest: a name with swapped letters or its beginning, and none where nothing is near', async (t) => {
  t.equal(nearest('bacth-size', ['batch-size', 'base-size']), 'batch-size', 'swapped letters');
  t.equal(nearest('eval', ['eval-every', 'seed']), 'eval-every', 'a beginning');
  t.equal(nearest('zzz', ['epochs', 'lr']), '', 'nothing near');
});

t.test('errorReport: users see a message, faults a stack', async (t) => {
  t.same(errorReport(new UserError('no such folder')), { text: 'no such folder', code: 1 });
  t.same(errorReport(new UserError('class \u001b[31m\nnext line')).text, 'class \\u001b[31m\nnext line', 'names from files move no cursor');
  const fault = errorReport(new TypeError('boom'));
  t.equal(fault.code, 2);
  t.match(fault.text, /fault of Pipit[\s\S]*TypeError: boom\n +at /);
});

/** A command as a process of its own: exit codes and signals are only real there. */
const program = (body: string, frame = '{}') => `
  import { onInterrupt, runCommand } from './src/cli/run-command.ts';
  import { UserError } from './src/errors.ts';
  const forever = () => setInterval(() => undefined, 1000);
  await runCommand(async () => { ${body} }, ${frame});`;

const start = async (folder: string, body: string, frame?: string) => {
  const outfile = join(folder, 'program.mjs');
  await build({ stdin: { contents: program(body, frame), resolveDir: process.cwd(), loader: 'ts' }, bundle: true, platform: 'node', format: 'esm', outfile, external: ['commander'] });
  const child = spawn(process.execPath, [outfile]);
  const seen = { out: '', err: '' };
  child.stdout.on('data', (data) => { seen.out += data; });
  child.stderr.on('data', (data) => { seen.err += data; });
  const ended = new Promise<number | null>((resolve) => child.on('close', (code) => resolve(code)));
  return { child, seen, ended };
};

t.test('exit codes of a command', async (t) => {
  // Inside the project, so that the bundle finds its packages.
  const folder = t.testdir({});
  const cases: [string, number, RegExp][] = [
    ['return;', 0, /^$/],
    ['return 3;', 3, /^$/],
    ['forever(); throw new UserError("no such folder");', 1, /^no such folder\n$/],
    ['forever(); null.x;', 2, /fault of Pipit[\s\S]*TypeError/],
    ['forever(); setTimeout(() => { throw new UserError("later"); }, 10);', 1, /^later\n$/],
    ['forever(); void Promise.reject(new UserError("unawaited"));', 1, /^unawaited\n$/],
  ];
  for (const [body, code, err] of cases) {
    const { ended, seen } = await start(folder, body);
    t.equal(await ended, code, body);
    t.match(seen.err, err);
  }
});

t.test('the first Ctrl-C asks, the second ends', async (t) => {
  const { child, ended, seen } = await start(t.testdir({}), 'forever(); onInterrupt(() => console.log("finishing")); console.log("ready");');
  child.stdout.once('data', () => child.kill('SIGINT'));
  child.stdout.on('data', () => { if (seen.out.includes('finishing')) child.kill('SIGINT'); });
  t.equal(await ended, 130);
  t.equal(seen.out, 'ready\nfinishing\n', 'the callback ran once');
});

t.test('a terminal that is closed asks as Ctrl-C does', async (t) => {
  const { child, ended, seen } = await start(t.testdir({}), 'const timer = forever(); onInterrupt(() => { console.log("finishing"); clearInterval(timer); }); console.log("ready"); return 7;');
  child.stdout.once('data', () => child.kill('SIGHUP'));
  t.equal(await ended, 7);
  t.equal(seen.out, 'ready\nfinishing\n');
});

t.test('a reader that leaves ends a listing, and not what outlives it', async (t) => {
  const folder = t.testdir({});
  // It says on the other stream how far it came.
  const body = `console.log("first"); await new Promise((resolve) => process.stdin.once("end", resolve).resume());
    for (let i = 0; i < 3; i++) { console.log("more"); await new Promise((resolve) => setImmediate(resolve)); }
    console.error("came to the end"); return 5;`;
  for (const [frame, code, errors] of [['{}', 0, ''], ['{ outlivesReader: true }', 5, 'came to the end\n']] as const) {
    const { child, ended, seen } = await start(folder, body, frame);
    child.stdout.once('data', () => child.stdout.destroy());
    child.stdout.once('close', () => child.stdin.end());
    t.equal(await ended, code, frame);
    t.equal(seen.err, errors);
  }
});
