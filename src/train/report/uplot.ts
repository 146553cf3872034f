/** uPlot's own files, which are put into pages so that these need no network, and what the scripts of those pages share. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

const file = (name: string): string => {
  const root = dirname(createRequire(import.meta.url).resolve('uplot/package.json'));
  return readFileSync(join(root, 'dist', name), 'utf8');
};

/** What a script in the page draws charts with: the page's colours, a font, and an axis in both. */
export const CHART_TOOLS = `
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim();
  const font = '12px ui-sans-serif, system-ui, sans-serif';
  const axis = (more) => ({ stroke: colour('soft'), font, grid: { stroke: colour('grid'), width: 1 }, ticks: { show: false }, ...more });`;

/** Ends such a script: its `draw` is called, and again when the window's size or the colour scheme changes. */
export const KEEP_DRAWN = `
  draw();
  let waiting;
  addEventListener('resize', () => { clearTimeout(waiting); waiting = setTimeout(draw, 120); });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw);`;

export const uPlotStyle = (): string => file('uPlot.min.css');
export const uPlotScript = (): string => `<script>${file('uPlot.iife.min.js')}</script>`;
