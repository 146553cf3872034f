// Adds single numbers, each with its weight, to a row of sums.
@group(0) @binding(0) var<storage, read> s0: array<vec4f>;
@group(0) @binding(1) var<storage, read> s1: array<vec4f>;
@group(0) @binding(2) var<storage, read> s2: array<vec4f>;
@group(0) @binding(3) var<storage, read> s3: array<vec4f>;
@group(0) @binding(4) var<storage, read> s4: array<vec4f>;
@group(0) @binding(5) var<storage, read> s5: array<vec4f>;
@group(0) @binding(6) var<storage, read> s6: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> sums: array<f32>;

struct Params {
  first: u32,         // sum that s0 belongs to; the others follow
  count: u32,
  weights0: vec4f,
  weights4: vec4f,
}
@group(0) @binding(31) var<uniform> P: Params;

@compute @workgroup_size(8)
fn add(@builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  if (lane >= P.count) { return; }
  var value = array<f32, 7>(s0[0].x, s1[0].x, s2[0].x, s3[0].x, s4[0].x, s5[0].x, s6[0].x);
  var weight = array<f32, 8>(P.weights0.x, P.weights0.y, P.weights0.z, P.weights0.w, P.weights4.x, P.weights4.y, P.weights4.z, P.weights4.w);
  sums[P.first + lane] = sums[P.first + lane] + value[lane] * weight[lane];
}
