/** Weights of other programs: their names, what fits, what is refused, and PyTorch's own view of what goes out. */
import t, { type Test } from 'tap';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { noGrad } from '../src/autograd/tape.js';
import { worstError } from '../src/autograd/verify.js';
import { elementCount, entryOf, type TensorEntry, type TensorFile, toFloat32 } from '../src/io/tensor-file.js';
import { withoutInit } from '../src/nn/init.js';
import { backboneNames, backboneRecord } from '../src/nn/models/index.js';
import { tensor } from '../src/tensor/create.js';
import { scope } from '../src/tensor/scope.js';
import type { Tensor } from '../src/tensor/tensor.js';
import { saveCheckpoint } from '../src/train/checkpoint.js';
import type { EpochRecord } from '../src/train/history.js';
import { createMethod, type Method } from '../src/train/method.js';
import { createModel } from '../src/train/session.js';
import { toFileShape } from '../src/train/state-layout.js';
import { START } from '../src/train/trainer.js';
import { describeLoad, programNotes, loadWeights } from '../src/train/weights/load-weights.js';
import { type Naming, recognise, toPipit } from '../src/train/weights/naming.js';
import { readWeights } from '../src/train/weights/read-weights.js';
import { interpret, type Weights } from '../src/train/weights/weights.js';
import { renamed, writeWeights } from '../src/train/weights/write-weights.js';
import { configOf } from './support/default-training.js';
import { portableImages, portableSigned } from './support/portable.js';
import { openRuntime } from './support/runtime.js';
import { runTorch, torchMissing } from './support/torch.js';

const runtime = await openRuntime();
t.teardown(() => runtime.device.close());

type Shapes = Readonly<Record<string, readonly number[]>>;

/** A file in memory. Each tensor's numbers follow from its name. */
const fileOf = (shapes: Shapes, path = 'weights.pth'): TensorFile => {
  const numberOf = (name: string): number => [...name].reduce((sum, letter) => Math.imul(sum, 31) + letter.charCodeAt(0), 7) >>> 0;
  const entry = (name: string, shape: readonly number[]): TensorEntry =>
    ({ dtype: 'F32', shape, read: () => portableSigned(numberOf(name), elementCount(shape)) });
  return { path, format: 'test', tensors: new Map(Object.entries(shapes).map(([name, shape]) => [name, entry(name, shape)])), facts: new Map() };
};

const numbers = ({ dtype, read }: TensorEntry): Float32Array => toFloat32(dtype, read());
const CLASSES = 5;
const build = (...args: string[]): Method => withoutInit(() => createMethod(runtime, configOf('--attentions', '4', '--attention-rim', '0', ...args), CLASSES));
const release = ({ module, centers }: Method): void => {
  for (const [, p] of [...module.namedParameters(), ...module.namedBuffers()]) p.release();
  centers?.table.release();
};

/** Shapes of a network's weights in files, by our names. */
const shapesOf = (method: Method): Record<string, readonly number[]> =>
  Object.fromEntries([...method.module.namedParameters(), ...method.module.namedBuffers()].map(([name, { shape }]) => [name, toFileShape(name, shape)]));

const plannedShapes = (...args: string[]): Record<string, readonly number[]> => {
  let shapes: Record<string, readonly number[]> = {};
  runtime.planMemory(() => scope(() => {
    const method = build(...args);
    shapes = shapesOf(method);
    release(method);
  }));
  return shapes;
};

const valueOf = async (method: Method, name: string): Promise<number[]> => {
  const [, found] = [...method.module.namedParameters(), ...method.module.namedBuffers()].find(([own]) => own === name)!;
  return [...(await found.data()) as Float32Array];
};

