// Choosing attention maps, and applying masks to images.
//# include float
//# include divide
//# include grid
//# include tail

override WHICH: u32 = 0u;     // which of the drawn indices of an image

struct Params {
  batch: u32,
  pixels: u32,
  quads: u32,           // vec4f of a pixel
  steps: u32,           // vec4f for an invocation that multiplies
  channels: u32,
}
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> mask: array<vec4f>;
@group(0) @binding(2) var<storage, read> indices: array<vec4i>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(31) var<uniform> P: Params;

// Images times a mask of one channel.
@compute @workgroup_size(64)
fn multiply(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let mine = stretchOf(linearWorkgroup(group, groups), lane, P.steps, P.batch * P.pixels * P.quads);
  let step = cellOf(ABREAST, P.quads);
  var at = cellOf(mine.first, P.quads);
  for (var i = mine.first; i < mine.end; i += ABREAST) {
    y[i] = maskTail(x[i] * mask[at.row].x, at.column, P.channels);
    at = moved(at, step, P.quads);
  }
}

// One channel per image: [B, pixels, M] to [B, pixels, 1].
@compute @workgroup_size(64)
fn choose(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let i = linearWorkgroup(group, groups) * 64u + lane;
  if (i >= P.batch * P.pixels) { return; }
  let map = clamp(indices[quotient(i, P.pixels)][WHICH], 0, i32(P.channels) - 1);
  y[i] = vec4f(x[i * P.quads + u32(map) / 4u][u32(map) % 4u], 0.0, 0.0, 0.0);
}

// sqrt(sum over the pixels + 1e-12) per map; 0 where that is no finite number, so that such a map is never drawn.
@compute @workgroup_size(64)
fn weights(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let i = linearWorkgroup(group, groups) * 64u + lane;
  if (i >= P.batch * P.quads) { return; }
  let at = cellOf(i, P.quads);
  let base = at.row * P.pixels * P.quads + at.column;
  var sum = vec4f(0.0);
  for (var p = 0u; p < P.pixels; p++) { sum += x[base + p * P.quads]; }
  let bits = bitcast<vec4u>(sum);
  let proper = ((bits & vec4u(0x7f800000u)) != vec4u(0x7f800000u)) & (sum >= vec4f(0.0));
  y[i] = maskTail(select(vec4f(0.0), sqrt(max(sum, vec4f(0.0)) + 1e-12), proper), at.column, P.channels);
}
