// One linear index per invocation, whatever the shape of the grid: the host splits a grid that
// would pass 65,535 workgroups in one dimension (kernels/grid.ts). Kernels take their lane from local_invocation_id.x: for
// local_invocation_index, which is the same in workgroups of one dimension, drivers on CPUs divide for all three.
fn linearWorkgroup(group: vec3u, groups: vec3u) -> u32 {
  return group.x + groups.x * (group.y + groups.y * group.z);
}

// The vec4f first, first + ABREAST, ... before `end` are an invocation's. ABREAST neighbours walk side by side, a cache line
// of a GPU in each step, through memory of their own. The host gives the number of steps, so that loops over them are not
// unrolled: drivers on CPUs run, and compile, the short loop faster.
const ABREAST = 8u;
struct Stretch {
  first: u32,
  end: u32,
}
fn stretchOf(workgroup: u32, lane: u32, steps: u32, quads: u32) -> Stretch {
  let start = (workgroup * (64u / ABREAST) + lane / ABREAST) * ABREAST * steps;
  return Stretch(start + lane % ABREAST, min(start + ABREAST * steps, quads));
}

// `count`, for loops of so many turns that compilers must not know: drivers on CPUs would write their turns out, with all loads, stores and
// barriers, and take three to eight times as long to compile a kernel that runs no faster. `size` is any that is not 0.
fn hidden(count: u32, size: u32) -> u32 {
  return count * min(size, 1u);
}
