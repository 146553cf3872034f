/** The figures of a run as one page that needs nothing else, not even a network. */
import { escapeHtml } from '../src/train/report/html.js';
import { STYLE } from '../src/train/report/style.js';
import { type Bar, barsOf, percent, verdict } from './bars.js';
import { machineLines } from './machine.js';
import { disturbance } from './markdown.js';
import type { BenchFile, Result } from './results.js';
import { roofline } from './roofline.js';
import { DRIVER_TIME, milliseconds, NOISE, noiseMark } from './table.js';

const numbers = (cells: readonly string[]): string => cells.map((cell) => `<td class="n">${cell}</td>`).join('');
const heads = (words: readonly string[], numeric: readonly string[]): string =>
  `<tr>${words.map((w) => `<th>${w}</th>`).join('')}${numeric.map((w) => `<th class="n">${w}</th>`).join('')}</tr>`;

const barRow = (bar: Bar): string => `<tr><td>${escapeHtml(bar.what)}</td><td class="soft">${escapeHtml(bar.note)}</td>${numbers([percent(bar.share), percent(bar.ofBest), percent(bar.bar), percent(bar.stretch)])}` +
  `<td class="${bar.share >= bar.bar ? 'good' : 'bad'}">${verdict(bar)}</td></tr>`;

const barTable = (bars: readonly Bar[]): string => (bars.length === 0 ? '' : `<h2>Shares of the ceilings</h2><table>
<tr><th></th><th>of</th><th class="n">reached</th><th class="n">of the run's best</th><th class="n">bar</th><th class="n">stretch</th><th></th></tr>
${bars.map(barRow).join('\n')}
</table>`);

const checked = ({ check }: Result): string => (check ? `${check.how}, error ${check.error.toExponential(1)}` : 'small cases');

const resultRow = (r: Result): string => `<tr><td>${escapeHtml(r.op)}</td><td>${escapeHtml(r.case)}</td><td>${r.direction}</td><td class="soft">${checked(r)}</td>` +
  `${numbers([...(r.driverMs === null ? [] : [milliseconds(r.driverMs)]), milliseconds(r.wallMs), r.flops ? r.gflops.toFixed(1) : '–', r.gbs.toFixed(1), `${percent(r.share)} of ${r.bound}${noiseMark(r)}`])}</tr>`;

const resultTable = ({ results, figure }: BenchFile): string => `<h2>All kernels</h2><table>
${heads(['op', 'case', '', 'checked'], [...(figure === 'driver' ? ['driver ms', 'wall ms'] : ['ms']), 'GFLOP/s', 'GB/s', 'of the nearer ceiling'])}
${results.map(resultRow).join('\n')}
</table>`;

const FIGURES = {
  driver: `Rates and shares follow from ${DRIVER_TIME} (driver ms); wall ms is the time by the clock. ${NOISE}`,
  wall: 'Rates and shares follow from the time by the clock.',
};

const wrongNote = (wrong: readonly string[]): string => (wrong.length === 0 ? '' : `<div class="notes"><p class="bad">Wrong results, not timed: ${escapeHtml(wrong.join('; '))}</p></div>`);

export const benchPage = (file: BenchFile): string => {
  const { style, body, script } = roofline(file.results, file.ceiling);
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Kernels on ${escapeHtml(file.adapter)}</title><style>${style}${STYLE}</style></head><body><main>
<h1>Kernels and their ceilings</h1>
<p class="lead">${machineLines(file.machine).map(escapeHtml).join('<br>')}</p>
${wrongNote(file.wrong)}
<h2>Roofline</h2>
<p class="soft">The line is what this adapter allows, measured in the same run: copying and multiply-adds. Kernels that only move data stand at the left end. ${FIGURES[file.figure]} ${escapeHtml(disturbance(file))}</p>
${body}
${barTable(barsOf(file.results, file.best))}
${resultTable(file)}
</main>${script}</body></html>
`;
};
