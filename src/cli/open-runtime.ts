import type { Device } from '../device/device.js';
import { openDevice } from '../device/node.js';
import { UserError } from '../errors.js';
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
const failureOf = (runtime: Runtime): Promise<Error | null> => runtime.idle().then(() => null, (error: unknown) => error as Error);

/** Why a piece of work failed: a user's error, or what the adapter rejected. Anything else is thrown again. */
export const causeOf = async (runtime: Runtime, error: unknown): Promise<Error> => {
  const cause = error instanceof UserError ? error : await failureOf(runtime);
  if (!cause) throw error;
  return cause;
};

/** The runtime's device, or another on the same adapter in its place: one on which something was rejected fails all that follows. */
export const usableDevice = async (runtime: Runtime): Promise<Device> => {
  const { device } = runtime;
  if (!(await failureOf(runtime))) return device;
  const fresh = await device.twin();
  device.close();
  return fresh;
};

/**
 * For commands that go on when one of many pieces of work fails.
 *
 * @returns the runtime, or a new one on the same adapter in its place, where tensors are made from now on
 */
export const usable = async (runtime: Runtime): Promise<Runtime> => {
  const device = await usableDevice(runtime);
  return device === runtime.device ? runtime : openOn(device, kernelOptions());
};
