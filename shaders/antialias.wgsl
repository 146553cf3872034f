// Resizes the middle axis of [outer, size, inner] with a triangle that widens when shrinking.
//# include grid
//# include tail

struct Params {
  outer: u32,
  inSize: u32,
  outSize: u32,
  inner: u32,         // vec4f behind the axis
  quadsPerRow: u32,
  width: u32,
}
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
@group(1) @binding(0) var<uniform> P: Params;

// In units of 1 / (2 outSize) source elements all positions are integers. The triangle of output o is
// centred at (2 o + 1) inSize; its half-width is at least one source element.
fn support() -> i32 {
  return 2 * i32(max(P.inSize, P.outSize));
}
fn distance(i: u32, o: u32) -> i32 {
  return abs(i32((2u * i + 1u) * P.outSize) - i32((2u * o + 1u) * P.inSize));
}
fn height(i: u32, o: u32) -> f32 {
  return f32(max(support() - distance(i, o), 0));
}

// Source elements under the triangle of output o: from x up to, not including, y.
fn sourcesOf(o: u32) -> vec2u {
  let centre = i32((2u * o + 1u) * P.inSize);
  let step = 2 * i32(P.outSize);
  let first = max(centre - support(), 0) / step;
  return vec2u(u32(first), u32(min((centre + support()) / step + 1, i32(P.inSize))));
}

// Outputs whose triangle can reach source element i.
fn outputsOf(i: u32) -> vec2u {
  let centre = i32((2u * i + 1u) * P.outSize);
  let step = 2 * i32(P.inSize);
  let first = max(centre - support(), 0) / step;
  return vec2u(u32(first), u32(min((centre + support()) / step + 1, i32(P.outSize))));
}

fn totalHeight(o: u32) -> f32 {
  let range = sourcesOf(o);
  var total = 0.0;
  for (var i = range.x; i < range.y; i++) { total += height(i, o); }
  return total;
}

@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let at = linearWorkgroup(group, groups) * 64u + lane;
  if (at >= P.outer * P.outSize * P.inner) { return; }
  let quad = at % P.inner;
  let o = (at / P.inner) % P.outSize;
  let base = (at / (P.inner * P.outSize)) * P.inSize * P.inner + quad;
  let range = sourcesOf(o);
  var sum = vec4f(0.0);
  var total = 0.0;
  for (var i = range.x; i < range.y; i++) {
    let weight = height(i, o);
    total += weight;
    sum += weight * x[base + i * P.inner];
  }
  y[at] = maskTail(sum / total, quad % P.quadsPerRow, P.width);
}

// x is the gradient of the output here, y that of the input.
@compute @workgroup_size(64)
fn backward(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let at = linearWorkgroup(group, groups) * 64u + lane;
  if (at >= P.outer * P.inSize * P.inner) { return; }
  let quad = at % P.inner;
  let i = (at / P.inner) % P.inSize;
  let base = (at / (P.inner * P.inSize)) * P.outSize * P.inner + quad;
  let range = outputsOf(i);
  var sum = vec4f(0.0);
  for (var o = range.x; o < range.y; o++) {
    let weight = height(i, o);
    if (weight > 0.0) { sum += (weight / totalHeight(o)) * x[base + o * P.inner]; }
  }
  y[at] = maskTail(sum, quad % P.quadsPerRow, P.width);
}
