// Pointwise functions of one tensor. OP is a number of src/ops/unary.ts; the other cases are
// removed when the pipeline is specialised.
//# include divide
//# include float
//# include grid
//# include tail

override OP: u32 = 0u;
override RAGGED: bool = false;    // rows end within a vec4f
const GENERAL = 99;
override HALVES: i32 = GENERAL;   // pow: see `power`

struct Params {
  quads: u32,         // vec4f in the tensor
  steps: u32,         // of them for an invocation
  quadsPerRow: u32,
  width: u32,         // logical length of a row
  a: f32,             // scalar arguments of the op
  b: f32,
}
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(2) var<storage, read> gradient: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> result: array<vec4f>;
@group(0) @binding(31) var<uniform> P: Params;

const GELU_SCALE = 0.7071067811865476;      // 1 / sqrt(2)
const GELU_DENSITY = 0.3989422804014327;    // 1 / sqrt(2 pi)

// Complementary error function, relative error below 1.2e-7 (Numerical Recipes' Chebyshev fit).
fn erfc4(v: vec4f) -> vec4f {
  let z = abs(v);
  let t = 1.0 / (1.0 + 0.5 * z);
  var p = vec4f(0.17087277);
  p = p * t - 0.82215223;
  p = p * t + 1.48851587;
  p = p * t - 1.13520398;
  p = p * t + 0.27886807;
  p = p * t - 0.18628806;
  p = p * t + 0.09678418;
  p = p * t + 0.37409196;
  p = p * t + 1.00002368;
  p = p * t - 1.26551223;
  let tailValue = t * exp(-z * z + p);
  return select(2.0 - tailValue, tailValue, v >= vec4f(0.0));
}

// tanh as an odd rational function, relative error below 4e-7 (coefficients as in Eigen); from 7.9 on it is 1 in float32.
// WGSL's own is a quotient of differences of exponentials: it loses all digits near 0, and overflows in some drivers.
fn tanh4(v: vec4f) -> vec4f {
  let c = clamp(v, vec4f(-7.905311), vec4f(7.905311));
  let z = c * c;
  var p = vec4f(-2.76076847742355e-16);
  p = p * z + 2.00018790482477e-13;
  p = p * z - 8.60467152213735e-11;
  p = p * z + 5.12229709037114e-8;
  p = p * z + 1.48572235717979e-5;
  p = p * z + 6.37261928875436e-4;
  p = p * z + 4.89352455891786e-3;
  var q = vec4f(1.19825839466702e-6);
  q = q * z + 1.18534705686654e-4;
  q = q * z + 2.26843463243900e-3;
  q = q * z + 4.89352518554385e-3;
  return select(c * (p / q), v, isNan4(v));
}

// A value the compiler cannot fold away; some drivers turn literal NaN arithmetic into numbers.
fn special(bits: u32) -> vec4f {
  return bitcast<vec4f>(vec4u(bits * u32(P.quads > 0u)));
}

fn sqrt4(v: vec4f) -> vec4f {
  return select(select(sqrt(v), special(0x7fc00000u), v < vec4f(0.0)), v, isNan4(v));
}

// v to the power e, where `halves` is twice the exponent if it is one of those that need no logarithm, else GENERAL.
fn power(v: vec4f, e: f32, halves: i32) -> vec4f {
  switch (halves) {
    case 6: { return v * v * v; }
    case 4: { return v * v; }
    case 2: { return v; }
    case 1: { return sqrt4(v); }
    case 0: { return vec4f(1.0); }
    case -1: { return 1.0 / sqrt4(v); }
    case -2: { return 1.0 / v; }
    case -4: { return (1.0 / v) * (1.0 / v); }
    default: { return generalPower(v, e); }
  }
}

fn generalPower(v: vec4f, e: f32) -> vec4f {
  // Drivers take the logarithm of 0.
  let magnitude = select(pow(abs(v), vec4f(e)), select(vec4f(0.0), special(0x7f800000u), e < 0.0), v == vec4f(0.0));
  let odd = fract(abs(e) * 0.5) == 0.5;
  let integral = fract(e) == 0.0;
  let negative = select(magnitude, -magnitude, odd);
  let signed = select(magnitude, select(special(0x7fc00000u), negative, integral), v < vec4f(0.0));
  return select(signed, v, isNan4(v));
}

