// What is compared. A row is plain JSON, so that a peer in any language understands it. Shapes are PyTorch's: images
// [N, C, H, W], weights [out, in, rows, columns]; a peer that keeps another layout converts while it prepares.
import { parameterShapes, resnet18, smallCnn } from './nets.mjs';

/** The 31 distinct convolutions of Inception-v3 up to Mixed_6e at 448×448: in, out, kernel, input side, stride, padding. */
const INCEPTION = [
  [80, 192, [3, 3], 110, 1, [0, 0]], [768, 192, [1, 1], 26, 1, [0, 0]], [32, 64, [3, 3], 221, 1, [1, 1]], [96, 96, [3, 3], 53, 1, [1, 1]],
  [288, 384, [3, 3], 53, 2, [0, 0]], [48, 64, [5, 5], 53, 1, [2, 2]], [64, 96, [3, 3], 53, 1, [1, 1]], [192, 192, [1, 7], 26, 1, [0, 3]],
  [192, 192, [7, 1], 26, 1, [3, 0]], [160, 160, [1, 7], 26, 1, [0, 3]], [160, 160, [7, 1], 26, 1, [3, 0]], [32, 32, [3, 3], 223, 1, [0, 0]],
  [768, 160, [1, 1], 26, 1, [0, 0]], [160, 192, [7, 1], 26, 1, [3, 0]], [160, 192, [1, 7], 26, 1, [0, 3]], [288, 64, [1, 1], 53, 1, [0, 0]],
  [128, 128, [1, 7], 26, 1, [0, 3]], [128, 128, [7, 1], 26, 1, [3, 0]], [256, 64, [1, 1], 53, 1, [0, 0]], [768, 128, [1, 1], 26, 1, [0, 0]],
  [128, 192, [7, 1], 26, 1, [3, 0]], [128, 192, [1, 7], 26, 1, [0, 3]], [192, 64, [1, 1], 53, 1, [0, 0]], [64, 80, [1, 1], 110, 1, [0, 0]],
  [96, 96, [3, 3], 53, 2, [0, 0]], [3, 32, [3, 3], 448, 2, [0, 0]], [288, 48, [1, 1], 53, 1, [0, 0]], [256, 48, [1, 1], 53, 1, [0, 0]],
  [192, 48, [1, 1], 53, 1, [0, 0]], [192, 32, [1, 1], 53, 1, [0, 0]], [768, 32, [1, 1], 26, 1, [0, 0]],
];

/** One shape of each kind, for `--quick`. */
const QUICK = ['96→96 3×3 53', '96→96 3×3/2 53', '48→64 5×5 53', '192→192 1×7 26', '192→192 7×1 26', '768→192 1×1 26', '64→80 1×1 110', '3→32 3×3/2 448'];

const after = (size, kernel, stride, pad) => Math.floor((size + 2 * pad - kernel) / stride) + 1;

const convRows = ([c, o, kernel, side, stride, pad]) => {
  const [h, w] = [after(side, kernel[0], stride, pad[0]), after(side, kernel[1], stride, pad[1])];
  const name = `${c}→${o} ${kernel.join('×')}${stride > 1 ? `/${stride}` : ''} ${side}`;
  const shapes = { x: [1, c, side, side], w: [o, c, ...kernel], dy: [1, o, h, w] };
  const row = (group, inputs, output) => ({
    id: `conv ${name} ${group}`, op: 'conv', group: `conv ${group}`, attrs: { stride, pad }, inputs: Object.fromEntries(inputs.map((key) => [key, shapes[key]])),
    outputs: { [output]: shapes[{ y: 'dy', dx: 'x', dw: 'w' }[output]] }, flops: 2 * o * h * w * c * kernel[0] * kernel[1], quick: QUICK.includes(name),
  });
  return [row('forward', ['x', 'w'], 'y'), row('gradInput', ['w', 'dy'], 'dx'), row('gradWeight', ['x', 'dy'], 'dw')];
};

const matmulRow = {
  id: 'matmul 1024³', op: 'matmul', group: 'others forward', attrs: {}, inputs: { a: [1024, 1024], b: [1024, 1024] }, outputs: { y: [1024, 1024] }, flops: 2 * 1024 ** 3, quick: true,
};

