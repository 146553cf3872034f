// Averages of weights: a step of them towards the present values, and the exchange of both. All in place.
//# include grid

struct Params {
  quads: u32,
  steps: u32,           // vec4f for an invocation
  weight: f32,
}
@group(0) @binding(0) var<storage, read_write> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> end: array<vec4f>;
// Bits, so that every value arrives as it was.
@group(0) @binding(2) var<storage, read_write> a: array<vec4u>;
@group(0) @binding(3) var<storage, read_write> b: array<vec4u>;
@group(0) @binding(31) var<uniform> P: Params;

// From the nearer of the two, so that a weight of 1 gives the end itself.
@compute @workgroup_size(64)
fn lerp(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let mine = stretchOf(linearWorkgroup(group, groups), local.x, P.steps, P.quads);
  for (var i = mine.first; i < mine.end; i += ABREAST) {
    let start = x[i];
    let way = end[i] - start;
    if (P.weight < 0.5) { x[i] = start + P.weight * way; }
    else { x[i] = end[i] - (1.0 - P.weight) * way; }
  }
}

@compute @workgroup_size(64)
fn exchange(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let mine = stretchOf(linearWorkgroup(group, groups), local.x, P.steps, P.quads);
  for (var i = mine.first; i < mine.end; i += ABREAST) {
    let before = a[i];
    a[i] = b[i];
    b[i] = before;
  }
}
