import type { Runtime } from '../../src/kernels/runtime.js';
import { BasicBlock, ResNet, type ResNetOptions } from '../../src/nn/models/resnet.js';
import { SGD } from '../../src/nn/optimizer.js';
import { tensor } from '../../src/tensor/create.js';
import { scope } from '../../src/tensor/scope.js';
import { FeatureCenters } from '../../src/wsdan/centers.js';
import { MetricSums } from '../../src/wsdan/metric-sums.js';
import { WSDAN } from '../../src/wsdan/model.js';
import { defaultWsdan, type WsdanOptions } from '../../src/wsdan/options.js';
import { type Draws, stepMetrics, trainStep } from '../../src/wsdan/train-step.js';
import { fillPortable, portableImages } from './portable.js';

/** The training of test/reference/wsdan_step_torch.py, as JSON carries it into a browser. */
export interface StepRecipe {
  readonly size: number;
  readonly batch: number;
  readonly classes: number;
  readonly maps: number;
  readonly backbone: Omit<ResNetOptions, 'block'>;
  /** PyTorch's order of the weights. */
  readonly order: readonly string[];
  readonly labels: readonly number[];
  readonly sgd: { readonly lr: number; readonly momentum: number; readonly weight_decay: number };
  /** The map numbers [step, batch, 2] and thresholds [step, 2, batch] that the reference chose. */
  readonly numbers: readonly number[];
  readonly thetas: readonly number[];
}

/** The same steps as the reference, one after the other. */
export class StepTraining {
  readonly model: WSDAN;
  readonly centers: FeatureCenters;
  private readonly options: WsdanOptions;
  private readonly optimizer: SGD;
  private readonly metrics;

  constructor(runtime: Runtime, private readonly recipe: StepRecipe) {
    const { backbone, classes, maps, order, sgd } = recipe;
    this.options = { ...defaultWsdan, attentions: maps };
    this.model = new WSDAN(new ResNet({ block: BasicBlock, ...backbone }), classes, this.options).nameAll();
    fillPortable(this.model, order);
    this.optimizer = new SGD(this.model.parameters(), { lr: sgd.lr, momentum: sgd.momentum, weightDecay: sgd.weight_decay });
    this.centers = new FeatureCenters(runtime, classes, this.model.featureSize, this.options);
    this.metrics = new MetricSums(runtime, stepMetrics);
  }

  /** Losses of the raw, cropped and dropped images, and of the centers. @param look called between backward and update */
  async step(number: number, look: (result: ReturnType<typeof trainStep>) => Promise<void> = async () => {}): Promise<number[]> {
    const { batch, size, labels } = this.recipe;
    this.metrics.reset();
    await scope(async () => {
      const images = tensor(portableImages(batch, size, 2), [batch, size, size, 3]);
      this.optimizer.zeroGrad();
      const classes = tensor(Int32Array.from(labels), [batch]);
      const result = trainStep(this.model, this.centers, images, classes, this.options, this.metrics, { draws: this.drawsOf(number) });
      await look(result);
      this.optimizer.step();
    });
    const sums = await this.metrics.read();
    return [sums.lossRaw, sums.lossCrop, sums.lossDrop, sums.lossCenter].map((total) => total / batch);
  }

  private drawsOf(step: number): Draws {
    const { batch, numbers, thetas } = this.recipe;
    const maps = Int32Array.from(numbers.slice(step * batch * 2, (step + 1) * batch * 2));
    const theta = (which: number) => () => tensor(Float32Array.from(thetas.slice((2 * step + which) * batch, (2 * step + which + 1) * batch)), [batch]);
    return { maps: () => tensor(maps, [batch, 2]), cropTheta: theta(0), dropTheta: theta(1) };
  }
}
