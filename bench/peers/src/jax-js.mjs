// jax-js on WebGPU, always through `jit`, its fast path; what a result does not need is dropped there. Its arrays are
// consumed where they are used; `.ref` keeps one. Layouts are PyTorch's.
import { CHECKED_STEPS } from './rows.mjs';
import { installWebGpu, nameOf, napUntil } from './webgpu.mjs';

let jax, np, lax, nn;

export const open = async () => {
  await installWebGpu();
  jax = await import('@jax-js/jax');
  ({ numpy: np, lax, nn } = jax);
  const found = await jax.init('webgpu');
  if (!found.includes('webgpu')) throw new Error('no WebGPU');
  jax.defaultDevice('webgpu');
  const adapter = await navigator.gpu.requestAdapter();
  return { adapter: nameOf(adapter.info) };
};

const upload = ({ shape, data }) => np.array(data).reshape(shape);

/** Results are lazy: waiting for them issues the work. */
const finished = async (arrays) => {
  await napUntil(jax.blockUntilReady(arrays));
  await napUntil(jax.getWebGPUDevice().queue.onSubmittedWorkDone());
};

const normalise = (x, gamma, beta, eps) => {
  const perChannel = (v) => v.reshape([1, v.shape[0], 1, 1]);
  const centred = x.ref.sub(x.mean([0, 2, 3], { keepdims: true }));
  const variance = np.square(centred.ref).mean([0, 2, 3], { keepdims: true });
  return centred.mul(np.reciprocal(np.sqrt(variance.add(eps))).mul(perChannel(gamma))).add(perChannel(beta));
};

/** Weights of linear interpolation along one axis with aligned corners, [target, size]. */
const interpolation = (size, target) => upload({
  shape: [target, size],
  data: Float32Array.from({ length: target * size }, (_, i) => Math.max(0, 1 - Math.abs((Math.floor(i / size) * (size - 1)) / (target - 1) - (i % size)))),
});

/** There is no resize: two matrix products with interpolation weights, rows by rows and columns by columns. */
const resized = ([n, c, h, w], [height, width]) => (x, down, across) => {
  const wide = np.matmul(x.reshape([n * c * h, w]), across.transpose()).reshape([n * c, h, width]);
  return np.matmul(np.broadcastTo(down.reshape([1, height, h]), [n * c, height, h]), wide).reshape([n, c, height, width]);
};

/** What is differentiated (`leaves`) and what is fixed, by name. */
const operations = {
  conv: ({ attrs: { stride, pad } }) => ({ f: (x, w) => lax.conv(x, w, [stride, stride], pad.map((p) => [p, p])), leaves: ['x', 'w'] }),
  matmul: () => ({ f: (a, b) => np.matmul(a, b), leaves: ['a', 'b'] }),
  attentionPool: () => ({ f: (a, b) => np.einsum(a, [0, 1, 2, 3], b, [0, 4, 2, 3], [0, 1, 4]), leaves: ['a', 'b'] }),
  resize: ({ attrs: { size }, inputs, outputs }) => {
    const from = inputs.x ?? outputs.dx;
    return { f: resized(from, size), leaves: ['x'], fixed: [interpolation(from[2], size[0]), interpolation(from[3], size[1])] };
  },
  batchNorm: ({ attrs: { eps } }) => ({ f: (x, gamma, beta) => normalise(x, gamma, beta, eps), leaves: ['x', 'gamma', 'beta'] }),
  maxPool: ({ attrs: { kernel, stride } }) => ({ f: (x) => lax.reduceWindow(x, np.max, [kernel, kernel], [stride, stride]), leaves: ['x'] }),
};

/** Inputs of a gradient row that the gradient itself does not read; the function to differentiate still wants a value. */
const placeholder = (row, name) => ({ shape: row.outputs[`d${name}`], data: new Float32Array(row.outputs[`d${name}`].reduce((a, b) => a * b, 1)) });

