/** Options that were typed and change nothing, because of what another one says. */
import { kebab, type Parsed } from './config-values.js';
import type { trainOptions, TrainOptions } from './train-options.js';

/** What makes an option idle: the options that do, as on a command line; undefined where it counts. */
const causes: Readonly<Partial<Record<keyof TrainOptions, (options: TrainOptions) => string | false | undefined>>> = {
  level: ({ dataset }) => dataset !== 'aircraft' && `with --dataset ${dataset}`,
  trainImages: ({ dataset }) => dataset !== 'synthetic' && `with --dataset ${dataset}`,
  testImages: ({ dataset }) => dataset !== 'synthetic' && `with --dataset ${dataset}`,
  weightsIgnore: ({ weights }) => weights === undefined && 'without --weights',
  momentum: ({ optimizer }) => optimizer !== 'sgd' && `with --optimizer ${optimizer}`,
  nesterov: ({ optimizer }) => optimizer !== 'sgd' && `with --optimizer ${optimizer}`,
  lrStep: ({ schedule }) => schedule !== 'step' && `with --schedule ${schedule}`,
  lrGamma: ({ schedule }) => schedule !== 'step' && `with --schedule ${schedule}`,
};

/**
 * A remark for each of them. Presets choose the optimiser and the schedule, so that nobody need have typed what makes an option idle. Config
 * files are not looked at: a run's own names every option.
 *
 * @param options the values that count, the preset's among them
 */
export const idleNotes = ({ source }: Pick<Parsed<typeof trainOptions>, 'source'>, options: TrainOptions): string[] =>
  Object.entries(causes).flatMap(([name, cause]) => {
    const why = source[name as keyof TrainOptions] === 'command line' && cause(options);
    return why ? [`--${kebab(name)} changes nothing ${why}`] : [];
  });
