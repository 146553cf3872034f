/** A profile in words and tables. */
import { percent } from './bars.js';
import type { Machine } from './machine.js';
import { machineLines, markdownList } from './machine.js';
import type { KernelShare, Profile } from './profile.js';

/** What `--profile --json` writes. */
export interface ProfileFile {
  readonly machine: Machine;
  readonly training: string;
  readonly profile: Profile;
}

/** Share of a step's kernel time outside convolutions and matrix products, and the bars it is held against. */
const [BAR, STRETCH] = [0.45, 0.3];
/** Microseconds of JavaScript for a dispatch, and the bars. */
const [SCRIPT_BAR, SCRIPT_STRETCH] = [15, 6];

const total = (kernels: readonly KernelShare[]): number => kernels.reduce((sum, { ms }) => sum + ms, 0);

const PROCESSOR_TIME = 'processor time of the driver\'s threads, its workers\' over their number';

const sentences = ({ wallMs, driverMs, busy, script, counts, method, kernels }: Profile): string[] => {
  const micros = (ms: number): string => ((1000 * ms) / counts.dispatches).toFixed(1);
  const overhead = total(kernels.filter((k) => !k.product)) / total(kernels);
  const perStep = (n: number): string => (Number.isInteger(n) ? String(n) : n.toFixed(1));
  return [
    `A step takes ${wallMs.toFixed(1)} ms by the clock${driverMs === null ? '' : `, ${driverMs.toFixed(1)} ms of ${PROCESSOR_TIME}`}` +
      `${busy === null ? '' : `; the adapter is at work for ${percent(busy)} of it`}.`,
    `${perStep(counts.dispatches)} dispatches, ${perStep(counts.submits)} submits, ${perStep(counts.bindGroups)} new bind groups, ${perStep(counts.readBacks)} read-backs a step.`,
    `JavaScript records a step in ${script.encodeMs.toFixed(2)} ms of processor time (${script.encodeWallMs.toFixed(2)} ms by the clock): ${micros(script.encodeMs)} µs for a dispatch ` +
      `(bar ${SCRIPT_BAR}, stretch ${SCRIPT_STRETCH}). Submitting takes another ${script.submitWallMs.toFixed(2)} ms by the clock.`,
    `Outside convolutions and matrix products: ${percent(overhead)} of the kernels' time (bar ${percent(BAR)}, stretch ${percent(STRETCH)}).`,
    method === 'timestamps'
      ? 'The kernels\' ms are by the adapter\'s timestamps, each dispatch in a pass of its own. Their sum may exceed the step above: they are of other steps, in which no dispatch overlaps the next.'
      : `The adapter has no timestamps: each kernel was repeated alone, and its ms are ${driverMs === null ? 'by the clock' : PROCESSOR_TIME}. ` +
        'Their sum may exceed the step above, in which kernels overlap and find data of the one before in a cache.',
  ];
};

const groups = (kernels: readonly KernelShare[]): [string, readonly KernelShare[]][] =>
  [['convolutions and matrix products', kernels.filter((k) => k.product)], ['everything else', kernels.filter((k) => !k.product)]];

/** Rows of both groups, each led by its sum. */
const rows = ({ kernels }: Profile): (readonly [name: string, dispatches: string, ms: string, share: string, isSum: boolean])[] => {
  const all = total(kernels);
  const row = (name: string, dispatches: number, ms: number, isSum: boolean) => [name, String(dispatches), ms.toFixed(2), percent(ms / all), isSum] as const;
  return groups(kernels).flatMap(([name, members]) =>
    [row(name, members.reduce((sum, k) => sum + k.dispatches, 0), total(members), true), ...members.map((k) => row(k.kernel, k.dispatches, k.ms, false))]);
};

export const profileText = ({ machine, training, profile }: ProfileFile): string => [
  ...machineLines(machine), training, '', ...sentences(profile), '',
  `${'kernel'.padEnd(48)}${'dispatches'.padStart(12)}${'ms'.padStart(10)}${'share'.padStart(9)}`,
  ...rows(profile).map(([name, dispatches, ms, share, isSum]) => `${`${isSum ? '' : '  '}${name}`.padEnd(48)}${dispatches.padStart(12)}${ms.padStart(10)}${share.padStart(9)}`),
].join('\n');

export const profileMarkdown = ({ machine, training, profile }: ProfileFile): string => `${[
  markdownList([...machineLines(machine), training]),
  sentences(profile).join(' '),
  ['| kernel | dispatches | ms | share |', '| --- | --: | --: | --: |', ...rows(profile).map(([name, dispatches, ms, share, isSum]) => {
    const strong = (text: string): string => (isSum ? `**${text}**` : text);
    return `| ${strong(name)} | ${dispatches} | ${strong(ms)} | ${strong(share)} |`;
  })].join('\n'),
].join('\n\n')}\n`;
