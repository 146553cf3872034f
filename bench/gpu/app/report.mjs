// The report as Markdown, from the figures that the suite collected.

/** Datasheet rates for float32 without tensor cores, by the adapter's or the card's name. */
const DATASHEETS = [{ name: /H100.*HBM3|H200/, title: 'the datasheet\'s 67 TFLOP/s', gflops: 67_000 }];
/** What was asked for, as shares of that rate, and of the step's time. */
const BARS = { gemm: 0.4, convolutions: 0.3, busy: 0.9 };
const DIRECTIONS = ['forward', 'gradInput', 'gradWeight'];
const MODES = [['float32', 'PyTorch float32'], ['tf32', 'PyTorch TF32'], ['float16', 'PyTorch float16']];

const percent = (share) => `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;
const number = (value) => (value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toPrecision(2));
const verdict = (share, bar) => `${percent(share)}, bar ${percent(bar)}: **${share >= bar ? 'reached' : 'missed'}**`;
const mean = (values) => Math.exp(values.reduce((sum, v) => sum + Math.log(v), 0) / values.length);
const table = (head, rows) => [head, head.map((_, i) => (i ? '--:' : '---')), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
const list = (lines) => lines.map((line) => `- ${line}`).join('\n');

/** The rate that shares are shares of: the datasheet's where the GPU has one here, else what this run measured. */
const rateOf = ({ machine, card, results }) => {
  // Some drivers give themselves as the adapter's name; nvidia-smi knows the card's.
  const known = DATASHEETS.find(({ name }) => name.test(`${machine.adapter.name} ${card}`));
  return known ?? { title: 'the multiply-add peak measured in this run', gflops: results.kernels?.ceiling?.gflops ?? NaN };
};

const verdictLine = (name, { ok, skipped, problem }) => `${name}: ${skipped ? `skipped, ${skipped}` : ok ? 'passed' : `**failed**${problem ? `: ${problem}` : ''}`}`;

const checks = ({ gradcheck, kernels, halves, variants, tests }) => list([
  ...(gradcheck ? [`${verdictLine('Every op against float64, forward and gradient', gradcheck)}${gradcheck.checks ? ` (${gradcheck.summary})` : ''}`, ...(gradcheck.failed ?? [])] : []),
  ...(kernels ? [`${verdictLine('Timed results at their real size', kernels)}${kernels.results ? ` (${kernels.results.filter(({ check }) => check).length} of ${kernels.results.length} compared)` : ''}`, ...(kernels.wrong ?? [])] : []),
  ...(halves ? [verdictLine('Products of float16 operands', halves), ...(halves.wrong ?? [])] : []),
  ...(variants?.outcomes ?? []).map(({ variant, ok, refused, summary }) => `${variant}: ${refused ? 'not on this adapter' : ok ? 'passed' : '**failed**'} (${summary})`),
  ...(tests ? [`${verdictLine('Tests that open the adapter', tests)} (${tests.outcomes.length} files, ${tests.outcomes.reduce((sum, { assertions }) => sum + assertions, 0)} assertions)`,
    ...tests.outcomes.filter(({ ok }) => !ok).map(({ name, problem }) => `${name}: ${problem}`)] : []),
]);

const gflopsOf = (flops, ms) => (typeof ms === 'number' ? flops / ms / 1e6 : null);
const rateCell = (gflops, rate) => (gflops ? `${number(gflops / 1000)} (${percent(gflops / rate.gflops)})` : '–');

const products = ({ results: { kernels, halves, pytorch } }, rate) => {
  const inHalf = (row) => halves?.results?.find((r) => r.case === row.case && r.direction === row.direction)?.gflops ?? null;
  const gemm = kernels?.results?.find((r) => r.op === 'matmul' && r.case === '4096³' && r.direction === 'forward');
  const rows = (kernels?.results ?? []).filter((r) => r.op === 'conv2d' && r.case.endsWith('batch 12') && DIRECTIONS.includes(r.direction));
  const others = MODES.filter(([mode]) => pytorch?.[mode]);
  const cells = (name, flops, ours, theirs) =>
    [name, ...ours.map((gflops) => rateCell(gflops, rate)), ...others.map(([mode]) => rateCell(gflopsOf(flops, theirs(pytorch[mode])), rate))];
  const means = DIRECTIONS.filter((direction) => rows.some((r) => r.direction === direction)).map((direction) => {
    const members = rows.filter((r) => r.direction === direction);
    const of = (rateOfRow) => {
      const rates = members.map(rateOfRow).filter(Boolean);
      return rates.length ? rateCell(mean(rates), rate) : '–';
    };
    return [`**convolutions at batch 12, ${direction}, geometric mean**`, of((r) => r.gflops), of(inHalf), ...others.map(([mode]) => of((r) => gflopsOf(r.flops, pytorch[mode].convolutions?.[r.case]?.[direction])))];
  });
  const lines = [
    ...(gemm ? [cells('**GEMM 4096³**', gemm.flops, [gemm.gflops, inHalf(gemm)], ({ gemm: ms }) => ms)] : []), ...means,
    ...rows.map((r) => cells(`${r.case}, ${r.direction}`, r.flops, [r.gflops, inHalf(r)], ({ convolutions }) => convolutions?.[r.case]?.[r.direction])),
  ];
  if (lines.length === 0) return 'Nothing was measured at these sizes.';
  const against = [
    ...(gemm ? [`GEMM 4096³: ${verdict(gemm.gflops / rate.gflops, BARS.gemm)}`] : []),
    ...(rows.length ? [`convolutions at batch 12, all directions: ${verdict(mean(rows.map((r) => r.gflops)) / rate.gflops, BARS.convolutions)}`] : []),
  ];
  return `${list(against)}\n\nTFLOP/s of the direct algorithm (share of ${rate.title}); what this run measured as its own peak is ${number(kernels.ceiling.gflops / 1000)}.\n\n` +
    table(['', 'Pipit', 'Pipit, float16 operands', ...others.map(([, title]) => title)], lines);
};

const nameOf = ({ model, precision }) => (precision === 'mixed' ? `${model}, mixed precision` : model);

const stepRow = (figures, pytorch) => {
  const { model, size, batch, wallMs, imagesPerSecond, busy, problem } = figures;
  const title = nameOf(figures);
  if (!batch) return [`${title}, ${size} px`, problem, '–', '–', ...MODES.map(() => '–')];
  const theirs = MODES.map(([mode]) => pytorch?.[mode]?.steps?.[model]);
  const rates = theirs.map((ms) => (typeof ms === 'number' ? number((1000 * batch) / ms) : ms?.problem ?? '–'));
  return [`${title}, ${size} px, batch ${batch}`, number(wallMs), number(imagesPerSecond), busy === null ? '–' : percent(busy), ...rates];
};

const steps = ({ results: { step, pytorch } }) => {
  if (!step?.models) return 'Not measured.';
  const busy = step.models.filter((m) => typeof m.busy === 'number');
  return [
    table(['', 'ms per step', 'images/s', 'GPU at work', ...MODES.map(([, title]) => `${title}, images/s`)], step.models.map((m) => stepRow(m, pytorch))),
    list(busy.map((m) => `${nameOf(m)}: GPU at work for ${verdict(m.busy, BARS.busy)}`)),
    ...step.models.filter(({ tried }) => tried.length).map(({ model, tried }) => list(tried.map(({ batch, problem }) => `${model} at batch ${batch} did not run: ${problem}`))),
    'Pipit\'s step includes the upload and transformation of its pictures; PyTorch\'s finds them on the GPU.',
  ].filter(Boolean).join('\n\n');
};

const runRow = ({ name, steps: count, batch, imagesPerSecond, plan, cardMegabytes, loss, problem }) => (problem === undefined
  ? [`${name}, batch ${batch}`, count, number(imagesPerSecond), plan ?? '–', cardMegabytes === null ? '–' : `${cardMegabytes} MiB`, loss.toFixed(4)]
  : [name, problem, '–', '–', '–', '–']);

/** Published for the PyTorch program of this method at batch 12 and 448 pixels. */
const REFERENCE = 'PyTorch\'s published 23–28 images/s of this recipe are those of an RTX 4090';

const runs = ({ results: { run, pytorch } }) => {
  if (!run?.runs) return 'Not measured.';
  const theirs = MODES.map(([mode, title]) => [title, pytorch?.[mode]?.steps?.inception_mixed_6e]).filter(([, ms]) => typeof ms === 'number');
  const here = theirs.map(([title, ms]) => `${title} ${number((1000 * pytorch.batches.inception_mixed_6e) / ms)} images/s`);
  return [
    table(['', 'steps', 'images/s', 'planned memory', 'taken on the card', 'mean loss'], run.runs.map(runRow)),
    `Inception-v3 to Mixed_6e at 448 pixels by \`node dist/train.js\`, drawing and uploading its pictures included. ${REFERENCE}${here.length ? `; on this GPU: ${here.join(', ')}, pictures on the GPU already` : ''}.`,
  ].join('\n\n');
};

