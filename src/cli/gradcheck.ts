import { foresee, gradientMode, unproved, type Verdict, verifyForward, verifyGradient } from '../autograd/verify.js';
import { fail } from '../errors.js';
import { writeFileAtomic } from '../io/atomic.js';
import { checkOutputs } from '../io/output.js';
import type { Runtime } from '../kernels/runtime.js';
import { type OpCase, provingCases } from '../ops/cases.js';
import type { Op } from '../ops/op.js';
import { ops } from '../ops/registry.js';
import { compilePlanned } from '../train/memory-plan.js';
import { nearestOrAll } from '../train/options/nearest.js';
import { inColumns } from './columns.js';
import { type CheckedOp, featureTable } from './feature-table.js';
import { openRuntime, usable } from './open-runtime.js';
import { adapterOption, flag, parseOptions, text } from './options.js';
import { runCommand } from './run-command.js';
import { errorText, Faults, verdictText } from './verdict-text.js';

const spec = {
  name: 'gradcheck',
  summary: 'Proves every op on this machine: its forward against a float64 reference, its gradient against central differences.',
  options: {
    ops: text({ help: 'only these ops, separated by commas', placeholder: 'NAME,...', defaultText: 'all' }),
    adapter: adapterOption,
    json: text({ help: 'write all figures to this file', placeholder: 'FILE' }),
    markdown: text({ help: 'write the table of ops by group to this file', placeholder: 'FILE' }),
    failures: flag({ help: 'print only the cases that fail' }),
  },
  examples: ['node dist/gradcheck.js --ops conv2d,matmul', 'node dist/gradcheck.js --markdown docs/ops.md'],
};

/** The ops by name; an unknown one is refused with the nearest. */
const chosenOps = (list: string | undefined): readonly Op[] => {
  if (list === undefined) return ops;
  const known = ops.map(({ name }) => name);
  const names = new Set(list.split(',').map((name) => name.trim()).filter(Boolean));
  return [...names].map((name) => ops[known.indexOf(name)] ?? fail(`--ops: there is no op "${name}". ${nearestOrAll(name, known)}`));
};

const faults = new Faults();

/** A check that throws has failed; the others still run. It allows no error, as there is none to compare. */
const attempt = async (check: () => Promise<Verdict>, op: Op, opCase: OpCase): Promise<Verdict> => {
  try {
    return await check();
  } catch (error) {
    return { op: op.name, case: opCase.name, error: Infinity, tolerance: 0, passed: false, note: faults.describe(error) };
  }
};

const line = inColumns(22, 34, 12, 12, 11);
const compileAll = async (runtime: Runtime, chosen: readonly Op[]): Promise<void> => {
  for (const op of chosen) foresee(runtime, op, provingCases(op, runtime.device.report));
  await compilePlanned(runtime, console.log);
};

const checkOp = async (runtime: Runtime, op: Op, onlyFailures: boolean): Promise<CheckedOp> => {
  const forward: Verdict[] = [];
  const gradient: Verdict[] = [];
  for (const opCase of provingCases(op, runtime.device.report)) {
    const value = await attempt(() => verifyForward(runtime, op, opCase), op, opCase);
    const how = gradientMode(op, opCase);
    const slope = how === 'none' ? null : await attempt(() => verifyGradient(runtime, op, opCase), op, opCase);
    forward.push(value);
    if (slope) gradient.push(slope);
    const good = value.passed && (slope?.passed ?? true);
    const mode = slope ? how : op.backward ? 'forward only' : 'no gradient';
    if (!good || !onlyFailures) console.log(line(op.name, opCase.name, errorText(value), slope ? errorText(slope) : '–', mode, verdictText(value, slope)));
  }
  const missing = unproved(op);
  if (missing) {
    const none: Verdict = { op: op.name, case: 'none', error: Infinity, tolerance: 0, passed: false, note: `no case proves ${missing}; add one to its record` };
    (missing === 'the op' ? forward : gradient).push(none);
    console.log(line(op.name, none.case, '–', '–', '–', `FAILED: ${none.note}`));
  }
  return { op, forward, gradient };
};

const writeText = (path: string, content: string): void => {
  writeFileAtomic(path, content);
  console.log(`Written: ${path}`);
};

/** JSON has no infinity: a check without a figure gets null. */
const asJson = (checked: readonly CheckedOp[], adapter: string): string =>
  `${JSON.stringify({ adapter, ops: checked.map(({ op, forward, gradient }) => ({ name: op.name, group: op.group, differentiable: op.backward !== null, forward, gradient })) }, null, 2)}\n`;

const gradcheck = async (): Promise<number> => {
  const { values } = parseOptions(spec, process.argv.slice(2));
  const chosen = chosenOps(values.ops);
  checkOutputs({ '--json': values.json, '--markdown': values.markdown });
  const start = performance.now();
  let runtime = await openRuntime(values.adapter);
  await compileAll(runtime, chosen);
  console.log(`Errors are relative to the largest expected value of a case.\n\n${line('op', 'case', 'forward', 'gradient', 'how', 'verdict')}`);
  const checked: CheckedOp[] = [];
  for (const op of chosen) {
    checked.push(await checkOp(runtime, op, values.failures));
    runtime = await usable(runtime);
  }
  const verdicts = checked.flatMap(({ forward, gradient }) => [...forward, ...gradient]);
  const failed = verdicts.filter((v) => !v.passed).length;
  console.log(`\n${chosen.length} ops, ${verdicts.length} checks, ${failed} failed, ${((performance.now() - start) / 1000).toFixed(1)} s`);
  const { name } = runtime.device.report;
  if (values.json) writeText(values.json, asJson(checked, name));
  if (values.markdown) writeText(values.markdown, featureTable(checked, name));
  runtime.device.close();
  return failed === 0 ? 0 : 1;
};

await runCommand(gradcheck);
