import { type ClassResult, meanOfClasses, shareRight } from '../class-results.js';
import { count, escapeHtml, percent } from './html.js';

/** More than so many stay folded up. */
const OPEN = 20;

const row = (result: ClassResult): string =>
  `<tr><td>${escapeHtml(result.label)}</td><td class="n">${count(result.images)}</td><td class="n">${percent(shareRight(result))}</td>` +
  `<td>${result.takenFor.map((other) => `${escapeHtml(other.label)} (${other.images})`).join(', ')}</td></tr>`;

/** What became of each class, of the prediction that counts. */
export const classSection = (classes: readonly ClassResult[]): string => (classes.length === 0 ? '' :
  `<details${classes.length > OPEN ? '' : ' open'}><summary>Class by class, ${percent(meanOfClasses(classes))} in the mean</summary><table>
<tr><th></th><th class="n">images</th><th class="n">right</th><th>taken for</th></tr>
${classes.map(row).join('\n')}
</table></details>`);
