import type { Tensor } from '../tensor/tensor.js';
import { gatherRows } from './gather.js';
import { sum } from './reduce.js';
import { reshape } from './reshape.js';

/** The labels' class weights, added up: what a weighted mean divides by. weight [classes], labels int32 [batch]. */
export const sumOfWeights = (weight: Tensor, labels: Tensor): Tensor => sum(gatherRows(reshape(weight, [weight.size, 1]), labels));