const operation = (row, inputs) => {
  const { f, leaves, fixed = [] } = operations[row.op](row);
  const wanted = leaves.filter((name) => `d${name}` in row.outputs);
  const others = leaves.filter((name) => !wanted.includes(name));
  const backward = (...all) => {
    const [primals, rest, extra] = [all.slice(0, wanted.length), all.slice(wanted.length, leaves.length), all.slice(leaves.length, -1)];
    const value = (name, p) => (wanted.includes(name) ? p[wanted.indexOf(name)] : rest[others.indexOf(name)]);
    const [y, pullback] = jax.vjp((...p) => f(...leaves.map((name) => value(name, p)), ...extra), primals);
    y.dispose();
    return pullback(all.at(-1));
  };
  const forwardOnly = wanted.length === 0;
  const names = forwardOnly ? leaves : [...wanted, ...others];
  const compute = jax.jit(forwardOnly ? (...all) => [f(...all)] : backward);
  const args = [...names.map((name) => upload(inputs[name] ?? placeholder(row, name))), ...fixed, ...(forwardOnly ? [] : [upload(inputs.dy)])];
  const produced = forwardOnly ? ['y'] : wanted.map((name) => `d${name}`);
  let pending = [];
  return {
    launch() {
      // Kept until they are waited for: work whose result is gone before it was issued is never done.
      pending.push(compute(...args.map((array) => array.ref)));
    },
    async wait() {
      await finished(pending.flat());
      jax.tree.dispose(pending.slice(0, -1));
      pending = pending.slice(-1);
    },
    outputs: async () => Object.fromEntries(await Promise.all(produced.map(async (name, i) =>
      [name, { shape: pending[0][i].shape, data: await napUntil(pending[0][i].ref.data()) }]))),
    release: () => jax.tree.dispose([pending, args]),
  };
};

const layers = {
  conv: (x, p, { name, stride, pad }) => lax.conv(x, p[`${name}.weight`], [stride, stride], [[pad, pad], [pad, pad]]),
  norm: (x, p, { name, relu }, eps) => {
    const y = normalise(x, p[`${name}.gamma`], p[`${name}.beta`], eps);
    return relu ? nn.relu(y) : y;
  },
  // Its windows have no padding. Behind a ReLU zeros never win against what is there.
  maxPool: (x, _, { size, stride, pad }) =>
    lax.reduceWindow(pad ? np.pad(x, [[0, 0], [0, 0], [pad, pad], [pad, pad]]) : x, np.max, [size, size], [stride, stride]),
  residual: (x, p, { main, around }, eps) => nn.relu(through(main, x.ref, p, eps).add(through(around, x, p, eps))),
  classifier: (x, p, { name }) => np.matmul(x.mean([2, 3]), p[`${name}.weight`]).add(p[`${name}.bias`]),
};

const through = (net, x, parameters, eps) => net.reduce((value, part) => layers[part.layer](value, parameters, part, eps), x);

/** The whole step is one compiled function: loss, gradients and update. */
const stepFunction = ({ net, classes, lr, momentum, eps }) => {
  const lossOf = (parameters, x, labels) => {
    const logits = through(net, x, parameters, eps);
    const [batch] = logits.shape;
    return nn.oneHot(labels, classes).mul(nn.logSoftmax(logits)).sum().mul(-1 / batch);
  };
  return jax.jit((parameters, velocity, x, labels) => {
    const [loss, gradients] = jax.valueAndGrad(lossOf)(jax.tree.ref(parameters), x, labels);
    const [nextVelocity, next] = [{}, {}];
    for (const name of Object.keys(parameters)) {
      nextVelocity[name] = velocity[name].mul(momentum).add(gradients[name]);
      next[name] = parameters[name].sub(nextVelocity[name].ref.mul(lr));
    }
    return [loss, next, nextVelocity];
  });
};

const trainStep = ({ attrs }, { x, labels, ...weights }) => {
  const [images, classes] = [upload(x), np.array(Int32Array.from(labels.data))];
  const step = stepFunction(attrs);
  let parameters = Object.fromEntries(Object.entries(weights).map(([name, array]) => [name, upload(array)]));
  let velocity = Object.fromEntries(Object.entries(weights).map(([name, { shape }]) => [name, np.zeros(shape)]));
  const losses = [];
  let last = null;
  return {
    launch() {
      last?.dispose();
      [last, parameters, velocity] = step(parameters, velocity, images.ref, classes.ref);
      if (losses.length < CHECKED_STEPS) losses.push(last.ref);
    },
    wait: () => finished([last, ...Object.values(parameters), ...Object.values(velocity)]),
    outputs: async () => {
      const data = await Promise.all(losses.map(async (loss) => (await napUntil(loss.ref.data()))[0]));
      return { losses: { shape: [losses.length], data: Float32Array.from(data) } };
    },
    release: () => jax.tree.dispose([parameters, velocity, losses, last, images, classes]),
  };
};

export const prepare = (row, inputs) => {
  if (row.op === 'wsdanStep') throw new Error('WS-DAN is compared with PyTorch only');
  return row.op === 'trainStep' ? trainStep(row, inputs) : operation(row, inputs);
};
