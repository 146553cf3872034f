/** Ten complete WS-DAN training steps against PyTorch in float64: test/reference/wsdan_step_torch.py. */
import t from 'tap';
import { worstError } from '../src/autograd/verify.js';
import { toFileLayout } from '../src/train/state-layout.js';
import { summarise } from './support/portable.js';
import { openRuntime } from './support/runtime.js';
import { readStepFixture } from './support/step-fixture.js';
import { StepTraining } from './support/step-training.js';

const runtime = await openRuntime();
const { file, meta, numbers, recipe, bandOf } = readStepFixture();
const training = new StepTraining(runtime, recipe);
const { model, centers } = training;

const relative = (actual: ArrayLike<number>, expected: ArrayLike<number>): number => worstError(actual, expected).error;

t.test('the first step: logits, boxes, losses, gradients, centers, statistics', async (t) => {
  const terms = await training.step(0, async ({ logits, boxes }) => {
    for (const name of ['raw', 'crop', 'drop'] as const) {
      const error = relative(await logits[name].data(), numbers(`logits.${name}`));
      // Five convolutions and batch norms, each with a rounding of some 1e-7.
      t.ok(error < 3e-6, `${name} logits: ${error.toExponential(1)}`);
    }
    t.same([...(await boxes.data())], [...numbers('boxes')], 'crop boxes to the pixel');
    for (const [name, p] of model.namedParameters()) {
      const wanted = file.tensors.get(`gradient.${name}`);
      if (!wanted) continue;
      const grad = toFileLayout(name, { shape: p.shape, data: (await p.grad!.data()) as Float32Array });
      t.same(grad.shape, wanted.shape);
      const error = relative(grad.data, numbers(`gradient.${name}`));
      // The signed root has a steep derivative where pooled products are small, which multiplies their rounding.
      t.ok(error < 1e-5, `gradient of ${name}: ${error.toExponential(1)}`);
    }
    await checkAllGradients(t);
  });
  terms.forEach((term, i) => t.ok(Math.abs(term - numbers('terms')[i]!) < 7e-6, `${['raw', 'crop', 'drop', 'center'][i]} loss ${term}`));
  t.ok(relative(await centers.table.data(), numbers('centers')) < 3e-6, 'centers');
  for (const [name, buffer] of model.namedBuffers()) {
    const error = relative(await buffer.data(), numbers(`running.${name}`));
    t.ok(error < 3e-6, `${name} after raw, crop and drop: ${error.toExponential(1)}`);
  }
});

const checkSummaries = async (t: Tap, which: 'gradients' | 'weights', tolerance: number): Promise<void> => {
  const parameters = new Map(model.namedParameters());
  const expected = Object.entries(meta<Record<string, [number, number]>>(which));
  t.equal(expected.length, parameters.size);
  for (const [i, [name, [norm, projection]]] of expected.entries()) {
    const p = parameters.get(name)!;
    const values = toFileLayout(name, { shape: p.shape, data: (await (which === 'gradients' ? p.grad! : p).data()) as Float32Array }).data;
    const [ownNorm, ownProjection] = summarise(values, 3000 + i);
    const error = Math.max(Math.abs(ownNorm - norm), Math.abs(ownProjection - projection)) / norm;
    t.ok(error < tolerance, `${which}, ${name}: norm ${ownNorm.toPrecision(6)} against ${norm.toPrecision(6)} (${error.toExponential(1)})`);
  }
};
type Tap = { ok(value: boolean, text: string): boolean; equal(a: number, b: number): boolean };
const checkAllGradients = (t: Tap): Promise<void> => checkSummaries(t, 'gradients', 1e-5);

t.test('ten steps of SGD', async (t) => {
  const expected = numbers('terms');
  for (let step = 1; step < 10; step++) {
    const terms = await training.step(step);
    const error = relative(terms, expected.subarray(4 * step, 4 * step + 4));
    t.ok(error < bandOf(step), `step ${step + 1}: ${terms.map((v) => v.toFixed(5)).join(' ')} (${error.toExponential(1)} of ${bandOf(step).toExponential(1)})`);
  }
  await checkSummaries(t, 'weights', 1e-5);
  t.ok(relative(await centers.table.data(), numbers('centers.last')) < 3e-5, 'centers');
});

t.teardown(() => runtime.device.close());
