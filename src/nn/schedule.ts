import { fail } from '../errors.js';
import { checkChoice, checkNames, given } from '../ops/arguments.js';
import type { Optimizer } from './optimizer.js';

/** Learning-rate schedules: pure functions of the epoch, so that resuming needs no state. */
export interface ScheduleOptions {
  /** `step`: × gamma every stepSize epochs (PyTorch's StepLR, WS-DAN's schedule); `cosine`: half a cosine to 0 (CosineAnnealingLR); `constant`. */
  readonly kind: 'step' | 'cosine' | 'constant';
  /** Needed by `step`. */
  readonly stepSize?: number;
  /** Default 0.1, as in PyTorch. */
  readonly gamma?: number;
  /** Epochs of linear warm-up from lr / 10; default 0. */
  readonly warmupEpochs?: number;
  /** Where the cosine ends; needed by `cosine`. */
  readonly epochs?: number;
}

/**
 * Learning rate at a point of training.
 *
 * @param base the initial learning rate
 * @param progress epochs completed, with fraction (0 at the first step)
 * @throws UserError for an unknown option or kind, and where the kind lacks what it needs
 */
export const learningRate = (base: number, progress: number, options: ScheduleOptions): number => {
  checkNames('schedule', options, ['kind', 'stepSize', 'gamma', 'warmupEpochs', 'epochs']);
  const { kind, gamma = 0.1, warmupEpochs = 0 } = options;
  checkChoice('schedule', 'kind', kind, ['step', 'cosine', 'constant']);
  const { stepSize, epochs } = given('schedule', options, ...needed[kind]) as Required<ScheduleOptions>;
  if (stepSize < 1) fail(`schedule: the step size must be at least 1 epoch, got ${stepSize}`);
  if (progress < warmupEpochs) return base * (0.1 + 0.9 * (progress / warmupEpochs));
  if (kind === 'step') return base * gamma ** Math.floor(progress / stepSize);
  if (kind === 'cosine') return 0.5 * base * (1 + Math.cos(Math.PI * Math.min(1, (progress - warmupEpochs) / Math.max(1e-9, epochs - warmupEpochs))));
  return base;
};

const needed: Readonly<Record<ScheduleOptions['kind'], readonly (keyof ScheduleOptions)[]>> = { step: ['stepSize'], cosine: ['epochs'], constant: [] };

/**
 * Sets the learning rates of an optimiser's groups: each group's initial one, as the schedule has it at this point of training.
 *
 * @param progress as of {@link learningRate}
 */
export const setLearningRates = ({ paramGroups }: Pick<Optimizer, 'paramGroups'>, progress: number, options: ScheduleOptions): void => {
  for (const group of paramGroups) group.lr = learningRate(group.initialLr, progress, options);
};
