// Reductions. OP: 0 sum, 1 maximum, 2 minimum. Fixed order, so results repeat bit by bit.
//# include divide
//# include float
//# include grid
//# include tail

override OP: u32 = 0u;

struct Params {
  outer: u32,         // rows before the reduced axes
  length: u32,        // reduced: rows (columns kernel) or elements of a row (rows kernel)
  quads: u32,         // vec4f behind the reduced axes (columns kernel), or of a row
  splits: u32,        // the reduced rows (columns kernel), or a row (rows kernel), are cut into this many partial results
  width: u32,         // logical row length
  scale: f32,
  accumulate: u32,    // columns kernel: 1 adds to y instead of replacing it
}
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> indices: array<vec4i>;
@group(0) @binding(3) var<storage, read> best: array<vec4f>;
@group(0) @binding(31) var<uniform> P: Params;

fn start() -> vec4f {
  switch (OP) {
    case 1u: { return vec4f(-infinity(min(P.length, 1u))); }
    case 2u: { return vec4f(infinity(min(P.length, 1u))); }
    default: { return vec4f(0.0); }
  }
}

fn combine(u: vec4f, v: vec4f) -> vec4f {
  switch (OP) {
    case 1u: { return max4(u, v); }
    case 2u: { return min4(u, v); }
    default: { return u + v; }
  }
}

// An invocation's part of [outer, length, quads] -> [outer, splits, quads]: rows of one column of vec4f.
struct Column {
  outer: u32,
  quad: u32,
  first: u32,
  end: u32,
  base: u32,          // of row 0 in x
}
fn columnOf(i: u32) -> Column {
  let column = cellOf(i, P.quads);
  let part = cellOf(column.row, P.splits);
  let per = (P.length + P.splits - 1u) / P.splits;
  let first = part.column * per;
  return Column(part.row, column.column, first, min(first + per, P.length), part.row * P.length * P.quads + column.column);
}
fn inColumn(v: vec4f, quad: u32) -> vec4f {
  return maskTail(v, cellOf(quad, (P.width + 3u) / 4u).column, P.width);
}

// Rows that are summed by themselves first: many numbers one after the other would lose digits.
const BLOCK = 128u;

// The rows first to end of a column; a whole block starts from its first row, as nothing is as neutral as a value.
fn block(base: u32, first: u32, end: u32) -> vec4f {
  var total = x[base + first * P.quads];
  var r = first + 1u;
  // Several rows a turn: a turn costs as much as a load.
  for (; r + 3u < end; r += 4u) {
    let at = base + r * P.quads;
    let pair = combine(x[at], x[at + P.quads]);
    total = combine(total, combine(pair, combine(x[at + 2u * P.quads], x[at + 3u * P.quads])));
  }
  for (; r < end; r++) { total = combine(total, x[base + r * P.quads]); }
  return total;
}

@compute @workgroup_size(64)
fn columns(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let i = linearWorkgroup(group, groups) * 64u + lane;
  let mine = columnOf(i);
  if (mine.outer >= P.outer) { return; }
  var total = start();
  for (var first = mine.first; first < mine.end; first += BLOCK) { total = combine(total, block(mine.base, first, min(first + BLOCK, mine.end))); }
  var result = inColumn(total * P.scale, mine.quad);
  if (P.accumulate == 1u) { result += y[i]; }
  y[i] = result;
}

// How often a column's extremum, in `best`, occurs in it.
@compute @workgroup_size(64)
fn ties(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let i = linearWorkgroup(group, groups) * 64u + lane;
  let mine = columnOf(i);
  if (mine.outer >= P.outer) { return; }
  let extremum = best[mine.outer * P.quads + mine.quad];
  var count = vec4f(0.0);
  for (var r = mine.first; r < mine.end; r++) { count += select(vec4f(0.0), vec4f(1.0), x[mine.base + r * P.quads] == extremum); }
  y[i] = inColumn(count, mine.quad);
}

var<workgroup> lanes: array<vec4f, 64>;

// [outer, width] -> [outer, splits, 1]: a workgroup reduces a part of a row.
@compute @workgroup_size(64)
fn rows(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let i = linearWorkgroup(group, groups);
  let mine = cellOf(i, P.splits);
  let row = mine.row;
  let inside = row < P.outer;
  var total = start();
  if (inside) {
    let per = (P.quads + P.splits - 1u) / P.splits;
    let end = min((mine.column + 1u) * per, P.quads);
    for (var q = mine.column * per + lane; q < end; q += 64u) {
      let element = vec4u(q * 4u) + vec4u(0u, 1u, 2u, 3u);
      total = combine(total, select(start(), x[row * P.quads + q], element < vec4u(P.width)));
    }
  }
  lanes[lane] = total;
  workgroupBarrier();
  for (var reach = hidden(32u, P.outer); reach > 0u; reach >>= 1u) {
    if (lane < reach) { lanes[lane] = combine(lanes[lane], lanes[lane + reach]); }
    workgroupBarrier();
  }
  if (inside && lane == 0u) {
    let v = lanes[0];
    let pair = combine(vec4f(v.x, v.y, 0.0, 0.0), vec4f(v.z, v.w, 0.0, 0.0));
    y[i] = vec4f(combine(pair, pair.yxzw).x * P.scale, 0.0, 0.0, 0.0);
  }
}

// Index of the maximum down each column; the first of equals wins, a NaN wins over all numbers.
@compute @workgroup_size(64)
fn argmaxColumns(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let i = linearWorkgroup(group, groups) * 64u + lane;
  if (i >= P.outer * P.quads) { return; }
  let column = cellOf(i, P.quads);
  let quad = column.column;
  let base = column.row * P.length * P.quads + quad;
  var best = x[base];
  var at = vec4i(0);
  for (var r = 1u; r < P.length; r++) {
    let v = x[base + r * P.quads];
    let better = ((v > best) | isNan4(v)) & !isNan4(best);
    best = select(best, v, better);
    at = select(at, vec4i(i32(r)), better);
  }
  let element = vec4u(cellOf(quad, (P.width + 3u) / 4u).column * 4u) + vec4u(0u, 1u, 2u, 3u);
  indices[i] = select(vec4i(0), at, element < vec4u(P.width));
}

@compute @workgroup_size(64)
fn argmaxRows(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let row = linearWorkgroup(group, groups) * 64u + lane;
  if (row >= P.outer) { return; }
  var best = x[row * P.quads].x;
  var at = 0;
  for (var e = 1u; e < P.width; e++) {
    let v = x[row * P.quads + e / 4u][e % 4u];
    if ((v > best || isNan(v)) && !isNan(best)) {
      best = v;
      at = i32(e);
    }
  }
  indices[row] = vec4i(at, 0, 0, 0);
}
