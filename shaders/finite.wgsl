// Counts elements that are NaN or infinite.
//# include grid

struct Params {
  quads: u32,
  slot: u32,
}
@group(0) @binding(0) var<storage, read> x: array<vec4u>;
@group(0) @binding(1) var<storage, read_write> counters: array<atomic<u32>>;
@group(0) @binding(31) var<uniform> P: Params;

// Sums of integers do not depend on their order, so the atomics do no harm.
@compute @workgroup_size(64)
fn count(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let first = linearWorkgroup(group, groups) * 1024u + lane;
  var found = 0u;
  for (var k = 0u; k < 16u; k++) {
    let i = first + k * 64u;
    if (i < P.quads) {
      let bad = (x[i] & vec4u(0x7f800000u)) == vec4u(0x7f800000u);
      found += dot(select(vec4u(0u), vec4u(1u), bad), vec4u(1u));
    }
  }
  if (found > 0u) { atomicAdd(&counters[P.slot], found); }
}
