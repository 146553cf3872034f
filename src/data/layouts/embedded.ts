import { fail } from '../../errors.js';
import { SYNTHETIC_CLASSES } from '../synthetic.js';
import type { Entry, Listing } from '../split.js';
import { EMBEDDED_SIZE } from '../types.js';

/**
 * The embedded dataset: pictures are drawn on demand by the workers, which also report the true box.
 * Labels go round the classes, so every class is equally frequent.
 */
export function readEmbedded(seed: number, { train, test } = EMBEDDED_SIZE): Listing {
  const entries = (split: 'train' | 'test', count: number): Entry[] => {
    if (!Number.isInteger(count) || count < SYNTHETIC_CLASSES.length) {
      fail(`the embedded dataset needs at least ${SYNTHETIC_CLASSES.length} ${split} pictures, one of each class, got ${count}`);
    }
    return Array.from({ length: count }, (_, index) => ({
      id: `${split}/${index}`,
      label: index % SYNTHETIC_CLASSES.length,
      synthetic: { seed, split, index },
      where: `embedded ${split} picture ${index}`,
    }));
  };
  return { name: 'embedded birds', classes: SYNTHETIC_CLASSES, train: entries('train', train), test: entries('test', test) };
}
