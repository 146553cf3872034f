/**
 * Pipit in a browser: everything that `index.ts` offers but files, on the browser's own WebGPU.
 *
 * ```html
 * <script type="module">
 *   import { open, tensor, matmul } from './dist/browser.js';
 *
 *   const runtime = await open();
 *   const a = tensor([[1, 2], [3, 4]]);
 *   document.body.textContent = `${runtime.device.report.name}: ${await matmul(a, a).data()}`;
 * </script>
 * ```
 *
 * A worker may do the same. A training loop that reads nothing back for long awaits `runtime.endStep()` in each step: the page has its turn
 * meanwhile, and the adapter, which also draws the page, is never more than a step behind.
 */
import { type BrowserOptions, openDevice } from './device/browser.js';
import type { Runtime } from './kernels/runtime.js';
import { checkNames } from './ops/arguments.js';
import { openOn, type RuntimeOptions, runtimeOptions } from './tensor/open-on.js';

export interface OpenRuntimeOptions extends RuntimeOptions, BrowserOptions {}

/**
 * Opens the browser's adapter and makes it the one on which tensors are created from now on.
 *
 * @throws UserError when the browser has no WebGPU or no adapter, or an option is unknown; the message says what to do
 */
export const open = async (options: OpenRuntimeOptions = {}): Promise<Runtime> => {
  checkNames('open', options, ['software', ...runtimeOptions]);
  return openOn(await openDevice(options), options);
};

export * from './library.js';
