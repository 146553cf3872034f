/**
 * What the rest of Pipit knows of the platform. `node.ts` provides it on Node; a browser twin
 * provides the same from `navigator.gpu`.
 */
export interface GpuPlatform {
  readonly adapter: GPUAdapter;
  readonly device: GPUDevice;
  /**
   * Lets the calling thread sleep for so many milliseconds, or does nothing where that is impossible.
   * While a promise of Dawn is pending, Node would otherwise spin at 100 % and take a core
   * from a software adapter.
   */
  nap(ms: number): void;
  /** The object the adapter came from. It must stay alive as long as the device. */
  readonly gpu: GPU;
}

/** Which driver family an adapter belongs to: it decides the choice of kernels. */
export type AdapterClass = 'lavapipe' | 'swiftshader' | 'gpu';

/** Facts about an adapter, for choosing kernels and for showing to people. */
export interface AdapterReport {
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
  readonly features: readonly string[];
}

export interface OpenOptions {
  /** `lavapipe`, `swiftshader`, or a part of the adapter's name; default: environment `PIPIT_ADAPTER`. */
  adapter?: string;
}

export const describeAdapter = (adapter: GPUAdapter, gpu: GPU): AdapterReport => {
  const info = adapter.info;
  const name = info.description || `${info.vendor} ${info.architecture}`.trim() || 'unknown adapter';
  const driverClass: AdapterClass = /llvmpipe/i.test(name) ? 'lavapipe' : /swiftshader/i.test(name) ? 'swiftshader' : 'gpu';
  const fixedSize = info.subgroupMinSize === info.subgroupMaxSize ? (info.subgroupMinSize ?? 0) : 0;
  return {
    name,
    vendor: info.vendor,
    architecture: info.architecture,
    driverClass,
    software: driverClass !== 'gpu' || Boolean(info.isFallbackAdapter),
    subgroupSize: adapter.features.has('subgroups') ? fixedSize : 0,
    imageOperands: gpu.wgslLanguageFeatures.has('readonly_and_readwrite_storage_textures'),
    half: adapter.features.has('shader-f16'),
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

export const wantedFeatures = (adapter: GPUAdapter): GPUFeatureName[] =>
  (['subgroups', 'shader-f16', 'timestamp-query'] as GPUFeatureName[]).filter((f) => adapter.features.has(f));
