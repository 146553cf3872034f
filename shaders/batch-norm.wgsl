// Batch normalisation of rows [rows, channels] by channel. Each invocation keeps one vec4f of
// channels and walks down a block of rows, so that per-channel values are loaded once per block.
// Partial results and `statistics` hold two rows each: first row, second row.
//# include grid
//# include tail

override RELU: bool = false;
override RESIDUAL: bool = false;    // is added before the ReLU

struct Params {
  rows: u32,
  quads: u32,         // vec4f of a row
  width: u32,         // channels
  per: u32,           // rows of a block; of an input block where blocks are combined
  blocks: u32,        // blocks, of the input where blocks are combined
  fan: u32,           // input blocks combined into one
  momentum: f32,
  eps: f32,
  accumulate: u32,    // 1: gradients of weight and bias are added to what is there
}
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> inputParts: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> parts: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> statistics: array<vec4f>;    // mean, 1 / standard deviation
@group(0) @binding(4) var<storage, read_write> runningMean: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> runningVariance: array<vec4f>;
@group(0) @binding(6) var<storage, read> moments: array<vec4f>;             // `statistics` when only read
@group(0) @binding(7) var<storage, read> weight: array<vec4f>;
@group(0) @binding(8) var<storage, read> bias: array<vec4f>;
@group(0) @binding(9) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(10) var<storage, read> gradient: array<vec4f>;
@group(0) @binding(11) var<storage, read> sums: array<vec4f>;               // of dy, and of dy times the normalised input
@group(0) @binding(12) var<storage, read_write> sumsOut: array<vec4f>;
@group(0) @binding(13) var<storage, read_write> biasOut: array<vec4f>;
@group(0) @binding(14) var<storage, read_write> weightOut: array<vec4f>;
@group(0) @binding(15) var<storage, read> frozenMean: array<vec4f>;
@group(0) @binding(16) var<storage, read> frozenVariance: array<vec4f>;
@group(0) @binding(17) var<storage, read> residual: array<vec4f>;
@group(1) @binding(0) var<uniform> P: Params;

// Rows that are summed apart from the rest: long chains of additions would gather rounding errors.
const CHUNK = 32u;

struct Moments {
  mean: vec4f,
  squares: vec4f,     // sum of squared distances from the mean
}

// Two groups of rows as one (Chan, Golub and LeVeque's update).
fn joined(a: Moments, countA: f32, b: Moments, countB: f32) -> Moments {
  let away = b.mean - a.mean;
  let share = countB / (countA + countB);
  return Moments(a.mean + away * share, a.squares + b.squares + away * away * (countA * share));
}

// Statistics of a few rows. Sums are taken relative to the first of them, so that a mean far from zero costs no
// digits of the variance.
fn momentsOf(first: u32, last: u32, quad: u32) -> Moments {
  let shift = x[first * P.quads + quad];
  var sum = vec4f(0.0);
  var squares = vec4f(0.0);
  var r = first + 1u;
  for (; r + 4u <= last; r += 4u) {
    let at = r * P.quads + quad;
    let a = x[at] - shift;
    let b = x[at + P.quads] - shift;
    let c = x[at + 2u * P.quads] - shift;
    let d = x[at + 3u * P.quads] - shift;
    sum += (a + b) + (c + d);
    squares += (a * a + b * b) + (c * c + d * d);
  }
  for (; r < last; r++) {
    let a = x[r * P.quads + quad] - shift;
    sum += a;
    squares += a * a;
  }
  let away = sum / f32(last - first);
  return Moments(shift + away, max(squares - sum * away, vec4f(0.0)));
}

// Statistics of a block of rows.
@compute @workgroup_size(64)
fn blockMoments(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = linearWorkgroup(group, groups) * 64u + lane;
  if (i >= P.blocks * P.quads) { return; }
  let quad = i % P.quads;
  let first = (i / P.quads) * P.per;
  let last = min(first + P.per, P.rows);
  var total = Moments(vec4f(0.0), vec4f(0.0));
  for (var start = first; start < last; start += CHUNK) {
    let end = min(start + CHUNK, last);
    total = joined(total, f32(start - first), momentsOf(start, end, quad), f32(end - start));
  }
  parts[i] = total.mean;
  parts[P.blocks * P.quads + i] = total.squares;
}

