import { readSafetensors } from '../../src/io/safetensors.js';
import type { StepRecipe } from './step-training.js';

/** What test/reference/wsdan_step_torch.py recorded of its training steps. */
export const readStepFixture = () => {
  const file = readSafetensors('test/fixtures/wsdan-step-torch.safetensors');
  const meta = <T>(name: string): T => JSON.parse(file.metadata[name]!) as T;
  const numbers = (name: string): Float64Array => Float64Array.from(file.tensors.get(name)!.data as Float64Array, Number);
  const recipe: StepRecipe = {
    size: meta('size'), batch: meta('batch'), classes: meta('classes'), maps: meta('maps'), backbone: meta('backbone'), order: meta('order'), labels: meta('labels'), sgd: meta('sgd'),
    numbers: [...numbers('numbers')], thetas: [...numbers('thetas')],
  };
  return { file, meta, numbers, recipe };
};
