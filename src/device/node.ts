/** The only place that knows the package `webgpu` (Dawn for Node). */
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { UserError } from '../errors.js';
import { Device } from './device.js';
import { describeAdapter, findAdapter, type GpuPlatform, openAdapter, type OpenOptions } from './gpu.js';
import { processorTraits } from './processor.js';
import { prepareVulkanEnvironment } from './vulkan-env.mjs';

/** When the object `create()` returned is collected while its device lives, Node crashes: it stays here for good. */
const keptAlive: unknown[] = [];
const napCell = new Int32Array(new SharedArrayBuffer(4));

const loadDawn = async (): Promise<{ create(flags: string[]): GPU; globals: object }> => {
  try {
    return await import('webgpu') as never;
  } catch (error) {
    throw new UserError(`The WebGPU binary could not be loaded: ${(error as Error).message}\n` +
      'It needs Linux (glibc 2.35 or newer, x64 or arm64), macOS or Windows. Run "npm ci" again, or use a newer system.');
  }
};

/** The adapter that is found; refused unless it is the wanted one. */
const requestAdapter = async (gpu: GPU, wanted: string): Promise<GPUAdapter> => {
  const adapter = await findAdapter(gpu);
  if (!adapter) {
    throw new UserError('No WebGPU adapter was found: there is neither a GPU with a Vulkan driver nor a software driver.\n' +
      'Run "node scripts/setup.mjs" (as root on Debian it installs a software driver; otherwise it prints the command to run).');
  }
  const report = describeAdapter(adapter, gpu);
  const text = `${report.driverClass} ${report.name}`.toLowerCase();
  if (wanted && !text.includes(wanted.toLowerCase())) {
    throw new UserError(`The adapter "${wanted}" was asked for, but the one found is "${report.name}". ` +
      'Leave the choice out, or use lavapipe, swiftshader or a part of the name that "node dist/info.js" prints.');
  }
  return adapter;
};

/**
 * Dawn's clamping of every index costs a twentieth of the time on GPUs, a tenth on lavapipe and more than half on SwiftShader.
 * Pipit's kernels guard their indices themselves, because a browser has no such switch; `PIPIT_ROBUSTNESS=on` keeps the clamping.
 */
const WITHOUT_ROBUSTNESS = 'disable_robustness';
/** Dawn offers `shader-f16` on NVIDIA's Vulkan drivers only when it is told to. */
const HALF_ON_NVIDIA = 'vulkan_enable_f16_on_nvidia';
/** And matrix units, whose extension is an experiment, on no adapter otherwise. */
const EXPERIMENTS = 'allow_unsafe_apis';
const FEATURES_FLAG = 'enable-dawn-features';

/** Flags for Dawn; of a flag given twice it would take the last only. */
const dawnFlags = (): string[] => {
  const asked = (process.env.PIPIT_DAWN_FLAGS ?? '').split(';').filter(Boolean);
  const isFeatures = (flag: string): boolean => flag.startsWith(`${FEATURES_FLAG}=`);
  const features = [
    ...asked.filter(isFeatures).map((flag) => flag.slice(FEATURES_FLAG.length + 1)), HALF_ON_NVIDIA, EXPERIMENTS,
    ...(process.env.PIPIT_ROBUSTNESS === 'on' ? [] : [WITHOUT_ROBUSTNESS]),
  ];
  return [...asked.filter((flag) => !isFeatures(flag)), `${FEATURES_FLAG}=${features.join(',')}`];
};

const WHEN_LOST = 'Restart the command; training goes on from its last checkpoint with --resume. A program calls open() again and loads what it saved.';

const openPlatform = async (gpu: GPU, wanted: string): Promise<GpuPlatform> => {
  const adapter = await requestAdapter(gpu, wanted);
  const device = await openAdapter(adapter);
  const platform: GpuPlatform = {
    adapter, device, nap: (ms) => void Atomics.wait(napCell, 0, 0, ms), gpu, threads: availableParallelism(), processor: processorTraits, whenLost: WHEN_LOST,
    reopen: () => openPlatform(gpu, wanted),
  };
  keptAlive.push(platform);
  return platform;
};

/**
 * Opens an adapter through Dawn for Node and returns its {@link Device}.
 *
 * @throws UserError when the binary does not load or no (or not the wanted) adapter exists
 */
export const openDevice = async (options: OpenOptions = {}): Promise<Device> => {
  const wanted = options.adapter ?? process.env.PIPIT_ADAPTER ?? '';
  prepareVulkanEnvironment(wanted);
  const dawn = await loadDawn();
  Object.assign(globalThis, dawn.globals);
  const gpu = dawn.create(dawnFlags());
  keptAlive.push(gpu);
  return new Device(await openPlatform(gpu, wanted));
};

/** Version of the `webgpu` package, for reports. */
export const dawnVersion = (): string => {
  const require = createRequire(import.meta.url);
  return (require('webgpu/package.json') as { version: string }).version;
};
