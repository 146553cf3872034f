// Element type conversions between int32, uint32 and floats; padding stays zero, as 0 converts to 0. To a kernel float16 is float32:
// between the two there is nothing to do but to copy.
//# include grid

struct Params {
  quads: u32,
  steps: u32,         // of them for an invocation
}
@group(0) @binding(0) var<storage, read> x: array<vec4u>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4u>;
@group(0) @binding(31) var<uniform> P: Params;

// 0: int32 to float32, 1: uint32 to float32, 2: float32 to int32 (towards zero), 3: float32 to uint32,
// 4: between floats, 5: floats to bool (0 or 1 as float32; NaN is true), 6: integers to bool.
override OP: u32 = 0u;

fn truth(v: vec4<bool>) -> vec4u {
  return bitcast<vec4u>(select(vec4f(0.0), vec4f(1.0), v));
}

@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let mine = stretchOf(linearWorkgroup(group, groups), lane, P.steps, P.quads);
  for (var i = mine.first; i < mine.end; i += ABREAST) {
    let v = x[i];
    switch (OP) {
      case 0u: { y[i] = bitcast<vec4u>(vec4f(bitcast<vec4i>(v))); }
      case 1u: { y[i] = bitcast<vec4u>(vec4f(v)); }
      case 2u: { y[i] = bitcast<vec4u>(vec4i(bitcast<vec4f>(v))); }
      case 3u: { y[i] = vec4u(bitcast<vec4f>(v)); }
      case 4u: { y[i] = v; }
      case 5u: { y[i] = truth((v & vec4u(0x7fffffffu)) != vec4u(0u)); }
      default: { y[i] = truth(v != vec4u(0u)); }
    }
  }
}
