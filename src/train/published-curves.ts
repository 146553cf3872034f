import type { Dataset } from '../data/dataset.js';
import type { Evaluation } from './evaluate.js';
import { selectionScore } from './history.js';
import { kebab } from './options/config-values.js';
import { type ResultOptions, resultOptions } from './options/train-options.js';
import { presets } from './presets.js';

/** What another program reached on a data set. */
interface Published {
  /** Classes, training and test images: whoever has others trains on other data. */
  readonly classes: number;
  readonly train: number;
  readonly test: number;
  /** Epochs completed, and top-1 of the mean of raw and crop on the test images, in percent. */
  readonly curve: readonly (readonly [epoch: number, top1: number])[];
}

/**
 * The training logs that the Paddle port of WS-DAN ships (github.com/Victory8858/WS-DAN-Paddle): Inception-v3 to Mixed_6e, 448 px, batch 12, SGD
 * 0.001, × 0.9 every two epochs. The best epochs of its logs for Aircraft and Cars, which the test images chose, are left out.
 */
const published: Readonly<Partial<Record<ResultOptions['dataset'], Published>>> = {
  cub: { classes: 200, train: 5994, test: 5794, curve: [[1, 39.9], [2, 67.7], [3, 73.3], [5, 80.1], [10, 86.5], [20, 88.5], [40, 88.5], [80, 89.2]] },
  aircraft: { classes: 100, train: 6667, test: 3333, curve: [[1, 54.6], [2, 68.5], [3, 76], [5, 86], [10, 91.4], [20, 93.3], [40, 93.8]] },
  cars: { classes: 196, train: 8144, test: 8041, curve: [[1, 49.3], [2, 75.4], [3, 83.5], [5, 88.8], [10, 93], [20, 94.1], [40, 94.7]] },
};

/**
 * How far below the curve, and how late, a sound run may be. Those that are known end up to 1.5 points below it (on CUB 88.3 with GuYuc's program and
 * 87.7 for a user of it, where the curve has 89.2; on Aircraft 92.8 after 30 epochs, where it has 93.5), and two runs of the port itself differed by
 * as much after their first epoch (39.9 and 41.4): twice that is granted, and in the first epochs, where a curve rises by tens of points an epoch,
 * half an epoch as well. Runs that went wrong ended 15 to 25 points below.
 */
const POINTS = 3;
const EPOCHS = 0.5;

/** The curve between its epochs; it begins with guessing, and behind its last epoch it stays where it is. */
const curveAt = ({ classes, curve }: Published, epoch: number): number => {
  let [from, low] = [0, 100 / classes];
  for (const [to, high] of curve) {
    if (epoch <= to) return low + ((high - low) * (epoch - from)) / (to - from);
    [from, low] = [to, high];
  }
  return low;
};

type Name = keyof ResultOptions;

/** Without these as they were published it is another experiment. */
const RECIPE: readonly Name[] = ['level', 'method', 'model', 'imageSize', 'batchSize', 'optimizer', 'lr', 'momentum', 'nesterov', 'weightDecay', 'schedule', 'lrStep', 'lrGamma', 'warmupEpochs'];

/** What every run has of its own, and what is seen in the numbers of images. */
const OWN: readonly Name[] = ['dataset', 'data', 'weights', 'trainImages', 'testImages', 'valFraction', 'limitTrain', 'limitTest', 'skipBadImages', 'epochs', 'seed', 'evalEvery', 'evalBatchSize', 'patience', 'keepEvery'];

/** Options that are not those of the published recipe. */
const departuresOf = (options: ResultOptions): Name[] => (Object.keys(resultOptions) as Name[]).filter((name) => {
  const usual = presets[options.dataset][name] ?? (resultOptions[name] as { default?: unknown }).default;
  return !OWN.includes(name) && JSON.stringify(options[name]) !== JSON.stringify(usual);
});

/**
 * A line about an evaluation that is clearly below the published learning curve; undefined where it is not, and for runs that are not of the
 * published recipe with the whole of its data.
 *
 * @param epoch epochs completed
 */
export const belowPublished = (options: ResultOptions, { classes, train, val, test }: Dataset, epoch: number, evaluation: Evaluation): string | undefined => {
  const known = published[options.dataset];
  const isWhole = known && classes.length === known.classes && train.samples.length === known.train && test.samples.length === known.test && !val;
  if (!isWhole || !options.weights) return undefined;
  const departures = departuresOf(options);
  if (departures.some((name) => RECIPE.includes(name))) return undefined;
  const reached = selectionScore(evaluation);
  if (reached >= curveAt(known, epoch - EPOCHS) - POINTS) return undefined;
  const departs = departures.map((name) => (options[name] === true ? `--${kebab(name)}` : `--${kebab(name)} ${String(options[name])}`)).join(', ');
  return `Refined ${reached.toFixed(1)} % is clearly below the published curve, which has ${curveAt(known, epoch).toFixed(1)} % after epoch ${epoch}. Usual causes: pretrained weights that were not taken (what was, is said at the start), ` +
    `another feature scale or center loss, batch norm on few images.${departs ? ` This run departs from the recipe by ${departs}.` : ''}`;
};
