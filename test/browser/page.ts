/** What a page of the browser test runs: proves op records there, trains WS-DAN, and tells the test's server what came of it. */
import { verifyCase } from '../../src/autograd/verify.js';
import { open, ops } from '../../src/browser.js';
import { provingCases } from '../../src/ops/cases.js';
import { StepTraining } from '../support/step-training.js';
import { EXAMPLE, type PageTask, type Report } from '../support/page-task.js';

const tell = (report: Report): Promise<Response> => fetch('/report', { method: 'POST', body: JSON.stringify(report) });

const prove = async ({ gemm, only, recipe, steps = 0 }: PageTask): Promise<void> => {
  const runtime = await open(gemm ? { gemm } : {});
  const { name, subgroupSize } = runtime.device.report;
  await tell({ kind: 'adapter', name, subgroupSize });
  for (const op of ops.filter((op) => !only || only.includes(op.name))) {
    for (const opCase of provingCases(op, runtime.device.report)) {
      const verdicts = await verifyCase(runtime, op, opCase);
      const text = verdicts.map(({ error, tolerance, note }) => `${error.toExponential(1)} (at most ${tolerance}), ${note}`).join('; ');
      await tell({ kind: 'case', op: op.name, passed: verdicts.every(({ passed }) => passed), text: `${opCase.name}: ${text}` });
    }
  }
  if (!recipe) return;
  const training = new StepTraining(runtime, recipe);
  for (let step = 0; step < steps; step++) await tell({ kind: 'step', losses: await training.step(step) });
};

/** Runs the task's module; what it prints is told. */
const runExample = async (): Promise<void> => {
  const said: string[] = [];
  console.log = (line: string) => void said.push(line);
  await import(new URL(EXAMPLE, location.href).href);
  await tell({ kind: 'said', text: said.join('\n') });
};

const perform = (task: PageTask): Promise<void> => (task.example === undefined ? prove(task) : runExample());

try {
  await perform(await (await fetch('/task')).json() as PageTask);
  await tell({ kind: 'end' });
} catch (error) {
  await tell({ kind: 'end', failure: (error as Error).stack ?? String(error) });
}
