// Writes one value to all elements; bits, so that it serves every element type.
//# include divide
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
@group(0) @binding(31) var<uniform> P: Params;

@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let mine = stretchOf(linearWorkgroup(group, groups), lane, P.steps, P.quads);
  let value = bitcast<vec4f>(vec4u(P.bits));
  if (!RAGGED) {
    for (var i = mine.first; i < mine.end; i += ABREAST) { y[i] = value; }
    return;
  }
  let step = cellOf(ABREAST, P.quadsPerRow);
  var at = cellOf(mine.first, P.quadsPerRow);
  for (var i = mine.first; i < mine.end; i += ABREAST) {
    y[i] = maskTail(value, at.column, P.width);
    at = moved(at, step, P.quadsPerRow);
  }
}