// The logarithm with its limits: some drivers give finite numbers for 0, negative numbers and NaN.
fn log4(v: vec4f) -> vec4f {
  let positive = select(select(log(v), special(0x7fc00000u), v < vec4f(0.0)), special(0xff800000u), v == vec4f(0.0));
  return select(positive, v, isNan4(v));
}

fn value(v: vec4f) -> vec4f {
  switch (OP) {
    case 0u: { return -v; }
    case 1u: { return abs(v); }
    case 2u: { return select(sign(v), v, isNan4(v)); }
    case 3u: { return sqrt4(v); }
    case 4u: { return exp4(v); }
    case 5u: { return log4(v); }
    case 6u: { return power(v, P.a, HALVES); }
    case 7u: { return min4(max4(v, vec4f(P.a)), vec4f(P.b)); }
    case 8u: { return max4(v, vec4f(0.0)); }
    case 9u: { return select(1.0 / (1.0 + exp(-v)), v, isNan4(v)); }
    case 10u: { return tanh4(v); }
    case 11u: { return select(0.5 * v * erfc4(-v * GELU_SCALE), v, isNan4(v)); }
    case 12u: { return select(sign(v) * sqrt(abs(v) + P.a), v, isNan4(v)); }
    case 13u: { return v * P.a + P.b; }
    default: { return v; }
  }
}

// Derivative at v, where f is the value there.
fn slope(v: vec4f, f: vec4f) -> vec4f {
  let zero = vec4f(0.0);
  switch (OP) {
    case 0u: { return vec4f(-1.0); }
    case 1u: { return sign(v); }
    case 2u: { return zero; }
    case 3u: { return 0.5 / f; }
    case 4u: { return f; }
    case 5u: { return 1.0 / v; }
    case 6u: { return select(P.a * power(v, P.a - 1.0, select(HALVES - 2, GENERAL, HALVES == GENERAL)), zero, P.a == 0.0); }
    case 9u: { return f * (1.0 - f); }
    case 10u: { return 1.0 - f * f; }
    case 11u: { return 0.5 * erfc4(-v * GELU_SCALE) + v * GELU_DENSITY * exp(-0.5 * v * v); }
    case 12u: { return select(0.5 / sqrt(abs(v) + P.a), zero, v == zero); }
    case 13u: { return vec4f(P.a); }
    default: { return vec4f(1.0); }
  }
}

// The gradient of x from that of y, d.
fn passed(d: vec4f, v: vec4f, f: vec4f) -> vec4f {
  switch (OP) {
    case 7u: { return select(blocked(d), d, (v >= vec4f(P.a)) & (v <= vec4f(P.b))); }
    case 8u: { return select(d, blocked(d), v <= vec4f(0.0)); }
    default: { return d * slope(v, f); }
  }
}

fn rowEnd(v: vec4f, i: u32) -> vec4f {
  if (!RAGGED) { return v; }
  return maskTail(v, cellOf(i, P.quadsPerRow).column, P.width);
}

@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let mine = stretchOf(linearWorkgroup(group, groups), lane, P.steps, P.quads);
  for (var i = mine.first; i < mine.end; i += ABREAST) { y[i] = rowEnd(value(x[i]), i); }
}

@compute @workgroup_size(64)
fn backward(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let mine = stretchOf(linearWorkgroup(group, groups), lane, P.steps, P.quads);
  for (var i = mine.first; i < mine.end; i += ABREAST) {
    let v = x[i];
    result[i] = rowEnd(passed(gradient[i], v, value(v)), i);
  }
}

// Where the derivative is a function of the output alone, the input need not stay in memory.
@compute @workgroup_size(64)
fn backwardFromOutput(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let mine = stretchOf(linearWorkgroup(group, groups), lane, P.steps, P.quads);
  for (var i = mine.first; i < mine.end; i += ABREAST) {
    let f = x[i];
    result[i] = rowEnd(passed(gradient[i], f, f), i);
  }
}
