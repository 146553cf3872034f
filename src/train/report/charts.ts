/** Loss and accuracy curves, drawn in the reader's browser by uPlot, whose code is put into the page. */
import { scriptJson } from './html.js';
import type { EpochPoint } from './types.js';
import { CHART_TOOLS, KEEP_DRAWN, uPlotScript, uPlotStyle } from './uplot.js';

interface Series {
  label: string;
  /** Name of a colour variable of the style sheet. */
  colour: string;
  dashed?: boolean;
  values: (number | null)[];
}

interface Chart {
  id: string;
  title: string;
  unit: string;
  /** Fixed upper end of the axis. */
  top?: number;
  series: Series[];
}

const finite = (value: number | undefined): number | null => (value !== undefined && Number.isFinite(value) ? value : null);

/** Series without any value are left out, so a run without crops shows no empty legend. */
const filled = (history: readonly EpochPoint[], wanted: readonly [string, string, keyof EpochPoint, boolean?][]): Series[] =>
  wanted.map(([label, colour, key, dashed]) => ({ label, colour, dashed, values: history.map((point) => finite(point[key])) }))
    .filter(({ values }) => values.some((value) => value !== null));

const chartsOf = (history: readonly EpochPoint[], evaluated: string): Chart[] => [
  {
    id: 'loss', title: 'Loss', unit: '',
    series: filled(history, [['training', 'ink', 'trainLoss'], [evaluated, 'refined', 'testLoss', true]]),
  },
  {
    id: 'accuracy', title: 'Top-1 accuracy, %', unit: ' %', top: 100,
    series: filled(history, [
      [`${evaluated} refined`, 'refined', 'testRefined'], [`${evaluated} raw`, 'raw', 'testRaw'], ['training raw', 'raw', 'trainRaw', true],
      ['training crop', 'crop', 'trainCrop', true], ['training drop', 'drop', 'trainDrop', true],
    ]),
  },
].filter(({ series }) => series.length > 0);

/** Runs in the browser. */
const DRAW = `
(() => {
  const { epochs, charts } = window.pipitCurves;${CHART_TOOLS}
  const show = (unit) => (plot, value) => value == null ? '–' : value.toFixed(unit ? 1 : 3) + unit;
  let drawn = [];
  const draw = () => {
    drawn.forEach((plot) => plot.destroy());
    drawn = charts.map(({ id, unit, top, series }) => {
      const place = document.getElementById('chart-' + id);
      return new uPlot({
        width: place.clientWidth, height: 250, padding: [10, 8, 0, 0],
        cursor: { points: { size: 6 }, y: false },
        legend: { markers: { width: 0, fill: (plot, i) => plot.series[i].stroke() } },
        scales: { x: { time: false }, y: { range: (plot, least, most) => [0, top || (most || 1) * 1.06] } },
        axes: [axis({ incrs: [1, 2, 5, 10, 20, 50, 100], space: 44, size: 30 }), axis({ size: 44 })],
        series: [{ label: 'epoch', value: (plot, value) => value ?? '–' }].concat(series.map((s) => ({
          label: s.label, stroke: colour(s.colour), width: s.dashed ? 1.4 : 2.2, dash: s.dashed ? [5, 4] : undefined,
          value: show(unit), spanGaps: true, points: { show: s.values.filter((v) => v != null).length < 3, size: 6, fill: colour(s.colour) },
        }))),
      }, [epochs].concat(series.map((s) => s.values)), place);
    });
  };${KEEP_DRAWN}
})();`;

/**
 * Styles, places and scripts of the curves; '' for each when there is nothing to draw.
 *
 * @param evaluated what the images are called that were evaluated from epoch to epoch
 */
export const curves = (history: readonly EpochPoint[], evaluated: string): { style: string; body: string; script: string } => {
  const charts = chartsOf(history, evaluated);
  if (charts.length === 0) return { style: '', body: '', script: '' };
  const places = charts.map(({ id, title }) => `<div><h3>${title}</h3><div class="chart" id="chart-${id}"></div></div>`).join('');
  const data = scriptJson({ epochs: history.map(({ epoch }) => epoch), charts });
  return {
    style: uPlotStyle(),
    body: `<h2>Training</h2><div class="charts">${places}</div>`,
    script: `${uPlotScript()}<script>window.pipitCurves = ${data};${DRAW}</script>`,
  };
};
