/** Everything the benchmark can time: ops with bench cases, and the optimiser's kernels. */
import { foresee, verifyCase } from '../src/autograd/verify.js';
import { nearestOrAll } from '../src/train/options/nearest.js';
import { fail } from '../src/errors.js';
import type { Runtime } from '../src/kernels/runtime.js';
import { inHalf, type OpCase, provingCases } from '../src/ops/cases.js';
import type { Op } from '../src/ops/op.js';
import { ops } from '../src/ops/registry.js';
import { optimizerSubjects } from './optimizer-work.js';
import { type BenchOptions, wants } from './options.js';
import type { Direction, SmallChecks } from './results.js';
import { directionsOf, prepareWork, type Work } from './work.js';

export interface Subject {
  readonly name: string;
  /** What of it is timed. */
  readonly directions: readonly Direction[];
  /** Names of what there is to time on this kind of adapter. */
  cases(software: boolean): readonly string[];
  /** Compares small cases with their references; throws a UserError where one differs. */
  checkSmall(runtime: Runtime): Promise<SmallChecks>;
  /** Uploads the operands of a case; call it in the scope that times the work. */
  prepare(runtime: Runtime, caseName: string, wanted: (direction: Direction) => boolean): Work[];
}

/** A fast wrong kernel is worth nothing: the op's small cases, ragged sizes and all, run before anything is timed. */
const checkOp = async (runtime: Runtime, op: Op, stored: (opCase: OpCase) => OpCase): Promise<SmallChecks> => {
  let [checks, worst] = [0, 0];
  const cases = provingCases(op, runtime.device.report).map(stored);
  foresee(runtime, op, cases);
  await runtime.compileAhead();
  for (const opCase of cases) {
    const verdicts = await verifyCase(runtime, op, opCase);
    for (const verdict of verdicts) {
      if (!verdict.passed) fail(`${op.name}, ${verdict.case}: error ${verdict.error.toExponential(1)} (at most ${verdict.tolerance}), ${verdict.note}. It is not timed; see "node dist/gradcheck.js --ops ${op.name}".`);
      worst = Math.max(worst, verdict.error);
    }
    checks += verdicts.length;
  }
  return { op: op.name, checks, error: worst };
};

/** @param stored how a case's operands are stored */
export const opSubject = (op: Op, stored = (opCase: OpCase): OpCase => opCase): Subject => ({
  name: op.name,
  directions: directionsOf(op),
  cases: (software) => op.cases.filter(({ bench }) => (software ? bench === true : bench)).map((c) => c.name),
  checkSmall: (runtime) => checkOp(runtime, op, stored),
  prepare: (runtime, caseName, wanted) => prepareWork(runtime, op, stored(op.cases.find((c) => c.bench && c.name === caseName)!), wanted),
});

const timedOps = ops.filter((op) => op.cases.some((c) => c.bench));
const subjects: readonly Subject[] = [...timedOps.map((op) => opSubject(op)), ...optimizerSubjects];

/** What autocast stores as float16, stored so. Only products: what moves memory would be compared with a copy of float32. */
export const mixedSubjects: readonly Subject[] = timedOps.filter((op) => op.precision === 'half' && op.backward).map((op) => opSubject(op, inHalf));

/** @param list names separated by commas; all without it @param among those that there are */
export const chosenSubjects = (list: string | undefined, among = subjects): readonly Subject[] => {
  if (list === undefined) return among;
  const known = among.map(({ name }) => name);
  const names = new Set(list.split(',').map((name) => name.trim()));
  const refuse = (name: string): never => fail(subjects.some((one) => one.name === name) || ops.some((op) => op.name === name)
    ? `--ops: "${name}" has nothing that is timed${among === subjects ? '; a case with bench: true is' : ' with float16 operands'}. Known: ${known.join(', ')}.`
    : `--ops: there is no op "${name}" with bench cases. ${nearestOrAll(name, known)}`);
  return [...names].map((name) => among[known.indexOf(name)] ?? refuse(name));
};

/** Those of which something is timed; none of them is an error. */
export const withDirection = (chosen: readonly Subject[], direction: BenchOptions['direction']): readonly Subject[] => {
  const found = chosen.filter(({ directions }) => directions.some(wants(direction)));
  const there = [...new Set(chosen.flatMap(({ directions }) => directions))];
  return found.length ? found : fail(`--direction: nothing of ${chosen.map(({ name }) => name).join(', ')} is timed as ${direction}, only ${there.join(', ')}`);
};
