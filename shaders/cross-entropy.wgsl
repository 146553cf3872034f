// Cross-entropy of logits [rows, classes] with labels [rows]. A label outside the classes gives NaN
// for its row. Values by row are stored one after the other, `padded` of them.
// With weights, each class's term of a row counts so many times: sum of w t (log sum - x) for targets t.
//# include divide
//# include float
//# include grid
//# include tail
//# include rows

override WEIGHTED: bool = false;    // else `classWeights` is not read

struct Params {
  rows: u32,
  padded: u32,        // rows rounded up to a multiple of four
  quads: u32,
  width: u32,         // classes
  smoothing: f32,
  scale: f32,         // of the gradient
  perRow: u32,        // 1: `gradient` has a value for each row, else one for all
}
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> labels: array<i32>;
@group(0) @binding(2) var<storage, read_write> losses: array<f32>;
@group(0) @binding(3) var<storage, read_write> statistics: array<f32>;    // maximum, logarithm of the sum, sum of w t (with weights)
@group(0) @binding(4) var<storage, read> kept: array<f32>;                // `statistics` when only read
@group(0) @binding(5) var<storage, read> gradient: array<f32>;
@group(0) @binding(6) var<storage, read_write> result: array<vec4f>;
@group(0) @binding(7) var<storage, read> classWeights: array<vec4f>;
@group(0) @binding(31) var<uniform> P: Params;

// Made at run time: compilers refuse a constant NaN.
fn notANumber() -> f32 {
  return bitcast<f32>(0x7fc00000u * u32(P.quads > 0u));
}

@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let row = rowOf(linearWorkgroup(group, groups), lane);
  let base = min(row, P.rows - 1u) * P.quads;
  let nothing = -infinity(min(P.rows, 1u));
  var share = vec4f(nothing);
  for (var q = firstQuad(lane); q < P.quads; q += quadStep()) {
    share = max4(share, withinRow(x[base + q], nothing, q, P.width));
  }
  let highest = rowMax(share, lane);
  var part = vec4f(0.0);
  var below = vec4f(0.0);
  var weights = vec4f(0.0);
  for (var q = firstQuad(lane); q < P.quads; q += quadStep()) {
    let v = x[base + q] - highest;
    part += withinRow(exp4(v), 0.0, q, P.width);
    if (WEIGHTED) {
      below += withinRow(classWeights[q] * v, 0.0, q, P.width);
      weights += classWeights[q];
    } else {
      below += withinRow(v, 0.0, q, P.width);
    }
  }
  let logTotal = logOf(rowSum(part, lane));
  var meanBelow = 0.0;
  var meanWeight = 0.0;
  if (P.smoothing != 0.0) {
    meanBelow = rowSum(below, lane) / f32(P.width);
    if (WEIGHTED) { meanWeight = rowSum(weights, lane) / f32(P.width); }
  }
  if (row >= P.padded || !isWriter(lane)) { return; }
  var loss = 0.0;
  var weighted = 0.0;
  if (row < P.rows) {
    let label = labels[row];
    if (label >= 0 && label < i32(P.width)) {
      let own = x[base + u32(label) / 4u][u32(label) % 4u] - highest;
      if (WEIGHTED) {
        let ofLabel = (1.0 - P.smoothing) * classWeights[u32(label) / 4u][u32(label) % 4u];
        loss = ofLabel * (logTotal - own) + P.smoothing * (meanWeight * logTotal - meanBelow);
        weighted = ofLabel + P.smoothing * meanWeight;
      } else {
        loss = (1.0 - P.smoothing) * (logTotal - own) + P.smoothing * (logTotal - meanBelow);
      }
    } else {
      loss = notANumber();
    }
  }
  losses[row] = loss;
  statistics[row] = highest;
  statistics[P.padded + row] = logTotal;
  if (WEIGHTED) { statistics[2u * P.padded + row] = weighted; }
}

// One invocation per vec4f of the logits: (softmax - target) times the incoming gradient; with weights, (softmax sum of w t - w target).
@compute @workgroup_size(64)
fn backward(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let i = linearWorkgroup(group, groups) * 64u + lane;
  if (i >= P.rows * P.quads) { return; }
  let at = cellOf(i, P.quads);
  let row = at.row;
  let quad = at.column;
  let label = labels[row];
  let g = gradient[row * P.perRow] * P.scale;
  let probability = exp4(x[i] - kept[row] - kept[P.padded + row]);
  let classes = vec4i(i32(quad * 4u)) + vec4i(0, 1, 2, 3);
  let hit = select(vec4f(0.0), vec4f(1.0 - P.smoothing), classes == vec4i(label));
  var v = g * (probability - hit - P.smoothing / f32(P.width));
  if (WEIGHTED) { v = g * (probability * kept[2u * P.padded + row] - classWeights[quad] * (hit + P.smoothing / f32(P.width))); }
  if (label < 0 || label >= i32(P.width)) { v = vec4f(notANumber()); }
  result[i] = maskTail(v, quad, P.width);
}
