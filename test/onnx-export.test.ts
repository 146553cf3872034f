/** Exported networks compute in ONNX Runtime what they compute here. */
import t from 'tap';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as ort from 'onnxruntime-node';
import { noGrad } from '../src/autograd/tape.js';
import { worstError } from '../src/autograd/verify.js';
import { inEvaluation } from '../src/nn/module.js';
import { caseInputs, type OpCase } from '../src/ops/cases.js';
import { argmax, batchNorm2d, maxPool2d, mean, mul, ones, zeros } from '../src/ops/index.js';
import { type Op, run } from '../src/ops/op.js';
import { ops } from '../src/ops/registry.js';
import { tensor } from '../src/tensor/create.js';
import { scope } from '../src/tensor/scope.js';
import { numel, type Shape } from '../src/tensor/shape.js';
import type { Tensor } from '../src/tensor/tensor.js';
import { createMethod, type Method } from '../src/train/method.js';
import { emitters } from '../src/train/onnx/emitters.js';
import { traceToOnnx, writeOnnx } from '../src/train/onnx/export.js';
import { permuted } from '../src/train/state-layout.js';
import { WSDAN, type WsdanOutput } from '../src/wsdan/model.js';
import { configOf } from './support/default-training.js';
import { portableImages, portableSigned } from './support/portable.js';
import { openRuntime } from './support/runtime.js';

// Sums as they are written: the roundings of Winograd's algorithm, which the signed square root magnifies near zero, are not what is compared.
const runtime = await openRuntime({ winograd: 'off' });
t.teardown(() => runtime.device.close());

type Results = Record<string, { data: Float32Array; dims: readonly number[] }>;

/** Runs a model in ONNX Runtime on the CPU. */
const runOnnx = async (model: Uint8Array, input: Float32Array, dims: readonly number[]): Promise<Results> => {
  const session = await ort.InferenceSession.create(model, { executionProviders: ['cpu'], logSeverityLevel: 3, intraOpNumThreads: 1 });
  const name = session.inputNames[0]!;
  const results = await session.run({ [name]: new ort.Tensor('float32', input, dims) });
  await session.release();
  return results as unknown as Results;
};

const toNchw = (data: ArrayLike<number>, shape: Shape) => (shape.length === 4 ? permuted(data, shape, [0, 3, 1, 2]) : { shape, data: Float32Array.from(data) });

// ---------------------------------------------------------------- every op, by its own cases

/** Reasons for which a case has no counterpart in ONNX; each is a refusal with words. */
const REFUSALS = /ONNX export: .*(antialias|ceilMode|training mode|four axes|adaptive|computed tensor|only \[N, H, W, C\] and \[N, C\])/;
const LARGEST = 200_000;

const exportCase = (op: Op, { attrs }: OpCase, inputs: readonly Tensor[]): Promise<Uint8Array> => traceToOnnx({
  forward: (x) => ({ y: run(op, [x, ...inputs.slice(1)], attrs) }), input: inputs[0]!, inputName: 'x', variableBatch: false,
});

/** What an op's own cases, made for its kernels, leave open: numbers that only the file can get wrong. */
const MORE: Readonly<Record<string, readonly OpCase[]>> = {
  signedSqrt: [{ name: 'an eps that is felt', shapes: [[3, 5]], attrs: { a: 0.25, b: 0 } }],
  maxPool2d: [{ name: 'ceil, other windows down than across', shapes: [[1, 5, 11, 2]],
    attrs: { kernel: [2, 4], stride: [2, 4], padding: [0, 0], ceilMode: true, countIncludePad: false } }],
};

for (const op of ops.filter(({ name }) => name in emitters)) {
  t.test(`${op.name} means the same in ONNX`, async (t) => {
    let compared = 0;
    const more = MORE[op.name] ?? [];
    for (const opCase of [...op.cases as readonly OpCase[], ...more]) {
      if (opCase.bench || opCase.shapes.length === 0 || numel(op.infer(opCase.shapes, opCase.attrs as never)) > LARGEST
        || opCase.dtypes?.some((dtype) => dtype && dtype !== 'float32')) {
        continue;
      }
      const values = caseInputs(opCase);
      const expected = toNchw(op.reference(values, opCase.attrs as never).data, op.infer(opCase.shapes, opCase.attrs as never));
      const model = await scope(async () => {
        const inputs = values.map(({ shape, data }) => tensor(Float32Array.from(data), shape, { runtime }));
        return exportCase(op, opCase, inputs).catch((error: Error) => error);
      });
      if (model instanceof Error) {
        t.match(model.message, more.includes(opCase) ? /^never$/ : REFUSALS, `${opCase.name}: refused`);
        continue;
      }
      const input = toNchw(values[0]!.data, values[0]!.shape);
      const { y } = await runOnnx(model, input.data, input.shape);
      t.same(y!.dims, expected.shape, `${opCase.name}: shape`);
      const { error } = worstError(y!.data, expected.data);
      // Both sides round to float32 in their own order; the bound for whole networks below is 1e-4.
      t.ok(error < 1e-5, `${opCase.name}: error ${error.toExponential(1)}`);
      compared++;
    }
    t.ok(compared > 0, `${compared} cases compared`);
  });
}

