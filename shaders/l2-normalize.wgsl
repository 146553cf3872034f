// Rows divided by their Euclidean length, but at least by eps.
//# include float
//# include grid
//# include rows

struct Params {
  rows: u32,
  padded: u32,        // rows rounded up to a multiple of four
  quads: u32,
  eps: f32,
}
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> lengths: array<f32>;
@group(0) @binding(3) var<storage, read> kept: array<f32>;        // `lengths` when only read
@group(0) @binding(4) var<storage, read> gradient: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> result: array<vec4f>;
@group(0) @binding(31) var<uniform> P: Params;

// Padding behind a row is zero, so it adds nothing and stays zero.
@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let row = rowOf(linearWorkgroup(group, groups), lane);
  let base = min(row, P.rows - 1u) * P.quads;
  var part = vec4f(0.0);
  for (var q = firstQuad(lane); q < P.quads; q += quadStep()) { part += x[base + q] * x[base + q]; }
  let length = sqrt(rowSum(part, lane));
  if (row < P.padded && isWriter(lane)) { lengths[row] = select(0.0, length, row < P.rows); }
  if (row >= P.rows) { return; }
  // Not max(): it may turn NaN into eps.
  let by = select(length, P.eps, length < P.eps);
  for (var q = firstQuad(lane); q < P.quads; q += quadStep()) { y[base + q] = x[base + q] / by; }
}

// x holds the output: dx = (dy - y sum(dy y)) / length, or dy / eps for rows shorter than eps.
@compute @workgroup_size(64)
fn backward(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let row = rowOf(linearWorkgroup(group, groups), lane);
  let at = min(row, P.rows - 1u);
  let base = at * P.quads;
  var part = vec4f(0.0);
  for (var q = firstQuad(lane); q < P.quads; q += quadStep()) { part += gradient[base + q] * x[base + q]; }
  let total = rowSum(part, lane);
  if (row >= P.rows) { return; }
  let length = kept[at];
  let short = length < P.eps;
  let along = select(total, 0.0, short);
  let by = select(length, P.eps, short);
  for (var q = firstQuad(lane); q < P.quads; q += quadStep()) { result[base + q] = (gradient[base + q] - x[base + q] * along) / by; }
}
