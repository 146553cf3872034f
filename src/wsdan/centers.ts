import { affine, gatherRows, l2Normalize, pow, sub, sum, updateCenters_, zeros } from '../ops/index.js';
import { noGrad } from '../autograd/tape.js';
import { write } from '../tensor/create.js';
import { keep } from '../tensor/scope.js';
import { withOwner } from '../tensor/storage.js';
import type { Tensor, TypedArray } from '../tensor/tensor.js';
import type { Runtime } from '../kernels/runtime.js';
import type { WsdanOptions } from './options.js';

/**
 * One running center per class for the whole feature matrix (attention regularisation, paper section 3.3).
 * Only a center's direction matters: it is L2-normalised both in the loss and in the update.
 */
export class FeatureCenters {
  /** [classes, M·C], zeros at the start; not a parameter, not decayed. */
  readonly table: Tensor;

  constructor(runtime: Runtime, classes: number, featureSize: number, private readonly options: Pick<WsdanOptions, 'beta' | 'duplicates'>) {
    this.table = withOwner('centers', () => keep(zeros([classes, featureSize], { runtime, label: 'feature centers' })));
  }

  /** (1/B) Σ_b ‖f_b − n_b‖² with n the normalised centers of the labels, as they are now. */
  loss(featureMatrix: Tensor, labels: Tensor): Tensor {
    const centers = noGrad(() => l2Normalize(gatherRows(this.table, labels)));
    const difference = sub(featureMatrix, centers);
    return affine(sum(pow(difference, 2)), 1 / featureMatrix.shape[0]!);
  }

  /** center[y] += β · (f − n); call it after {@link loss}, which uses the centers before the update. */
  update(featureMatrix: Tensor, labels: Tensor): void {
    updateCenters_(this.table, featureMatrix.detach(), labels, { beta: this.options.beta, duplicates: this.options.duplicates, normalize: true });
  }

  /** Gives the memory back, where the centers do not live as long as the process. */
  release(): void {
    this.table.release();
  }

  load(values: TypedArray): void {
    write(this.table, values);
  }
}
