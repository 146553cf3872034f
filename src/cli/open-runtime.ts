import { openDevice } from '../device/node.js';
import { Runtime } from '../kernels/runtime.js';
import { kernelOptions } from './kernel-options.js';
import { setDefaultRuntime } from '../tensor/create.js';

/** Opens the adapter and says in one line what it is. */
export const openRuntime = async (adapter?: string, quiet = false): Promise<Runtime> => {
  const device = await openDevice(adapter === undefined ? {} : { adapter });
  const runtime = new Runtime(device, kernelOptions());
  setDefaultRuntime(runtime);
  const { name, software } = device.report;
  if (!quiet) console.log(`Adapter: ${name}${software ? ' (software on the CPU; a GPU is far faster)' : ''}, ${runtime.gemm.kind} kernels`);
  return runtime;
};
