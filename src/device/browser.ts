/** WebGPU as browsers have it. Their adapters clamp every index, and no flag of Dawn's is at hand. */
import { UserError } from '../errors.js';
import { Device } from './device.js';
import { findAdapter, type GpuPlatform, openAdapter, UNKNOWN_PROCESSOR } from './gpu.js';

export interface BrowserOptions {
  /** Whether to take the browser's software adapter although there may be a faster one; default false. */
  software?: boolean;
}

const WHEN_LOST = 'Tensors and parameters are gone with it: call open() again, or reload the page, and load what was saved.';

const requestAdapter = async (software: boolean): Promise<GPUAdapter> => {
  // TypeScript's types promise both; older browsers, pages without a secure context, and servers that render pages break the promise.
  const gpu = (globalThis.navigator as Navigator | undefined)?.gpu as GPU | undefined;
  if (!gpu) throw new UserError('This page has no WebGPU. Open it over https:// or from localhost, in a current Chrome, Edge, Safari or Firefox.');
  const adapter = await findAdapter(gpu, software);
  if (!adapter) {
    throw new UserError(`This browser offers no ${software ? 'software adapter' : 'WebGPU adapter'}. Its page about the GPU (chrome://gpu, about:support) says why; ` +
      'Chrome\'s software adapter needs --enable-unsafe-webgpu --use-webgpu-adapter=swiftshader.');
  }
  return adapter;
};

const openPlatform = async (software: boolean): Promise<GpuPlatform> => {
  const adapter = await requestAdapter(software);
  return {
    adapter, device: await openAdapter(adapter), gpu: navigator.gpu, threads: navigator.hardwareConcurrency, processor: () => UNKNOWN_PROCESSOR,
    whenLost: WHEN_LOST,
    reopen: () => openPlatform(software),
  };
};

/**
 * Opens the browser's adapter and returns its {@link Device}.
 *
 * @throws UserError when there is no WebGPU or no adapter
 */
export const openDevice = async ({ software = false }: BrowserOptions = {}): Promise<Device> => new Device(await openPlatform(software));
