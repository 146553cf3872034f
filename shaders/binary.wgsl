// Pointwise functions of two tensors with broadcasting. OP is a number of src/ops/binary.ts.
//# include float
//# include divide
//# include grid
//# include tail

override OP: u32 = 0u;
override BROADCAST: bool = false;
override AXES: u32 = 4u;           // leading axes in use, counted from the last
override RAGGED: bool = false;      // rows end within a vec4f

struct Params {
  sizes: vec4u,       // leading axes of the output, collapsed to four
  stridesA: vec4u,    // in vec4f; 0 along broadcast axes
  stridesB: vec4u,
  quads: u32,
  steps: u32,         // of them for an invocation
  quadsPerRow: u32,
  width: u32,
  splatA: u32,        // 1: the row of a has one element, shown to all lanes
  splatB: u32,
}
@group(0) @binding(0) var<storage, read> a: array<vec4f>;
@group(0) @binding(1) var<storage, read> b: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;
@group(1) @binding(0) var<uniform> P: Params;

fn truth(v: vec4<bool>) -> vec4f {
  return select(vec4f(0.0), vec4f(1.0), v);
}

fn value(u: vec4f, v: vec4f) -> vec4f {
  switch (OP) {
    case 0u: { return u + v; }
    case 1u: { return u - v; }
    case 2u: { return u * v; }
    case 3u: { return u / v; }
    case 4u: { return max4(u, v); }
    case 5u: { return min4(u, v); }
    case 6u: { return truth(u == v); }
    case 7u: { return truth(u != v); }
    case 8u: { return truth(u < v); }
    case 9u: { return truth(u <= v); }
    case 10u: { return truth(u > v); }
    case 11u: { return truth(u >= v); }
    case 12u: { return 0.5 * (truth(u > v) + truth(u >= v)); }   // share of u in max(u, v); ties are halved
    case 13u: { return u; }                                      // broadcasts u to the output's shape
    default: { return u; }
  }
}

// Offsets of a row of the output in a and b.
fn rowOffsets(row: u32) -> vec2u {
  var rest = row;
  var index = vec4u(0u);
  for (var axis = 3u; axis > 4u - AXES; axis--) {
    let next = quotient(rest, P.sizes[axis]);
    index[axis] = rest - next * P.sizes[axis];
    rest = next;
  }
  index[4u - AXES] = rest;
  return vec2u(dot(index, P.stridesA), dot(index, P.stridesB));
}

@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let mine = stretchOf(linearWorkgroup(group, groups), lane, P.steps, P.quads);
  let step = cellOf(ABREAST, P.quadsPerRow);
  var cell = cellOf(mine.first, P.quadsPerRow);
  for (var i = mine.first; i < mine.end; i += ABREAST) {
    var at = vec2u(i);
    if (BROADCAST) { at = rowOffsets(cell.row) + vec2u(cell.column) * (vec2u(1u) - vec2u(P.splatA, P.splatB)); }
    var u = a[at.x];
    var v = b[at.y];
    if (BROADCAST) {
      u = select(u, u.xxxx, P.splatA == 1u);
      v = select(v, v.xxxx, P.splatB == 1u);
    }
    var w = value(u, v);
    if (RAGGED) { w = maskTail(w, cell.column, P.width); }
    y[i] = w;
    if (BROADCAST || RAGGED) { cell = moved(cell, step, P.quadsPerRow); }
  }
}

@group(0) @binding(3) var<storage, read_write> total: array<vec4f>;

// total += a, in place.
@compute @workgroup_size(64)
fn accumulate(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let mine = stretchOf(linearWorkgroup(group, groups), lane, P.steps, P.quads);
  for (var i = mine.first; i < mine.end; i += ABREAST) { total[i] = total[i] + a[i]; }
}