// Rows that the input blocks from `block` on, `count` of them, hold together.
fn rowsOf(block: u32, count: u32) -> f32 {
  return f32(min((block + count) * P.per, P.rows) - min(block * P.per, P.rows));
}

// Combines input blocks.
fn combined(first: u32, quad: u32) -> Moments {
  var total = Moments(inputParts[first * P.quads + quad], inputParts[(P.blocks + first) * P.quads + quad]);
  var count = rowsOf(first, 1u);
  for (var block = first + 1u; block < min(first + P.fan, P.blocks); block++) {
    let more = rowsOf(block, 1u);
    total = joined(total, count, Moments(inputParts[block * P.quads + quad], inputParts[(P.blocks + block) * P.quads + quad]), more);
    count += more;
  }
  return total;
}

@compute @workgroup_size(64)
fn combineMoments(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = linearWorkgroup(group, groups) * 64u + lane;
  let outputs = (P.blocks + P.fan - 1u) / P.fan;
  if (i >= outputs * P.quads) { return; }
  let total = combined((i / P.quads) * P.fan, i % P.quads);
  parts[i] = total.mean;
  parts[outputs * P.quads + i] = total.squares;
}

// The last combination: statistics for normalising (biased variance) and the running ones (unbiased).
@compute @workgroup_size(64)
fn finishMoments(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let quad = linearWorkgroup(group, groups) * 64u + lane;
  if (quad >= P.quads) { return; }
  let total = combined(0u, quad);
  let rows = f32(P.rows);
  statistics[quad] = maskTail(total.mean, quad, P.width);
  statistics[P.quads + quad] = maskTail(1.0 / sqrt(total.squares / rows + P.eps), quad, P.width);
  runningMean[quad] = maskTail((1.0 - P.momentum) * runningMean[quad] + P.momentum * total.mean, quad, P.width);
  runningVariance[quad] = maskTail((1.0 - P.momentum) * runningVariance[quad] + P.momentum * (total.squares / (rows - 1.0)), quad, P.width);
}

@compute @workgroup_size(64)
fn frozenStatistics(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let quad = linearWorkgroup(group, groups) * 64u + lane;
  if (quad >= P.quads) { return; }
  statistics[quad] = frozenMean[quad];
  statistics[P.quads + quad] = maskTail(1.0 / sqrt(frozenVariance[quad] + P.eps), quad, P.width);
}

// A NaN must come through ReLU; max(NaN, 0) is 0 on some drivers.
fn activated(v: vec4f) -> vec4f {
  return select(v, vec4f(0.0), vec4<bool>(RELU) & (v < vec4f(0.0)));
}

@compute @workgroup_size(64)
fn normalize(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = linearWorkgroup(group, groups) * 64u + lane;
  if (i >= P.blocks * P.quads) { return; }
  let quad = i % P.quads;
  let first = (i / P.quads) * P.per;
  let last = min(first + P.per, P.rows);
  let mean = moments[quad];
  let scale = moments[P.quads + quad] * weight[quad];
  let shift = bias[quad];
  for (var r = first; r < last; r++) {
    let at = r * P.quads + quad;
    var v = (x[at] - mean) * scale + shift;
    if (RESIDUAL) { v += residual[at]; }
    y[at] = activated(v);
  }
}

// The gradient before the ReLU: the sign of its input is computed again, which is cheaper than to
// keep the output in memory and read it.
fn passed(at: u32, centred: vec4f, scale: vec4f, shift: vec4f) -> vec4f {
  if (!RELU) { return gradient[at]; }
  return select(vec4f(0.0), gradient[at], centred * scale + shift > vec4f(0.0));
}

