import type { Dataset } from '../data/dataset.js';
import { counted } from '../errors.js';
import type { TrainConfig } from './config.js';
import { printable } from './printable.js';

const countsOf = ({ classes, train: { samples } }: Pick<Dataset, 'classes' | 'train'>): number[] => {
  const counts = classes.map(() => 0);
  for (const { label } of samples) counts[label]!++;
  return counts;
};

/**
 * Weights by which all classes count alike, whatever their numbers of training images: n / (K · n_c), as scikit-learn's `balanced`, with the K classes that
 * have any; the mean over images is 1. A class without images gets 0: label smoothing then leaves it out, too.
 * Images that turn out to be unreadable (--skip-bad-images) are counted: that is known too late. Null where no weights were asked for.
 */
export const classWeightsOf = ({ classWeights }: Pick<TrainConfig, 'classWeights'>, dataset: Pick<Dataset, 'classes' | 'train'>): number[] | null => {
  if (classWeights === 'none') return null;
  const counts = countsOf(dataset);
  const trained = counts.filter((count) => count > 0).length;
  return counts.map((count) => (count > 0 ? dataset.train.samples.length / (trained * count) : 0));
};

/** The extremes, for the start of a run. */
export const classWeightsLine = (weights: readonly number[], dataset: Pick<Dataset, 'classes' | 'train'>): string => {
  const counts = countsOf(dataset);
  const trained = weights.map((_, label) => label).filter((label) => counts[label]! > 0).sort((a, b) => weights[a]! - weights[b]! || a - b);
  const [low, high] = [trained[0]!, trained.at(-1)!];
  const images = (label: number): string => counted(counts[label]!, 'training image');
  if (weights[low] === weights[high]) return `Class weights (balanced): 1 for each class, as all have ${images(low)}`;
  const tell = (label: number): string => `${Number(weights[label]!.toPrecision(3))} for "${printable(dataset.classes[label]!)}" (${images(label)})`;
  return `Class weights (balanced): from ${tell(low)} to ${tell(high)}`;
};
