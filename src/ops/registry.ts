import * as all from './index.js';
import type { Op } from './op.js';

const isOp = (value: unknown): value is Op => typeof value === 'object' && value !== null && 'reference' in value && 'cases' in value;

/** Every op record, in order of registration. */
export const ops: readonly Op[] = Object.values(all as Record<string, unknown>).filter(isOp);
