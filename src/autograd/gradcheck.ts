/** Proof of a user's own function: its backward on the device against central differences of its forward. */
import { fail } from '../errors.js';
import { checkFunction, checkNames, checkTensors } from '../ops/arguments.js';
import { CaseRandom } from '../ops/cases.js';
import { tensor, write } from '../tensor/create.js';
import { scope } from '../tensor/scope.js';
import { formatShape, numel, type Shape } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { backward } from './backward.js';
import { noGrad } from './tape.js';

export interface GradcheckOptions {
  /** Step of the differences; see {@link gradcheck} for the choice. */
  eps?: number;
  /** A difference may reach atol + rtol · (largest derivative of that input). */
  atol?: number;
  rtol?: number;
  /** False: report a failure instead of throwing it. */
  raise?: boolean;
  /** Inputs with more elements are checked along random directions instead of element by element. */
  elementLimit?: number;
  /** Number of random directions for each large input. */
  directions?: number;
  /** Seed of the output's weights and of the directions. */
  seed?: number;
}

/** What was found for one input. */
export interface GradcheckInput {
  /** Position among the inputs. */
  readonly input: number;
  readonly label: string;
  readonly shape: Shape;
  readonly how: 'elements' | 'directions';
  /** Number of derivatives compared. */
  readonly compared: number;
  /** Largest difference between backward and central differences, and what was allowed. */
  readonly error: number;
  readonly allowed: number;
  /** Where it is, with both derivatives. */
  readonly where: string;
  readonly analytic: number;
  readonly numeric: number;
  readonly passed: boolean;
}

export interface GradcheckReport {
  readonly passed: boolean;
  /** One entry for each input that requires a gradient. */
  readonly inputs: readonly GradcheckInput[];
}

type Settings = Required<Omit<GradcheckOptions, 'raise'>>;

const defaults: Settings = { eps: 1e-2, atol: 1e-3, rtol: 5e-3, elementLimit: 64, directions: 4, seed: 1 };

/** Why two derivatives may differ although the backward is right. */
const HINT = 'If the function has a kink (relu, max, clamp) within eps of these inputs, move them away from it; if it is steep or strongly curved, scale the inputs or change eps.';

/**
 * Compares the gradient that backward gives for a function with central differences of the function itself, both
 * computed on the device in float32.
 *
 * The function is reduced to the number Σ wᵢ·fᵢ(x) with random weights ½ ≤ |w| ≤ 1. Inputs of up to `elementLimit`
 * elements are moved one element at a time, larger ones as a whole along random directions of unit-size entries.
 *
 * The step: a central difference has the truncation error eps²·f'''/6 and the rounding error u·|f|/eps with float32's
 * u = 6e-8, the latter times a few for the function's own roundings. Their sum is least near eps = ∛(3·5·u) ≈ 1e-2, where
 * it is about 2e-5 + 3e-5 for functions and derivatives of size one. The default tolerance, 1e-3 + 5e-3 of the largest
 * derivative, leaves a factor of ten and more for larger values and sums of many terms; a wrong sign, factor or missing
 * term is far above it. Inputs should be of size one.
 *
 * @param fn must give the same values for the same inputs: seed random numbers inside it, keep dropout and batch
 *   statistics that change out of it
 * @param inputs leaves; those with `requiresGrad` are checked. Their values are changed meanwhile and put back, so
 *   parameters that `fn` reads by itself may be listed too; gradients they already hold are kept
 * @returns for each checked input the largest difference and where it is
 * @throws UserError when a gradient is wrong (unless `raise: false`), when nothing requires a gradient, or when `fn` is
 *   not differentiable, not finite or not repeatable at the inputs
 */
export const gradcheck = async (fn: (...inputs: Tensor[]) => Tensor, inputs: readonly Tensor[], options: GradcheckOptions = {}): Promise<GradcheckReport> => {
  checkFunction('gradcheck', fn, 'gradcheck((x) => …, [x])');
  checkTensors('gradcheck', 'inputs', inputs, '[x]');
  checkNames('gradcheck', options, [...Object.keys(defaults), 'raise']);
  const settings: Settings = { ...defaults, ...withoutUndefined(options) };
  checkArguments(inputs, settings);
  const results = await scope(async () => {
    const values = await Promise.all(inputs.map(async (t) => Float32Array.from(await t.data())));
    const probe = new Probe(fn, inputs, values, settings);
    const gradients = await probe.gradients();
    const found: GradcheckInput[] = [];
    for (const [i, input] of inputs.entries()) if (input.requiresGrad) found.push(await checkInput(probe, i, input, gradients[i]!, settings));
    return found;
  });
  const report: GradcheckReport = { passed: results.every((r) => r.passed), inputs: results };
  if (!report.passed && options.raise !== false) fail(describeFailure(report));
  return report;
};