t.test('weights that hold no finite numbers are refused by file and tensor', (t) => scope(async () => {
  const method = build('--model', 'resnet_small');
  const shapes = { ...shapesOf(method), feature_center: method.centers!.table.shape };
  for (const [name, odd] of [['features.bn1.running_var', NaN], ['fc.weight', Infinity], ['feature_center', NaN], ['features.conv1.weight', -2e19]] as const) {
    const file = fileOf(shapes, 'diverged.safetensors');
    const { dtype, shape, read } = file.tensors.get(name)!;
    const changed = () => (read() as Float32Array).map((value, i) => (i === 2 ? odd : value));
    const broken: TensorFile = { ...file, tensors: new Map([...file.tensors, [name, { dtype, shape, read: changed }]]) };
    t.throws(() => loadWeights(method, interpret(broken)), { name: 'UserError',
      message: new RegExp(`^diverged\\.safetensors: ${name.replaceAll('.', '\\.')} holds (NaN|Infinity|-2\\.?0*\\d*e\\+19|-199\\d+), with which`) });
  }
  release(method);
}));

// ---------------------------------------------------------------- names

/** Keys of the reference's state dictionaries, as published. */
const REFERENCE_KEYS: Record<string, number> = { inception_mixed_6e: 427, inception_mixed_7c: 571, resnet50: 325, resnet34: 255 };

t.test('every backbone’s names go to each program’s and come back', async (t) => {
  for (const model of backboneNames) {
    const shapes = plannedShapes('--model', model);
    const weights = interpret(fileOf(shapes));
    t.equal(weights.recognised?.naming, 'pipit', model);
    t.equal(weights.recognised?.table, backboneRecord(model).names);
    for (const naming of ['reference', 'torchvision'] as Naming[]) {
      const { tensors, left } = renamed(weights, { naming, table: backboneRecord(model).names });
      t.equal(recognise(tensors.keys())?.naming, naming, `${model} in ${naming}'s names is recognised`);
      const back = interpret({ ...fileOf({}), tensors });
      const expected = Object.keys(shapes).filter((name) => naming === 'reference' || name.startsWith('features.'));
      t.equal([...back.tensors.keys()].sort().join(), expected.sort().join(), `${model} by way of ${naming}`);
      t.equal(left.length, Object.keys(shapes).length - expected.length);
      if (naming === 'reference' && model in REFERENCE_KEYS) t.equal(tensors.size, REFERENCE_KEYS[model], `${model}: published number of keys`);
    }
  }
});

t.test('names as the programs’ authors have them', async (t) => {
  const pairs: [model: string, ours: string, naming: Naming, theirs: string][] = [
    ['inception_mixed_6e', 'features.Conv2d_1a_3x3.bn.running_var', 'reference', 'features.0.bn.running_var'],
    ['inception_mixed_6e', 'features.Conv2d_4a_3x3.conv.weight', 'reference', 'features.5.conv.weight'],
    ['inception_mixed_6e', 'features.Mixed_5b.branch1x1.conv.weight', 'reference', 'features.7.branch1x1.conv.weight'],
    ['inception_mixed_6e', 'features.Mixed_6e.branch7x7dbl_5.bn.bias', 'reference', 'features.14.branch7x7dbl_5.bn.bias'],
    ['inception_mixed_7c', 'features.Mixed_7c.branch_pool.bn.weight', 'reference', 'features.17.branch_pool.bn.weight'],
    ['inception_mixed_7c', 'features.Mixed_7a.branch7x7x3_4.conv.weight', 'torchvision', 'Mixed_7a.branch7x7x3_4.conv.weight'],
    ['resnet50', 'features.conv1.weight', 'reference', 'features.0.weight'],
    ['resnet50', 'features.layer4.2.bn3.running_mean', 'reference', 'features.7.2.bn3.running_mean'],
    ['resnet50', 'features.layer1.0.downsample.1.weight', 'torchvision', 'layer1.0.downsample.1.weight'],
    ['vgg19_bn', 'features.features.0.bias', 'reference', 'features.0.bias'],
    ['vgg19_bn', 'features.features.50.running_mean', 'torchvision', 'features.50.running_mean'],
    ['resnet50', 'attentions.conv.weight', 'reference', 'attentions.conv.weight'],
    ['resnet50', 'fc.weight', 'wvinzh', 'module.fc_new.weight'],
    ['resnet50', 'features.layer3.5.conv3.weight', 'wvinzh', 'module.layer3.5.conv3.weight'],
  ];
  for (const [model, ours, naming, theirs] of pairs) {
    const target = { naming, table: backboneRecord(model).names };
    t.equal(toPipit(theirs, target), ours);
    if (naming !== 'wvinzh') {
      t.equal([...renamed(interpret(fileOf({ ...plannedShapes('--model', model) })), target).tensors.keys()].includes(theirs), true, theirs);
    }
  }
  t.equal(recognise(['encoder.weight', 'decoder.bias']), null);
});

