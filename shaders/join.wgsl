// Joining tensors along rows whose pieces do not begin at multiples of four: element by element. Works on bits.
//# include divide
//# include grid

struct Params {
  items: u32,
  chunks: u32,        // of four elements to write per row
  stride: u32,        // elements from one row of the output to the next
  offset: u32,        // elements before the piece
  width: u32,         // elements of a row of the piece
  span: u32,          // to write per row: the last piece also clears the padding
}
@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;
@group(1) @binding(0) var<uniform> P: Params;

@compute @workgroup_size(64)
fn placeElements(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
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