const withoutUndefined = (options: GradcheckOptions): GradcheckOptions =>
  Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as GradcheckOptions;

const nameOf = (input: Tensor, i: number): string => `input ${i} ("${input.label}" ${formatShape(input.shape)})`;

const checkArguments = (inputs: readonly Tensor[], { eps, elementLimit, directions }: Settings): void => {
  if (!inputs.some((t) => t.requiresGrad)) fail('gradcheck: no input requires a gradient; call requiresGrad_() on those to check');
  inputs.forEach((t, i) => {
    if (t.gradNode) fail(`gradcheck: ${nameOf(t, i)} is the result of ${t.gradNode.op}; give leaves, for example its detach()ed values with requiresGrad_()`);
  });
  if (!(eps > 0)) fail(`gradcheck: eps must be above 0, got ${eps}`);
  if (!(elementLimit >= 0)) fail(`gradcheck: elementLimit must be 0 or more, got ${elementLimit}`);
  if (!(Number.isInteger(directions) && directions >= 1)) fail(`gradcheck: directions must be a whole number of at least 1, got ${directions}`);
};

/** Sign times ½ … 1: never so small that a part of the function is overlooked. */
const signed = (random: CaseRandom): number => (random.next() < 0.5 ? -1 : 1) * random.uniform(0.5, 1);

/** Evaluates the weighted sum of the function's output, and its gradient by backward. */
class Probe {
  readonly random: CaseRandom;
  private weights = new Float32Array(0);

  /** @param values what the inputs hold, to be put back after each move */
  constructor(
    private readonly fn: (...inputs: Tensor[]) => Tensor,
    private readonly inputs: readonly Tensor[],
    private readonly values: readonly Float32Array[],
    private readonly settings: Settings,
  ) {
    this.random = new CaseRandom(settings.seed);
  }

  /** Gradients of the weighted sum with respect to all inputs; zeros where backward gave none. */
  async gradients(): Promise<ArrayLike<number>[]> {
    const before = await this.output();
    this.weights = Float32Array.from(before, () => signed(this.random));
    const held = this.inputs.map((t) => t.grad);
    for (const t of this.inputs) t.grad = null;
    try {
      return await this.backwardOnce(before);
    } finally {
      this.inputs.forEach((t, i) => {
        t.grad?.release();
        t.grad = held[i]!;
      });
    }
  }

  private backwardOnce(before: ArrayLike<number>): Promise<ArrayLike<number>[]> {
    return scope(async () => {
      const output = this.fn(...this.inputs);
      if (!output.requiresGrad) {
        fail('gradcheck: the function\'s result does not depend on the inputs by differentiable ops; look for detach(), noGrad or an op without gradient in it');
      }
      const again = await output.data();
      // Backward is only worth comparing where two forwards agree to the bit.
      const at = again.findIndex((value, i) => value !== before[i]);
      if (at >= 0) {
        fail(`gradcheck: the function is not repeatable: element ${at} of its result was ${before[at]} and then ${again[at]} for the same inputs. Seed random numbers inside it (manualSeed), and keep running statistics out of it`);
      }
      backward(output, tensor(this.weights, output.shape, { runtime: output.runtime }));
      return Promise.all(this.inputs.map(async (t) => t.grad?.data() ?? new Float32Array(t.size)));
    });
  }

  /** Central difference of the weighted sum when input i moves by ±eps·direction. */
  async slope(i: number, direction: (k: number) => number): Promise<number> {
    const { eps } = this.settings;
    const values = this.values[i]!;
    const moved = (sign: number): Float32Array => Float32Array.from(values, (v, k) => v + sign * eps * direction(k));
    const [above, below] = [moved(1), moved(-1)];
    const [high, low] = [await this.at(i, above), await this.at(i, below)];
    // Differences first, in float64: what does not move cancels exactly.
    let change = 0;
    high.forEach((y, n) => { change += this.weights[n]! * (y - low[n]!); });
    return change / (2 * eps);
  }

