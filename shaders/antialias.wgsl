// Resizes the middle axis of [outer, size, inner] with a triangle that widens when shrinking.
//# include divide
//# include grid

struct Params {
  outer: u32,
  inSize: u32,
  outSize: u32,
  inner: u32,         // vec4f behind the axis
  steps: u32,         // vec4f for an invocation
}
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> heights: array<f32>;      // totalHeight of each output
@group(0) @binding(3) var<storage, read> totals: array<f32>;              // `heights`
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
  let step = 2u * P.outSize;
  let first = quotient(u32(max(centre - support(), 0)), step);
  return vec2u(first, min(quotient(u32(centre + support()), step) + 1u, P.inSize));
}

// Outputs whose triangle can reach source element i.
fn outputsOf(i: u32) -> vec2u {
  let centre = i32((2u * i + 1u) * P.outSize);
  let step = 2u * P.inSize;
  let first = quotient(u32(max(centre - support(), 0)), step);
  return vec2u(first, min(quotient(u32(centre + support()), step) + 1u, P.outSize));
}

// What the weights of an output are divided by; backward needs it for every input, so that it is found beforehand.
@compute @workgroup_size(64)
fn sumHeights(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let o = linearWorkgroup(group, groups) * 64u + lane;
  if (o >= P.outSize) { return; }
  let range = sourcesOf(o);
  var total = 0.0;
  for (var i = range.x; i < range.y; i++) { total += height(i, o); }
  heights[o] = total;
}

@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let mine = stretchOf(linearWorkgroup(group, groups), lane, P.steps, P.outer * P.outSize * P.inner);
  for (var at = mine.first; at < mine.end; at += ABREAST) { y[at] = output(at); }
}

fn output(at: u32) -> vec4f {
  let line = cellOf(at, P.inner);
  let outer = cellOf(line.row, P.outSize);
  let o = outer.column;
  let base = outer.row * P.inSize * P.inner + line.column;
  let range = sourcesOf(o);
  var sum = vec4f(0.0);
  var total = 0.0;
  for (var i = range.x; i < range.y; i++) {
    let weight = height(i, o);
    total += weight;
    sum += weight * x[base + i * P.inner];
  }
  return sum / total;
}

// x is the gradient of the output here, y that of the input.
@compute @workgroup_size(64)
fn backward(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let mine = stretchOf(linearWorkgroup(group, groups), lane, P.steps, P.outer * P.inSize * P.inner);
  for (var at = mine.first; at < mine.end; at += ABREAST) { y[at] = input(at); }
}

fn input(at: u32) -> vec4f {
  let line = cellOf(at, P.inner);
  let outer = cellOf(line.row, P.inSize);
  let i = outer.column;
  let base = outer.row * P.outSize * P.inner + line.column;
  let range = outputsOf(i);
  var sum = vec4f(0.0);
  for (var o = range.x; o < range.y; o++) {
    let weight = height(i, o);
    if (weight > 0.0) { sum += (weight / totals[o]) * x[base + o * P.inner]; }
  }
  return sum;
}
