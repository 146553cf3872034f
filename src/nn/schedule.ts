import { fail } from '../errors.js';
import { checkChoice } from '../ops/arguments.js';
import type { Optimizer } from './optimizer.js';

/** Learning-rate schedules: pure functions of the epoch, so that resuming needs no state. */
export interface ScheduleOptions {
  /** `step`: × gamma every stepSize epochs (PyTorch's StepLR, WS-DAN's schedule); `cosine`: half a cosine to 0; `constant`. */
  readonly kind: 'step' | 'cosine' | 'constant';
  readonly stepSize: number;
  readonly gamma: number;
  /** Epochs of linear warm-up from lr / 10. */
  readonly warmupEpochs: number;
  readonly epochs: number;
}

/**
 * Learning rate at a point of training.
 *
 * @param base the initial learning rate
 * @param progress epochs completed, with fraction (0 at the first step)
 */
export const learningRate = (base: number, progress: number, options: ScheduleOptions): number => {
  const { kind, stepSize, gamma, warmupEpochs, epochs } = options;
  checkChoice('schedule', 'kind', kind, ['step', 'cosine', 'constant']);
  if (stepSize < 1) fail(`schedule: the step size must be at least 1 epoch, got ${stepSize}`);
  if (progress < warmupEpochs) return base * (0.1 + 0.9 * (progress / warmupEpochs));
  if (kind === 'step') return base * gamma ** Math.floor(progress / stepSize);
  if (kind === 'cosine') return 0.5 * base * (1 + Math.cos(Math.PI * Math.min(1, (progress - warmupEpochs) / Math.max(1e-9, epochs - warmupEpochs))));
  return base;
};

/**
 * Sets the learning rates of an optimiser's groups: each group's initial one, as the schedule has it at this point of training.
 *
 * @param progress as of {@link learningRate}
 */
export const setLearningRates = ({ paramGroups }: Pick<Optimizer, 'paramGroups'>, progress: number, options: ScheduleOptions): void => {
  for (const group of paramGroups) group.lr = learningRate(group.initialLr, progress, options);
};
