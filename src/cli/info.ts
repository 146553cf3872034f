import { readFileSync } from 'node:fs';
import { availableParallelism, cpus, release, totalmem, type } from 'node:os';
import { readableBytes } from '../device/buffers.js';
import type { Device } from '../device/device.js';
import { dawnVersion, openDevice } from '../device/node.js';
import { UserError } from '../errors.js';
import { type GemmFamily, gemmFamily, loopsOf } from '../kernels/gemm-family.js';
import { kernelOptions } from './kernel-options.js';
import { adapterOption, flag, parseOptions } from './options.js';
import { runCommand } from './run-command.js';

const spec = {
  name: 'info',
  summary: 'Shows what Pipit finds on this machine: versions, adapter, driver, limits, features, and the remedy when there is no adapter.',
  options: {
    adapter: adapterOption,
    json: flag({ help: 'print one JSON object instead' }),
  },
};

/** The limits that decide what Pipit can do; the rest of WebGPU's concern graphics. */
const LIMITS = [
  'maxBufferSize', 'maxStorageBufferBindingSize', 'maxStorageBuffersPerShaderStage', 'maxComputeInvocationsPerWorkgroup', 'maxComputeWorkgroupSizeX',
  'maxComputeWorkgroupSizeY', 'maxComputeWorkgroupSizeZ', 'maxComputeWorkgroupStorageSize', 'maxComputeWorkgroupsPerDimension',
  'minStorageBufferOffsetAlignment',
] as const;

/** package.json lies above the folder of the built commands. */
const pipitVersion = (): string => (JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }).version;

/** An install without the package would make this throw, and info is what people run then. */
const webgpuVersion = (): string => {
  try {
    return dawnVersion();
  } catch {
    return 'not installed';
  }
};

const machine = () => ({
  pipit: pipitVersion(), node: process.version, webgpu: webgpuVersion(),
  os: `${type()} ${release()} ${process.arch}`, cpu: cpus()[0]?.model.trim() ?? 'unknown', cores: availableParallelism(), memoryBytes: totalmem(),
});

/** Variables that change which adapter is found or how it works; only those that are set. */
const environment = (): Record<string, string> => Object.fromEntries(
  ['PIPIT_ADAPTER', 'PIPIT_GEMM', 'PIPIT_LOOPS', 'PIPIT_HELD', 'PIPIT_WINOGRAD', 'PIPIT_IMAGES', 'PIPIT_MATRICES', 'PIPIT_TUNING', 'PIPIT_ROBUSTNESS', 'PIPIT_DAWN_FLAGS', 'VK_DRIVER_FILES', 'VK_ICD_FILENAMES', 'VK_ADD_DRIVER_FILES']
    .flatMap((name) => (process.env[name] ? [[name, process.env[name]]] : [])),
);

const adapterFacts = ({ report, gpu }: Device, gemm: GemmFamily) => ({
  name: report.name, vendor: report.vendor, architecture: report.architecture, device: gpu.adapterInfo.device, driverClass: report.driverClass,
  software: report.software, subgroupSize: report.subgroupSize, gemm,
  limits: Object.fromEntries(LIMITS.map((name) => [name, gpu.limits[name]])) as Record<(typeof LIMITS)[number], number>,
  features: { available: report.features, used: [...gpu.features].filter((name) => name !== 'core-features-and-limits').sort() },
});

type Machine = ReturnType<typeof machine>;
type Facts = ReturnType<typeof adapterFacts>;

const row = (name: string, value: string): string => `${name.padEnd(14)} ${value}`;

const machineLines = ({ pipit, node, webgpu, os, cpu, cores, memoryBytes }: Machine, variables: Record<string, string>): string[] => [
  row('Pipit', pipit),
  row('Node', node),
  row('webgpu', `${webgpu} (Dawn for Node)`),
  row('System', os),
  row('Processor', `${cpu}, ${cores} cores, ${readableBytes(memoryBytes)} memory`),
  ...Object.entries(variables).map(([name, value]) => row('Environment', `${name}=${value}`)),
];

const matrixKernels = (gemm: GemmFamily): string => {
  const { kind, subgroupSize, heldDepth, images, winograd, matrices, matrixSide } = gemm;
  return [
    { broadcast: `broadcast, in subgroups of ${subgroupSize}, ${loopsOf(gemm)} loops`, tile: 'tile, in workgroup memory', plain: 'plain, in registers' }[kind],
    ...(kind === 'tile' && matrices ? [`float16 operands by matrix units of ${matrixSide}×${matrixSide}`] : []),
    ...(kind === 'broadcast' && images && heldDepth ? [`w held up to a depth of ${heldDepth}`] : []),
    ...(images ? ['operands as images'] : []), ...(winograd ? [`Winograd from ${winograd} channels`] : []),
  ].join('; ');
};

const bytesLimits: readonly string[] = ['maxBufferSize', 'maxStorageBufferBindingSize', 'maxComputeWorkgroupStorageSize'];

const adapterLines = (facts: Facts): string[] => [
  row('Adapter', facts.name),
  row('Driver', [facts.vendor, facts.architecture, facts.device].filter(Boolean).join(', ') || 'unknown'),
  row('Class', facts.software ? `${facts.driverClass}: a software adapter, it computes on the processor` : facts.driverClass),
  row('Matrix kernels', matrixKernels(facts.gemm)),
  '',
  'Limits',
  ...Object.entries(facts.limits).map(([name, value]) => `  ${name.padEnd(36)} ${String(value).padStart(12)}${bytesLimits.includes(name) ? `  ${readableBytes(value)}` : ''}`),
  '',
  'Features',
  `  used       ${facts.features.used.join(', ') || 'none'}`,
  `  available  ${facts.features.available.join(', ') || 'none'}`,
];

const info = async (): Promise<number> => {
  const { values } = parseOptions(spec, process.argv.slice(2));
  const [facts, variables] = [machine(), environment()];
  if (!values.json) console.log(machineLines(facts, variables).join('\n'));
  try {
    const device = await openDevice({ adapter: values.adapter });
    const found = adapterFacts(device, gemmFamily(device.report, kernelOptions()));
    console.log(values.json ? JSON.stringify({ ...facts, environment: variables, adapter: found }, null, 2) : adapterLines(found).join('\n'));
    device.close();
    return 0;
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    console.log(values.json ? JSON.stringify({ ...facts, environment: variables, adapter: null, remedy: error.message }, null, 2) : row('Adapter', `none\n\n${error.message}`));
    return 1;
  }
};

await runCommand(info);