/** Features and attention maps to part features: the sum over pixels of each pair of channels. */
const attentionPoolRows = () => {
  const [a, b, dy] = [[2, 32, 26, 26], [2, 768, 26, 26], [2, 32, 768]];
  const flops = 2 * 2 * 32 * 768 * 26 * 26;
  const row = { op: 'attentionPool', attrs: {}, quick: true };
  return [
    { ...row, id: 'einsum imjk,injk→imn 2×32×768×26×26 forward', group: 'others forward', inputs: { a, b }, outputs: { y: dy }, flops },
    { ...row, id: 'einsum imjk,injk→imn 2×32×768×26×26 gradients', group: 'others gradient', inputs: { a, b, dy }, outputs: { da: a, db: b }, flops: 2 * flops },
  ];
};

const resizeRows = () => {
  const [x, y] = [[1, 32, 26, 26], [1, 32, 448, 448]];
  const row = { op: 'resize', attrs: { size: [448, 448] }, quick: true };
  return [
    { ...row, id: 'bilinear 26→448 ×32 forward', group: 'others forward', inputs: { x }, outputs: { y } },
    { ...row, id: 'bilinear 26→448 ×32 gradient', group: 'others gradient', inputs: { dy: y }, outputs: { dx: x } },
  ];
};

/** Their gradients need something of the forward, so that both are timed together. */
const normRows = () => {
  const [image, channel] = [[1, 192, 108, 108], [192]];
  const row = { op: 'batchNorm', attrs: { eps: 1e-3 }, quick: true };
  const inputs = { x: image, gamma: channel, beta: channel };
  return [
    { ...row, id: 'batch norm (train) 192 108² forward', group: 'others forward', inputs, outputs: { y: image } },
    { ...row, id: 'batch norm (train) 192 108² forward and backward', group: 'others gradient', inputs: { ...inputs, dy: image }, outputs: { dx: image, dgamma: channel, dbeta: channel } },
  ];
};

const poolRows = () => {
  const [x, y] = [[1, 64, 221, 221], [1, 64, 110, 110]];
  const row = { op: 'maxPool', attrs: { kernel: 3, stride: 2 }, quick: true };
  return [
    { ...row, id: 'max pool 3×3/2 64 221² forward', group: 'others forward', inputs: { x }, outputs: { y } },
    { ...row, id: 'max pool 3×3/2 64 221² forward and backward', group: 'others gradient', inputs: { x, dy: y }, outputs: { dx: x } },
  ];
};

/** How many steps are compared with the other peers' before any is timed. */
export const CHECKED_STEPS = 3;

const stepRow = (id, net, { batch, size, classes, lr, quick }) => ({
  id, op: 'trainStep', group: 'training step', attrs: { net, classes, lr, momentum: 0.9, eps: 1e-5 }, images: batch, quick,
  inputs: { x: [batch, 3, size, size], labels: [batch], ...parameterShapes(net) }, outputs: { losses: [CHECKED_STEPS] },
});

/** One residual block as PyTorch names it, with a strided shortcut. */
const blockShapes = (name, from, to) => ({
  [`${name}.conv1.weight`]: [to, from, 3, 3], [`${name}.conv2.weight`]: [to, to, 3, 3], [`${name}.downsample.0.weight`]: [to, from, 1, 1],
});

/** Pipit's default: the embedded recipe (65 px, batch 16, 32 maps, AdamW); its random draws differ, so that only the raw branch can be compared. */
const wsdanRow = () => {
  const [batch, size, classes, attentions] = [16, 65, 8, 32];
  const weights = {
    'features.conv1.weight': [16, 3, 3, 3], ...blockShapes('features.layer1.0', 16, 32), ...blockShapes('features.layer2.0', 32, 64),
    'attentions.conv.weight': [attentions, 64, 1, 1], 'fc.weight': [classes, attentions * 64],
  };
  const recipe = {
    scale: 10, rim: 1, lr: 0.005, weightDecay: 0.02, cropTheta: [0.2, 0.5], dropTheta: [0.2, 0.5], cropPadding: 0.1, beta: 0.05, centerWeight: 1,
  };
  return {
    id: 'WS-DAN step, default model, 65², batch 16', op: 'wsdanStep', group: 'training step', attrs: { classes, attentions, ...recipe }, images: batch, quick: true,
    inputs: { x: [batch, 3, size, size], labels: [batch], ...weights }, outputs: { rawLoss: [1] },
  };
};

export const rows = [
  ...INCEPTION.flatMap(convRows), matmulRow, ...attentionPoolRows(), ...resizeRows(), ...normRows(), ...poolRows(),
  stepRow('small CNN step, 64², batch 16', smallCnn(10), { batch: 16, size: 64, classes: 10, lr: 0.05, quick: true }),
  stepRow('ResNet-18 step, 64², batch 8', resnet18(10), { batch: 8, size: 64, classes: 10, lr: 0.01, quick: false }),
  wsdanRow(),
];
