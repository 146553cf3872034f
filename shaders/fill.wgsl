// Writes one value to all elements; bits, so that it serves every element type.
//# include grid
//# include tail

struct Params {
  quads: u32,
  quadsPerRow: u32,
  width: u32,
  bits: u32,
}
@group(0) @binding(0) var<storage, read_write> y: array<vec4f>;
@group(1) @binding(0) var<uniform> P: Params;

@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let first = linearWorkgroup(group, groups) * 256u + lane;
  for (var k = 0u; k < 4u; k++) {
    let i = first + k * 64u;
    if (i < P.quads) { y[i] = maskTail(bitcast<vec4f>(vec4u(P.bits)), i % P.quadsPerRow, P.width); }
  }
}
