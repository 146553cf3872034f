export const median = (values) => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};

const geometricMean = (values) => Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);

const timed = (cell) => Boolean(cell?.wall?.length);

/** How many times as long a peer took as Pipit: within each round, and of these the median. */
export const speedUp = (ours, theirs, figure) => median(theirs[figure].map((value, round) => value / ours[figure][round]).filter(Number.isFinite));

/** Pipit against each peer of a row, and against the fastest of those on WebGPU. */
export const compareRow = ({ cells }, peers) => {
  const ours = cells.pipit;
  if (!timed(ours)) return null;
  const others = peers.filter(({ name }) => name !== 'pipit' && timed(cells[name]));
  const against = Object.fromEntries(others.map(({ name }) => [name, { wall: speedUp(ours, cells[name], 'wall'), cpu: speedUp(ours, cells[name], 'cpu') }]));
  const onWebGpu = others.filter(({ webgpu }) => webgpu);
  const fastest = (figure) => onWebGpu.map(({ name }) => ({ peer: name, speedUp: against[name][figure] })).sort((a, b) => a.speedUp - b.speedUp)[0] ?? null;
  return { against, wall: fastest('wall'), cpu: fastest('cpu') };
};

/** Smallest and mean speed-up over the fastest WebGPU peer, by group of rows. */
export const summarise = (results) => {
  const groups = new Map();
  for (const result of results.filter(({ comparison }) => comparison?.wall)) groups.set(result.group, [...(groups.get(result.group) ?? []), result]);
  return [...groups].map(([group, members]) => {
    const of = (figure) => {
      const list = members.map(({ id, comparison }) => ({ id, speedUp: comparison[figure].speedUp })).sort((a, b) => a.speedUp - b.speedUp);
      return { least: list[0], mean: geometricMean(list.map((entry) => entry.speedUp)) };
    };
    return { group, rows: members.length, wall: of('wall'), cpu: of('cpu') };
  });
};
