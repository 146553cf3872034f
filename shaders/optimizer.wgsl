// In-place updates of flat parameter buffers, and the norm of all gradients.
//# include float
//# include grid

override SCALED: bool = false;    // gradScale says what multiplies the gradients, whether the update is skipped, and how many of this optimiser were before

struct Params {
  quads: u32,
  steps: u32,           // vec4f for an invocation
  firstSlot: u32,       // where this tensor's partial sums begin
  nesterov: u32,
  step: f32,            // number of this update, from 1, skipped ones included
  lr: f32,
  weightDecay: f32,
  momentum: f32,
  dampening: f32,
  beta1: f32,
  beta2: f32,
  rest1: f32,           // 1 - beta1 and 1 - beta2, rounded once from float64
  rest2: f32,
  logBeta1: f32,        // their logarithms
  logBeta2: f32,
  stepSize: f32,        // lr / (1 - beta1^step)
  rootCorrection: f32,  // 1 / sqrt(1 - beta2^step)
  eps: f32,
  maxNorm: f32,
}
@group(0) @binding(0) var<storage, read_write> weights: array<vec4f>;
@group(0) @binding(1) var<storage, read> gradient: array<vec4f>;
@group(0) @binding(2) var<storage, read> gradScale: array<f32>;
@group(0) @binding(3) var<storage, read_write> moment1: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> moment2: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> slots: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> result: array<vec4f>;
@group(0) @binding(7) var<storage, read> sums: array<vec4f>;
@group(0) @binding(31) var<uniform> P: Params;

// Zeros stay zeros even when the scale is NaN, so that the padding of rows does.
fn scaledGradient(i: u32) -> vec4f {
  let g = gradient[i];
  if (!SCALED) { return g; }
  return select(g * gradScale[0], g, g == vec4f(0.0));
}

fn isSkipped() -> bool {
  return SCALED && gradScale[1] != 0.0;
}

// Updates that were carried out, with this one.
fn updates() -> f32 {
  if (!SCALED) { return P.step; }
  return P.step - gradScale[2];
}

@compute @workgroup_size(64)
fn sgd(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  if (isSkipped()) { return; }
  let mine = stretchOf(linearWorkgroup(group, groups), lane, P.steps, P.quads);
  for (var i = mine.first; i < mine.end; i += ABREAST) {
    let w = weights[i];
    weights[i] = w - P.lr * (scaledGradient(i) + P.weightDecay * w);
  }
}

@compute @workgroup_size(64)
fn sgdMomentum(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  if (isSkipped()) { return; }
  let mine = stretchOf(linearWorkgroup(group, groups), lane, P.steps, P.quads);
  for (var i = mine.first; i < mine.end; i += ABREAST) {
    let w = weights[i];
    let g = scaledGradient(i) + P.weightDecay * w;
    var v = g;
    // At first the momentum buffer holds nothing.
    if (updates() > 1.0) { v = P.momentum * moment1[i] + (1.0 - P.dampening) * g; }
    moment1[i] = v;
    weights[i] = w - P.lr * select(v, g + P.momentum * v, P.nesterov == 1u);
  }
}

// 1 - exp(x) for x below 0; near 0 by its series, because the difference would have few digits.
fn shortfall(x: f32) -> f32 {
  if (x < -0.5) { return 1.0 - exp(x); }
  return -x * (1.0 + x / 2.0 * (1.0 + x / 3.0 * (1.0 + x / 4.0 * (1.0 + x / 5.0 * (1.0 + x / 6.0 * (1.0 + x / 7.0 * (1.0 + x / 8.0)))))));
}

// stepSize and rootCorrection. The host's are made in float64, but do not know of updates that were skipped.
fn corrections() -> vec2f {
  if (updates() == P.step) { return vec2f(P.stepSize, P.rootCorrection); }
  return vec2f(P.lr / shortfall(updates() * P.logBeta1), 1.0 / sqrt(shortfall(updates() * P.logBeta2)));
}

@compute @workgroup_size(64)
fn adamW(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  if (isSkipped()) { return; }
  let by = corrections();
  let mine = stretchOf(linearWorkgroup(group, groups), lane, P.steps, P.quads);
  for (var i = mine.first; i < mine.end; i += ABREAST) {
    let g = scaledGradient(i);
    let m = P.beta1 * moment1[i] + P.rest1 * g;
    let v = P.beta2 * moment2[i] + P.rest2 * g * g;
    moment1[i] = m;
    moment2[i] = v;
    let w = weights[i] * (1.0 - P.lr * P.weightDecay);
    weights[i] = w - by.x * m / (sqrt(v) * by.y + P.eps);
  }
}

var<workgroup> lanes: array<f32, 64>;

fn sumOfLanes(lane: u32, value: f32) -> f32 {
  lanes[lane] = value;
  workgroupBarrier();
  for (var reach = hidden(32u, P.quads); reach > 0u; reach >>= 1u) {
    if (lane < reach) { lanes[lane] += lanes[lane + reach]; }
    workgroupBarrier();
  }
  return lanes[0];
}

// Each invocation's sum of squares. The cut depends on the size and the kind of adapter alone.
@compute @workgroup_size(64)
fn squares(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let workgroup = linearWorkgroup(group, groups);
  let mine = stretchOf(workgroup, lane, P.steps, P.quads);
  var total = vec4f(0.0);
  for (var i = mine.first; i < mine.end; i += ABREAST) {
    let g = gradient[i];
    total += g * g;
  }
  slots[P.firstSlot + workgroup * 64u + lane] = total;
}

// One workgroup: the root of the sum of all partial sums; `quads` is their number.
@compute @workgroup_size(64)
fn root(@builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  var total = vec4f(0.0);
  for (var i = lane; i < P.quads; i += 64u) { total += sums[i]; }
  let sum = sumOfLanes(lane, (total.x + total.y) + (total.z + total.w));
  if (lane == 0u) { result[0] = vec4f(sqrt(sum), 0.0, 0.0, 0.0); }
}

// maxNorm / (norm + 1e-6), at most 1; NaN stays NaN.
@compute @workgroup_size(1)
fn clipScale() {
  let scale = P.maxNorm / (sums[0].x + 1e-6);
  result[0] = vec4f(select(scale, 1.0, scale > 1.0), 0.0, 0.0, 0.0);
}
