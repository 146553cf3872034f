import { readSafetensors } from '../../src/io/safetensors.js';
import type { StepRecipe } from './step-training.js';

/** What test/reference/wsdan_step_torch.py recorded of its training steps. */
export const readStepFixture = () => {
  const file = readSafetensors('test/fixtures/wsdan-step-torch.safetensors');
  const meta = <T>(name: string): T => JSON.parse(file.metadata[name]!) as T;
  const numbers = (name: string): Float64Array => Float64Array.from(file.tensors.get(name)!.data as Float64Array, Number);
  const recipe: StepRecipe = {
    size: meta('size'), batch: meta('batch'), classes: meta('classes'), maps: meta('maps'), backbone: meta('backbone'), order: meta('order'),
    labels: meta('labels'), sgd: meta('sgd'),
    numbers: [...numbers('numbers')], thetas: [...numbers('thetas')],
  };
  /**
   * Each step feeds its rounding back through weights, momentum and batch norm, so that errors grow. How fast, PyTorch's own float32
   * run of the same steps tells: four times its largest error so far is allowed, since one run is one draw of the roundings, and never more than 3e-5. A
   * pixel that changes sides of its threshold moves a box by whole pixels and a loss by about 1e-2, which this does not forgive.
   */
  const bandOf = (step: number): number => Math.min(3e-5, 4 * Math.max(...meta<{ terms: number[] }>('float32').terms.slice(0, step + 1)));
  return { file, meta, numbers, recipe, bandOf };
};
