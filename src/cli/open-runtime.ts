import { openDevice } from '../device/node.js';
import { kernelsOf } from '../kernels/gemm-family.js';
import type { Runtime } from '../kernels/runtime.js';
import { openOn } from '../tensor/open-on.js';
import { kernelOptions } from './kernel-options.js';

/** Opens the adapter and says in one line what it is. */
export const openRuntime = async (adapter?: string, quiet = false): Promise<Runtime> => {
  const device = await openDevice({ adapter });
  const runtime = openOn(device, kernelOptions());
  const { name, software } = device.report;
  if (!quiet) console.log(`Adapter: ${name}${software ? ' (software on the CPU; a GPU is far faster)' : ''}, ${kernelsOf(runtime.gemm)} kernels`);
  return runtime;
};

/** What the adapter rejected, such as a kernel that does not compile, once all work so far was done; null where nothing was. */
export const failureOf = (runtime: Runtime): Promise<Error | null> => runtime.idle().then(() => null, (error: unknown) => error as Error);

/**
 * For commands that go on when one of many pieces of work fails: a device on which something was rejected fails all that follows.
 *
 * @returns the runtime, or a new one on the same adapter in its place, where tensors are made from now on
 */
export const usable = async (runtime: Runtime): Promise<Runtime> => {
  if (!(await failureOf(runtime))) return runtime;
  const fresh = openOn(await runtime.device.twin(), kernelOptions());
  runtime.device.close();
  return fresh;
};
