// Pipit, as built in dist/.
import {
  backward, batchNorm2d, conv2d, conv2dOp, einsum, einsumOp, interpolate, interpolateOp, matmul, maxPool2d, noGrad, open as openPipit, scope, tensor,
} from '../../../dist/index.js';
import { channelsFirst, channelsLast } from './layouts.mjs';
import { trainStep, wsdanStep } from './pipit-steps.mjs';

let runtime;

export const open = async () => {
  runtime = await openPipit();
  return { adapter: runtime.device.report.name, kernels: runtime.gemm.kind };
};

const upload = (name, array) => {
  const { shape, data } = channelsLast(name, array);
  return tensor(data, shape);
};

const download = async (name, t) => channelsFirst(name, { shape: t.shape, data: await t.data() });

/** An op's backward as the tape calls it: only what it keeps is there, and only the wanted gradients are computed. */
const gradients = (op, { inputs, shapes, shape, grad, attrs, needs }) =>
  op.backward({ runtime, grad, attrs, inputs, output: null, saved: {}, shapes, dtypes: shapes.map(() => 'float32'), shape, needs }).filter((_, i) => needs[i]);

const convolution = ({ attrs: { stride, pad }, outputs }, { x, w, dy }) => {
  if (outputs.y) return { y: () => conv2d(x, w, null, { stride, padding: pad }) };
  const attrs = { stride: [stride, stride], padding: pad, dilation: [1, 1], groups: 1 };
  const shapeOf = (name) => channelsLast(name, { shape: outputs[`d${name}`], data: new Float32Array() }).shape;
  const shapes = [x?.shape ?? shapeOf('x'), w?.shape ?? shapeOf('w')];
  const of = (needs) => gradients(conv2dOp, { inputs: [x ?? null, w ?? null], shapes, shape: dy.shape, grad: dy, attrs, needs })[0];
  return outputs.dx ? { dx: () => of([true, false]) } : { dw: () => of([false, true]) };
};

const EINSUM = 'bhwm,bhwc->bmc';

const attentionPool = ({ outputs }, { a, b, dy }) => {
  if (outputs.y) return { y: () => einsum(EINSUM, a, b) };
  const call = { inputs: [a, b], shapes: [a.shape, b.shape], shape: dy.shape, grad: dy, attrs: { equation: EINSUM }, needs: [true, true] };
  const both = () => gradients(einsumOp, call);
  return { 'da,db': both };
};

const resize = ({ attrs: { size }, outputs }, { x, dy }) => {
  if (outputs.y) return { y: () => interpolate(x, { size, mode: 'bilinear', alignCorners: true }) };
  const attrs = { size, mode: 'bilinear', alignCorners: true, antialias: false };
  const from = channelsLast('x', { shape: outputs.dx, data: new Float32Array() }).shape;
  return { dx: () => gradients(interpolateOp, { inputs: [null], shapes: [from], shape: dy.shape, grad: dy, attrs, needs: [true] })[0] };
};

/** Forward and backward through the tape; the gradients are taken from the leaves. */
const throughTape = (leaves, forward, dy) => () => {
  for (const leaf of leaves) leaf.requiresGrad_();
  backward(forward(), dy);
  return leaves.map((leaf) => {
    const { grad } = leaf;
    leaf.grad = null;
    leaf.requiresGrad_(false);
    return grad;
  });
};

const batchNorm = ({ attrs: { eps }, outputs }, { x, gamma, beta, dy }) => {
  const [mean, variance] = [0, 1].map((value) => tensor(new Float32Array(gamma.size).fill(value)));
  const forward = () => batchNorm2d(x, gamma, beta, mean, variance, { training: true, eps });
  return outputs.y ? { y: forward } : { 'dx,dgamma,dbeta': throughTape([x, gamma, beta], forward, dy) };
};

const maxPool = ({ attrs: { kernel, stride }, outputs }, { x, dy }) => {
  const forward = () => maxPool2d(x, { kernelSize: kernel, stride });
  return outputs.y ? { y: forward } : { dx: () => throughTape([x], forward, dy)()[0] };
};

const operations = { conv: convolution, matmul: (_, { a, b }) => ({ y: () => matmul(a, b) }), attentionPool, resize, batchNorm, maxPool };

const operation = (row, arrays) => {
  const inputs = Object.fromEntries(Object.entries(arrays).map(([name, array]) => [name, upload(name, array)]));
  const [[names, compute]] = Object.entries(operations[row.op](row, inputs));
  const recorded = row.id.endsWith('backward');
  let last = [];
  return {
    launch() {
      for (const t of last) t.release();
      // Training never repeats work on the same operands, so no launch may find their copies.
      runtime.recorder.forgetImages();
      last = scope(() => [recorded ? compute() : noGrad(compute)].flat());
    },
    wait: () => runtime.idle(),
    outputs: async () => Object.fromEntries(await Promise.all(names.split(',').map(async (name, i) => [name, await download(name, last[i])]))),
    release() {
      for (const t of [...last, ...Object.values(inputs)]) t.release();
      runtime.device.pool.trim();
    },
  };
};

const steps = { trainStep, wsdanStep };

export const prepare = (row, inputs) => (row.op in steps ? steps[row.op](runtime, row, inputs) : operation(row, inputs));
