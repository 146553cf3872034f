/** Starting a run from weights: putting them in, and saying what of the run does not go with them. */
import { checkpointIn, META } from './checkpoint-meta.js';
import type { TrainConfig } from './config.js';
import type { ModelSession } from './session.js';
import { printNotes } from './printable.js';
import { CLASSIFIER } from './weights/naming.js';
import { describeLoad, type LoadReport, loadWeights, programNotes } from './weights/load-weights.js';
import { readWeights } from './weights/read-weights.js';
import type { Weights } from './weights/weights.js';

/** From this feature scale on, training from scratch was seen to learn nothing. */
const PRETRAINED_SCALE = 50;

export const scratchNotes = ({ method, weights, backboneLrFactor, wsdan: { scale } }: TrainConfig): string[] => {
  if (weights) return [];
  const apart = backboneLrFactor === 1 ? [] : [`--backbone-lr-factor ${backboneLrFactor} is made for a pretrained backbone (--weights); this one is fresh, as the rest is`];
  if (method !== 'wsdan' || scale < PRETRAINED_SCALE) return apart;
  return [...apart, `a feature scale of ${scale} is made for pretrained weights; from scratch little is learned with it. Use --scale 10 --attention-rim 1 --optimizer adamw --lr 0.005 --weight-decay 0.02`];
};

const recipeNotes = ({ recognised }: Weights, { method, wsdan: { scale } }: TrainConfig): string[] => {
  if (method !== 'wsdan' || !recognised || recognised.naming === 'pipit' || scale >= PRETRAINED_SCALE) return [];
  return [`a feature scale of ${scale} is made for training from scratch; the published recipe for pretrained weights is --scale 100 --attention-rim 0 --optimizer sgd --lr 0.001 --weight-decay 1e-5 --crop-theta 0.4,0.6 --test-theta 0.1`];
};

/** Labels of a classifier that is kept mean what they meant there. */
const classNotes = ({ file }: Weights, { fresh }: LoadReport, classes: readonly string[]): string[] => {
  if (fresh.includes(CLASSIFIER) || !file.facts.has(META)) return [];
  const trained = checkpointIn(file).classes;
  const at = classes.findIndex((name, i) => name !== trained[i]);
  if (at < 0) return [];
  return [`${file.path} was trained on other classes: class ${at} is "${classes[at]!}" here and was "${trained[at]!}" there. Its classifier and centers stand for those; fresh ones: --weights-ignore "fc.*,feature_center"`];
};

/** Loads weights into a fresh model and prints what was taken. */
export const startFrom = async (path: string, { method, ema }: ModelSession, config: TrainConfig, classes: readonly string[]): Promise<void> => {
  const weights = await readWeights(path);
  const report = loadWeights(method, weights, config.weightsIgnore);
  ema?.set();
  console.log(describeLoad(weights, report));
  printNotes([...programNotes(weights, config), ...recipeNotes(weights, config), ...classNotes(weights, report, classes)]);
};