/** Kernels below this share of a step are left to results.json. */
const WORTH_A_LINE = 0.005;

/** Where the time of a step goes. */
const profiles = ({ results: { step } }) => (step?.models ?? []).filter(({ kernels }) => kernels).map(({ kernels, ...step }) => {
  const total = kernels.reduce((sum, { ms }) => sum + ms, 0);
  return `### ${nameOf(step)}\n\n${table(['kernel', 'dispatches', 'ms', 'share'], kernels.filter(({ ms }) => ms / total >= WORTH_A_LINE).map((k) => [k.kernel, k.dispatches, k.ms.toFixed(2), percent(k.ms / total)]))}`;
}).join('\n\n');

const setting = ({ pack, card, found, machine, small }) => list([
  `Adapter: ${machine.adapter.name}${machine.adapter.software ? ' (a software adapter)' : ''}, through ${found}`,
  ...(card ? [`nvidia-smi: ${card}`] : []),
  `Machine: ${machine.cpu}, ${machine.cores} cores; ${machine.os}`,
  `Pipit ${machine.pipit}, commit ${pack.commit}, packed ${pack.date}; Node ${machine.node}; webgpu ${machine.webgpu}`,
  ...(small ? ['Tiny sizes: this run proves that everything works, its figures mean nothing'] : []),
]);

export const markdown = (report) => {
  const rate = rateOf(report);
  const { pytorch } = report.results;
  return [
    '# Pipit on this GPU', setting(report),
    '## Checks', checks(report.results) || 'None was run.',
    '## Matrix product and convolutions', products(report, rate),
    '## A whole WS-DAN training step', steps(report),
    '## Training by the command', runs(report),
    '## PyTorch', pytorch ? (pytorch.version ? `PyTorch ${pytorch.version}${pytorch.device ? ` on ${pytorch.device}` : ' on the CPU'}; convolutions in the faster of its two layouts, cuDNN's benchmark mode on.` : verdictLine('PyTorch', pytorch)) : 'Not measured.',
    ...(report.results.step?.models ? ['## The step by kernel', profiles(report) || 'No profile.'] : []),
  ].join('\n\n') + '\n';
};
