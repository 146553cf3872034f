/** The kernels that update all parameters at once; they have no op record, since they work in place and outside the tape. */
import { worstError } from '../src/autograd/verify.js';
import { CaseRandom } from '../src/ops/cases.js';
import { adamWStep, fill_, globalNorm, lerp_, sgdStep } from '../src/ops/index.js';
import type { Runtime } from '../src/kernels/runtime.js';
import { tensor, write } from '../src/tensor/create.js';
import { scope } from '../src/tensor/scope.js';
import type { Tensor } from '../src/tensor/tensor.js';
import type { Check } from './results.js';
import type { Subject } from './subjects.js';
import type { Work } from './work.js';

/** Weights of Inception-v3 up to Mixed_6e with 32 attention maps, and of the default model. */
const SIZES = { 'Inception, 8,971,616 weights': 8_971_616, 'default, 91,584 weights': 91_584 } as const;

const LR = 0.01;
const DECAY = 0.001;
const MOMENTUM = 0.9;
/** What a moving average of weights takes of the present ones. */
const SHARE = 0.001;
const [BETA1, BETA2, EPS, STEP] = [0.9, 0.999, 1e-8, 3];
/** Each new value comes of a handful of operations on its own operands; dividing and taking a root costs 2.5 ulp each in WGSL. */
const TOLERANCE = 1e-6;

type Row = readonly [weight: number, gradient: number, first: number, second: number];

/** One kernel over flat vectors: weights, gradient and two vectors of state. */
interface Update {
  readonly name: string;
  /** Operations on each weight, and how often 4 bytes of it are read or written. */
  readonly flops: number;
  readonly moved: number;
  readonly run: (vectors: readonly [Tensor, Tensor, Tensor, Tensor]) => Tensor | void;
  /** The new row in float64, by the published formula. */
  readonly reference: (row: Row) => Row;
}

const sgdReference = ([w, g, v, s]: Row): Row => {
  const velocity = MOMENTUM * v + g + DECAY * w;
  return [w - LR * velocity, g, velocity, s];
};

const adamReference = ([w, g, m, v]: Row): Row => {
  const [mean, square] = [BETA1 * m + (1 - BETA1) * g, BETA2 * v + (1 - BETA2) * g * g];
  const step = (LR * (mean / (1 - BETA1 ** STEP))) / (Math.sqrt(square / (1 - BETA2 ** STEP)) + EPS);
  return [w * (1 - LR * DECAY) - step, g, mean, square];
};

const updates: readonly Update[] = [
  {
    name: 'sgdStep', flops: 6, moved: 5, reference: sgdReference,
    run: ([w, g, v]) => sgdStep(w, g, v, { lr: LR, momentum: MOMENTUM, weightDecay: DECAY, step: 2 }),
  },
  {
    name: 'adamWStep', flops: 12, moved: 7, reference: adamReference,
    run: ([w, g, m, v]) => adamWStep(w, g, m, v, { lr: LR, beta1: BETA1, beta2: BETA2, eps: EPS, weightDecay: DECAY, step: STEP }),
  },
  { name: 'zeroGrad', flops: 0, moved: 1, reference: ([w, , m, v]) => [w, 0, m, v], run: ([, g]) => void fill_(g, 0) },
  // The averages lie where the other updates have their first vector.
  { name: 'lerp_', flops: 3, moved: 3, reference: ([w, g, average, v]) => [w, g, average + SHARE * (w - average), v], run: ([w, , average]) => lerp_(average, w, SHARE) },
];

const numbers = (count: number, seed: number, from: number): Float32Array => {
  const random = new CaseRandom(seed);
  return Float32Array.from({ length: count }, () => random.uniform(from, 1));
};

const initial = (count: number): Float32Array[] => [numbers(count, 1, -1), numbers(count, 2, -1), numbers(count, 3, -1), numbers(count, 4, 0)];

/** Each vector after one update, against the formula. */
const checkUpdate = async ({ run, reference }: Update, vectors: readonly [Tensor, Tensor, Tensor, Tensor], before: readonly Float32Array[]): Promise<Check> => {
  vectors.forEach((vector, i) => write(vector, before[i]!));
  run(vectors);
  const after = await Promise.all(vectors.map((vector) => vector.data()));
  const expected = before.map((values) => new Float64Array(values.length));
  for (let k = 0; k < before[0]!.length; k++) {
    reference([before[0]![k]!, before[1]![k]!, before[2]![k]!, before[3]![k]!]).forEach((value, i) => { expected[i]![k] = value; });
  }
  const error = Math.max(...after.map((values, i) => worstError(values, expected[i]!).error));
  return { how: 'all elements', error, tolerance: TOLERANCE };
};

/** Here the real sizes are compared whole, and nothing small besides. */
const subjectOf = (name: string, workOf: (runtime: Runtime, count: number) => Omit<Work, 'direction'>): Subject => ({
  name,
  directions: ['forward'],
  cases: () => Object.keys(SIZES),
  checkSmall: async () => ({ op: name, checks: 0, error: 0 }),
  prepare: (runtime, caseName, wanted) => (wanted('forward') ? [{ direction: 'forward', ...workOf(runtime, SIZES[caseName as keyof typeof SIZES]) }] : []),
});

const upload = (runtime: Runtime, values: readonly Float32Array[]): [Tensor, Tensor, Tensor, Tensor] =>
  values.map((v) => tensor(v, [v.length], { runtime })) as [Tensor, Tensor, Tensor, Tensor];

const updateSubject = (update: Update): Subject => subjectOf(update.name, (runtime, count) => {
  const before = initial(count);
  const vectors = upload(runtime, before);
  return {
    cost: { flops: update.flops * count, bytes: 4 * update.moved * count },
    record: () => scope(() => { update.run(vectors); }), check: () => checkUpdate(update, vectors, before),
  };
});

const normSubject = subjectOf('globalNorm', (runtime, count) => {
  const values = numbers(count, 2, -1);
  const gradient = tensor(values, [count], { runtime });
  const check = (): Promise<Check> => scope(async () => {
    const expected = Math.sqrt(values.reduce((sum, v) => sum + v * v, 0));
    return { how: 'the norm', error: worstError(await globalNorm([gradient]).data(), [expected]).error, tolerance: TOLERANCE };
  });
  return { cost: { flops: 2 * count, bytes: 4 * count }, record: () => scope(() => { globalNorm([gradient]); }), check };
});

export const optimizerSubjects: readonly Subject[] = [...updates.map(updateSubject), normSubject];
