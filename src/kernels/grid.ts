/** WebGPU's limit of workgroups in one dimension. */
export const MAX_GROUPS = 65535;

export type Grid = readonly [number, number, number];

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