// Sums of dy and of dy times the normalised input over a block of rows.
@compute @workgroup_size(64)
fn blockGradients(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = linearWorkgroup(group, groups) * 64u + lane;
  if (i >= P.blocks * P.quads) { return; }
  let quad = i % P.quads;
  let first = (i / P.quads) * P.per;
  let last = min(first + P.per, P.rows);
  let mean = moments[quad];
  let inverse = moments[P.quads + quad];
  let scale = inverse * weight[quad];
  let shift = bias[quad];
  var sum = vec4f(0.0);
  var weighted = vec4f(0.0);
  for (var start = first; start < last; start += CHUNK) {
    let end = min(start + CHUNK, last);
    var partSum = vec4f(0.0);
    var partWeighted = vec4f(0.0);
    var r = start;
    for (; r + 2u <= end; r += 2u) {
      let at = r * P.quads + quad;
      let c0 = x[at] - mean;
      let c1 = x[at + P.quads] - mean;
      let g0 = passed(at, c0, scale, shift);
      let g1 = passed(at + P.quads, c1, scale, shift);
      partSum += g0 + g1;
      partWeighted += g0 * c0 + g1 * c1;
    }
    if (r < end) {
      let at = r * P.quads + quad;
      let c0 = x[at] - mean;
      let g0 = passed(at, c0, scale, shift);
      partSum += g0;
      partWeighted += g0 * c0;
    }
    sum += partSum;
    weighted += partWeighted;
  }
  parts[i] = sum;
  parts[P.blocks * P.quads + i] = weighted * inverse;
}

fn added(first: u32, quad: u32) -> Moments {
  var total = Moments(vec4f(0.0), vec4f(0.0));
  for (var block = first; block < min(first + P.fan, P.blocks); block++) {
    total.mean += inputParts[block * P.quads + quad];
    total.squares += inputParts[(P.blocks + block) * P.quads + quad];
  }
  return total;
}

@compute @workgroup_size(64)
fn combineGradients(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = linearWorkgroup(group, groups) * 64u + lane;
  let outputs = (P.blocks + P.fan - 1u) / P.fan;
  if (i >= outputs * P.quads) { return; }
  let total = added((i / P.quads) * P.fan, i % P.quads);
  parts[i] = total.mean;
  parts[outputs * P.quads + i] = total.squares;
}

@compute @workgroup_size(64)
fn finishGradients(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let quad = linearWorkgroup(group, groups) * 64u + lane;
  if (quad >= P.quads) { return; }
  let total = added(0u, quad);
  let toBias = maskTail(total.mean, quad, P.width);
  let toWeight = maskTail(total.squares, quad, P.width);
  sumsOut[quad] = toBias;
  sumsOut[P.quads + quad] = toWeight;
  if (P.accumulate == 1u) {
    biasOut[quad] = biasOut[quad] + toBias;
    weightOut[quad] = weightOut[quad] + toWeight;
  } else {
    biasOut[quad] = toBias;
    weightOut[quad] = toWeight;
  }
}

@compute @workgroup_size(64)
fn inputGradient(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = linearWorkgroup(group, groups) * 64u + lane;
  if (i >= P.blocks * P.quads) { return; }
  let quad = i % P.quads;
  let first = (i / P.quads) * P.per;
  let last = min(first + P.per, P.rows);
  let mean = moments[quad];
  let inverse = moments[P.quads + quad];
  let scale = inverse * weight[quad];
  let shift = bias[quad];
  let common1 = sums[quad] / f32(P.rows);
  let common2 = inverse * (sums[P.quads + quad] / f32(P.rows));
  for (var r = first; r < last; r++) {
    let at = r * P.quads + quad;
    let centred = x[at] - mean;
    y[at] = scale * (passed(at, centred, scale, shift) - common1 - centred * common2);
  }
}

// With frozen statistics each element depends on its own input alone.
@compute @workgroup_size(64)
fn frozenInputGradient(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = linearWorkgroup(group, groups) * 64u + lane;
  if (i >= P.blocks * P.quads) { return; }
  let quad = i % P.quads;
  let first = (i / P.quads) * P.per;
  let last = min(first + P.per, P.rows);
  let mean = moments[quad];
  let scale = moments[P.quads + quad] * weight[quad];
  let shift = bias[quad];
  for (var r = first; r < last; r++) {
    let at = r * P.quads + quad;
    y[at] = scale * passed(at, x[at] - mean, scale, shift);
  }
}
