// Copies elements in logical order between tensors whose rows have different lengths.
//# include divide
//# include grid

struct Params {
  quads: u32,           // vec4f of the output
  steps: u32,           // of them for an invocation
  toQuadsPerRow: u32,
  toWidth: u32,
  fromWidth: u32,
  fromStride: u32,      // stored elements per input row
}
@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4u>;
@group(0) @binding(31) var<uniform> P: Params;

// Works on bits, so it serves every element type.
@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let mine = stretchOf(linearWorkgroup(group, groups), lane, P.steps, P.quads);
  for (var i = mine.first; i < mine.end; i += ABREAST) {
    let goal = cellOf(i, P.toQuadsPerRow);
    let column = goal.column * 4u;
    var source = cellOf(goal.row * P.toWidth + column, P.fromWidth);
    var v = vec4u(0u);
    for (var k = 0u; k < 4u; k++) {
      if (column + k < P.toWidth) { v[k] = x[source.row * P.fromStride + source.column]; }
      source = moved(source, Cell(0u, 1u), P.fromWidth);
    }
    y[i] = v;
  }
}
