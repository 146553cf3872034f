// Figures as text: a line per row while measuring, Markdown tables at the end.
import { median } from './statistics.mjs';

const number = (value) => (value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toPrecision(2));
const times = (value) => `${number(value)}×`;
const timed = (cell) => Boolean(cell?.wall?.length);

const rate = (flops, ms) => (flops ? ` (${number(flops / ms / 1e6)})` : '');

/** What a row came to, for people who watch. */
export const progressLine = ({ id, flops, cells, comparison, load }, peers) => {
  const parts = peers.filter(({ name }) => cells[name]).map(({ name }) => {
    const cell = cells[name];
    return timed(cell) ? `${name} ${number(median(cell.wall))} ms${rate(flops, median(cell.wall))}` : `${name} –`;
  });
  const faster = comparison?.wall ? `  ${times(comparison.wall.speedUp)} (${comparison.wall.peer})` : '';
  return `${id.padEnd(44)} ${parts.join('  ')}${faster}  load ${load.toFixed(1)}`;
};

const table = (head, lines) => [head, head.map((_, i) => (i ? '--:' : '---')), ...lines].map((cells) => `| ${cells.join(' | ')} |`).join('\n');

const worstError = (cells) => Math.max(0, ...Object.values(cells).map(({ error }) => error ?? 0));

const cellText = (cell, flops, figure) => {
  if (!timed(cell)) return cell?.error === undefined ? '–' : '**wrong**';
  const ms = median(cell[figure]);
  return `${number(ms)}${rate(flops, ms)}${cell.wall.length < 5 ? ` ⟨${cell.wall.length}⟩` : ''}`;
};

const figureTable = (results, peers, figure) => table(
  ['', ...peers.map(({ title }) => title), 'Pipit over the fastest on WebGPU', ...(figure === 'wall' ? ['largest error'] : [])],
  results.map(({ id, flops, cells, comparison }) => [
    id, ...peers.map(({ name }) => cellText(cells[name], flops, figure)),
    comparison?.[figure] ? `**${times(comparison[figure].speedUp)}**` : '–', ...(figure === 'wall' ? [worstError(cells).toExponential(0)] : []),
  ]),
);

const ratioTable = (results, peers) => {
  const others = peers.filter(({ name }) => name !== 'pipit');
  return table(['', ...others.map(({ title }) => title)], results.map(({ id, comparison }) => [
    id, ...others.map(({ name }) => (comparison?.against[name] ? times(comparison.against[name].wall) : '–')),
  ]));
};

export const summaryLines = (summary) => summary.map(({ group, rows, wall, cpu }) =>
  `${group.padEnd(16)} ${String(rows).padStart(2)} rows: at least ${times(wall.least.speedUp)} (${wall.least.id}), geometric mean ${times(wall.mean)}; ` +
  `by processor time at least ${times(cpu.least.speedUp)}, mean ${times(cpu.mean)}`);

const summaryTable = (summary) => table(
  ['', 'rows', 'least, wall', 'where', 'geometric mean, wall', 'least, processor time', 'geometric mean, processor time'],
  summary.map(({ group, rows, wall, cpu }) =>
    [group, rows, times(wall.least.speedUp), wall.least.id, times(wall.mean), times(cpu.least.speedUp), times(cpu.mean)]),
);

const refusals = (results, peers) => {
  const reasons = new Map();
  for (const { id, cells } of results) {
    for (const { name, title } of peers) {
      const reason = cells[name]?.refused;
      if (reason) reasons.set(`${title}: ${reason}`, [...(reasons.get(`${title}: ${reason}`) ?? []), id]);
    }
  }
  return [...reasons].map(([reason, ids]) => `- ${reason} (${ids.length > 3 ? `${ids.length} rows` : ids.join('; ')})`).join('\n');
};

const setting = ({ machine, rounds, peers, results }) => {
  const loads = results.map(({ load }) => load);
  const facts = peers.map(({ title, facts: f }) => `${title}${f.version ? ` ${f.version}` : ''}${f.adapter ? ` on ${f.adapter}` : ''}${f.threads ? `, ${f.threads} threads` : ''}`);
  return `${machine.processor}, ${machine.cores} cores, Node ${machine.node}, ${machine.date}; load ${Math.min(...loads).toFixed(1)} to ${Math.max(...loads).toFixed(1)}; ${rounds} rounds.\n${facts.join('; ')}.`;
};

/** The whole report. */
export const markdown = (run) => {
  const { command, peers, results, summary } = run;
  return [
    '# Pipit beside its peers', `\`${command}\``, setting(run),
    'Every peer is a process of its own and they take turns; figures are medians over the rounds, ⟨n⟩ where there were only n. Speed-ups are taken within a round, ' +
    'and of these the median. Results were checked first: against float64 at some elements, against the first peer at all of them.',
    '## Summary: Pipit over the fastest WebGPU peer', summaryTable(summary),
    '## Wall time, ms (GFLOP/s)', figureTable(results, peers, 'wall'),
    '## Processor time of the process, all threads, ms (GFLOP per core-second)', figureTable(results, peers, 'cpu'),
    '## How many times as long as Pipit, wall time', ratioTable(results, peers),
    '## Not measured', refusals(results, peers) || 'Nothing was left out.',
  ].join('\n\n') + '\n';
};
