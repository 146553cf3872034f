// A batch norm with frozen statistics as one multiplication and one addition per channel: with the convolution's
// own bias b, weight * (v + b - mean) / sqrt(variance + eps) + bias = line[0] * v + line[1].
//# include tail

@group(0) @binding(0) var<storage, read> mean: array<vec4f>;
@group(0) @binding(1) var<storage, read> variance: array<vec4f>;
@group(0) @binding(2) var<storage, read> weight: array<vec4f>;
@group(0) @binding(3) var<storage, read> bias: array<vec4f>;
@group(0) @binding(4) var<storage, read> own: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> line: array<vec4f>;

struct Params {
  quads: u32,
  width: u32,
  hasOwn: u32,       // 1: the convolution has a bias
  eps: f32,
}
@group(0) @binding(31) var<uniform> P: Params;

@compute @workgroup_size(64)
fn fold(@builtin(global_invocation_id) at: vec3u) {
  let quad = at.x;
  if (quad >= P.quads) { return; }
  let scale = weight[quad] / sqrt(variance[quad] + P.eps);
  var shift = -mean[quad];
  if (P.hasOwn == 1u) { shift += own[quad]; }
  line[quad] = maskTail(scale, quad, P.width);
  line[P.quads + quad] = maskTail(bias[quad] + shift * scale, quad, P.width);
}