  private async at(i: number, values: Float32Array): Promise<ArrayLike<number> & { forEach(visit: (y: number, n: number) => void): void }> {
    write(this.inputs[i]!, values);
    try {
      return await this.output();
    } finally {
      write(this.inputs[i]!, this.values[i]!);
    }
  }

  private output(): Promise<Float32Array> {
    return scope(async () => {
      const output = noGrad(() => this.fn(...this.inputs));
      const data = await output.data();
      const bad = data.findIndex((y) => !Number.isFinite(y));
      if (bad >= 0) fail(`gradcheck: the function gives ${data[bad]} (element ${bad} of its result ${formatShape(output.shape)}); choose inputs where it is finite`);
      return data as Float32Array;
    });
  }
}

/** The derivatives of one input by both ways, and how far they may differ. */
const checkInput = async (probe: Probe, i: number, input: Tensor, gradient: ArrayLike<number>, settings: Settings): Promise<GradcheckInput> => {
  const how = input.size <= settings.elementLimit ? 'elements' : 'directions';
  const pairs = how === 'elements' ? await byElement(probe, i, gradient) : await byDirection(probe, i, gradient, settings.directions);
  const scale = Math.max(...pairs.map((p) => p.scale));
  const allowed = settings.atol + settings.rtol * scale;
  const worst = pairs.reduce((a, b) => (difference(b) > difference(a) ? b : a));
  const where = how === 'elements' ? `element ${formatShape(indexOf(worst.at, input.shape))}` : `random direction ${worst.at + 1} of ${pairs.length}`;
  const error = difference(worst);
  return {
    input: i, label: input.label, shape: input.shape, how, compared: pairs.length, error, allowed, where,
    analytic: worst.analytic, numeric: worst.numeric, passed: error <= allowed,
  };
};

interface Pair {
  readonly at: number;
  readonly analytic: number;
  readonly numeric: number;
  /** Size that the derivative has, or would have if its terms did not cancel. */
  readonly scale: number;
}

/** NaN counts as infinitely wrong. */
const difference = ({ analytic, numeric }: Pair): number => {
  const distance = Math.abs(analytic - numeric);
  return Number.isNaN(distance) ? Infinity : distance;
};

const byElement = async (probe: Probe, i: number, gradient: ArrayLike<number>): Promise<Pair[]> => {
  const pairs: Pair[] = [];
  for (let at = 0; at < gradient.length; at++) {
    const numeric = await probe.slope(i, (k) => (k === at ? 1 : 0));
    pairs.push({ at, analytic: gradient[at]!, numeric, scale: Math.abs(numeric) });
  }
  return pairs;
};

const byDirection = async (probe: Probe, i: number, gradient: ArrayLike<number>, count: number): Promise<Pair[]> => {
  const pairs: Pair[] = [];
  for (let at = 0; at < count; at++) {
    const direction = Float32Array.from({ length: gradient.length }, () => signed(probe.random));
    let analytic = 0;
    let squares = 0;
    for (let k = 0; k < gradient.length; k++) {
      const term = direction[k]! * gradient[k]!;
      analytic += term;
      squares += term * term;
    }
    const numeric = await probe.slope(i, (k) => direction[k]!);
    // Terms are of random sign: their sum has the size of the root of their squares.
    pairs.push({ at, analytic, numeric, scale: Math.max(Math.abs(numeric), Math.sqrt(squares)) });
  }
  return pairs;
};

/** Index of a position in row-major order. */
const indexOf = (at: number, shape: Shape): number[] =>
  shape.map((size, axis) => Math.floor(at / numel(shape.slice(axis + 1))) % size);

const short = (x: number): string => (Number.isFinite(x) ? String(Number(x.toPrecision(4))) : String(x));

const describeFailure = ({ inputs }: GradcheckReport): string => {
  const lines = inputs.filter((r) => !r.passed).map(({ input, label, shape, where, analytic, numeric, allowed }) =>
    `  input ${input} ("${label}" ${formatShape(shape)}), ${where}: backward gives ${short(analytic)}, central differences ${short(numeric)} (they may differ by ${short(allowed)})`);
  return `gradcheck: the gradient is wrong for ${lines.length} of ${inputs.length} inputs:\n${lines.join('\n')}\n${HINT}`;
};