// ---------------------------------------------------------------- loading

/** torchvision's whole Inception: the names of our 7c, and its classifiers. */
const torchvisionInception = (): Shapes => ({
  ...Object.fromEntries(Object.entries(plannedShapes('--model', 'inception_mixed_7c')).filter(([name]) => name.startsWith('features.'))
    .map(([name, shape]) => [name.slice('features.'.length), shape])),
  'AuxLogits.conv0.conv.weight': [128, 768, 1, 1], 'AuxLogits.fc.weight': [1000, 768], 'AuxLogits.conv0.bn.num_batches_tracked': [], 'fc.weight': [1000, 2048],
  'fc.bias': [1000],
});

t.test('torchvision’s own classifier stays in a file by torchvision’s names', (t) => {
  const shapes = torchvisionInception();
  const weights = interpret(fileOf(shapes));
  const table = weights.recognised!.table;
  const { tensors, left } = renamed(weights, { naming: 'torchvision', table });
  t.same([...tensors.keys()].filter((name) => !name.endsWith('num_batches_tracked')).sort(), Object.keys(shapes).filter((name) => !name.endsWith('num_batches_tracked')).sort());
  t.same(numbers(tensors.get('fc.bias')!), numbers(weights.surplus.get('fc.bias')!));
  t.same(left, []);
  t.same(renamed(weights, { naming: 'pipit', table }).left, ['AuxLogits.conv0.conv.weight', 'AuxLogits.fc.weight', 'fc.weight', 'fc.bias'], 'elsewhere it has no place');
  t.end();
});

t.test('torchvision’s Inception starts a network that ends earlier', async (t) => {
  const weights = interpret(fileOf(torchvisionInception(), 'inception_v3.pth'));
  const method = build('--model', 'inception_mixed_6e');
  const report = loadWeights(method, weights);
  t.same([...report.fresh].sort(),
    ['attentions.bn.bias', 'attentions.bn.running_mean', 'attentions.bn.running_var', 'attentions.bn.weight', 'attentions.conv.weight', 'fc.weight']);
  t.equal(report.taken, 70 * 5);
  t.ok(report.left.includes('features.Mixed_7a.branch3x3_1.conv.weight') && report.left.includes('fc.weight') && report.left.includes('AuxLogits.fc.weight'));
  t.match(describeLoad(weights, report),
    /^Weights: 350 tensors from inception_v3\.pth \(names of torchvision\); fresh: attentions, fc \(6 tensors\); left out: Mixed_7a, Mixed_7b, Mixed_7c, AuxLogits, fc \(\d+ tensors\)$/);
  t.same(await valueOf(method, 'features.Mixed_6e.branch1x1.bn.weight'), [...numbers(weights.tensors.get('features.Mixed_6e.branch1x1.bn.weight')!)]);
  const [out, [, into]] = [192, weights.tensors.get('features.Mixed_6e.branch1x1.conv.weight')!.shape as [number, number]];
  const stored = numbers(weights.tensors.get('features.Mixed_6e.branch1x1.conv.weight')!);
  const ours = await valueOf(method, 'features.Mixed_6e.branch1x1.conv.weight');
  t.equal(ours[7 * out + 3], stored[3 * into + 7], 'filter 3, channel 7');
  release(method);
});

