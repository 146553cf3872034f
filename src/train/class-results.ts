import { counted } from '../errors.js';
import { printable } from './printable.js';

/** What became of the images of a class. */
export interface ClassResult {
  readonly label: string;
  readonly images: number;
  /** How many were told right. */
  readonly right: number;
  /** What the others were taken for, the most frequent first. */
  readonly takenFor: readonly { readonly label: string; readonly images: number }[];
}

/** Which class the images of each class were taken for: a confusion matrix, of which accuracies tell only the share on the diagonal. */
export class ClassResults {
  private readonly counts: Uint32Array;

  constructor(private readonly classes: readonly string[]) {
    this.counts = new Uint32Array(classes.length ** 2);
  }

  add(labels: ArrayLike<number>, guesses: ArrayLike<number>): void {
    for (let i = 0; i < labels.length; i++) this.counts[labels[i]! * this.classes.length + guesses[i]!]! += 1;
  }

  /** Of the classes that have images, in their order. */
  get list(): ClassResult[] {
    const { classes } = this;
    return classes.map((label, row): ClassResult => {
      const counts = this.counts.subarray(row * classes.length, (row + 1) * classes.length);
      const takenFor = [...counts].map((images, guess) => ({ label: classes[guess]!, images })).filter(({ images }, guess) => images > 0 && guess !== row);
      return { label, images: counts.reduce((sum, count) => sum + count, 0), right: counts[row]!, takenFor: takenFor.sort((a, b) => b.images - a.images) };
    }).filter(({ images }) => images > 0);
  }
}

/** In percent. */
export const shareRight = ({ right, images }: ClassResult): number => (100 * right) / images;

/** Mean of the classes' shares in percent: a class of three images weighs as much as one of three hundred. */
export const meanOfClasses = (list: readonly ClassResult[]): number => list.reduce((sum, result) => sum + shareRight(result), 0) / list.length;

/** Of these, no more are named. */
const NAMED = 3;

const mistakes = (takenFor: ClassResult['takenFor']): string => {
  const names = takenFor.map(({ label, images }) => `${printable(label)} (${images})`);
  return names.slice(0, NAMED).join(', ') + (names.length > NAMED ? ` and ${counted(names.length - NAMED, 'other')}` : '');
};

/**
 * What became of each class, in lines for people.
 *
 * @param branch the prediction that is meant, such as `refined`
 * @param most of so many classes each has its line, of more only those with the smallest shares
 */
export const classTable = (list: readonly ClassResult[], branch: string, most = Infinity): string[] => {
  const shown = list.length > most ? [...list].sort((a, b) => shareRight(a) - shareRight(b)).slice(0, most) : list;
  const title = shown.length < list.length ? `${branch}, the lowest ${most} of ${list.length} classes` : `${branch}, by class`;
  const width = Math.max(title.length, ...shown.map(({ label }) => printable(label).length + 2)) + 2;
  return [
    `${branch}, mean over ${counted(list.length, 'class', 'classes')}: ${meanOfClasses(list).toFixed(2)} %`,
    `${title.padEnd(width)}images   right  taken for`,
    ...shown.map((result) => `${`  ${printable(result.label)}`.padEnd(width)}${String(result.images).padStart(6)}${shareRight(result).toFixed(1).padStart(6)} %  ${mistakes(result.takenFor)}`.trimEnd()),
  ];
};
