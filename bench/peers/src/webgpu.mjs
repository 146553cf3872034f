// WebGPU for libraries that were written for browsers. The package `webgpu` is Pipit's own, found in the folders above:
// all of them run on the same build of Dawn.
import { setImmediate } from 'node:timers/promises';

/** What devices complained about and nobody handled; results are then not to be trusted. */
export const deviceErrors = [];
const keptAlive = [];
const cell = new Int32Array(new SharedArrayBuffer(4));
/** As src/device/device.ts: who has waited long may learn of the end a little later. */
const napAfter = (waitedMs) => Math.min(3, Math.max(0.3, waitedMs / 20));

/** Provides `navigator.gpu` and the classes of WebGPU. Call it before a library is imported. */
export const installWebGpu = async () => {
  const { create, globals } = await import('webgpu');
  Object.assign(globalThis, globals);
  const gpu = create((process.env.PIPIT_DAWN_FLAGS ?? '').split(';').filter(Boolean));
  keptAlive.push(gpu);
  Object.defineProperty(globalThis, 'navigator', { value: { gpu, userAgent: 'node', hardwareConcurrency: 2 }, configurable: true });
  const { requestDevice } = GPUAdapter.prototype;
  GPUAdapter.prototype.requestDevice = async function (...options) {
    const device = await requestDevice.apply(this, options);
    device.addEventListener('uncapturederror', ({ error }) => deviceErrors.push(error.message));
    return device;
  };
};

/**
 * Waits for a promise of Dawn with naps between the polls. Node would spin, which takes a core from a software adapter;
 * Pipit naps by itself, and the others are not to lose time to their host. `--spin` of the benchmark leaves them to it.
 */
export const napUntil = async (promise) => {
  if (process.env.PEERS_SPIN) return promise;
  const start = performance.now();
  let pending = true;
  const settled = promise.finally(() => { pending = false; });
  settled.catch(() => {});
  while (pending) {
    Atomics.wait(cell, 0, 0, napAfter(performance.now() - start));
    await setImmediate();
  }
  return settled;
};

export const nameOf = ({ description, vendor, architecture }) => description || `${vendor} ${architecture}`.trim();