t.test('a backbone with biases in front of batch norm loses them without a difference', async (t) => {
  const ours = plannedShapes('--model', 'resnet34');
  const { tensors } = renamed(interpret(fileOf(ours)), { naming: 'reference', table: backboneRecord('resnet34').names });
  const bias = Float32Array.from({ length: 64 }, (_, i) => i / 10);
  tensors.set('features.4.1.conv2.bias', entryOf({ dtype: 'F32', shape: [64], data: bias }));
  const weights = interpret({ ...fileOf({}), tensors });
  const before = numbers(fileOf(ours).tensors.get('features.layer1.1.bn2.running_mean')!);
  t.same(numbers(weights.tensors.get('features.layer1.1.bn2.running_mean')!), before.map((mean, i) => mean - bias[i]!));
  t.same([...weights.tensors.keys()].filter((name) => /conv\d\.bias/.test(name)), []);
});

t.test('wvinzh’s checkpoints: module names, fc_new, and attention from the next block', async (t) => {
  const trunk = torchvisionInception();
  const kept = Object.entries(trunk).filter(([name]) => !/^(fc|AuxLogits)\./.test(name));
  const state: Shapes = Object.fromEntries([...kept, ['fc_new.weight', [CLASSES, 4 * 768]], ['fc_new.bias', [CLASSES]]].map(([name, shape]) =>
    [`state_dict.module.${name as string}`, shape as number[]]));
  const file = fileOf({ ...state, center: [CLASSES, 4 * 768], 'optimizer.state.0.momentum_buffer': [3] }, 'model_best.pth.tar');
  const weights = interpret(file);
  t.equal(weights.recognised?.naming, 'wvinzh');
  t.same(weights.tensors.get('attentions.conv.weight')!.shape, [4, 768, 1, 1], 'as many filters as the classifier has maps');
  const unit = numbers(file.tensors.get('state_dict.module.Mixed_7a.branch3x3_1.conv.weight')!);
  t.same([...numbers(weights.tensors.get('attentions.conv.weight')!)], [...unit.subarray(0, 4 * 768)]);
  t.same(weights.tensors.get('attentions.bn.running_mean')!.shape, [4]);
  const method = build('--model', 'inception_mixed_6e', '--classifier-bias');
  const report = loadWeights(method, weights);
  t.same([report.fresh, report.centers], [[], true]);
  t.ok(report.left.every((name) => name.includes('Mixed_7')), 'only the blocks behind are left out');
  t.same(await valueOf(method, 'fc.bias'), [...numbers(file.tensors.get('state_dict.module.fc_new.bias')!)]);
  t.same([...await method.centers!.table.data()].slice(0, 9), [...numbers(file.tensors.get('center')!)].slice(0, 9));
  const without = build('--model', 'inception_mixed_6e');
  t.throws(() => loadWeights(without, weights, []), /1 unexpected:\n {4}fc\.bias, found \[5\]\nIts classifier has a bias: add --classifier-bias\./);
  const asTheirs = ['--attention-rim', '0', '--test-theta', '0.1'];
  const inception = (...args: string[]) => programNotes(weights, configOf('--model', 'inception_mixed_6e', ...asTheirs, ...args));
  t.same(programNotes(weights, configOf('--model', 'inception_mixed_6e', '--transform-input')), [
    'WS_DAN_PyTorch (wvinzh) uses its networks with --attention-rim 0 and --test-theta 0.1; here they are 1 and 0.25',
  ], 'nor this');
  t.same(inception(), ['WS_DAN_PyTorch (wvinzh) brings the pixels of its Inception to −1 … 1; its weights need --transform-input'],
    'which no shape would tell');
  t.same([inception('--transform-input'), inception('--normalize', 'inception')], [[], []]);
  release(method);
  release(without);
});

