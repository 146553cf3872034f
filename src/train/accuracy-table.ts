import type { Accuracy, Evaluation } from './evaluate.js';

const branches = ['raw', 'crop', 'drop', 'refined'] as const;
type Accuracies = { readonly raw: Accuracy } & { readonly [B in Exclude<(typeof branches)[number], 'raw'>]?: Accuracy };

/** The accuracies that an evaluation has; a plain classifier has only `raw`. */
export const accuracies = ({ raw, crop, drop, refined }: Evaluation): Accuracies =>
  ({ raw, ...(refined ? { refined } : {}), ...(crop ? { crop } : {}), ...(drop ? { drop } : {}) });

/** The accuracy of each branch and the localisation, in lines for people. `title` names the images, such as `Test`. */
export const accuracyTable = (result: Evaluation, title: string): string[] => {
  const rows = branches.flatMap((name) => {
    const accuracy = result[name];
    return accuracy ? [`  ${name.padEnd(22)}${accuracy.top1.toFixed(2).padStart(9)}${accuracy.top5.toFixed(2).padStart(8)}`] : [];
  });
  const { localisation } = result;
  return [
    `${`${title} accuracy in percent`.padEnd(28)}top-1   top-5`,
    ...rows,
    ...(localisation ? [`Localisation: mean IoU ${localisation.meanIoU.toFixed(3)}, IoU ≥ 0.5 for ${localisation.corLoc50.toFixed(1)} % of ${localisation.images} images`] : []),
  ];
};
