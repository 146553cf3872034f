/// <reference types="@webgpu/types" preserve="true" />
import { fail } from '../errors.js';

/** What the rest of Pipit knows of the platform. `node.ts` provides it on Node, `browser.ts` from `navigator.gpu`. */
export interface GpuPlatform {
  readonly adapter: GPUAdapter;
  readonly device: GPUDevice;
  /**
   * Lets the calling thread sleep for so many milliseconds. While a promise of Dawn is pending, Node would otherwise
   * spin at 100 % and take a core from a software adapter; browsers do not.
   */
  nap?(ms: number): void;
  /** The object the adapter came from. It must stay alive as long as the device. */
  readonly gpu: GPU;
  /** How many threads the machine runs at the same time. */
  readonly threads: number;
  /** Asked of software adapters only. */
  processor(): ProcessorTraits;
  /** What to do when the device is lost. */
  readonly whenLost: string;
  /** Opens the same adapter once more, with a device and a queue of its own. */
  reopen(): Promise<GpuPlatform>;
}

/** Which driver family an adapter belongs to: it decides the choice of kernels. */
type AdapterClass = 'lavapipe' | 'swiftshader' | 'gpu';

/** What software adapters should know of the processor on which they run; false where nobody knows. */
export interface ProcessorTraits {
  /**
   * Whether it runs loops of some 24 KB of machine code at speed. Others decode what is beyond some 17 KB anew in every turn, which takes half as long
   * again (docs/lavapipe.md).
   */
  readonly longLoops: boolean;
  /** Whether it reads buffers so well that few operands are worth a copy to an image (docs/lavapipe.md). */
  readonly quickBuffers: boolean;
}

export const UNKNOWN_PROCESSOR: ProcessorTraits = { longLoops: false, quickBuffers: false };

/** Facts about an adapter, for choosing kernels and for showing to people. */
export interface AdapterReport extends ProcessorTraits {
  readonly name: string;
  readonly vendor: string;
  readonly architecture: string;
  readonly driverClass: AdapterClass;
  /** True when the "GPU" is a program running on the CPU. */
  readonly software: boolean;
  /** Lanes of a subgroup where the adapter has one fixed size and supports `subgroups`, else 0. */
  readonly subgroupSize: number;
  /** Whether kernels may read storage textures. */
  readonly imageOperands: boolean;
  /** Whether kernels may read and write float16 in buffers. */
  readonly half: boolean;
  /** Rows, columns and depth of the matrices that subgroups multiply, from float16 to float32; 0 where they do not. */
  readonly matrixSide: number;
  readonly features: readonly string[];
}

export interface OpenOptions {
  /** `lavapipe`, `swiftshader`, or a part of the adapter's name; default: environment `PIPIT_ADAPTER`, else the best. */
  adapter?: string;
}

/** Dawn's name for matrix units (NVIDIA: tensor cores); no browser has it yet. */
const MATRICES = 'chromium-experimental-subgroup-matrix';

/** What Dawn tells of a product that the matrix units know, beyond WebGPU's types. */
interface MatrixConfig {
  readonly componentType: string;
  readonly resultComponentType: string;
  readonly M: number;
  readonly N: number;
  readonly K: number;
}

const matrixSide = ({ features, info }: GPUAdapter): number => {
  if (!features.has(MATRICES) || !features.has('shader-f16')) return 0;
  const { subgroupMatrixConfigs = [] } = info as { subgroupMatrixConfigs?: Iterable<MatrixConfig> };
  const square = [...subgroupMatrixConfigs].find(({ componentType, resultComponentType, M, N, K }) =>
    componentType === 'f16' && resultComponentType === 'f32' && M === N && N === K);
  return square?.M ?? 0;
};

const nameOf = ({ info }: GPUAdapter): string => info.description || `${info.vendor} ${info.architecture}`.trim() || 'unknown adapter';

export const describeAdapter = (adapter: GPUAdapter, gpu: GPU, processor = () => UNKNOWN_PROCESSOR): AdapterReport => {
  const { info } = adapter;
  const name = nameOf(adapter);
  const driverClass: AdapterClass = /llvmpipe/i.test(name) ? 'lavapipe' : /swiftshader/i.test(name) ? 'swiftshader' : 'gpu';
  const fixedSize = info.subgroupMinSize === info.subgroupMaxSize ? (info.subgroupMinSize ?? 0) : 0;
  const subgroupSize = adapter.features.has('subgroups') ? fixedSize : 0;
  const software = driverClass !== 'gpu' || Boolean(info.isFallbackAdapter);
  return {
    name,
    vendor: info.vendor,
    architecture: info.architecture,
    driverClass,
    software,
    subgroupSize,
    ...(software ? processor() : UNKNOWN_PROCESSOR),
    imageOperands: gpu.wgslLanguageFeatures.has('readonly_and_readwrite_storage_textures'),
    half: adapter.features.has('shader-f16'),
    matrixSide: subgroupSize ? matrixSide(adapter) : 0,
    features: [...adapter.features].sort(),
  };
};

const LIMITS = [
  'maxComputeWorkgroupStorageSize', 'maxComputeInvocationsPerWorkgroup', 'maxComputeWorkgroupSizeX', 'maxComputeWorkgroupSizeY',
  'maxStorageBufferBindingSize', 'maxBufferSize', 'maxStorageBuffersPerShaderStage', 'maxTextureDimension2D',
] as const;

/** The limits that Pipit looks at. */
export type DeviceLimits = Readonly<Record<(typeof LIMITS)[number], number>>;

/** Those of a device, or the most that an adapter can give. */
export const limitsOf = ({ limits }: { readonly limits: GPUSupportedLimits }): DeviceLimits =>
  Object.fromEntries(LIMITS.map((name) => [name, limits[name]])) as DeviceLimits;

const wantedFeatures = (adapter: GPUAdapter): GPUFeatureName[] =>
  (['subgroups', 'shader-f16', 'timestamp-query', MATRICES] as GPUFeatureName[]).filter((f) => adapter.features.has(f));

/** The fastest adapter there is, a software one only where there is no other, or where it is asked for. */
export const findAdapter = async (gpu: GPU, software = false): Promise<GPUAdapter | null> =>
  (software ? null : await gpu.requestAdapter({ powerPreference: 'high-performance' })) ?? gpu.requestAdapter({ forceFallbackAdapter: true });

/**
 * Opens an adapter with all that Pipit can use of it, and every limit at its maximum: WebGPU's defaults are far below what training needs.
 *
 * @throws UserError when it gives no device
 */
export const openAdapter = async (adapter: GPUAdapter): Promise<GPUDevice> => {
  try {
    return await adapter.requestDevice({ requiredFeatures: wantedFeatures(adapter), requiredLimits: { ...limitsOf(adapter) } });
  } catch (error) {
    return fail(`The adapter "${nameOf(adapter)}" gave no device: ${(error as Error).message}. Close other programs or pages that use it, or update its driver`);
  }
};
