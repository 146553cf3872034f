/** uPlot's own files, which are put into pages so that these need no network. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

const file = (name: string): string => {
  const root = dirname(createRequire(import.meta.url).resolve('uplot/package.json'));
  return readFileSync(join(root, 'dist', name), 'utf8');
};

export const uPlotStyle = (): string => file('uPlot.min.css');
export const uPlotScript = (): string => `<script>${file('uPlot.iife.min.js')}</script>`;
