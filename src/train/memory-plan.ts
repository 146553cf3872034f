import { evalTransform, resizedSide } from '../data/augment.js';
import { readableBytes } from '../device/buffers.js';
import type { MemoryPlan } from '../device/dry-pool.js';
import { counted, fail, UserError } from '../errors.js';
import type { Runtime } from '../kernels/runtime.js';
import { scope } from '../tensor/scope.js';
import type { Shape } from '../tensor/shape.js';
import { memoryReport } from '../tensor/storage.js';
import { type BatchSource, microBatches, wholeBatch } from '../wsdan/micro-batches.js';
import type { RunOptions, TrainConfig } from './config.js';
import { batchSource } from './image-batch.js';
import type { Method } from './method.js';

/** What a run needs, found by dry runs before anything is computed. */
interface RunPlan {
  /** Bytes of what lives as long as the run, by owner: parameters, gradients, optimiser, centers … */
  readonly fixed: Readonly<Record<string, number>>;
  readonly step: MemoryPlan;
  readonly evaluation: MemoryPlan;
  /** Shape of the attention maps [h, w, M]; null for a plain classifier. */
  readonly maps: Shape | null;
}

/** How a step is carried out. */
interface Manner {
  /** Most images on the device at a time. */
  readonly most: number;
  readonly checkpointing: boolean;
}

type Chosen = Pick<RunOptions, 'checkpointing' | 'memoryBudgetMegabytes'>;

/** A batch of pictures of the size that decoding hands on; their pixels do not matter. */
const blankBatch = (runtime: Runtime, { augment }: TrainConfig, size: number): BatchSource => {
  const side = resizedSide(augment);
  const image = { rgba: new Uint8Array(side * side * 4), width: side, height: side };
  const transforms = Array.from({ length: size }, () => evalTransform(augment, side, side));
  return batchSource(runtime, { images: new Array<typeof image>(size).fill(image), labels: new Int32Array(size) }, transforms, augment);
};

/** A training step without the optimiser's update, which works in place. */
export const planStep = (runtime: Runtime, method: Method, config: TrainConfig, { most, checkpointing }: Manner): MemoryPlan => {
  const { features } = method.module;
  const before = features.checkpointing;
  features.checkpointing = checkpointing;
  method.module.train();
  try {
    return runtime.planMemory(() => scope(() => method.step(blankBatch(runtime, config, config.batchSize), most)));
  } finally {
    features.checkpointing = before;
  }
};

/** One batch of evaluation, with all branches. */
const rehearseEvaluation = (runtime: Runtime, method: Method, config: TrainConfig, size: number): { plan: MemoryPlan; maps: Shape | null } => {
  let maps: Shape | null = null;
  const plan = runtime.planMemory(() => scope(() => {
    maps = method.evaluate(blankBatch(runtime, config, size).rows(wholeBatch(size)).images, true).maps?.shape.slice(1) ?? null;
  }));
  return { plan, maps };
};

export const planEvaluation = (runtime: Runtime, method: Method, config: TrainConfig, size = config.evalBatchSize): MemoryPlan =>
  rehearseEvaluation(runtime, method, config, size).plan;

const fixedMemory = (runtime: Runtime): RunPlan['fixed'] => Object.fromEntries(Object.entries(memoryReport(runtime).owners).map(([owner, { bytes }]) => [owner, bytes]));

const total = (fixed: RunPlan['fixed']): number => Object.values(fixed).reduce((sum, bytes) => sum + bytes, 0);

const mannerOf = ({ batchSize, microBatch }: TrainConfig, { checkpointing }: Chosen): Manner => ({ most: microBatch || batchSize, checkpointing });

/** Dry runs of a step and of an evaluation batch. Between the two the pool is emptied, so they share the adapter's memory. */
export const planRun = (runtime: Runtime, method: Method, config: TrainConfig, run: Chosen): RunPlan => {
  const fixed = fixedMemory(runtime);
  try {
    const step = planStep(runtime, method, config, mannerOf(config, run));
    const { plan: evaluation, maps } = rehearseEvaluation(runtime, method, config, config.evalBatchSize);
    return { fixed, step, evaluation, maps };
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    return fail(`${config.model} cannot take images of ${config.augment.imageSize} px; try another --image-size. In its midst, ${error.message}`);
  }
};

