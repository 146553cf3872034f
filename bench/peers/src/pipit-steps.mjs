// Whole training steps in Pipit, with its own modules and optimisers.
import {
  AdamW, backward, BatchNorm2d, Captured, Conv2d, createBackbone, crossEntropy, defaultWsdan, FeatureCenters, GlobalAvgPool2d, Linear, manualSeed, MaxPool2d,
  MetricSums, PlainClassifier, Sequential, setRandomStep, SGD, stepMetrics, tensor, trainStep as pipitStep, write, WSDAN,
} from '../../../dist/index.js';
import { channelsLast } from './layouts.mjs';
import { CHECKED_STEPS } from './rows.mjs';

const batchOf = ({ x, labels }) => {
  const { shape, data } = channelsLast('x', x);
  return { images: tensor(data, shape), labels: tensor(Int32Array.from(labels.data), labels.shape) };
};

/** Fills parameters by name; the names here are those of the rows. */
const fill = (parameters, inputs) => {
  for (const [name, parameter] of parameters) if (name in inputs) write(parameter, channelsLast(name, inputs[name]).data);
};

const layersOf = (part, eps) => {
  if (part.layer === 'conv') return [new Conv2d(part.shape[1], part.shape[0], part.shape.slice(2), { stride: part.stride, padding: part.pad, bias: false })];
  if (part.layer === 'norm') return [new BatchNorm2d(part.channels, { eps, activation: part.relu ? 'relu' : 'none' })];
  if (part.layer === 'maxPool') return [new MaxPool2d(part.size, { stride: part.stride, padding: part.pad })];
  return [new GlobalAvgPool2d(), new Linear(part.from, part.classes)];
};

/** The chain of a described network; its parameters come in the description's order. */
const chain = (net, eps, inputs) => {
  const model = new Sequential(net.flatMap((part) => layersOf(part, eps)));
  const names = Object.keys(inputs).filter((name) => !['x', 'labels'].includes(name));
  fill(model.parameters().map((parameter, i) => [names[i], parameter]), inputs);
  return model;
};

/** Pipit's own ResNet, whose parameters are named as PyTorch's. */
const residualNetwork = (classes, inputs) => {
  const model = new PlainClassifier(createBackbone('resnet18'), classes);
  const rowName = (name) => (/(bn\d|downsample\.1)\./.test(name) ? name.replace(/weight$/, 'gamma').replace(/bias$/, 'beta') : name).replace('features.', '');
  fill(model.namedParameters().map(([name, parameter]) => [rowName(name), parameter]), inputs);
  return model;
};

export const trainStep = (runtime, { attrs: { net, classes, lr, momentum, eps } }, inputs) => {
  const model = net.some(({ layer }) => layer === 'residual') ? residualNetwork(classes, inputs) : chain(net, eps, inputs);
  const optimizer = new SGD(model.parameters(), { lr, momentum });
  const { images, labels } = batchOf(inputs);
  const metrics = new MetricSums(runtime, ['loss']);
  const step = new Captured((x, y) => {
    optimizer.zeroGrad();
    const loss = crossEntropy(model.call(x), y);
    backward(loss);
    optimizer.step();
    metrics.reset();
    metrics.add({ loss: loss.detach() });
  }, runtime);
  const losses = [];
  return {
    async launch() {
      step.run(() => [images, labels]);
      if (losses.length < CHECKED_STEPS) losses.push((await metrics.read()).loss);
    },
    wait: () => runtime.idle(),
    outputs: () => ({ losses: { shape: [losses.length], data: Float32Array.from(losses) } }),
    release: () => runtime.device.pool.trim(),
  };
};

export const wsdanStep = (runtime, { attrs, inputs: shapes }, inputs) => {
  const { classes, attentions, scale, rim, lr, weightDecay, cropTheta, dropTheta, cropPadding, beta, centerWeight } = attrs;
  const options = { ...defaultWsdan, attentions, scale, attentionRim: rim, cropTheta, dropTheta, cropPadding, beta, centerWeight };
  const model = new WSDAN(createBackbone('resnet_small'), classes, options);
  // The rows give the classifier in PyTorch's order, [classes, features].
  const [rows, columns] = shapes['fc.weight'];
  const turned = Float32Array.from({ length: rows * columns }, (_, i) => inputs['fc.weight'].data[(i % rows) * columns + Math.floor(i / rows)]);
  fill(model.namedParameters(), { ...inputs, 'fc.weight': { shape: [columns, rows], data: turned } });
  manualSeed(0);
  const centers = new FeatureCenters(runtime, classes, model.featureSize, options);
  const metrics = new MetricSums(runtime, stepMetrics);
  const optimizer = new AdamW(model.parameters(), { lr, weightDecay });
  const { images, labels } = batchOf(inputs);
  const step = new Captured((x, y) => {
    optimizer.zeroGrad();
    pipitStep(model, centers, x, y, options, metrics);
    optimizer.step();
  }, runtime);
  let [number, rawLoss] = [0, null];
  return {
    async launch() {
      setRandomStep(number++);
      step.run(() => [images, labels]);
      rawLoss ??= (await metrics.read()).lossRaw / labels.size;
    },
    wait: () => runtime.idle(),
    outputs: () => ({ rawLoss: { shape: [1], data: Float32Array.of(rawLoss) } }),
    release: () => runtime.device.pool.trim(),
  };
};
