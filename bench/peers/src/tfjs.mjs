// TensorFlow.js on WebGPU. Images are [N, H, W, C] there, weights [rows, columns, in, out].
import { channelsFirst, channelsLast } from './layouts.mjs';
import { CHECKED_STEPS } from './rows.mjs';
import { installWebGpu, nameOf, napUntil } from './webgpu.mjs';

let tf;

export const open = async () => {
  await installWebGpu();
  // The core alone has neither gradients nor methods on tensors; the backend registers itself only where WebGPU is.
  tf = (await import('@tensorflow/tfjs')).default;
  await import('@tensorflow/tfjs-backend-webgpu');
  if (!(await tf.setBackend('webgpu'))) throw new Error('the backend webgpu could not be set');
  await tf.ready();
  const adapter = await navigator.gpu.requestAdapter();
  return { version: tf.version['tfjs-core'], adapter: nameOf(adapter.info) };
};

const upload = (name, array) => {
  const { shape, data } = channelsLast(name, array);
  return tf.tensor(data, shape);
};

const download = async (name, t) => channelsFirst(name, { shape: t.shape, data: Float32Array.from(await napUntil(t.data())) });

/** Submits what is still being recorded, which the library would do only at a read-back, and waits. */
const wait = async () => {
  const backend = tf.backend();
  if (backend.commandEncoder) {
    backend.endComputePassEncoder();
    backend.submitQueue();
  }
  await napUntil(backend.device.queue.onSubmittedWorkDone());
};

const margins = ([rows, columns]) => [[0, 0], [rows, rows], [columns, columns], [0, 0]];
const shapeOf = (name, shape) => channelsLast(name, { shape, data: new Float32Array() }).shape;

/** Gradient kernels are called alone, as its backward pass calls them. */
const convolution = ({ attrs: { stride, pad }, outputs }, { x, w, dy }) => {
  const attrs = { strides: [stride, stride], pad: margins(pad), dataFormat: 'NHWC' };
  if (outputs.y) return () => ({ y: tf.conv2d(x, w, stride, margins(pad)) });
  if (outputs.dx) return () => ({ dx: tf.engine().runKernel('Conv2DBackpropInput', { dy, filter: w }, { ...attrs, inputShape: shapeOf('x', outputs.dx) }) });
  return () => ({ dw: tf.engine().runKernel('Conv2DBackpropFilter', { x, dy }, { ...attrs, filterShape: shapeOf('w', outputs.dw) }) });
};

/** Its einsum has no gradient: the same sums as matrix products over [N, pixels, channels]. */
const attentionPool = ({ outputs }, { a, b, dy }) => {
  const flat = (t) => t.reshape([t.shape[0], -1, t.shape[3]]);
  if (outputs.y) return () => ({ y: tf.matMul(flat(a), flat(b), true, false) });
  return () => ({ da: tf.matMul(flat(b), dy, false, true).reshape(a.shape), db: tf.matMul(flat(a), dy).reshape(b.shape) });
};

const resize = ({ attrs: { size }, outputs }, { x, dy }) => {
  if (outputs.y) return () => ({ y: tf.image.resizeBilinear(x, size, true) });
  const images = tf.zeros(shapeOf('x', outputs.dx));
  return () => ({ dx: tf.engine().runKernel('ResizeBilinearGrad', { images, dy }, { alignCorners: true }) });
};

const normalise = (x, gamma, beta, eps) => {
  const { mean, variance } = tf.moments(x, [0, 1, 2]);
  return tf.batchNorm(x, mean, variance, beta, gamma, eps);
};

/** The forward, or the gradients of everything in `leaves`. */
const differentiate = (outputs, leaves, forward, dy) => {
  if (outputs.y) return () => ({ y: forward(...Object.values(leaves)) });
  return () => {
    const gradients = tf.grads(forward)(Object.values(leaves), dy);
    return Object.fromEntries(Object.keys(leaves).map((name, i) => [`d${name}`, gradients[i]]));
  };
};

const operations = {
  conv: convolution,
  matmul: (_, { a, b }) => () => ({ y: tf.matMul(a, b) }),
  attentionPool,
  resize,
  batchNorm: ({ attrs: { eps }, outputs }, { x, gamma, beta, dy }) => differentiate(outputs, { x, gamma, beta }, (...p) => normalise(...p, eps), dy),
  maxPool: ({ attrs: { kernel, stride }, outputs }, { x, dy }) => differentiate(outputs, { x }, (p) => tf.maxPool(p, kernel, stride, 'valid'), dy),
};

const operation = (row, arrays) => {
  const inputs = Object.fromEntries(Object.entries(arrays).map(([name, array]) => [name, upload(name, array)]));
  const compute = operations[row.op](row, inputs);
  let last = {};
  return {
    launch() {
      tf.dispose(last);
      last = tf.tidy(compute);
    },
    wait,
    outputs: async () => Object.fromEntries(await Promise.all(Object.entries(last).map(async ([name, t]) => [name, await download(name, t)]))),
    release: () => tf.dispose([last, inputs]),
  };
};

const layers = {
  conv: (x, p, { name, stride, pad }) => tf.conv2d(x, p[`${name}.weight`], stride, pad, 'NHWC', 1, 'floor'),
  norm: (x, p, { name, relu }, eps) => {
    const y = normalise(x, p[`${name}.gamma`], p[`${name}.beta`], eps);
    return relu ? tf.relu(y) : y;
  },
  maxPool: (x, _, { size, stride, pad }) => tf.maxPool(x, size, stride, pad, 'floor'),
  residual: (x, p, { main, around }, eps) => tf.relu(tf.add(through(main, x, p, eps), through(around, x, p, eps))),
  classifier: (x, p, { name }) => tf.add(tf.matMul(tf.mean(x, [1, 2]), p[`${name}.weight`]), p[`${name}.bias`]),
};

const through = (net, x, parameters, eps) => net.reduce((value, part) => layers[part.layer](value, parameters, part, eps), x);

const trainStep = ({ attrs: { net, classes, lr, momentum, eps } }, { x, labels, ...weights }) => {
  const images = upload('x', x);
  const wanted = tf.oneHot(tf.tensor1d(Int32Array.from(labels.data), 'int32'), classes);
  const parameters = Object.fromEntries(Object.entries(weights).map(([name, array]) => [name, tf.variable(upload(name, array))]));
  const optimizer = tf.train.momentum(lr, momentum);
  const losses = [];
  return {
    launch() {
      const loss = tf.tidy(() => optimizer.minimize(() => tf.losses.softmaxCrossEntropy(wanted, through(net, images, parameters, eps)), true));
      if (losses.length < CHECKED_STEPS) losses.push(loss);
      else loss.dispose();
    },
    wait,
    outputs: async () => {
      const data = await Promise.all(losses.map(async (loss) => (await napUntil(loss.data()))[0]));
      return { losses: { shape: [losses.length], data: Float32Array.from(data) } };
    },
    release: () => {
      optimizer.dispose();
      tf.dispose([images, wanted, losses, parameters]);
    },
  };
};

export const prepare = (row, inputs) => {
  if (row.op === 'wsdanStep') throw new Error('WS-DAN is compared with PyTorch only');
  return row.op === 'trainStep' ? trainStep(row, inputs) : operation(row, inputs);
};
