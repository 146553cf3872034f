// Joining tensors along an axis, and choosing between two by a condition. Works on bits.
//# include divide
//# include grid

override RAGGED: bool = false;    // rows end within a vec4

struct Params {
  items: u32,         // vec4 to write
  steps: u32,         // of them for an invocation
  inner: u32,         // vec4 of a piece's run (placeQuads), or chunks of four elements of a row
  stride: u32,        // from one run to the next in the output: vec4, or elements
  offset: u32,        // of the piece in the output's run: vec4, or elements
  width: u32,         // elements of a row of the piece, or of the output (choose)
  span: u32,          // elements to write per row: the last piece also clears the padding
  splatA: u32,        // 1: the operand is one element, shown everywhere
  splatB: u32,
  splatCondition: u32,
  value: u32,         // bits to fill with
}
@group(0) @binding(0) var<storage, read> x: array<vec4u>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4u>;
@group(0) @binding(2) var<storage, read> elements: array<u32>;              // x, element by element
@group(0) @binding(3) var<storage, read_write> joined: array<u32>;          // y, element by element
@group(0) @binding(4) var<storage, read> condition: array<vec4u>;
@group(0) @binding(5) var<storage, read> a: array<vec4u>;
@group(0) @binding(6) var<storage, read> b: array<vec4u>;
@group(1) @binding(0) var<uniform> P: Params;

@compute @workgroup_size(64)
fn placeQuads(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let mine = stretchOf(linearWorkgroup(group, groups), lane, P.steps, P.items);
  let step = cellOf(ABREAST, P.inner);
  var at = cellOf(mine.first, P.inner);
  for (var i = mine.first; i < mine.end; i += ABREAST) {
    y[at.row * P.stride + P.offset + at.column] = x[i];
    at = moved(at, step, P.inner);
  }
}

// Rows whose pieces do not begin at multiples of four: element by element.
@compute @workgroup_size(64)
fn placeElements(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = linearWorkgroup(group, groups) * 64u + lane;
  if (i >= P.items) { return; }
  let row = i / P.inner;
  let column = (i % P.inner) * 4u;
  let source = row * ((P.width + 3u) / 4u) * 4u;
  let goal = row * P.stride + P.offset;
  for (var e = column; e < min(column + 4u, P.span); e++) {
    var v = 0u;
    if (e < P.width) { v = elements[source + e]; }
    joined[goal + e] = v;
  }
}

fn within(i: u32) -> vec4<bool> {
  if (!RAGGED) { return vec4<bool>(true); }
  return vec4u((i % P.inner) * 4u) + vec4u(0u, 1u, 2u, 3u) < vec4u(P.width);
}

// Not zero, for floats (where minus zero is zero) and integers alike.
fn holds(bits: vec4u) -> vec4<bool> {
  return (bits & vec4u(0x7fffffffu)) != vec4u(0u);
}

@compute @workgroup_size(64)
fn choose(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let mine = stretchOf(linearWorkgroup(group, groups), lane, P.steps, P.items);
  for (var i = mine.first; i < mine.end; i += ABREAST) {
    var c = condition[select(i, 0u, P.splatCondition == 1u)];
    var u = a[select(i, 0u, P.splatA == 1u)];
    var v = b[select(i, 0u, P.splatB == 1u)];
    c = select(c, c.xxxx, P.splatCondition == 1u);
    u = select(u, u.xxxx, P.splatA == 1u);
    v = select(v, v.xxxx, P.splatB == 1u);
    y[i] = select(vec4u(0u), select(v, u, holds(c)), within(i));
  }
}

@compute @workgroup_size(64)
fn fillWhere(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let mine = stretchOf(linearWorkgroup(group, groups), lane, P.steps, P.items);
  for (var i = mine.first; i < mine.end; i += ABREAST) { y[i] = select(vec4u(0u), select(x[i], vec4u(P.value), holds(condition[i])), within(i)); }
}
