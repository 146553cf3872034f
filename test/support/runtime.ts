import { openDevice } from '../../src/device/node.js';
import { Runtime } from '../../src/kernels/runtime.js';
import { setDefaultRuntime } from '../../src/tensor/create.js';

/** Opens the adapter (environment `PIPIT_ADAPTER`) and makes it the default. `PIPIT_GEMM` forces a kernel family. */
export const openRuntime = async (options: { gemm?: string } = {}): Promise<Runtime> => {
  const runtime = new Runtime(await openDevice(), { gemm: options.gemm ?? process.env.PIPIT_GEMM ?? '' });
  setDefaultRuntime(runtime);
  return runtime;
};
