// Tests by bits: on several drivers `v != v` is false for NaN and `max(NaN, 0)` is 0.
fn isNan(v: f32) -> bool {
  return (bitcast<u32>(v) & 0x7fffffffu) > 0x7f800000u;
}
fn isNan4(v: vec4f) -> vec4<bool> {
  return (bitcast<vec4u>(v) & vec4u(0x7fffffffu)) > vec4u(0x7f800000u);
}
fn isFinite(v: f32) -> bool {
  return (bitcast<u32>(v) & 0x7f800000u) != 0x7f800000u;
}
// max and min that let a NaN of either side through, as PyTorch's do.
fn max4(a: vec4f, b: vec4f) -> vec4f {
  return select(select(select(b, a, a > b), b, isNan4(b)), a, isNan4(a));
}
fn min4(a: vec4f, b: vec4f) -> vec4f {
  return select(select(select(b, a, a < b), b, isNan4(b)), a, isNan4(a));
}
const LOWEST = -3.4028234663852886e38;
// WGSL has no literal for infinity; the bits of a run-time value are not folded away.
fn infinity(one: u32) -> f32 {
  return bitcast<f32>(0x7f800000u * one);
}
// What is left of a gradient that an op does not let through: nothing, of an infinity either (0 times that would be NaN); but a NaN stays visible.
fn blocked(d: vec4f) -> vec4f {
  return select(vec4f(0.0), d, isNan4(d));
}
// On some drivers exponential and logarithm of NaN are numbers.
fn exp4(v: vec4f) -> vec4f {
  return select(exp(v), v, isNan4(v));
}
fn logOf(v: f32) -> f32 {
  return select(log(v), v, isNan(v));
}
