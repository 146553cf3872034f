// Joining tensors and taking them apart again. Works on bits.
//# include divide
//# include grid

struct Params {
  widths: vec4u,      // of each piece: vec4u of a row, ...
  offsets: vec4u,     // ... before it in a row of the whole, ...
  totals: vec4u,      // ... of all its rows, ...
  begins: vec4u,      // ... and its workgroups
  ends: vec4u,
  pitch: u32,         // vec4u from one row of the whole to the next
  steps: u32,         // rows that an invocation takes
  items: u32,         // placeElements, from here on
  chunks: u32,        // of four elements to write per row
  stride: u32,        // elements from one row of the output to the next
  offset: u32,        // elements before the piece
  width: u32,         // elements of a row of the piece
  span: u32,          // to write per row: the last piece also clears the padding
}
@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;
@group(0) @binding(2) var<storage, read> whole: array<vec4u>;
@group(0) @binding(3) var<storage, read_write> joined: array<vec4u>;
@group(0) @binding(4) var<storage, read> piece0: array<vec4u>;
@group(0) @binding(5) var<storage, read> piece1: array<vec4u>;
@group(0) @binding(6) var<storage, read> piece2: array<vec4u>;
@group(0) @binding(7) var<storage, read> piece3: array<vec4u>;
@group(0) @binding(8) var<storage, read_write> part0: array<vec4u>;
@group(0) @binding(9) var<storage, read_write> part1: array<vec4u>;
@group(0) @binding(10) var<storage, read_write> part2: array<vec4u>;
@group(0) @binding(11) var<storage, read_write> part3: array<vec4u>;
@group(0) @binding(31) var<uniform> P: Params;

// What an invocation moves of piece k: a column of vec4u through some rows, or nothing, if the workgroup is another piece's.
struct Column {
  column: u32,
  first: u32,         // row
  end: u32,
}
fn columnIn(k: u32, workgroup: u32, lane: u32) -> Column {
  let place = cellOf((workgroup - P.begins[k]) * 64u + lane, P.widths[k]);
  let rows = quotient(P.totals[k] + P.widths[k] - 1u - place.column, P.widths[k]);
  let first = place.row * P.steps;
  let elsewhere = workgroup < P.begins[k] || workgroup >= P.ends[k];
  return Column(place.column, first, select(min(first + P.steps, rows), 0u, elsewhere));
}

// Rows that begin at whole vec4u: up to four pieces, one behind the other.
@compute @workgroup_size(64)
fn join(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  //# for k in 0..$PIECES
  {
    let mine = columnIn($k, linearWorkgroup(group, groups), lane);
    let goal = P.offsets[$k] + mine.column;
    for (var r = mine.first; r < mine.end; r++) { joined[r * P.pitch + goal] = piece$k[r * P.widths[$k] + mine.column]; }
  }
  //# end
}

@compute @workgroup_size(64)
fn part(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  //# for k in 0..$PIECES
  {
    let mine = columnIn($k, linearWorkgroup(group, groups), lane);
    let origin = P.offsets[$k] + mine.column;
    for (var r = mine.first; r < mine.end; r++) { part$k[r * P.widths[$k] + mine.column] = whole[r * P.pitch + origin]; }
  }
  //# end
}

// Rows whose pieces do not begin at multiples of four, element by element.
@compute @workgroup_size(64)
fn placeElements(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let i = linearWorkgroup(group, groups) * 64u + lane;
  if (i >= P.items) { return; }
  let at = cellOf(i, P.chunks);
  let column = at.column * 4u;
  let source = at.row * ((P.width + 3u) / 4u) * 4u;
  let goal = at.row * P.stride + P.offset;
  for (var e = column; e < min(column + 4u, P.span); e++) {
    var v = 0u;
    if (e < P.width) { v = x[source + e]; }
    y[goal + e] = v;
  }
}
