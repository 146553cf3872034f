// Random tensors. The counter of a number is its position in the tensor, padding not counted.
//# include divide
//# include float
//# include grid
//# include random
//# include tail

override NORMAL: bool = false;

struct Params {
  quads: u32,           // vec4 to write
  steps: u32,           // dropout: of them for an invocation
  quadsPerRow: u32,
  width: u32,
  key: u32,
  a: f32,               // lower end and length of the interval, or mean and deviation; probability and scale of dropout
  b: f32,
  most: f32,            // no number is larger
  options: u32,         // multinomial: weights of a row
  optionStride: u32,    // stored elements from one row of weights to the next
}
@group(0) @binding(0) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> weights: array<f32>;
@group(0) @binding(3) var<storage, read_write> drawn: array<vec4i>;
@group(0) @binding(31) var<uniform> P: Params;

const TAU = 6.283185307179586;

// Position of the first element of a vec4.
fn counterOf(at: Cell) -> u32 { return at.row * P.width + at.column * 4u; }

// Box and Muller's transform: neighbours 2n and 2n + 1 are the cosine and sine of one pair.
fn normal(counter: u32) -> f32 {
  let first = counter & ~1u;
  // In (0, 1], so that the logarithm is finite.
  let radius = sqrt(-2.0 * log(randomUniform(P.key, first) + 5.9604644775390625e-8));
  let angle = TAU * randomUniform(P.key, first + 1u);
  return radius * select(cos(angle), sin(angle), (counter & 1u) == 1u);
}

@compute @workgroup_size(64)
fn fill(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let i = linearWorkgroup(group, groups) * 64u + lane;
  if (i >= P.quads) { return; }
  let at = cellOf(i, P.quadsPerRow);
  let counter = counterOf(at);
  var v = vec4f(0.0);
  for (var k = 0u; k < 4u; k++) {
    if (NORMAL) { v[k] = normal(counter + k); }
    else { v[k] = randomUniform(P.key, counter + k); }
  }
  // Rounding must not reach the upper end.
  y[i] = maskTail(min(P.a + P.b * v, vec4f(P.most)), at.column, P.width);
}

// Also its own backward. A product, not a choice: 0 * NaN stays NaN.
@compute @workgroup_size(64)
fn dropout(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let mine = stretchOf(linearWorkgroup(group, groups), lane, P.steps, P.quads);
  let step = cellOf(ABREAST, P.quadsPerRow);
  var at = cellOf(mine.first, P.quadsPerRow);
  for (var i = mine.first; i < mine.end; i += ABREAST) {
    let counter = counterOf(at);
    let draws = vec4f(randomUniform(P.key, counter), randomUniform(P.key, counter + 1u), randomUniform(P.key, counter + 2u), randomUniform(P.key, counter + 3u));
    y[i] = maskTail(x[i] * select(vec4f(0.0), vec4f(P.b), draws >= vec4f(P.a)), at.column, P.width);
    at = moved(at, step, P.quadsPerRow);
  }
}

// Negative, infinite and NaN weights count as zero.
fn weightOf(at: u32, scale: f32) -> f32 {
  let w = weights[at];
  return select(0.0, w * scale, w > 0.0 && isFinite(w));
}
fn totalOf(base: u32, scale: f32) -> f32 {
  var total = 0.0;
  for (var m = 0u; m < P.options; m++) { total += weightOf(base + m, scale); }
  return total;
}

// By which weights are multiplied whose sum would be infinite.
const SMALLER = 1.0 / 4294967296.0;

// Inverse of the cumulative distribution. Rounding can leave the threshold just above the last sum:
// then the last option with a weight is taken.
fn draw(row: u32, counter: u32) -> i32 {
  let base = row * P.optionStride;
  var scale = 1.0;
  var total = totalOf(base, scale);
  if (!isFinite(total)) {
    scale = SMALLER;
    total = totalOf(base, scale);
  }
  let u = randomUniform(P.key, counter);
  if (total == 0.0) { return min(i32(u * f32(P.options)), i32(P.options) - 1); }
  let threshold = u * total;
  var reached = 0.0;
  var chosen = 0;
  for (var m = 0u; m < P.options; m++) {
    let w = weightOf(base + m, scale);
    if (w > 0.0 && reached <= threshold) { chosen = i32(m); }
    reached += w;
  }
  return chosen;
}

@compute @workgroup_size(64)
fn multinomial(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let i = linearWorkgroup(group, groups) * 64u + lane;
  if (i >= P.quads) { return; }
  let at = cellOf(i, P.quadsPerRow);
  var v = vec4i(0);
  for (var k = 0u; k < 4u; k++) {
    if (at.column * 4u + k < P.width) { v[k] = draw(at.row, counterOf(at) + k); }
  }
  drawn[i] = v;
}
