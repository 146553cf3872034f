// Copies between layouts: permuting, slicing, repeating, reversing. Works on bits, so it serves every element type.
//# include divide
//# include grid
//# include walk

override BOUNDED: bool = false;    // the output has entries without a source, which become zero (the gradient of a slice)
override MASKED: bool = false;     // the last elements that have a source end within a vec4
override HELD_X: bool = false;     // every turn of a walk shows the same vec4

struct Params {
  sizes: vec4u,
  aroundX: vec4i,
  aroundY: vec4i,
  aroundQ: vec4i,        // copyBlocks: to the vec4 of the input's rows
  aroundR: vec4i,        // and to those of the output's
  lowest: vec4i,         // bounds of entries with a source: of the axes around, ...
  highest: vec4i,
  lowestSide: i32,
  highestSide: i32,
  lowestWalk: i32,
  highestWalk: i32,
  lowestElement: i32,    // ... and within a row
  highestElement: i32,
  sideX: i32,
  sideY: i32,
  sideQ: i32,
  sideR: i32,
  walkX: i32,
  walkY: i32,
  walkQ: i32,
  walkR: i32,
  baseX: i32,            // where the output's first entry comes from
  between: i32,          // elements, or in copyBlocks vec4, of the input between neighbours of a row of the output
  apart: i32,            // copyBlocks: vec4 of the output between neighbours of a row of the input, ...
  highestRow: i32,       // ... which has this many elements
  quadsPerRow: u32,
  side: u32,
  length: u32,
  turns: u32,
  stretches: u32,
  items: u32,
}
@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read> rows: array<vec4u>;      // x where whole vec4 are moved
@group(0) @binding(2) var<storage, read_write> y: array<vec4u>;
@group(0) @binding(31) var<uniform> P: Params;

// The positions of a walk that have a source.
struct Sourced {
  first: i32,
  end: i32,
}
fn sourced(walk: Walk) -> Sourced {
  if (!BOUNDED) { return Sourced(walk.first, walk.end); }
  let inside = all(walk.around >= P.lowest) && all(walk.around < P.highest) && walk.side >= P.lowestSide && walk.side < P.highestSide;
  return Sourced(select(walk.end, min(P.lowestWalk, walk.end), inside), min(P.highestWalk, walk.end));
}

// Elements of a vec4 of a row that have a source.
fn valid(column: u32) -> vec4<bool> {
  let e = vec4i(i32(column) * 4) + vec4i(0, 1, 2, 3);
  return (e >= vec4i(P.lowestElement)) & (e < vec4i(P.highestElement));
}

fn clear(first: i32, end: i32, to: i32) -> i32 {
  var p = first;
  for (; p < end; p += HOP) { y[u32(to + p * P.walkY)] = vec4u(0u); }
  return p;
}

// Whole vec4: rows are read in order, from a multiple of four on.
@compute @workgroup_size(64)
fn copyRows(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let item = linearWorkgroup(group, groups) * 64u + lane;
  if (item >= P.items) { return; }
  let walk = walkOf(item);
  let mine = sourced(walk);
  let origin = P.baseX + startOf(walk, P.aroundX, P.sideX);
  let goal = startOf(walk, P.aroundY, P.sideY);
  var p = walk.first;
  if (BOUNDED) { p = clear(p, mine.first, goal); }
  var v = vec4u(0u);
  if (HELD_X) { v = rows[u32(origin)]; }
  for (; p < mine.end; p += HOP) {
    if (!HELD_X) { v = rows[u32(origin + p * P.walkX)]; }
    if (MASKED) { v = select(vec4u(0u), v, valid(columnAt(walk, p, P.quadsPerRow))); }
    y[u32(goal + p * P.walkY)] = v;
  }
  if (BOUNDED) { p = clear(p, walk.end, goal); }
}

// Element by element: rows that are read backwards, from the middle of a vec4 on, or one element again and again.
@compute @workgroup_size(64)
fn copyElements(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let item = linearWorkgroup(group, groups) * 64u + lane;
  if (item >= P.items) { return; }
  let walk = walkOf(item);
  let mine = sourced(walk);
  let origin = P.baseX + startOf(walk, P.aroundX, P.sideX);
  let goal = startOf(walk, P.aroundY, P.sideY);
  var p = walk.first;
  if (BOUNDED) { p = clear(p, mine.first, goal); }
  for (; p < mine.end; p += HOP) {
    let column = columnAt(walk, p, P.quadsPerRow);
    let e = clamp(vec4i(i32(column) * 4) + vec4i(0, 1, 2, 3), vec4i(P.lowestElement), vec4i(P.highestElement - 1));
    let at = vec4u(vec4i(origin + p * P.walkX) + e * P.between);
    y[u32(goal + p * P.walkY)] = select(vec4u(0u), vec4u(x[at.x], x[at.y], x[at.z], x[at.w]), valid(column));
  }
  if (BOUNDED) { p = clear(p, walk.end, goal); }
}

// An axis exchanged with the last one: blocks of four by four elements are turned in registers, so that whole vec4 are moved on
// both sides.
@compute @workgroup_size(64)
fn copyBlocks(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let item = linearWorkgroup(group, groups) * 64u + lane;
  if (item >= P.items) { return; }
  let walk = walkOf(item);
  let origin = P.baseX + startOf(walk, P.aroundX, P.sideX);
  let goal = startOf(walk, P.aroundY, P.sideY);
  let firstRow = startOf(walk, P.aroundQ, P.sideQ);
  let column = startOf(walk, P.aroundR, P.sideR);
  for (var p = walk.first; p < walk.end; p += HOP) {
    let inside = valid(u32(column + p * P.walkR));
    let here = origin + p * P.walkX;
    // A block may reach beyond the row of the output: what is there is read again from its beginning, and left out.
    let at = vec4u(vec4i(here) + select(vec4i(0), vec4i(0, 1, 2, 3) * P.between, inside));
    //# for k in 0..4
    let v$k = select(vec4u(0u), rows[at[$k]], inside[$k]);
    //# end
    let row = (firstRow + p * P.walkQ) * 4;
    let corner = goal + p * P.walkY;
    y[u32(corner)] = vec4u(v0.x, v1.x, v2.x, v3.x);
    if (row + 1 < P.highestRow) { y[u32(corner + P.apart)] = vec4u(v0.y, v1.y, v2.y, v3.y); }
    if (row + 2 < P.highestRow) { y[u32(corner + 2 * P.apart)] = vec4u(v0.z, v1.z, v2.z, v3.z); }
    if (row + 3 < P.highestRow) { y[u32(corner + 3 * P.apart)] = vec4u(v0.w, v1.w, v2.w, v3.w); }
  }
}
