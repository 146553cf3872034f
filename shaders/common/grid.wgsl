// One linear index per invocation, whatever the shape of the grid: the host splits a grid that
// would pass 65,535 workgroups in one dimension (kernels/grid.ts).
fn linearWorkgroup(group: vec3u, groups: vec3u) -> u32 {
  return group.x + groups.x * (group.y + groups.y * group.z);
}
