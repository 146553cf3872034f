import { fail } from '../errors.js';
import { checkTensor } from '../ops/arguments.js';
import { autocast } from '../ops/autocast.js';
import { accumulate, add } from '../ops/binary.js';
import { convert, copyOf } from '../ops/convert.js';
import { full } from '../ops/fill.js';
import { inspectOutput } from '../ops/op.js';
import { inModule } from '../tensor/module-path.js';
import { scope, trackOutermost, untrack } from '../tensor/scope.js';
import { formatShape, sameShape } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { isRecomputing, type Node, noGrad } from './tape.js';

/**
 * Computes gradients of `loss` with respect to all leaves that require them and adds them to their `grad`.
 * What the graph kept in memory is released on the way. A leaf's gradient is memory of its own and is added to in place, so that views of it see it grow.
 *
 * @param gradient start value for a loss that is not a scalar, of its shape
 * @throws UserError for a non-scalar without `gradient`, a tensor without graph, a graph used before, or a tensor that the graph needs and that was changed in
 *   place since the forward (by `write`, `fill_`, an optimiser's step, `loadStateDict` …)
 */
export const backward = (loss: Tensor, gradient?: Tensor): void => {
  checkTensor('backward', loss, 0);
  if (gradient !== undefined) checkTensor('backward', gradient, 1);
  if (!loss.requiresGrad) fail(`backward: tensor "${loss.label}" does not depend on anything that requires a gradient; call requiresGrad_() on a leaf, and do not run the forward under noGrad`);
  if (!gradient && loss.size !== 1) {
    fail(`backward: tensor "${loss.label}" has shape ${formatShape(loss.shape)}; only a scalar has an implicit gradient. Reduce it with sum() or mean(), or pass a gradient of the same shape`);
  }
  if (gradient && !sameShape(gradient.shape, loss.shape)) fail(`backward: the gradient's shape ${formatShape(gradient.shape)} differs from the loss's ${formatShape(loss.shape)}`);
  scope(() => noGrad(() => autocast(() => {
    const seed = gradient ? seedOf(gradient, loss) : full(loss.shape, 1, { runtime: loss.runtime, dtype: loss.dtype });
    if (loss.gradNode) propagate(loss.gradNode as Node, seed);
    else addToLeaf(loss, seed);
  }, { enabled: false })));
};

/** The start value: the caller's own is not changed, nor is it seen through a leaf's gradient. */
const seedOf = (gradient: Tensor, loss: Tensor): Tensor => {
  const seed = convert(gradient, loss.dtype);
  return isRecomputing() ? seed : ownMemory(seed);
};

/** Asks backward to store the gradient of a tensor that is not a leaf (PyTorch's `retain_grad`). */
export const retainGrad = (tensor: Tensor): Tensor => {
  if (tensor.gradNode) (tensor.gradNode as Node).retained = tensor;
  return tensor;
};

const propagate = (root: Node, seed: Tensor): void => {
  const pending = new Map<Node, Tensor>([[root, seed]]);
  for (const node of reachable(root)) {
    const grad = pending.get(node);
    if (!grad) continue;
    pending.delete(node);
    if (node.retained) retain(node.retained, grad.alias());
    const into = node.sources.map((source) => source && ('leaf' in source ? source.leaf.grad : changeable(pending.get(source.node))));
    const results = scope(() => distinctHandles(gradientsOf(node, grad, into), grad));
    grad.release();
    results.forEach((result, i) => {
      const source = node.sources[i];
      if (!result) {
        // The op added its gradient to the one that was there, or has none.
        into[i]?.storage.changed();
        return;
      }
      if (!source) result.release();
      else if ('leaf' in source) addToLeaf(source.leaf, result);
      else pending.set(source.node, merge(pending.get(source.node), result));
    });
  }
};

/** A sum of gradients if nobody else sees it, so that it may be changed in place. Those of leaves always are: who looks at one sees it grow. */
const changeable = (sum: Tensor | null | undefined): Tensor | null => (sum && !sum.storage.shared ? sum : null);

/** Runs a node's backward in the name of the module that made it, and shows its gradients to the debug mode. */
const gradientsOf = (node: Node, grad: Tensor, into: readonly (Tensor | null)[]): readonly (Tensor | null)[] => inModule(node.module, () => {
  const results = node.backward(grad, into);
  results.forEach((result, i) => {
    const seen = result ?? into[i];
    if (seen) inspectOutput(`${node.op} (backward)`, seen);
  });
  return results;
});

/** Gives a tensor the gradient that was asked for. One computed again ends with backward; its gradient must not. */
const retain = (tensor: Tensor, grad: Tensor): void => {
  addToLeaf(tensor, grad);
  if (!isRecomputing()) return;
  untrack(tensor.grad!);
  trackOutermost(tensor.grad!);
};

/** All nodes the root depends on, consumers before producers: nodes are numbered in order of creation. */
const reachable = (root: Node): Node[] => {
  const seen = new Set<Node>([root]);
  const stack = [root];
  while (stack.length) {
    for (const source of stack.pop()!.sources) {
      if (source && 'node' in source && !seen.has(source.node)) {
        seen.add(source.node);
        stack.push(source.node);
      }
    }
  }
  return [...seen].sort((a, b) => b.order - a.order);
};

/** An op may hand its incoming gradient through, or return one tensor for two inputs: each gets a handle of its own. */
const distinctHandles = (results: readonly (Tensor | null)[], grad: Tensor): (Tensor | null)[] => {
  const seen = new Set<Tensor>([grad]);
  return results.map((result) => {
    if (!result) return null;
    const own = seen.has(result) ? result.alias() : result;
    seen.add(own);
    return own;
  });
};

/** Sum of two gradients: in place where nobody else sees the first. */
const merge = (sum: Tensor | undefined, more: Tensor): Tensor => {
  if (!sum) return more;
  if (changeable(sum)) {
    accumulate(sum, more);
    more.release();
    return sum;
  }
  const total = add(sum, more);
  sum.release();
  more.release();
  return total;
};

const addToLeaf = (leaf: Tensor, grad: Tensor): void => {
  if (leaf.grad) {
    accumulate(leaf.grad, grad);
    grad.release();
    return;
  }
  leaf.grad = ownMemory(grad);
  leaf.grad.label = `${leaf.label}.grad`;
  // The value of a tensor inside a module may be gone while its gradient was asked for.
  if (!leaf.alive) trackOutermost(leaf.grad);
};

/** A gradient that others see as well (another leaf, who passed the first one) as one of its own: it will be changed in place. */
const ownMemory = (grad: Tensor): Tensor => {
  if (!grad.storage.shared) return grad;
  const own = copyOf(grad);
  grad.release();
  return own;
};
