/** Where and how figures were measured: without it they mean nothing. */
import { availableParallelism, cpus, loadavg, release, type } from 'node:os';
import { dawnVersion } from '../src/device/node.js';
import { hasFeature, processorFacts } from '../src/device/processor.js';
import type { Runtime } from '../src/kernels/runtime.js';

export interface Machine {
  /** The command line, with the variables that change what is measured. */
  readonly command: string;
  /** Day, month and year of the run: 2031-05-17. */
  readonly date: string;
  readonly cpu: string;
  readonly cores: number;
  readonly system: string;
  readonly node: string;
  readonly webgpu: string;
  /** As the adapter names itself, with the driver's version where it tells. */
  readonly driver: string;
}

/** As they were when the command was started: opening an adapter sets some itself. */
const variables = Object.entries(process.env).filter(([name]) => /^(PIPIT_|LP_|MESA_|GALLIVM_)/.test(name)).map(([name, value]) => `${name}=${value}`);

/** A virtual machine's processor often has no other name than its maker's; then its family and instructions say more. */
const processor = (): string => {
  const name = cpus()[0]?.model.trim() ?? 'unknown';
  const facts = processorFacts();
  const widest = ['avx512f', 'avx2', 'avx', 'asimd'].find((feature) => hasFeature(facts, feature));
  return widest ? `${name} (${widest})` : name;
};

const commandLine = (args: readonly string[]): string =>
  [...variables, 'node dist/bench.js', ...args.map((arg) => (/[\s"'$]/.test(arg) ? JSON.stringify(arg) : arg))].join(' ');

/** How much runs besides on the machine and would disturb a measurement: threads that want to run, over the cores; 0 where the system does not tell. */
export const loadPerCore = (): number => loadavg()[0]! / availableParallelism();

export const describeMachine = (runtime: Runtime): Machine => {
  const { vendor, architecture, device } = runtime.device.gpu.adapterInfo;
  const { name } = runtime.device.report;
  return {
    command: commandLine(process.argv.slice(2)), date: new Date().toISOString().slice(0, 10), cpu: processor(), cores: availableParallelism(),
    system: `${type()} ${release()} ${process.arch}`, node: process.version, webgpu: dawnVersion(),
    driver: [name, vendor, architecture, device].filter((part, i, all) => part && !all.slice(0, i).some((earlier) => earlier.includes(part))).join(', '),
  };
};

/** The lines above every table. */
export const machineLines = ({ command, date, cpu, cores, system, node, webgpu, driver }: Machine): string[] => [
  `Command: ${command}`, `Date: ${date}`, `Processor: ${cpu}, ${cores} cores; ${system}`, `Adapter and driver: ${driver}`, `Node ${node}, webgpu ${webgpu} (Dawn)`,
];

/** Such lines as a list in Markdown. */
export const markdownList = (lines: readonly string[]): string => lines.map((line) => `- ${line.replace(/^Command: (.*)$/, 'Command: `$1`')}`).join('\n');
