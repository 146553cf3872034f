import { kernelOptions } from '../../src/cli/kernel-options.js';
import { openDevice } from '../../src/device/node.js';
import type { GemmOptions } from '../../src/kernels/gemm-family.js';
import type { Runtime } from '../../src/kernels/runtime.js';
import { openOn } from '../../src/tensor/open-on.js';

/** Opens the adapter and makes it the default. The environment chooses it and its kernels, as for the commands; `options` go before it. */
export const openRuntime = async (options: GemmOptions = {}): Promise<Runtime> => openOn(await openDevice(), { ...kernelOptions(), ...options });