/** Why work cannot be done here; '' where it can. */
const obstacle = (runtime: Runtime, fixed: number, { reservedBytes, largestBytes, largestLabel }: MemoryPlan, budgetMegabytes: number): string => {
  const { largestBuffer } = runtime.device.pool;
  if (largestBytes > largestBuffer) return `needs ${readableBytes(largestBytes)} in one buffer (${largestLabel}), but this adapter binds at most ${readableBytes(largestBuffer)}`;
  const budget = budgetMegabytes * 2 ** 20;
  if (budget > 0 && fixed + reservedBytes > budget) return `needs ${readableBytes(fixed + reservedBytes)} of device memory, above the budget of ${readableBytes(budget)}`;
  return '';
};

/** The first of descending sizes that fits; memory falls with the size, so that halving the list finds it. */
const firstFitting = (sizes: readonly number[], fits: (size: number) => boolean): number | undefined => {
  let [from, to] = [0, sizes.length];
  while (from < to) {
    const middle = (from + to) >> 1;
    if (fits(sizes[middle]!)) to = middle;
    else from = middle + 1;
  }
  return sizes[from];
};

/** The sizes that micro-batches of a batch can have, the largest first: parts are equal or differ by one. */
const microBatchSizes = (batch: number): number[] => [...new Set(Array.from({ length: batch }, (_, i) => Math.ceil(batch / (i + 1))))];

const partsOf = (batch: number, most: number): string => {
  const parts = microBatches(batch, most);
  return parts.length === 1 ? `${counted(batch, 'image')} at once` : `${batch} images in ${parts.length} micro-batches of ${parts[parts.length - 1]!.to - parts[parts.length - 1]!.from}`;
};

/** What would let a step fit, found by dry runs. */
const stepRemedy = (runtime: Runtime, method: Method, config: TrainConfig, run: Chosen, fixed: number): string => {
  const chosen = mannerOf(config, run);
  const fitting = (checkpointing: boolean): number | undefined => firstFitting(microBatchSizes(config.batchSize).filter((size) => size <= chosen.most),
    (most) => !obstacle(runtime, fixed, planStep(runtime, method, config, { most, checkpointing }), run.memoryBudgetMegabytes));
  const advice = (most: number): string => (most === config.batchSize ? '' : ` --micro-batch ${most}`);
  const plain = chosen.checkpointing ? undefined : fitting(false);
  const spared = plain === chosen.most ? undefined : fitting(true);
  const found: string[] = [];
  if (plain !== undefined) found.push(`--micro-batch ${plain} is the largest that fits (${partsOf(config.batchSize, plain)})`);
  if (spared !== undefined && (plain === undefined || spared > plain)) {
    found.push(`${chosen.checkpointing ? '' : '--checkpointing'}${advice(spared)} fits (${partsOf(config.batchSize, spared)})`.trim());
  }
  return found.length ? `${found.join('; ')}.` : `Not even one image at a time fits${chosen.checkpointing ? '' : ', with --checkpointing either'}: use a smaller --image-size or another --model.`;
};

const evaluationRemedy = (runtime: Runtime, method: Method, config: TrainConfig, fixed: number, budget: number, option: string): string => {
  const sizes = Array.from({ length: config.evalBatchSize }, (_, i) => config.evalBatchSize - i);
  const size = firstFitting(sizes, (n) => !obstacle(runtime, fixed, planEvaluation(runtime, method, config, n), budget));
  return size === undefined ? 'Not even one image at a time fits: use a smaller --image-size or another --model.' : `${option} ${size} is the largest that fits.`;
};