t.test('wvinzh’s ResNet, whose maps lie in the middle of a stage', async (t) => {
  const trunk = Object.entries(plannedShapes('--model', 'resnet50')).filter(([name]) => name.startsWith('features.'));
  const state = [...trunk.map(([name, shape]) => [name.replace('features.', 'module.'), shape]), ['module.fc_new.weight', [CLASSES, 4 * 512]],
    ['module.fc_new.bias', [CLASSES]]];
  const weights = interpret(fileOf(Object.fromEntries(state) as Shapes, 'resnet.pth.tar'));
  t.equal(weights.recognised?.naming, 'wvinzh');
  const method = build('--model', 'resnet50');
  t.throws(() => loadWeights(method, weights, []),
    /WS_DAN_PyTorch \(wvinzh\) takes the features and maps of a ResNet out of the middle of its last stage, which Pipit does not: only the backbone fits, with --weights-ignore "attentions\.\*,fc\.\*"\./);
  const { taken, fresh } = loadWeights(method, weights, ['attentions.*', 'fc.*']);
  t.same([taken, [...new Set(fresh.map((name) => name.split('.')[0]))]], [trunk.length, ['attentions', 'fc']], 'and so it does');
  t.same(programNotes(weights, configOf('--model', 'resnet50', '--attention-rim', '0', '--test-theta', '0.1')), []);
  release(method);
});

// ---------------------------------------------------------------- refusals

const small = (): Method => build('--model', 'resnet_small');
const smallShapes = plannedShapes('--model', 'resnet_small');