// ---------------------------------------------------------------- whole networks

/** Weights that are not those of the start: batch norm's statistics and scales too. */
const disturb = async (method: Method): Promise<void> => {
  const state = await method.module.stateDict();
  let number = 0;
  for (const [name, value] of state) {
    const noise = portableSigned(3000 + number++, value.data.length, 0.3);
    if (value.shape.length === 1) value.data = value.data.map((x, i) => (name.endsWith('running_var') ? Math.abs(x + noise[i]!) + 0.1 : x + noise[i]!));
  }
  method.module.loadStateDict(state);
};

const BATCH = 3;
const networks: [name: string, side: number, args: string[]][] = [
  ['the default network', 65, []],
  ['maxima, feature channels as maps', 49,
    ['--pooling', 'GMP', '--attention-source', 'features', '--attentions', '8', '--attention-rim', '0', '--classifier-bias']],
  ['a plain classifier', 64, ['--method', 'plain']],
  ['ResNet-18 at the published scale', 64, ['--model', 'resnet18', '--scale', '100', '--attention-rim', '0']],
  ['Inception, its input transformed', 96,
    ['--model', 'inception_mixed_6e', '--transform-input', '--attentions', '4', '--scale', '100', '--attention-rim', '0']],
  ['VGG', 64, ['--model', 'vgg19', '--attentions', '4', '--attention-rim', '0']],
  ['ResNet-50', 64, ['--model', 'resnet50', '--attentions', '4', '--attention-rim', '0']],
];

for (const [name, side, args] of networks) {
  t.test(`${name}: logits, mean map and features agree`, async (t) => {
    const method = createMethod(runtime, configOf(...args, '--image-size', String(side)), 7);
    await disturb(method);
    const path = join(t.testdir(), 'network.onnx');
    await writeOnnx(path, runtime, method, side, { classes: '[]' });
    const images = portableImages(BATCH, side, 2);
    const here = await scope(async () => {
      const pass = (): unknown => method.module.call(tensor(images, [BATCH, side, side, 3], { runtime }));
      const result = inEvaluation(method.module, () => noGrad(pass));
      if (!(method.module instanceof WSDAN)) return { logits: await (result as Tensor).data() };
      const { logits, maps, featureMatrix } = result as WsdanOutput;
      return { logits: await logits.data(), map: await mean(maps, 3, true).data(), features: await featureMatrix.data() };
    });
    const model = readFileSync(path);
    for (const batch of [1, BATCH]) {
      const part = images.subarray(0, batch * side * side * 3);
      const input = toNchw(part, [batch, side, side, 3]);
      const there = await runOnnx(model, input.data, input.shape);
      t.same(Object.keys(there), Object.keys(here));
      for (const [result, values] of Object.entries(here)) {
        const { error } = worstError(there[result]!.data, values.subarray(0, (values.length * batch) / BATCH));
        t.ok(error < 1e-4, `${result} of ${batch} images: error ${error.toExponential(1)}`);
      }
      t.same(there.logits!.dims, [batch, 7]);
      if (there.map) t.same([there.map.dims.slice(0, 2), there.features!.dims[0]], [[batch, 1], batch], '[batch, 1, h, w]');
    }
  });
}

t.test('a constant that lies beside images and beside rows is there in both layouts', async (t) => {
  const model = await scope(() => {
    const factors = tensor([2, 3, 5], [3], { runtime });
    return traceToOnnx({ forward: (x) => ({ y: mul(mean(mul(x, factors), [1, 2]), factors) }), input: ones([2, 4, 4, 3], { runtime }), inputName: 'x',
      variableBatch: true });
  });
  const { y } = await runOnnx(model, new Float32Array(48).fill(1), [1, 3, 4, 4]);
  t.same([y!.dims, [...y!.data]], [[1, 3], [4, 9, 25]]);
});

t.test('what ONNX cannot say is refused by name', async (t) => {
  const attempt = (forward: (x: Tensor) => Tensor, shape: Shape): Promise<Uint8Array> =>
    scope(() => traceToOnnx({ forward: (x) => ({ y: forward(x) }), input: zeros(shape, { runtime }), inputName: 'x', variableBatch: true }));
  await t.rejects(attempt((x) => argmax(x), [2, 5]),
    { name: 'UserError', message: /the op "argmax" has no counterpart yet; add one to src\/train\/onnx\/emitters\.ts/ });
  const channel = () => ones([3], { runtime });
  await t.rejects(attempt((x) => batchNorm2d(x, channel(), channel(), channel(), channel(), { training: true }), [2, 4, 4, 3]),
    { name: 'UserError', message: /batch norm is in training mode; call eval\(\)/ });
  await t.rejects(attempt((x) => maxPool2d(x, { kernelSize: 2, stride: 3, padding: 1, ceilMode: true }), [2, 4, 4, 3]),
    { name: 'UserError', message: /a pool with ceilMode over 4×4 pixels has another size in ONNX/ });
});
