/**
 * An optimiser that a user writes with what the library exports: Lion (Chen et al., arXiv 2302.06675), clipped, scaled, captured and saved like SGD
 * and AdamW.
 */
import t from 'tap';
import {
  add, affine, backward, Captured, cat, type CommonOptions, GradScaler, mul, ones, Optimizer, type OptimizerPart, type OptimizerRules,
  type ParamGroup, scope, sgdStep, sign, slice, sub, sum,
  tensor, type Tensor, UserError,
} from '../src/library.js';
import { worstError } from '../src/autograd/verify.js';
import { CaseRandom } from '../src/ops/cases.js';
import { openRuntime } from './support/runtime.js';

const runtime = await openRuntime();
t.teardown(() => runtime.device.close());

interface LionOptions extends CommonOptions {
  betas?: readonly [number, number];
}

const rules: OptimizerRules<LionOptions> = {
  name: 'Lion',
  options: ['lr', 'betas', 'weightDecay', 'clipGradNorm'],
  check: (where, { betas = [0.9, 0.99] }) => {
    if (betas.some((beta) => beta < 0 || beta >= 1)) throw new UserError(`${where}: betas must be from 0 to below 1`);
  },
  vectors: () => ['m'],
};

class Lion extends Optimizer<LionOptions> {
  /** Runs of {@link update}: a replay leaves them out. */
  updates = 0;

  constructor(parameters: readonly Tensor[] | readonly ParamGroup<LionOptions>[], options: Partial<LionOptions>) {
    super(rules, parameters, options);
  }

  protected override update({ weights, gradients, group, lr, vectors }: OptimizerPart<LionOptions>, gradScale: Tensor | undefined): void {
    this.updates++;
    const { betas: [beta1, beta2] = [0.9, 0.99], weightDecay = 0 } = group;
    const m = vectors.get('m')!;
    const scaled = gradScale?.size === 3;
    const g = gradScale ? mul(gradients, scaled ? slice(gradScale, [0], [1]) : gradScale) : gradients;
    // The directions are scaled already; whether the step is skipped still counts.
    const common = { step: this.liveStep, gradScale: scaled ? cat([ones([1]), slice(gradScale, [1])]) : undefined };
    sgdStep(weights, sign(add(affine(m, beta1), affine(g, 1 - beta1))), null, { ...common, lr, weightDecay });
    sgdStep(m, sub(m, g), null, { ...common, lr: 1 - beta2 });
  }
}

const random = new CaseRandom(5);
const SIZES = [7, 12];
const STEPS = 6;
const draw = (): number[][] => SIZES.map((size) => Array.from({ length: size }, () => random.uniform(0.1, 1) * (random.next() < 0.5 ? -1 : 1)));
const starts = draw();
const gradients = Array.from({ length: STEPS }, draw);
/** Of the first group, and of the second; the rates fall from step to step. */
const GROUPS = [{ lr: 0.1, betas: [0.9, 0.99], weightDecay: 0.1 }, { lr: 0.02, betas: [0.5, 0.75], weightDecay: 0 }] as const;
const rate = (group: number, step: number): number => GROUPS[group]!.lr / (step + 1);

/** Float64, element by element. @param factors of each step's gradients; 0: the step is skipped */
const expected = (factors: readonly number[]): number[][] => starts.map((start, group) => {
  const { betas: [beta1, beta2], weightDecay } = GROUPS[group]!;
  const [w, m] = [[...start], start.map(() => 0)];
  factors.forEach((factor, step) => factor && w.forEach((_, i) => {
    const g = factor * gradients[step]![group]![i]!;
    w[i]! -= rate(group, step) * (Math.sign(beta1 * m[i]! + (1 - beta1) * g) + weightDecay * w[i]!);
    m[i] = beta2 * m[i]! + (1 - beta2) * g;
  }));
  return w;
});

const parameters = (): Tensor[] => starts.map((start) => tensor(start).requiresGrad_());
const lionOf = (params: readonly Tensor[], options: Partial<LionOptions> = {}): Lion =>
  new Lion(GROUPS.map((group, i) => ({ ...group, params: [params[i]!] })), options);
const setRates = (lion: Lion, step: number): void => lion.paramGroups.forEach((group, i) => { group.lr = rate(i, step); });
/** A loss whose gradients are those of the step. */
const lossOf = (params: readonly Tensor[], wanted: readonly Tensor[]): Tensor => params.map((p, i) => sum(mul(p, wanted[i]!))).reduce((a, b) => add(a, b));
const arrive = async (params: readonly Tensor[], factors: readonly number[], { ok }: Pick<typeof t, 'ok'>): Promise<void> => {
  // Rates, decay and momentum are rounded in each of six steps; nothing is near the kink of the sign.
  for (const [i, w] of expected(factors).entries()) ok(worstError(await params[i]!.data(), w).error < 2e-6, `group ${i}`);
};

const ALL = new Array<number>(STEPS).fill(1);

t.test('steps, and their state', (t) => scope(async () => {
  const params = parameters();
  let lion = lionOf(params);
  for (let step = 0; step < STEPS; step++) {
    if (step === 3) {
      const state = await lion.stateDict();
      t.same([...state.vectors.keys()], ['m.0', 'm.1']);
      lion = lionOf(params);
      lion.loadStateDict(state);
    }
    setRates(lion, step);
    lion.zeroGrad();
    backward(lossOf(params, gradients[step]!.map((g) => tensor(g))));
    lion.step();
  }
  await arrive(params, ALL, t);
}));

t.test('captured, with rates that change', (t) => scope(async () => {
  const params = parameters();
  const lion = lionOf(params);
  const step = new Captured((...wanted: Tensor[]) => {
    lion.zeroGrad();
    backward(lossOf(params, wanted));
    lion.step();
  });
  for (let i = 0; i < STEPS; i++) {
    setRates(lion, i);
    step.run(() => gradients[i]!.map((g) => tensor(g)));
  }
  t.ok(lion.updates < STEPS * SIZES.length, 'and replayed');
  await arrive(params, ALL, t);
}));

t.test('a scaled loss, with a step that must be skipped', (t) => scope(async () => {
  const params = parameters();
  const [lion, scaler] = [lionOf(params), new GradScaler({ initScale: 1024 })];
  for (let step = 0; step < STEPS; step++) {
    setRates(lion, step);
    lion.zeroGrad();
    const broken = step === 2 ? Infinity : 1;
    backward(scaler.scale(lossOf(params, gradients[step]!.map((g) => tensor(g.map((v) => v * broken))))));
    scaler.step(lion);
    scaler.update();
  }
  await arrive(params, [1, 1, 0, 1, 1, 1], t);
}));

t.test('clipped gradients', (t) => scope(async () => {
  const params = parameters();
  const lion = lionOf(params, { clipGradNorm: 0.5 });
  const factors = gradients.map((g) => 0.5 / (Math.hypot(...g.flat()) + 1e-6));
  for (let step = 0; step < STEPS; step++) {
    setRates(lion, step);
    lion.zeroGrad();
    backward(lossOf(params, gradients[step]!.map((g) => tensor(g))));
    lion.step();
  }
  await arrive(params, factors, t);
}));

t.test('its own rules speak in messages', async (t) => {
  const params = parameters();
  t.throws(() => new Lion(params, { lr: 0.1, betas: [0.9, 1] }), { name: 'UserError', message: 'Lion: betas must be from 0 to below 1' });
  t.throws(() => new Lion(params, { lr: 0.1, momentum: 0.9 } as never), { name: 'UserError', message: /^Lion: .*momentum/ });
});