t.test('what does not fit is listed, and nothing is changed', async (t) => {
  const method = small();
  const refused = (shapes: Shapes, message: RegExp, ignore: string[] | null = []): void => {
    t.throws(() => loadWeights(method, interpret(fileOf(shapes, 'theirs.ckpt')), ignore), { name: 'UserError', message });
  };
  const { 'fc.weight': classifier, 'features.bn1.bias': stem, ...rest } = smallShapes;
  refused({ ...rest, 'fc.weight': classifier! },
    /^theirs\.ckpt \(names of Pipit\) does not fit resnet_small:\n {2}1 missing:\n {4}features\.bn1\.bias, expected \[16\]\nTo go on without them: --weights-ignore features\.bn1\.bias$/);
  refused({ ...smallShapes, 'features.layer1.5.conv1.weight': [32, 32, 3, 3] },
    /1 unexpected:\n {4}features\.layer1\.5\.conv1\.weight, found \[32, 32, 3, 3\]/);
  refused({ ...smallShapes, 'fc.weight': [200, classifier![1]!] },
    /1 of another shape:\n {4}fc\.weight: expected \[5, 256\], found \[200, 256\]\nThe file's network tells 200 classes apart, this one 5\./);
  refused({ ...smallShapes, 'fc.weight': [5, 512] }, /Its classifier sees 512 features \(maps × channels\), this one 256: another --attentions\?/);
  refused({ ...smallShapes, feature_center: [200, 256] }, /feature_center: expected \[5, 256\], found \[200, 256\]/);
  refused({ ...rest, 'fc.weight': [2, 2], 'features.layer3.0.conv1.weight': [9, 9, 3, 3] },
    /1 missing:.*1 unexpected:.*1 of another shape:.*The file's network has layer3, which resnet_small has not: another --model\?/s);
  refused({ 'encoder.weight': [2, 3] }, /names of no network that Pipit knows\) does not fit resnet_small:\n {2}41 missing:(.*\n){13} {4}… and 29 more/);
  refused(smallShapes, /--weights-ignore: neither the network nor theirs\.ckpt has a tensor "fc\.wieght"/, ['fc.wieght']);
  refused({ ...smallShapes, 'fc.weight': [9, 9] }, /this one 5\.\n.*another --attentions\?$/, null);
  t.ok((await valueOf(method, 'features.conv1.weight')).every((value) => value === 0), 'the network is as it was made');
  t.throws(() => interpret(fileOf({})), { name: 'UserError', message: /there are no tensors in it that could be weights/ });

  const report = loadWeights(method, interpret(fileOf({ ...rest, 'fc.weight': [200, 256], 'fc.bias': [200], feature_center: [200, 256] })),
    ['fc.*', 'features.bn1.bias', 'feature_center']);
  t.same([[...report.fresh].sort(), report.left, report.centers], [['fc.weight', 'features.bn1.bias'], ['fc.bias'], false], 'what is allowed stays fresh');
  t.equal(stem!.length, 1);
  release(method);
});

t.test('weights of another network are refused by its name', async (t) => {
  const six = build('--model', 'inception_mixed_6e');
  const seven = interpret(fileOf(plannedShapes('--model', 'inception_mixed_7c'), '7c.safetensors'));
  t.throws(() => loadWeights(six, seven),
    { name: 'UserError', message: /^7c\.safetensors \(names of Pipit\) does not fit inception_mixed_6e:\n {2}\d+ unexpected:\n.*fc\.weight: expected \[5, 3072\], found \[5, 8192\]\n.*The file's network has Mixed_7a, Mixed_7b, Mixed_7c, which inception_mixed_6e has not/s });
  const { tensors } = renamed(seven, { naming: 'reference', table: backboneRecord('inception_mixed_7c').names });
  t.throws(() => loadWeights(six, interpret({ ...fileOf({}, 'model.ckpt'), tensors }), []),
    { name: 'UserError', message: /^model\.ckpt \(names of WS-DAN\.PyTorch\) does not fit inception_mixed_6e:.*attentions\.conv\.weight: expected \[4, 768, 1, 1\], found \[4, 2048, 1, 1\].*has Mixed_7a, Mixed_7b, Mixed_7c/s }, 'nor the reference’s own');
  const resnet = interpret(fileOf(smallShapes, 'small.safetensors'));
  t.throws(() => loadWeights(six, resnet),
    { name: 'UserError', message: /small\.safetensors holds a network of the family ResNet with Pipit's names, but the model is inception_mixed_6e \(Inception-v3\)\. Choose its backbone with --model/ });
  const deeper = interpret(fileOf({ 'conv1.weight': [16, 3, 3, 3], 'layer1.0.conv1.weight': [32, 16, 3, 3], 'layer1.7.conv1.weight': [32, 32, 3, 3] },
    'deep.pth'));
  const method = small();
  t.throws(() => loadWeights(method, deeper),
    { name: 'UserError', message: /deep\.pth \(names of torchvision\).*1 unexpected:\n {4}features\.layer1\.7\.conv1\.weight/s },
    'a stage that both have must agree block by block');
  release(six);
  release(method);
});

// ---------------------------------------------------------------- PyTorch

const SIZE = 96;

const randomised = (model: string, scale: number): ReturnType<typeof createModel> => {
  const session = createModel(runtime,
    configOf('--model', model, '--attentions', '4', '--attention-rim', '0', '--scale', String(scale), '--image-size', String(SIZE)), CLASSES);
  session.method.centers!.load(Float32Array.from({ length: session.method.centers!.table.size }, (_, i) => (i % 7) / 8));
  return session;
};

const logitsOf = (method: Method): Promise<Float32Array> => scope(async () => {
  method.module.eval();
  const { logits } = noGrad(() => method.module.call(tensor(portableImages(2, SIZE, 2), [2, SIZE, SIZE, 3], { runtime }))) as { logits: Tensor };
  return (await logits.data()) as Float32Array;
});

const HISTORY = [{
  epoch: 7, step: 10, lr: 0.002, seconds: 1, imagesPerSecond: 1,
  train: { loss: 1.25, terms: {}, raw: { top1: 50, top5: 75 }, crop: { top1: 40, top5: 70 }, drop: { top1: 30, top5: 60 }, degenerate: 0 },
  eval: { images: 4, loss: 1.5, raw: { top1: 60, top5: 80 }, crop: null, drop: null, refined: { top1: 62.5, top5: 81 }, localisation: null, degenerate: 0,
    split: 'test' },
}] as unknown as EpochRecord[];

interface Answer { keys: number; logits: number[]; changed: number[]; centers: number; logs: Record<string, unknown> }

/** @param scale what Pipit multiplies features by; the reference, whatever it reads, by 100 */
const roundTrip = async (t: Test, model: string, keys: number, scale: number): Promise<void> => {
  const folder = t.testdir({});
  const [run, ckpt, back] = [join(folder, 'last.safetensors'), join(folder, 'model.ckpt'), join(folder, 'back.ckpt')];
  const session = randomised(model, scale);
  await saveCheckpoint(run, session, { scale, attentionRim: scale === 100 ? 0 : 1 }, ['a', 'b', 'c', 'd', 'e'], { ...START, epoch: 7, history: HISTORY });
  const { notes } = await writeWeights(ckpt, await readWeights(run));
  t.same(notes, scale === 100 ? [] : [
    `fc.weight is written times ${scale / 100}: WS-DAN.PyTorch multiplies features by 100, this run by ${scale}`,
    'this run left the maps\' outermost cells out (--attention-rim 1), which WS-DAN.PyTorch does not: its maps and logits will be others',
  ]);
  const answer = runTorch('load_checkpoint.py', model, ckpt, String(SIZE), back) as Answer;
  t.equal(answer.keys, keys, 'keys of the reference’s state dictionary');
  t.same(answer.logs, {
    epoch: 7, lr: 0.002, train_loss: 1.25, train_raw_topk_accuracy: [50, 75], train_crop_topk_accuracy: [40, 70], train_drop_topk_accuracy: [30, 60],
    val_loss: 1.5, val_topk_accuracy: 62.5,
  });
  const centers = Array.from(await session.method.centers!.table.data()).reduce((sum: number, value: number) => sum + value, 0);
  t.equal(answer.centers, centers);
  // Both compute in float32; with a scale of 100 the logits are of size 10, and 1e-4 of that is what the export promises.
  t.ok(worstError(await logitsOf(session.method), answer.logits).error < 1e-4, 'PyTorch computes the same logits');
  release(session.method);

  const weights: Weights = await readWeights(back);
  t.equal(weights.recognised?.naming, 'reference');
  const again = withoutInit(() =>
    createMethod(runtime, configOf('--model', model, '--attentions', '4', '--attention-rim', '0', '--scale', String(scale)), CLASSES));
  const report = loadWeights(again, weights);
  t.same([report.fresh, report.left, report.centers], [[], [], true]);
  t.ok(worstError(await logitsOf(again), answer.changed).error < 1e-4, 'and what PyTorch trained on is read back');
  t.ok(worstError(answer.changed, answer.logits).error > 0.01, 'which is another network');
  release(again);
};

t.test('Inception goes to the reference’s structure in PyTorch and back', { skip: torchMissing('torchvision') },
  (t) => roundTrip(t, 'inception_mixed_6e', 427, 100));
t.test('ResNet-34 with its biases goes to PyTorch and back', { skip: torchMissing('torchvision') }, (t) => roundTrip(t, 'resnet34', 255, 10));

t.test('files without a network’s names keep them', async (t) => {
  const folder = t.testdir({});
  const unknown = interpret(fileOf({ 'encoder.weight': [2, 3], 'encoder.bias': [2] }));
  const report = await writeWeights(join(folder, 'x.pth'), unknown);
  t.same(report, { written: 2, naming: null, centers: false, left: [], notes: [] });
  t.same([...(await readWeights(join(folder, 'x.pth'))).tensors.keys()], ['encoder.weight', 'encoder.bias']);
  await t.rejects(writeWeights(join(folder, 'y.pth'), unknown, 'torchvision'),
    { name: 'UserError', message: /nobody's names that Pipit knows; leave --names out/ });
  const kinds = await readWeights('test/fixtures/pytorch/kinds.pth');
  await writeWeights(join(folder, 'k.safetensors'), kinds);
  const copy = await readWeights(join(folder, 'k.safetensors'));
  for (const [name, entry] of kinds.tensors) t.strictSame(copy.tensors.get(name)?.read(), entry.read(), `${name}: bits`);
  t.equal(readFileSync(join(folder, 'k.safetensors')).includes('"format":"pt"'), true, 'as PyTorch’s safetensors reader wants it');
});
