// Softmax and logarithmic softmax along rows.
//# include float
//# include grid
//# include tail
//# include rows

override LOGARITHM: bool = false;

struct Params {
  rows: u32,
  quads: u32,
  width: u32,
}
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(2) var<storage, read> gradient: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> result: array<vec4f>;
@group(0) @binding(31) var<uniform> P: Params;

@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let row = rowOf(linearWorkgroup(group, groups), lane);
  let inside = row < P.rows;
  // Surplus invocations repeat the last row, since all must reach the barriers.
  let base = min(row, P.rows - 1u) * P.quads;
  let nothing = -infinity(min(P.rows, 1u));
  var share = vec4f(nothing);
  for (var q = firstQuad(lane); q < P.quads; q += quadStep()) {
    share = max4(share, withinRow(x[base + q], nothing, q, P.width));
  }
  let highest = rowMax(share, lane);
  var part = vec4f(0.0);
  for (var q = firstQuad(lane); q < P.quads; q += quadStep()) {
    part += withinRow(exp4(x[base + q] - highest), 0.0, q, P.width);
  }
  let total = rowSum(part, lane);
  if (!inside) { return; }
  let logTotal = logOf(total);
  for (var q = firstQuad(lane); q < P.quads; q += quadStep()) {
    let v = x[base + q] - highest;
    if (LOGARITHM) { y[base + q] = maskTail(v - logTotal, q, P.width); }
    else { y[base + q] = maskTail(exp4(v) / total, q, P.width); }
  }
}

// x holds the output. dx = y (dy - sum(dy y)), or dy - exp(y) sum(dy) for the logarithm.
@compute @workgroup_size(64)
fn backward(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let row = rowOf(linearWorkgroup(group, groups), lane);
  let inside = row < P.rows;
  let base = min(row, P.rows - 1u) * P.quads;
  var part = vec4f(0.0);
  for (var q = firstQuad(lane); q < P.quads; q += quadStep()) {
    if (LOGARITHM) { part += gradient[base + q]; }
    else { part += gradient[base + q] * x[base + q]; }
  }
  let total = rowSum(part, lane);
  if (!inside) { return; }
  for (var q = firstQuad(lane); q < P.quads; q += quadStep()) {
    let g = gradient[base + q];
    let v = x[base + q];
    if (LOGARITHM) { result[base + q] = maskTail(g - exp4(v) * total, q, P.width); }
    else { result[base + q] = maskTail(v * (g - total), q, P.width); }
  }
}
