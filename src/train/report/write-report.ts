/** Writes the report of a run: one HTML file that needs nothing else, not even a network. */
import { join } from 'node:path';
import { writeFileAtomic } from '../../io/atomic.js';
import type { Accuracy } from '../accuracy.js';
import { caseSection } from './cases.js';
import { curves } from './charts.js';
import { classSection } from './classes.js';
import { count, duration, escapeHtml, percent, points } from './html.js';
import { STYLE } from './style.js';
import type { ReportData } from './types.js';

const keyFigure = (value: string, caption: string, kind = ''): string => `<div class="${kind}"><b>${value}</b><small>${caption}</small></div>`;

const keyFigures = ({ accuracy: { raw, refined }, localisation, imagesPerSecond, seconds }: ReportData): string => `<div class="key">${[
  ...(refined
    ? [keyFigure(percent(refined.top1), 'refined top-1', 'first'), keyFigure(percent(raw.top1), `raw top-1, refined ${points(refined.top1 - raw.top1)}`)]
    : [keyFigure(percent(raw.top1), 'top-1', 'first')]),
  ...(localisation ? [keyFigure(localisation.meanIoU.toFixed(2), 'mean IoU of the box')] : []),
  ...(imagesPerSecond === null ? [] : [keyFigure(imagesPerSecond.toFixed(imagesPerSecond < 100 ? 1 : 0), 'training images a second')]),
  keyFigure(duration(seconds), 'training time'),
].join('')}</div>`;

const accuracyRow = (name: string, what: string, accuracy: Accuracy | undefined, colour: string): string => (accuracy ? measuredRow(name, what, accuracy, colour) : '');

const measuredRow = (name: string, what: string, { top1, top5 }: Accuracy, colour: string): string =>
  `<tr class="${name === 'Refined' ? 'strong' : ''}"><td><span class="dot" style="background:var(--${colour})"></span>${name} <span class="soft" style="font-weight:400">${what}</span></td>` +
  `<td class="n">${percent(top1)}</td><td class="n">${percent(top5)}</td><td class="wide"><div class="bar"><i style="width:${Math.max(0, Math.min(100, top1)).toFixed(1)}%;background:var(--${colour})"></i></div></td></tr>`;

const accuracyTable = ({ accuracy }: ReportData): string => `<div><h2>Accuracy on the test images</h2><table>
<tr><th></th><th class="n">top-1</th><th class="n">top-5</th><th></th></tr>
${accuracyRow('Raw', 'whole picture', accuracy.raw, 'raw')}
${accuracyRow('Crop', 'the box alone', accuracy.crop, 'crop')}
${accuracyRow('Drop', 'the box hidden', accuracy.drop, 'drop')}
${accuracyRow('Refined', 'raw and crop', accuracy.refined, 'refined')}
</table></div>`;

const localisationTable = ({ localisation }: ReportData): string => (localisation ? `<div><h2>Localisation</h2><table>
<tr><th>against ${count(localisation.images)} true boxes</th><th class="n"></th></tr>
<tr><td>mean IoU</td><td class="n">${localisation.meanIoU.toFixed(3)}</td></tr>
<tr><td>boxes with IoU of at least 0.5</td><td class="n">${percent(localisation.corLoc50)}</td></tr>
</table></div>` : '');

const imageCounts = ({ classes, trainImages, heldOutImages, testImages }: ReportData['dataset']): string =>
  `${count(classes)} classes, ${count(trainImages)} training${heldOutImages ? `, ${count(heldOutImages)} held-out` : ''} and ${count(testImages)} test images`;

const setting = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value) ?? '–');

const facts = ({ adapter, dataset, seconds, steps, imagesPerSecond, weightsHash, config }: ReportData): string => {
  const run: [string, string][] = [
    ['Adapter', adapter],
    ['Dataset', `${dataset.name}: ${imageCounts(dataset)}`],
    ['Steps', `${count(steps)} in ${duration(seconds)}${imagesPerSecond === null ? '' : `, ${imagesPerSecond.toFixed(1)} images a second`}`],
    ['Weights hash', weightsHash],
  ];
  const list = (entries: [string, string][]) => `<dl>${entries.map(([name, value]) => `<dt>${escapeHtml(name)}</dt><dd><code>${escapeHtml(value)}</code></dd>`).join('')}</dl>`;
  return `<details open><summary>The run</summary>${list(run)}</details><details><summary>All options</summary>${list(Object.entries(config).map(([name, value]) => [name, setting(value)]))}</details>`;
};

const noteList = (notes: readonly string[] = []): string =>
  notes.length === 0 ? '' : `<div class="notes">${notes.map((note) => `<p>${escapeHtml(note)}</p>`).join('')}</div>`;

/** The report as one HTML text. Equal data give equal text. */
export const renderReport = async (report: ReportData): Promise<string> => {
  const { style, body, script } = curves(report.history, report.dataset.heldOutImages ? 'held-out' : 'test');
  const { dataset } = report;
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(report.title)}</title><style>${style}${STYLE}</style></head><body><main>
<h1>${escapeHtml(report.title)}</h1>
<p class="lead">${escapeHtml(dataset.name)}, ${imageCounts(dataset)}, on ${escapeHtml(report.adapter)}</p>
${keyFigures(report)}
${noteList(report.notes)}
<div class="pair">${accuracyTable(report)}${localisationTable(report)}</div>
${classSection(report.classes ?? [])}
${body}
${await caseSection(report.cases)}
${facts(report)}
</main>${script}</body></html>
`;
};

/**
 * Writes `report.html` into a folder that exists.
 *
 * @returns the path of the file
 */
export const writeReport = async (outDir: string, report: ReportData): Promise<string> => {
  const path = join(outDir, 'report.html');
  writeFileAtomic(path, await renderReport(report));
  return path;
};