/** @throws UserError where a step or an evaluation batch does not fit this adapter or the budget; it names the largest sizes that do */
const checkPlan = (runtime: Runtime, method: Method, config: TrainConfig, run: Chosen, { fixed, step, evaluation }: RunPlan): void => {
  const bytes = total(fixed);
  const [training, evaluating] = [step, evaluation].map((plan) => obstacle(runtime, bytes, plan, run.memoryBudgetMegabytes)) as [string, string];
  const complaints: string[] = [];
  if (training) {
    const { most, checkpointing } = mannerOf(config, run);
    complaints.push(`a step of ${partsOf(config.batchSize, most)}${checkpointing ? ' with checkpointing' : ''} ${training}. ${stepRemedy(runtime, method, config, run, bytes)}`);
  }
  if (evaluating) {
    complaints.push(`evaluation of ${counted(config.evalBatchSize, 'image')} at once ${evaluating}. ${evaluationRemedy(runtime, method, config, bytes, run.memoryBudgetMegabytes, '--eval-batch-size')}`);
  }
  if (complaints.length) fail(`the run does not fit:\n  ${complaints.join('\n  ')}`);
};

/** For commands that only evaluate: refuses a batch that does not fit the adapter. */
export const checkEvaluation = (runtime: Runtime, method: Method, config: TrainConfig, option: string): void => {
  const why = obstacle(runtime, 0, planEvaluation(runtime, method, config), 0);
  if (why) fail(`${counted(config.evalBatchSize, 'image')} at once: this ${why}. ${evaluationRemedy(runtime, method, config, 0, 0, option)}`);
};

const list = (fixed: RunPlan['fixed']): string => Object.entries(fixed).map(([owner, bytes]) => `${owner} ${readableBytes(bytes)}`).join(', ');

const work = ({ reservedBytes, peakBytes }: MemoryPlan): string => `${readableBytes(reservedBytes)} (${readableBytes(peakBytes)} in use at once)`;

const describeNetwork = ({ module: { features } }: Method, config: TrainConfig, maps: Shape | null): string => {
  const [h, w, count] = maps ?? [];
  return `Network: ${maps ? 'WS-DAN' : 'plain classifier'} on ${config.model}, ${config.augment.imageSize} px${maps ? `, ${count} attention maps of ${h}×${w} over ${features.channels} channels` : ''}`;
};

const describeMemory = (runtime: Runtime, config: TrainConfig, run: Chosen, { fixed, step, evaluation }: RunPlan): string => {
  const { most, checkpointing } = mannerOf(config, run);
  const largest = step.largestBytes > evaluation.largestBytes ? step : evaluation;
  const needed = total(fixed) + Math.max(step.reservedBytes, evaluation.reservedBytes);
  return [
    `Memory: ${readableBytes(needed)}${run.memoryBudgetMegabytes > 0 ? ` of a budget of ${readableBytes(run.memoryBudgetMegabytes * 2 ** 20)}` : ''}`,
    `  kept: ${list(fixed)}`,
    `  step of ${partsOf(config.batchSize, most)}, checkpointing ${checkpointing ? 'on' : 'off'}: activations and workspace ${work(step)}`,
    `  evaluation of ${counted(config.evalBatchSize, 'image')} at once: ${work(evaluation)}`,
    `  largest tensor: ${readableBytes(largest.largestBytes)} of ${readableBytes(runtime.device.pool.largestBuffer)} that this adapter binds (${largest.largestLabel})`,
  ].join('\n');
};

/**
 * Plans a run by dry runs of its steps; nothing is computed.
 *
 * @returns the network and the plan in words
 * @throws UserError where it exceeds the adapter's limit for one buffer, or the budget
 */
export const reportPlan = (runtime: Runtime, method: Method, config: TrainConfig, run: Chosen): string => {
  const plan = planRun(runtime, method, config, run);
  checkPlan(runtime, method, config, run, plan);
  return `${describeNetwork(method, config, plan.maps)}\n${describeMemory(runtime, config, run, plan)}`;
};

/** Compiles the kernels that plans have met, and says so where it takes long. */
export const compilePlanned = (runtime: Runtime, log: (text: string) => void): Promise<void> =>
  runtime.compileAhead((kernels) => log(`Compiling ${kernels} kernels; the driver keeps them on disk for later starts.`));
