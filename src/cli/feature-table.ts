/** The table of ops that the documentation shows, written from the records and their verdicts. */
import type { Verdict } from '../autograd/verify.js';
import type { Op } from '../ops/op.js';

/** An op with all that was found about it. */
export interface CheckedOp {
  readonly op: Op;
  readonly forward: readonly Verdict[];
  readonly gradient: readonly Verdict[];
}

const worst = (verdicts: readonly Verdict[]): Verdict | undefined =>
  verdicts.reduce<Verdict | undefined>((a, b) => (a === undefined || b.error / b.tolerance > a.error / a.tolerance ? b : a), undefined);

/** `3.1e-7 of 1e-6`; a dash where nothing was checked. */
const errorCell = (verdicts: readonly Verdict[]): string => {
  const found = worst(verdicts);
  if (!found) return '–';
  return found.error === 0 ? 'exact' : `${found.error.toExponential(1)} of ${found.tolerance.toExponential(0)}`;
};

const gradientWord = ({ op, gradient }: CheckedOp): string => {
  if (!op.backward) return 'no';
  const modes = ['elements', 'directions'].filter((mode) => gradient.some((v) => v.note.startsWith(mode)));
  return modes.length ? `yes (${modes.join(', ')})` : 'yes';
};

const row = (checked: CheckedOp): string => {
  const { op, forward, gradient } = checked;
  const failed = [...forward, ...gradient].filter((v) => !v.passed).length;
  return `| ${op.name} | ${gradientWord(checked)} | ${forward.length} | ${errorCell(forward)} | ${errorCell(gradient)} | ${failed ? `**${failed} failed**` : 'ok'} |`;
};

const section = (group: string, ops: readonly CheckedOp[]): string => [
  `## ${group}`,
  '',
  '| op | gradient | cases | forward error | gradient error | verdict |',
  '| --- | --- | --- | --- | --- | --- |',
  ...ops.map(row),
  '',
].join('\n');

/**
 * Markdown of all ops by group.
 *
 * @param adapter where the errors were measured
 */
export const featureTable = (checked: readonly CheckedOp[], adapter: string): string => {
  const groups = [...new Set(checked.map(({ op }) => op.group))];
  const cases = checked.reduce((sum, { forward }) => sum + forward.length, 0);
  const gradients = checked.reduce((sum, { gradient }) => sum + gradient.length, 0);
  const loose = checked.filter(({ op }) => op.tolerance);
  return [
    '# Ops',
    '',
    'Written by `node dist/gradcheck.js --markdown docs/ops.md` from the op records; do not edit.',
    '',
    `Measured on ${adapter}: ${checked.length} ops, ${cases} forward cases against float64 references, ${gradients} gradient checks against central`,
    'differences of those references, per element or along random directions. Errors are relative to the largest expected value of a case; the worst',
    'case is shown beside what is allowed.',
    '',
    ...groups.map((group) => section(group, checked.filter(({ op }) => op.group === group))),
    ...(loose.length ? ['## Tolerances other than the default', '', ...loose.map(({ op }) => `- ${op.name}: ${op.tolerance!.reason}`), ''] : []),
  ].join('\n');
};
