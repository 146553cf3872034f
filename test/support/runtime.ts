import { kernelOptions } from '../../src/cli/kernel-options.js';
import type { Device } from '../../src/device/device.js';
import { openDevice } from '../../src/device/node.js';
import type { GemmOptions } from '../../src/kernels/gemm-family.js';
import type { Runtime } from '../../src/kernels/runtime.js';
import { openOn } from '../../src/tensor/open-on.js';

/** A NaN, which shows where a kernel did not write; WebGPU's zeros would pass for the padding of rows. */
const UNWRITTEN = 0x7fc0dead;

/** From here on new memory holds no zeros, as little as memory that was used before. */
const soil = ({ gpu, pool }: Device): void => {
  const acquire = pool.acquire.bind(pool);
  pool.acquire = (bytes, label) => {
    const buffer = acquire(bytes, label);
    // A plan's buffers are only counted; one that was used before may still be read by work that was recorded.
    if (buffer.id > 0 && buffer.uses === 1) gpu.queue.writeBuffer(buffer.gpu, 0, new Uint32Array(buffer.size / 4).fill(UNWRITTEN));
    return buffer;
  };
};

/**
 * Opens the adapter and makes it the default. The environment chooses it and its kernels, as for the commands; `options` go before it. PIPIT_LAUNCH=gpu shares
 * kernels out among invocations as on a GPU, whatever the adapter is.
 */
export const openRuntime = async (options: GemmOptions = {}): Promise<Runtime> => {
  const device = await openDevice();
  soil(device);
  if (process.env.PIPIT_LAUNCH === 'gpu') Object.assign(device, { report: { ...device.report, software: false } });
  return openOn(device, { ...kernelOptions(), ...options });
};

/** How many kernels a piece of work records. */
export const dispatchesOf = ({ recorder }: Runtime, work: () => void): number => {
  const before = recorder.statistics.dispatches;
  work();
  return recorder.statistics.dispatches - before;
};
