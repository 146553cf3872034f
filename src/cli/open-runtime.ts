import { openDevice } from '../device/node.js';
import type { Runtime } from '../kernels/runtime.js';
import { openOn } from '../tensor/open-on.js';
import { kernelOptions } from './kernel-options.js';

/** Opens the adapter and says in one line what it is. */
export const openRuntime = async (adapter?: string, quiet = false): Promise<Runtime> => {
  const device = await openDevice({ adapter });
  const runtime = openOn(device, kernelOptions());
  const { name, software } = device.report;
  if (!quiet) console.log(`Adapter: ${name}${software ? ' (software on the CPU; a GPU is far faster)' : ''}, ${runtime.gemm.kind} kernels`);
  return runtime;
};
