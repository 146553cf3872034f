import type { MaskConvention, PoolMode } from '../ops/index.js';

/** Every choice that the reference implementations of WS-DAN make differently, by name. */
export interface WsdanOptions {
  /** Number of attention maps M; 32 in all published recipes. */
  readonly attentions: number;
  /** Pooling of part features: mean (`GAP`, all published recipes) or maximum (`GMP`) over positions. */
  readonly pooling: PoolMode;
  /** `head`: a 1×1 convolution with batch norm and ReLU (GuYuc); `features`: the first M feature channels (GuYuc with Mixed_7c). */
  readonly attentionSource: 'head' | 'features';
  /**
   * Outermost rings of the maps that are set to 0. Zero padding makes the border recognisable whatever the picture shows, and in
   * networks trained from scratch a map may settle there; 0 in all references, which start from pretrained weights.
   */
  readonly attentionRim: number;
  /** The classifier's input is the feature matrix times this: unit-norm features alone make logits tiny. */
  readonly scale: number;
  /** GuYuc's classifier has no bias; wvinzh's and the authors' have one. */
  readonly classifierBias: boolean;
  /** Corner alignment, threshold and padding rules of crop and drop: those of GuYuc, wvinzh, or a blog's listing. */
  readonly convention: MaskConvention;
  /** A class that occurs twice in a batch: all occurrences move its center (authors), or the last one (GuYuc on CPU). */
  readonly duplicates: 'accumulate' | 'last';
  /** Step of the center update, paper's β. */
  readonly beta: number;
  /** Weight of the center loss. */
  readonly centerWeight: number;
  /** Range of the crop threshold in training, relative to the map's maximum (paper's θc). */
  readonly cropTheta: readonly [number, number];
  /** Margin around the box in training, relative to the image side. */
  readonly cropPadding: number;
  /** Range of the drop threshold in training (paper's θd). */
  readonly dropTheta: readonly [number, number];
  /** Normalised colour of dropped pixels; 0 is the mean colour, as in all references (not black). */
  readonly dropColour: readonly [number, number, number];
  /** Threshold and margin of the box at test time. */
  readonly testTheta: number;
  readonly testPadding: number;
  /** What is averaged at test time: `probabilities` (paper, authors) or `logits` (GuYuc). */
  readonly average: 'probabilities' | 'logits';
  /** Label smoothing of the three cross-entropies; 0 in all references. */
  readonly labelSmoothing: number;
  /** Weight of new batch statistics: .1 (both ports); the authors' decay .9997 is .0003. */
  readonly bnMomentum: number;
}

/** GuYuc's final recipe, except that duplicates accumulate and probabilities are averaged, as the authors do. */
export const defaultWsdan: WsdanOptions = {
  attentions: 32,
  pooling: 'GAP',
  attentionSource: 'head',
  attentionRim: 0,
  scale: 100,
  classifierBias: false,
  convention: 'GuYuc',
  duplicates: 'accumulate',
  beta: 0.05,
  centerWeight: 1,
  cropTheta: [0.4, 0.6],
  cropPadding: 0.1,
  dropTheta: [0.2, 0.5],
  dropColour: [0, 0, 0],
  testTheta: 0.1,
  testPadding: 0.05,
  average: 'probabilities',
  labelSmoothing: 0,
  bnMomentum: 0.1,
};
