/**
 * Pipit's public surface. A network is trained like this:
 *
 * ```js
 * import { AdamW, backward, crossEntropy, Linear, Module, open, relu, scope, tensor } from 'pipit';
 *
 * const runtime = await open();
 * console.log(`Training on ${runtime.device.report.name}`);
 *
 * class Net extends Module {
 *   hidden = new Linear(2, 16);
 *   out = new Linear(16, 2);
 *   forward(x) {
 *     return this.out.call(relu(this.hidden.call(x)));
 *   }
 * }
 *
 * const points = tensor([[-1, -1], [-1, 1], [1, -1], [1, 1]]);
 * const classes = tensor([0, 1, 1, 0], [4], { dtype: 'int32' });
 * const net = new Net();
 * const optimizer = new AdamW(net.parameters(), { lr: 0.05 });
 * for (let step = 0; step <= 100; step++) {
 *   await scope(async () => {
 *     optimizer.zeroGrad();
 *     const loss = crossEntropy(net.call(points), classes);
 *     backward(loss);
 *     optimizer.step();
 *     if (step % 20 === 0) console.log(`step ${step}: loss ${(await loss.item()).toFixed(4)}`);
 *   });
 * }
 * ```
 *
 * What a scope made is released when it ends, except what it returns or what `keep` was called for; parameters and
 * the optimiser's state belong to their objects. Nothing needs to be closed for the process to end. A worker thread opens a runtime of its own; let it come
 * to its end by itself: a thread that is terminated while it waits for the adapter takes the whole process with it (Dawn for Node aborts).
 */
import type { OpenOptions } from './device/gpu.js';
import { openDevice } from './device/node.js';
import type { Runtime } from './kernels/runtime.js';
import { checkNames } from './ops/arguments.js';
import { openOn, type RuntimeOptions, runtimeOptions } from './tensor/open-on.js';

export interface OpenRuntimeOptions extends RuntimeOptions, OpenOptions {}

/**
 * Opens an adapter and makes it the one on which tensors are created from now on.
 *
 * @throws UserError when there is no adapter, or not the wanted one, or an option is unknown; the message says what to do
 */
export const open = async (options: OpenRuntimeOptions = {}): Promise<Runtime> => {
  checkNames('open', options, ['adapter', ...runtimeOptions]);
  return openOn(await openDevice(options), options);
};

export { loadFile, saveFile } from './train/state-file.js';
export * from './library.js';
