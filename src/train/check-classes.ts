import { fail } from '../errors.js';
import { printable } from './printable.js';

/** A network on disk, as far as its classes go. */
interface TrainedClasses {
  readonly path: string;
  readonly classes: readonly string[];
  /** False where another program's file names no classes: only their number counts then. */
  readonly classesKnown: boolean;
}

/** Labels mean something only if the data set still has the classes that were trained, in their order. */
export const checkClasses = ({ classes: trained, classesKnown, path }: TrainedClasses, found: readonly string[]): void => {
  if (!classesKnown && trained.length === found.length) return;
  if (!classesKnown) fail(`the network in ${path} tells ${trained.length} classes apart, the data set has ${found.length}. Point --data to the data set the network was trained on`);
  const at = Array.from({ length: Math.max(trained.length, found.length) }, (_, i) => i).find((i) => trained[i] !== found[i]);
  if (at === undefined) return;
  fail(`the data set's classes are not those of the checkpoint: it has ${found.length}, the checkpoint ${trained.length}; class ${at} is "${printable(found[at] ?? 'missing')}" instead of "${printable(trained[at] ?? 'none')}". ` +
    'Point --data to the data set the network was trained on.');
};
