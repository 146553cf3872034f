import { type ClassResult, meanOfClasses } from '../class-results.js';
import { count, escapeHtml, percent } from './html.js';

/** More than so many stay folded up. */
const OPEN = 20;

const row = ({ label, images, right, takenFor }: ClassResult): string =>
  `<tr><td>${escapeHtml(label)}</td><td class="n">${count(images)}</td><td class="n">${percent((100 * right) / images)}</td>` +
  `<td>${takenFor.map((other) => `${escapeHtml(other.label)} (${other.images})`).join(', ')}</td></tr>`;

/** What became of each class, of the prediction that counts. */
export const classSection = (classes: readonly ClassResult[]): string => (classes.length === 0 ? '' :
  `<details${classes.length > OPEN ? '' : ' open'}><summary>Class by class, ${percent(meanOfClasses(classes))} in the mean</summary><table>
<tr><th></th><th class="n">images</th><th class="n">right</th><th>taken for</th></tr>
${classes.map(row).join('\n')}
</table></details>`);
