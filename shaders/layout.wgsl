// Copies between layouts: permuting, slicing, repeating, reversing, joining. Works on bits, so it
// serves every element type. Up to six axes: the last one and five leading ones, the first of which
// takes what remains of the index.
//# include divide
//# include grid

// Elements outside `lowest` .. `highest` are zero (the gradient of a slice).
override BOUNDED: bool = false;
override RAGGED: bool = false;    // rows end within a vec4
override AXES: i32 = 4;           // how many of axes 1 to 4, counted from the last, are in use

struct Params {
  sizes: vec4u,         // of output axes 1 to 4
  strides: vec4i,       // input elements between neighbours along them
  lowest: vec4u,
  highest: vec4u,
  stride0: i32,
  lowest0: u32,
  highest0: u32,
  strideLast: i32,
  lowestLast: u32,
  highestLast: u32,
  base: i32,            // input element of the output's first
  quads: u32,           // vec4 of the output
  steps: u32,           // of them for an invocation that copies whole vec4
  quadsPerRow: u32,
  width: u32,
}
@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read> rows: array<vec4u>;      // x in the fast path
@group(0) @binding(2) var<storage, read_write> y: array<vec4u>;
@group(1) @binding(0) var<uniform> P: Params;

struct RowStart {
  offset: i32,
  inside: bool,
}

fn rowStart(row: u32) -> RowStart {
  var rest = row;
  var index = vec4u(0u);
  for (var axis = 3; axis > 3 - AXES; axis--) {
    let next = quotient(rest, P.sizes[axis]);
    index[axis] = rest - next * P.sizes[axis];
    rest = next;
  }
  let products = vec4i(index) * P.strides;
  let offset = P.base + i32(rest) * P.stride0 + (products.x + products.y) + (products.z + products.w);
  var inside = true;
  if (BOUNDED) {
    inside = all(index >= P.lowest) && all(index < P.highest) && rest >= P.lowest0 && rest < P.highest0;
  }
  return RowStart(offset, inside);
}

@compute @workgroup_size(64)
fn copyElements(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = linearWorkgroup(group, groups) * 64u + lane;
  if (i >= P.quads) { return; }
  let start = rowStart(i / P.quadsPerRow);
  let column = (i % P.quadsPerRow) * 4u;
  var v = vec4u(0u);
  for (var k = 0u; k < 4u; k++) {
    let e = column + k;
    if (start.inside && e < P.width && (!BOUNDED || (e >= P.lowestLast && e < P.highestLast))) {
      v[k] = x[u32(start.offset + i32(e) * P.strideLast)];
    }
  }
  y[i] = v;
}

// Whole vec4: the last axis has stride 1, begins at a multiple of four and holds highestLast elements.
@compute @workgroup_size(64)
fn copyRows(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let mine = stretchOf(linearWorkgroup(group, groups), lane, P.steps, P.quads);
  let step = cellOf(ABREAST, P.quadsPerRow);
  var at = cellOf(mine.first, P.quadsPerRow);
  for (var i = mine.first; i < mine.end; i += ABREAST) {
    let start = rowStart(at.row);
    if (RAGGED || BOUNDED) {
      let e = vec4u(at.column * 4u) + vec4u(0u, 1u, 2u, 3u);
      var v = vec4u(0u);
      if (start.inside && at.column * 4u < P.highestLast) {
        v = select(v, rows[u32(start.offset) / 4u + at.column], e < vec4u(P.highestLast));
      }
      y[i] = v;
    } else {
      y[i] = rows[u32(start.offset) / 4u + at.column];
    }
    at = moved(at, step, P.quadsPerRow);
  }
}
