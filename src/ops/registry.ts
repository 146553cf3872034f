import * as all from './index.js';
import type { Op } from './op.js';

const isOp = (value: unknown): value is Op => typeof value === 'object' && value !== null && 'reference' in value && 'cases' in value;

/** Every op record, by the names of their exports: a module's are in alphabetical order. */
export const ops: readonly Op[] = Object.values(all as Record<string, unknown>).filter(isOp);
