import { readableBytes } from '../device/buffers.js';
import { fail } from '../errors.js';
import type { Runtime } from '../kernels/runtime.js';
import { zeros } from '../ops/index.js';
import { scope } from '../tensor/scope.js';
import { memoryReport } from '../tensor/storage.js';
import type { TrainConfig } from './config.js';
import type { ModelSession } from './session.js';

/** What a training step needs, found by a dry run of it before anything is computed. */
export interface StepPlan {
  readonly parameters: number;
  readonly gradients: number;
  readonly optimizer: number;
  readonly other: number;
  /** Most bytes alive at once during a step: activations, their gradients, temporaries. */
  readonly activations: number;
  readonly largest: { readonly bytes: number; readonly label: string };
}

export const planStep = (runtime: Runtime, { method }: ModelSession, config: TrainConfig): StepPlan => {
  const { batchSize, augment: { imageSize } } = config;
  const step = runtime.planMemory(() => scope(() => {
    const images = zeros([batchSize, imageSize, imageSize, 3], { runtime, label: 'images' });
    const labels = zeros([batchSize], { runtime, dtype: 'int32', label: 'labels' });
    method.module.train();
    method.step(images, labels);
  }));
  const { owners } = memoryReport(runtime);
  const bytes = (owner: string): number => owners[owner]?.bytes ?? 0;
  const known = ['parameters', 'gradients', 'optimiser'];
  const other = Object.keys(owners).filter((owner) => !known.includes(owner)).reduce((sum, owner) => sum + bytes(owner), 0);
  return {
    parameters: bytes('parameters'), gradients: bytes('gradients'), optimizer: bytes('optimiser'), other, activations: step.peakBytes,
    largest: { bytes: step.largestBytes, label: step.largestLabel },
  };
};

/** The plan in words, and a refusal where it exceeds the budget (MiB; 0: none). */
export const reportPlan = (plan: StepPlan, runtime: Runtime, config: TrainConfig, budgetMegabytes: number): string => {
  const fixed = plan.parameters + plan.gradients + plan.optimizer + plan.other;
  const total = fixed + plan.activations;
  const budget = budgetMegabytes * 2 ** 20;
  if (budget > 0 && total > budget) {
    const fitting = Math.floor((config.batchSize * (budget - fixed)) / plan.activations);
    fail(`a step needs ${readableBytes(total)} of device memory, above the budget of ${readableBytes(budget)}. ` +
      (fitting >= 2 ? `--batch-size ${fitting} would fit.` : 'Use a smaller --image-size or --model.'));
  }
  return `Memory: parameters ${readableBytes(plan.parameters)}, gradients ${readableBytes(plan.gradients)}, optimiser ${readableBytes(plan.optimizer)}, ` +
    `centers and buffers ${readableBytes(plan.other)}, activations and workspace ${readableBytes(plan.activations)}; ` +
    `largest tensor ${readableBytes(plan.largest.bytes)} (${plan.largest.label}) of ${readableBytes(runtime.device.limits.maxStorageBufferBindingSize)} allowed`;
};
