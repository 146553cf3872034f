/** The factor between the feature matrix and the classifier: a choice of the run in Pipit, 100 in other programs' code, and in nobody's tensors. */
import { type TensorEntry, toFloat32 } from '../../io/tensor-file.js';
import { checkpointIn, META } from '../checkpoint-meta.js';
import type { Naming } from './naming.js';
import type { Weights } from './weights.js';

/** Where files that tell nothing else of their network tell it. */
export const SCALE_FACT = 'feature_scale';
const THEIRS = 100;

/** What a program multiplies features by, whatever the run; null where the run decides. */
export const programsScale = (naming: Naming | undefined): number | null => (naming === 'reference' || naming === 'wvinzh' ? THEIRS : null);

/** What the features of these weights' network are multiplied by; null where the file does not tell. */
export const scaleOf = ({ file, recognised }: Weights): number | null => {
  if (!file.facts.has(META)) return programsScale(recognised?.naming) ?? (Number(file.facts.get(SCALE_FACT)) || null);
  const { method, scale } = checkpointIn(file).options;
  return method === 'plain' || typeof scale !== 'number' ? null : scale;
};

/** The classifier for features that are multiplied by `to` instead of `from`: its logits stay. */
export const rescaled = (weight: TensorEntry, from: number, to: number): TensorEntry =>
  ({ dtype: 'F32', shape: weight.shape, read: () => toFloat32(weight.dtype, weight.read()).map((value) => (value * from) / to) });
