/** The look of the report: one column, quiet type, light and dark by the reader's setting. */
export const STYLE = `
:root {
  color-scheme: light dark;
  --ground: #fbfaf8; --panel: #ffffff; --ink: #1d1c1a; --soft: #6c6862; --line: #e4e0d9; --track: #efece6;
  --raw: #3b6fb6; --crop: #26876a; --drop: #8d56ab; --refined: #cf4a12; --good: #1f7a4d; --bad: #b3372b; --grid: #ece8e1;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #161513; --panel: #1e1d1a; --ink: #ebe8e2; --soft: #9d978d; --line: #34322d; --track: #2b2925;
    --raw: #7fabea; --crop: #5ec7a2; --drop: #c79be3; --refined: #ff9256; --good: #63c493; --bad: #f08477; --grid: #2a2824;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 15px/1.5 ui-sans-serif, system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; font-variant-numeric: tabular-nums; }
main { max-width: 1120px; margin: 0 auto; padding: 48px 28px 72px; }
h1 { font-size: 30px; line-height: 1.2; letter-spacing: -0.015em; font-weight: 650; margin: 0 0 6px; }
h2 { font-size: 17px; font-weight: 620; letter-spacing: -0.005em; margin: 48px 0 14px; }
p { margin: 0; }
.lead, .soft, figcaption, dt, th { color: var(--soft); }
.key { display: flex; flex-wrap: wrap; gap: 1px; margin: 28px 0 0; background: var(--line); border: 1px solid var(--line); border-radius: 10px; overflow: hidden; }
.key div { flex: 1 1 150px; background: var(--panel); padding: 14px 18px 15px; }
.key b { display: block; font-size: 27px; line-height: 1.25; font-weight: 620; letter-spacing: -0.02em; }
.key .first b { color: var(--refined); }
.key small { color: var(--soft); font-size: 12.5px; }
.pair { display: grid; grid-template-columns: 1.5fr 1fr; gap: 40px; align-items: start; }
table { border-collapse: collapse; width: 100%; }
th { font-weight: 500; font-size: 12.5px; text-align: left; padding: 0 12px 6px 0; }
td { padding: 8px 12px 8px 0; border-top: 1px solid var(--line); vertical-align: middle; }
th.n, td.n { text-align: right; white-space: nowrap; }
tr.strong td { font-weight: 620; }
td.wide { width: 44%; padding-left: 6px; padding-right: 0; }
.dot { display: inline-block; width: 9px; height: 9px; border-radius: 3px; margin-right: 9px; }
.bar { height: 8px; border-radius: 4px; background: var(--track); overflow: hidden; }
.bar i { display: block; height: 100%; border-radius: 4px; }
.charts { display: grid; grid-template-columns: 1fr 1fr; gap: 36px; }
.charts h3 { font-size: 13px; font-weight: 560; color: var(--soft); margin: 0 0 6px; }
.chart { min-height: 270px; }
.uplot .u-legend { font-size: 12px; color: var(--soft); text-align: left; margin: 2px 0 0 40px; width: auto; }
.uplot .u-legend th, .uplot .u-legend td { border: 0; padding: 1px 0; font-weight: 400; color: inherit; }
.uplot .u-legend .u-value { color: var(--ink); padding-left: 5px; min-width: 3.6em; display: inline-block; }
.uplot .u-legend .u-marker { border-radius: 3px; height: 9px; width: 9px; }
.notes { margin: 20px 0 0; padding: 12px 18px; border: 1px solid var(--line); border-left: 3px solid var(--refined); border-radius: 6px; background: var(--panel); }
.notes p + p { margin-top: 4px; }
.legend { display: flex; flex-wrap: wrap; gap: 6px 22px; font-size: 12.5px; color: var(--soft); margin: -4px 0 16px; }
.legend svg { vertical-align: -2px; margin-right: 7px; }
.case { background: var(--panel); border: 1px solid var(--line); border-radius: 12px; padding: 16px 18px 18px; margin-bottom: 18px; break-inside: avoid; }
.case header { display: flex; flex-wrap: wrap; align-items: baseline; gap: 4px 14px; margin-bottom: 12px; }
.case header strong { font-weight: 620; font-size: 16px; }
.case header .verdict { margin-left: auto; font-size: 13px; }
.shots { display: grid; grid-template-columns: repeat(4, minmax(0, 1fr)) minmax(0, 2fr); gap: 12px; align-items: start; }
figure { margin: 0; }
figcaption { font-size: 12px; margin-top: 5px; }
.shot { position: relative; border-radius: 7px; overflow: hidden; background: var(--track); }
.shot img { display: block; width: 100%; height: auto; }
.shot svg { position: absolute; inset: 0; width: 100%; height: 100%; }
.grid { background: none; border-radius: 4px; }
.box { fill: none; vector-effect: non-scaling-stroke; }
.edge { stroke: rgba(0, 0, 0, .55); stroke-width: 4.5; }
.true { stroke: #ffffff; stroke-width: 2; stroke-dasharray: 6 4; }
.looked { stroke: #ff8a3d; stroke-width: 2.5; }
.guesses { display: grid; grid-template-columns: 1fr 1fr; gap: 8px 40px; margin-top: 16px; }
.guesses h4 { font-size: 12.5px; font-weight: 560; color: var(--soft); margin: 0 0 5px; }
.guess { display: grid; grid-template-columns: 18px minmax(0, 11em) 1fr 4.2em; gap: 8px; align-items: center; font-size: 13px; line-height: 1.7; }
.guess span:nth-child(2) { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.guess span:last-child { text-align: right; color: var(--soft); }
.guess .bar { height: 6px; }
.good { color: var(--good); } .bad { color: var(--bad); }
details { margin-top: 48px; border-top: 1px solid var(--line); padding-top: 16px; }
summary { cursor: pointer; font-weight: 620; font-size: 17px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 24px; margin: 14px 0 0; font-size: 13.5px; }
dd { margin: 0; overflow-wrap: anywhere; }
code { font: 12.5px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
@media (max-width: 860px) {
  main { padding: 28px 16px 48px; }
  .pair, .charts, .guesses { grid-template-columns: 1fr; gap: 24px; }
  .shots { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .shots figure:last-child { grid-column: 1 / -1; }
}
@media print { main { max-width: none; padding: 0; } details[open] summary { list-style: none; } }
`;
