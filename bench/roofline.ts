/** The roofline: what each kernel reaches over what it does with a byte, under the ceilings measured in the same run. */
import { scriptJson } from '../src/train/report/html.js';
import { CHART_TOOLS, KEEP_DRAWN, uPlotScript, uPlotStyle } from '../src/train/report/uplot.js';
import type { Ceiling } from './ceiling.js';
import { DIRECTIONS, type Result } from './results.js';
import { milliseconds } from './table.js';
import { figureOf } from './clock.js';

interface Point {
  readonly name: string;
  /** Position in {@link DIRECTIONS}. */
  readonly kind: number;
  /** FLOP per byte, and GFLOP/s under the ceilings of the run's beginning. */
  readonly x: number;
  readonly y: number;
  readonly text: string;
}

/** Kernels that only move data have no place on a logarithmic axis: they stand at its left end. */
const LEFT = 1 / 16;

/** Under the roof by its share, since that is of what the machine could do at the time. */
const pointOf = (r: Result, { gflops, gbs }: Ceiling): Point => {
  const x = Math.max(LEFT, r.flops / r.bytes);
  return {
    name: `${r.op} ${r.case}`, kind: DIRECTIONS.indexOf(r.direction), x, y: r.share * Math.min(gflops, x * gbs),
    text: `${r.direction}: ${milliseconds(figureOf(r))} ms, ${r.gflops.toFixed(1)} GFLOP/s, ${r.gbs.toFixed(1)} GB/s, ${(100 * r.share).toFixed(0)} % of ${r.bound}`,
  };
};

/** Both ends of the axis, wide enough for all points and for the edge of the roof. */
const rangeOf = (points: readonly Point[], { gflops, gbs }: Ceiling): [number, number] =>
  [LEFT, 2 * Math.max(gflops / gbs, ...points.map((p) => p.x))];

const COLOURS = ['refined', 'raw', 'crop', 'drop'];

/** Runs in the browser: points without lines, the roof as a line, and the nearest point's name beside the cursor. */
const DRAW = `
(() => {
  const { points, range, gflops, gbs, kinds, colours } = window.pipitRoofline;${CHART_TOOLS}
  const roof = [range[0], gflops / gbs, range[1]].map((x) => ({ x, roof: true }));
  const all = points.concat(roof).sort((a, b) => a.x - b.x);
  const data = [all.map((p) => p.x), all.map((p) => Math.min(gflops, p.x * gbs))].concat(kinds.map((_, k) => all.map((p) => (p.kind === k ? p.y : null))));
  const place = document.getElementById('roofline');
  const tip = document.getElementById('roofline-tip');
  const nearest = (plot) => {
    let best = null, least = 24 * 24;
    for (const p of points) {
      const dx = plot.valToPos(p.x, 'x') - plot.cursor.left, dy = plot.valToPos(p.y, 'y') - plot.cursor.top;
      if (dx * dx + dy * dy < least) { least = dx * dx + dy * dy; best = p; }
    }
    return best;
  };
  const hover = (plot) => {
    const p = plot.cursor.left >= 0 ? nearest(plot) : null;
    tip.hidden = !p;
    if (!p) return;
    tip.textContent = p.name + '\\n' + p.text;
    const left = plot.over.offsetLeft + plot.valToPos(p.x, 'x');
    tip.style.left = Math.min(left + 14, place.clientWidth - tip.offsetWidth) + 'px';
    tip.style.top = plot.over.offsetTop + plot.valToPos(p.y, 'y') + 14 + 'px';
  };
  let plot;
  const draw = () => {
    plot?.destroy();
    plot = new uPlot({
      width: place.clientWidth, height: 460, padding: [10, 12, 0, 0],
      cursor: { points: { show: false }, x: false, y: false, drag: { x: false, y: false } },
      legend: { live: false },
      scales: { x: { time: false, distr: 3, range: () => range }, y: { distr: 3 } },
      axes: ['FLOP per byte', 'GFLOP/s'].map((label) => axis({ label, labelFont: font })),
      series: [{}, { label: 'ceiling: ' + gbs.toFixed(1) + ' GB/s, ' + gflops.toFixed(1) + ' GFLOP/s', stroke: colour('ink'), width: 1.6, points: { show: false } }].concat(kinds.map((label, k) => ({
        label, stroke: colour(colours[k]), paths: () => null, points: { show: true, size: 7, fill: colour(colours[k]) },
      }))),
      hooks: { setCursor: [hover] },
    }, data, place);
  };${KEEP_DRAWN}
})();`;

const STYLE = `
#roofline { position: relative; min-height: 500px; }
#roofline-tip { position: absolute; z-index: 9; pointer-events: none; white-space: pre; font-size: 12px; background: var(--panel); border: 1px solid var(--line); border-radius: 6px; padding: 5px 9px; }
`;

/** Style, place and scripts of the chart. */
export const roofline = (results: readonly Result[], ceiling: Ceiling): { style: string; body: string; script: string } => {
  const points = results.map((r) => pointOf(r, ceiling));
  const data = scriptJson({ points, range: rangeOf(points, ceiling), gflops: ceiling.gflops, gbs: ceiling.gbs, kinds: DIRECTIONS, colours: COLOURS });
  return {
    style: uPlotStyle() + STYLE,
    body: '<div id="roofline"><div id="roofline-tip" hidden></div></div>',
    script: `${uPlotScript()}<script>window.pipitRoofline = ${data};${DRAW}</script>`,
  };
};
