/** One line for each file of backbones. */
export { resnets } from './resnet.js';
export { inceptions } from './inception.js';
export { vggs } from './vgg.js';
