/** WebGPU's limit of workgroups in one dimension. */
export const MAX_GROUPS = 65535;

export type Grid = readonly [number, number, number];

interface Part {
  readonly first: number;
  readonly count: number;
}

const partsOf = (length: number): Part[] =>
  Array.from({ length: Math.ceil(length / MAX_GROUPS) }, (_, i) => ({ first: i * MAX_GROUPS, count: Math.min(MAX_GROUPS, length - i * MAX_GROUPS) }));

/** Cuts a grid of two axes, or three, into grids no axis of which passes the limit. */
export function gridParts(a: number, b: number): [Part, Part][];
export function gridParts(a: number, b: number, c: number): [Part, Part, Part][];
export function gridParts(...axes: number[]): Part[][] {
  return axes.reduce<Part[][]>((grids, length) => grids.flatMap((grid) => partsOf(length).map((part) => [...grid, part])), [[]]);
}

/**
 * A grid of at least `groups` workgroups. Beyond the limit of one dimension it becomes two- or
 * three-dimensional; shaders recover the linear index with `linearWorkgroup` and guard the surplus.
 */
export const linearGrid = (groups: number): Grid => {
  if (groups <= MAX_GROUPS) return [Math.max(1, groups), 1, 1];
  const y = Math.ceil(groups / MAX_GROUPS);
  if (y <= MAX_GROUPS) return [Math.ceil(groups / y), y, 1];
  const z = Math.ceil(y / MAX_GROUPS);
  const perLayer = Math.ceil(groups / z);
  const rows = Math.ceil(perLayer / MAX_GROUPS);
  return [Math.ceil(perLayer / rows), rows, z];
};
