/** Weights on the command line: inspect, convert, --weights, and what happens with files that do not fit. */
import t, { type Test } from 'tap';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as ort from 'onnxruntime-node';
import { openSafetensors, readSafetensors, writeSafetensors } from '../src/io/safetensors.js';
import { pictureNames } from '../src/cli/predict-pictures.js';
import { call } from './support/command.js';

const folder = mkdtempSync(join(tmpdir(), 'pipit-weights-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const file = (name: string): string => join(folder, name);
const run = file('run');
const small = ['--train-images', '32', '--test-images', '16', '--epochs', '1', '--batch-size', '16', '--image-size', '33', '--report-images', '0'];

const refused = async (t: Test, message: RegExp, command: string, ...args: string[]): Promise<void> => {
  const { code, errors } = await call(command, ...args);
  t.equal(code, 1, `${command} ${args.join(' ')}`);
  t.match(errors, message);
  t.notMatch(errors, /\n {4}at /, 'no stack trace');
};

t.test('a network is trained', async (t) => {
  const { code, out, errors } = await call('train', ...small, '--out', run);
  t.equal(code, 0, `${out}${errors}`);
});

t.test('it goes to a model.ckpt, and eval finds the same figures there', async (t) => {
  const { code, out, errors } = await call('convert', join(run, 'last.safetensors'), file('model.ckpt'));
  t.equal(code, 0, errors);
  t.match(out, /^Read .*last\.safetensors: safetensors, 41 weights and feature centers, ResNet by Pipit's names\nWrote .*model\.ckpt: 53 tensors and feature centers by WS-DAN\.PyTorch's names, [\d.]+ KiB\n/);
  t.match(out, /^Note: fc\.weight is written times 0\.1: WS-DAN\.PyTorch multiplies features by 100, this run by 10$/m);
  t.match(out, /^Note: this run left the maps' outermost cells out \(--attention-rim 1\)/m);
  const evaluated = await call('eval', '--weights', file('model.ckpt'), '--trained-with', join(run, 'config.json'), '--json', file('figures.json'));
  t.equal(evaluated.code, 0, evaluated.errors);
  t.match(evaluated.out, /names of WS-DAN\.PyTorch, after 1 epoch$/m);
  const [summary, figures] = [join(run, 'summary.json'), file('figures.json')].map((path) => JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>);
  for (const key of ['raw', 'crop', 'refined', 'localisation']) t.strictSame(figures![key], summary![key], `${key} is that of the run, to the bit`);
});

t.test('convert says what of a checkpoint goes, and replaces none that a run goes on from', async (t) => {
  const last = join(run, 'last.safetensors');
  const before = readFileSync(last);
  const { out } = await call('convert', last, file('weights.safetensors'));
  t.match(out, /^Left out, having no place there: the optimiser's state$/m);
  t.match((await call('convert', last, file('left.pth'))).out, /^Left out, having no place there: the feature centers, the optimiser's state, the run's options and position$/m);
  await refused(t, /last\.safetensors is a checkpoint from which a run goes on; weights alone would take its place\. Name another file to write/, 'convert', file('weights.safetensors'), last);
  t.ok(before.equals(readFileSync(last)));
  t.equal((await call('convert', file('left.pth'), file('weights.safetensors'))).code, 0, 'weights alone are replaced');
});

t.test('pictures get names of their own', (t) => {
  t.same(pictureNames(['a/x.png', 'b/x.png', 'x-2.jpg', 'X.gif', 'x-2.png', 'c/x.png']), ['x', 'x-2', 'x-2-2', 'X-3', 'x-2-3', 'x-4']);
  const [ascii, wide, again] = pictureNames([`${'n'.repeat(250)}.png`, `${'å'.repeat(125)}z.png`, `${'n'.repeat(249)}.png`]) as [string, string, string];
  t.equal(ascii, 'n'.repeat(200));
  t.equal(again, `${ascii}-2`);
  t.match(wide, /^å{100}$/);
  t.match(pictureNames([`x${'å'.repeat(120)}.png`])[0], /^xå{99}$/, 'no letter is cut in two');
  t.end();
});

t.test('predict names the classes that are given', async (t) => {
  writeFileSync(file('classes.txt'), Array.from({ length: 8 }, (_, i) => `bird ${i}\n`).join(''));
  const common = ['--weights', file('model.ckpt'), '--trained-with', join(run, 'config.json'), '--synthetic', '1'];
  t.match((await call('predict', ...common, '--classes', file('classes.txt'))).out, /^ +[\d.]+ % +bird \d/m);
  t.match((await call('predict', ...common)).out, /^ +[\d.]+ % +class \d/m, 'numbers where none are given');
  writeFileSync(file('marked.txt'), `\uFEFF${readFileSync(file('classes.txt'), 'utf8')}`);
  writeFileSync(file('marked.json'), `\uFEFF${readFileSync(join(run, 'config.json'), 'utf8')}`);
  const marked = await call('predict', '--weights', file('model.ckpt'), '--trained-with', file('marked.json'), '--classes', file('marked.txt'), '--synthetic', '1', '--json', '--top', '8');
  t.equal(marked.code, 0, marked.errors);
  t.ok((JSON.parse(marked.out) as { raw: { label: string }[] }[])[0]!.raw.some(({ label }) => label === 'bird 0'), 'a mark of byte order is no part of a name');
  await refused(t, /^--classes: there is no file .*none\.txt\.$/m, 'predict', ...common, '--classes', file('none.txt'));
  writeFileSync(file('few.txt'), 'a\nb\n');
  await refused(t, /--classes: .*few\.txt has 2 lines, but fc\.weight in .*model\.ckpt tells 8 classes apart/, 'predict', ...common, '--classes', file('few.txt'));
});

t.test('inspect lists what is in a file', async (t) => {
  const { out } = await call('inspect', file('model.ckpt'));
  t.match(out, /^.*model\.ckpt: PyTorch, ResNet by WS-DAN\.PyTorch's names\ntensor +type +shape +bytes\n/);
  t.match(out, /^state_dict\.features\.0\.weight +F32 +\[16, 3, 3, 3\] +1728$/m);
  t.match(out, /^54 tensors, [\d,]+ numbers, [\d.]+ KiB$/m);
  t.match(out, /^logs\.epoch: 1$/m);
  const { tensors, naming } = JSON.parse((await call('inspect', join(run, 'last.safetensors'), '--json')).out) as { naming: string; tensors: { name: string; dtype: string; shape: number[]; bytes: number }[] };
  t.equal(naming, 'pipit');
  t.same(tensors.find(({ name }) => name === 'features.conv1.weight'), { name: 'features.conv1.weight', dtype: 'F32', shape: [16, 3, 3, 3], bytes: 1728 });
});

t.test('inspect spells out what would move the cursor, and waits for no pipe', { skip: process.platform === 'win32' && 'pipes are made otherwise there' }, async (t) => {
  writeSafetensors(file('escape.safetensors'), new Map([['a\u001b[2Jb\nc', { dtype: 'F32', shape: [1], data: Float32Array.of(1) }]]), { 'x\u009b': 'y\u0007' });
  const { code, out } = await call('inspect', file('escape.safetensors'));
  t.equal(code, 0);
  t.match(out, /^a\\u001b\[2Jb\\u000ac +F32/m);
  t.match(out, /^x\\u009b: y\\u0007$/m);
  execFileSync('mkfifo', [file('pipe.safetensors')]);
  await refused(t, /pipe\.safetensors is not a file\./, 'inspect', file('pipe.safetensors'));
});

t.test('there and back the weights are the same, to the bit', async (t) => {
  await call('convert', file('model.ckpt'), file('back.safetensors'));
  await call('convert', join(run, 'last.safetensors'), file('slim.safetensors'));
  const [first, back, slim] = [join(run, 'last.safetensors'), file('back.safetensors'), file('slim.safetensors')].map((path) => openSafetensors(path));
  // Through a file whose classifier is for features times 100, while those of this run are times 10.
  const expected = (name: string) => (name === 'fc.weight' ? Float32Array.from(first!.tensors.get(name)!.read() as Float32Array, (value) => (value * 10) / 100) : first!.tensors.get(name)?.read());
  for (const [name, { read }] of back!.tensors) t.strictSame(read(), expected(name), name);
  t.equal(back!.facts.get('feature_scale'), '100');
  t.ok(statSync(file('slim.safetensors')).size < statSync(join(run, 'last.safetensors')).size / 2, 'without the optimiser');
  t.same([...slim!.tensors.keys()].sort(), [...back!.tensors.keys()].sort());
  const evaluated = await call('eval', '--checkpoint', file('slim.safetensors'));
  t.equal(evaluated.code, 0, evaluated.errors);
});

t.test('ONNX comes with what serving needs to know', async (t) => {
  const { code, out, errors } = await call('convert', join(run, 'best.safetensors'), file('model.onnx'));
  t.equal(code, 0, errors);
  t.match(out, /Wrote .*model\.onnx: ONNX, input images \[batch, 3, 33, 33\], results logits, map, features/);
  const session = await ort.InferenceSession.create(file('model.onnx'), { logSeverityLevel: 3 });
  t.same([session.inputNames, session.outputNames], [['images'], ['logits', 'map', 'features']]);
  const { logits } = await session.run({ images: new ort.Tensor('float32', new Float32Array(3 * 33 * 33), [1, 3, 33, 33]) });
  t.same(logits!.dims, [1, 8]);
  const bytes = readFileSync(file('model.onnx'));
  // Protocol Buffers' rule: number of the field and kind (2: length and bytes) in one byte; of a model, 14 is a pair of key (1) and value (2).
  const field = (number: number, content: Buffer): Buffer => Buffer.concat([Buffer.of((number << 3) | 2, content.length), content]);
  const facts = { mean: '[0.485,0.456,0.406]', std: '[0.229,0.224,0.225]', resizeRatio: '0.875', model: 'resnet_small', method: 'wsdan' };
  for (const [key, value] of Object.entries(facts)) t.ok(bytes.includes(field(14, Buffer.concat([field(1, Buffer.from(key)), field(2, Buffer.from(value))]))), `${key}: ${value}`);
});

t.test('train starts from weights; the head of other classes is left out only when allowed', async (t) => {
  const whole = await call('train', ...small, '--out', file('again'), '--weights', file('model.ckpt'));
  t.equal(whole.code, 0, whole.errors);
  t.match(whole.out, /^Weights: 41 tensors and the feature centers from .*model\.ckpt \(names of WS-DAN\.PyTorch\)$/m);
  t.match(whole.out, /^Note: a feature scale of 10 is made for training from scratch; the published recipe for pretrained weights is --scale 100/m);
  const other = [...small, '--attentions', '16', '--weights', join(run, 'last.safetensors')];
  await refused(t, /attentions\.conv\.weight: expected \[16, 64, 1, 1\], found \[32, 64, 1, 1\](.*\n)*.*--weights-ignore attentions\.conv\.weight,/, 'train', ...other, '--out', file('other'));
  t.notOk(existsSync(join(file('other'), 'last.safetensors')));
  const allowed = await call('train', ...other, '--out', file('other'), '--weights-ignore', 'attentions.*,fc.weight,feature_center');
  t.equal(allowed.code, 0, allowed.errors);
  t.match(allowed.out, /^Weights: 35 tensors from .*; fresh: attentions, fc \(6 tensors\)$/m);
  await call('convert', join(run, 'last.safetensors'), file('backbone.pth'), '--names', 'torchvision');
  const backbone = await call('train', ...small, '--out', file('third'), '--weights', file('backbone.pth'));
  t.match(backbone.out, /^Weights: 35 tensors from .*backbone\.pth \(names of torchvision\); fresh: attentions, fc \(6 tensors\)$/m);
});

t.test('files and options that do not fit', async (t) => {
  const checkpoint = join(run, 'last.safetensors');
  writeFileSync(file('half.ckpt'), readFileSync(file('model.ckpt')).subarray(0, 20_000));
  writeFileSync(file('half.safetensors'), readFileSync(checkpoint).subarray(0, 20_000));
  writeFileSync(file('tiny.json'), JSON.stringify({ dataset: 'synthetic', model: 'resnet18' }));
  writeFileSync(file('slip.json'), JSON.stringify({ modle: 'resnet18' }));
  const cases: [RegExp, ...string[]][] = [
    [/half\.ckpt cannot be read as PyTorch's archive: .*half-written or damaged; use another copy/, 'inspect', file('half.ckpt')],
    [/half\.safetensors: tensor ".*" ends at byte \d+ of the data but only \d+ bytes are there: the file is cut off/, 'convert', file('half.safetensors'), file('x.pth')],
    [/evil\.pth asks for "posix\.system".*Nothing of it was executed/, 'train', '--weights', 'test/fixtures/pytorch/evil.pth', '--out', file('evil')],
    [/none\.pth cannot be read: there is no such file/, 'inspect', file('none.pth')],
    [/half\.ckpt would be replaced by itself/, 'convert', file('half.ckpt'), file('half.ckpt')],
    [/out\.h5: its ending does not name a format; use one of \.safetensors, \.ckpt, \.pth, \.pt, \.onnx/, 'convert', checkpoint, file('out.h5')],
    [/two files are needed.*1 was given/, 'convert', checkpoint],
    [/--names: an ONNX file needs no names/, 'convert', checkpoint, file('x.onnx'), '--names', 'pipit'],
    [/--trained-with, --classes and --image-size describe the network of an \.onnx file/, 'convert', checkpoint, file('x.pth'), '--image-size', '64'],
    [/one FILE at a time; 2 were given/, 'inspect', checkpoint, checkpoint],
    [/model\.ckpt does not tell all about its network\. Say it with --trained-with/, 'eval', '--weights', file('model.ckpt')],
    [/model\.ckpt \(names of WS-DAN\.PyTorch\) does not fit resnet18:\n {2}\d+ missing:\n {4}features\.layer1\.1\.conv1\.weight, expected \[64, 64, 3, 3\]/, 'eval', '--weights', file('model.ckpt'), '--trained-with', file('tiny.json')],
    [/slip\.json: there is no option "modle"\. Did you mean "model"\?/, 'eval', '--weights', file('model.ckpt'), '--trained-with', file('slip.json')],
    [/backbone\.pth has no classifier \(fc\.weight\): it holds a backbone alone\. Train with it/, 'eval', '--weights', file('backbone.pth'), '--trained-with', file('tiny.json')],
    [/--weights stands instead of --checkpoint and --out/, 'eval', '--weights', file('model.ckpt'), '--out', run],
    [/--trained-with and --classes describe the network of --weights/, 'eval', '--out', run, '--trained-with', file('tiny.json')],
    [/--trained-with: there is no file .*nofile\.json/, 'eval', '--weights', file('model.ckpt'), '--trained-with', file('nofile.json')],
    [/is a checkpoint of Pipit and describes its network itself/, 'eval', '--weights', checkpoint, '--trained-with', file('tiny.json')],
  ];
  for (const [message, command, ...args] of cases) await refused(t, message, command!, ...args);
});

t.test('a checkpoint that says nonsense about itself is refused', async (t) => {
  const { tensors, metadata } = readSafetensors(join(run, 'last.safetensors'));
  const meta = JSON.parse(metadata.pipit!) as { options: Record<string, unknown> };
  const withOptions = (options: Record<string, unknown>) => ({ ...meta, options: { ...meta.options, ...options } });
  const cases: [unknown, RegExp][] = [
    [null, /odd\.safetensors: the metadata is damaged; use another checkpoint/],
    [{ format: 1 }, /odd\.safetensors: the metadata is damaged, "options" is not what training writes/],
    [{ ...meta, position: null }, /the metadata is damaged, "position" is not/],
    [{ ...meta, classes: [1, 2] }, /the metadata is damaged, "classes" is not/],
    [{ ...meta, format: null }, /checkpoint format null is not the one of this version/],
    [withOptions({ attentions: 1e9 }), /odd\.safetensors: "attentions": 1000000000 is not allowed\. Allowed: a whole number from 2 to 512/],
    [withOptions({ imageSize: -5 }), /odd\.safetensors: "imageSize": -5 is not allowed/],
    [withOptions({ model: undefined }), /odd\.safetensors: the metadata does not tell the option "model" of training/],
  ];
  for (const [i, [content, message]] of cases.entries()) {
    writeSafetensors(file('odd.safetensors'), tensors, { pipit: JSON.stringify(content) });
    await refused(t, message, i % 2 ? 'eval' : 'predict', '--checkpoint', file('odd.safetensors'), ...(i % 2 ? [] : ['--synthetic', '1']));
  }
});
