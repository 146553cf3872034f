// Writes one value to all elements; bits, so that it serves every element type.
//# include grid
//# include tail

override RAGGED: bool = false;    // rows end within a vec4f

struct Params {
  quads: u32,
  steps: u32,         // of them for an invocation
  quadsPerRow: u32,
  width: u32,
  bits: u32,
}
@group(0) @binding(0) var<storage, read_write> y: array<vec4f>;
@group(1) @binding(0) var<uniform> P: Params;

@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let mine = stretchOf(linearWorkgroup(group, groups), lane, P.steps, P.quads);
  let value = bitcast<vec4f>(vec4u(P.bits));
  for (var i = mine.first; i < mine.end; i += ABREAST) {
    if (RAGGED) { y[i] = maskTail(value, i % P.quadsPerRow, P.width); } else { y[i] = value; }
  }
}
