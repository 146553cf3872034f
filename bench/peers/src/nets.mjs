// The networks of the training rows, described as data: every peer builds them with its own layers, from the same
// weights. Names of the ResNet are torchvision's.

const conv = (name, from, to, size, stride = 1, pad = (size - 1) / 2) => ({ layer: 'conv', name, shape: [to, from, size, size], stride, pad });
const norm = (name, channels, relu = true) => ({ layer: 'norm', name, channels, relu });
const maxPool = (size, stride, pad = 0) => ({ layer: 'maxPool', size, stride, pad });
/** relu(main(x) + around(x)); without layers of its own, `around` is the identity. */
const residual = (main, around) => ({ layer: 'residual', main, around });
/** Mean over all pixels, then a linear layer with bias; its weight is [in, out]. */
const classifier = (name, from, classes) => ({ layer: 'classifier', name, from, classes });

const CNN_CHANNELS = [3, 32, 64, 128, 256];

/** Four blocks of 3×3 convolution, batch norm, ReLU and (but for the last) 2×2 max pooling. */
export const smallCnn = (classes) => [
  ...CNN_CHANNELS.slice(1).flatMap((to, i) => [
    conv(`conv${i}`, CNN_CHANNELS[i], to, 3), norm(`bn${i}`, to), ...(i < CNN_CHANNELS.length - 2 ? [maxPool(2, 2)] : []),
  ]),
  classifier('fc', CNN_CHANNELS.at(-1), classes),
];

const basicBlock = (name, from, to, stride) => residual(
  [conv(`${name}.conv1`, from, to, 3, stride), norm(`${name}.bn1`, to), conv(`${name}.conv2`, to, to, 3), norm(`${name}.bn2`, to, false)],
  stride === 1 && from === to ? [] : [conv(`${name}.downsample.0`, from, to, 1, stride), norm(`${name}.downsample.1`, to, false)],
);

export const resnet18 = (classes) => [
  conv('conv1', 3, 64, 7, 2), norm('bn1', 64), maxPool(3, 2, 1),
  ...[64, 128, 256, 512].flatMap((to, stage) => [
    basicBlock(`layer${stage + 1}.0`, stage === 0 ? 64 : to / 2, to, stage === 0 ? 1 : 2), basicBlock(`layer${stage + 1}.1`, to, to, 1),
  ]),
  classifier('fc', 512, classes),
];

/** Shapes of all parameters by name, convolutions [out, in, rows, columns]. */
export const parameterShapes = (net) => Object.assign({}, ...net.map((part) => {
  if (part.layer === 'conv') return { [`${part.name}.weight`]: part.shape };
  if (part.layer === 'norm') return { [`${part.name}.gamma`]: [part.channels], [`${part.name}.beta`]: [part.channels] };
  if (part.layer === 'residual') return parameterShapes([...part.main, ...part.around]);
  if (part.layer === 'classifier') return { [`${part.name}.weight`]: [part.from, part.classes], [`${part.name}.bias`]: [part.classes] };
  return {};
}));
