import { counted } from '../errors.js';
import type { Accuracy } from './accuracy.js';
import { branches, type Evaluation } from './evaluate.js';

type Accuracies = { readonly raw: Accuracy } & { readonly [B in Exclude<(typeof branches)[number], 'raw'>]?: Accuracy };

/** The accuracies that an evaluation has; a plain classifier has only `raw`. */
export const accuracies = ({ raw, crop, drop, refined, refinedOtherAverage }: Evaluation): Accuracies =>
  ({ raw, ...(refined ? { refined } : {}), ...(refinedOtherAverage ? { refinedOtherAverage } : {}), ...(crop ? { crop } : {}), ...(drop ? { drop } : {}) });

/** Width of the longest name, that of the mean of probabilities. */
const NAMES = 34;

const line = (name: string, top1: string, top5: string): string => `${name.padEnd(NAMES)}${top1.padStart(7)}${top5.padStart(8)}`;

const OTHER = { probabilities: 'logits', logits: 'probabilities' } as const;

/** The accuracy of each branch and the localisation, in lines for people. `title` names the images, such as `Test`; `average` is what `refined` averages. */
export const accuracyTable = (result: Evaluation, title: string, average: keyof typeof OTHER): string[] => {
  const titles: Readonly<Record<string, string>> = { refinedOtherAverage: `refined, averaging ${OTHER[average]}` };
  const rows = branches.flatMap((name) => {
    const accuracy = result[name];
    return accuracy ? [line(`  ${titles[name] ?? name}`, accuracy.top1.toFixed(2), accuracy.top5.toFixed(2))] : [];
  });
  const { localisation } = result;
  return [
    line(`${title} accuracy in percent`, 'top-1', 'top-5'),
    ...rows,
    ...(localisation ? [`Localisation: mean IoU ${localisation.meanIoU.toFixed(3)}, IoU ≥ 0.5 for ${localisation.corLoc50.toFixed(1)} % of ${counted(localisation.images, 'image')}`] : []),
  ];
};
