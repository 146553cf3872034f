// Order of the elements of rows. As in PyTorch NaN is the largest; of equals the first comes first.
//# include divide
//# include float
//# include grid
//# include tail

struct Params {
  rows: u32,
  padded: u32,        // rows rounded up to a multiple of four
  quads: u32,         // vec4 of a row
  width: u32,
  k: u32,             // entries wanted of each row
  ks: vec4u,
}
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> labels: array<i32>;
@group(0) @binding(2) var<storage, read_write> ranks: array<i32>;
@group(0) @binding(3) var<storage, read> labelRanks: array<vec4i>;
@group(0) @binding(4) var<storage, read_write> counts: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> indices: array<vec4i>;
@group(0) @binding(6) var<storage, read> elements: array<u32>;        // x, element by element
@group(0) @binding(7) var<storage, read> positions: array<vec4i>;
@group(0) @binding(8) var<storage, read_write> values: array<vec4u>;
@group(0) @binding(9) var<storage, read> given: array<vec4f>;
@group(0) @binding(10) var<storage, read_write> gradient: array<vec4f>;
@group(0) @binding(31) var<uniform> P: Params;

// Integers in the order of the numbers; plus and minus zero are equal.
fn orderOf(v: vec4f) -> vec4u {
  let raw = bitcast<vec4u>(v);
  let bits = select(raw, vec4u(0u), raw == vec4u(0x80000000u));
  let ordered = select(bits | vec4u(0x80000000u), ~bits, (bits & vec4u(0x80000000u)) != vec4u(0u));
  return select(ordered, vec4u(0xffffffffu), isNan4(v));
}

fn columnsOf(quad: u32) -> vec4u {
  return vec4u(quad * 4u) + vec4u(0u, 1u, 2u, 3u);
}

@compute @workgroup_size(64)
fn labelRank(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let row = linearWorkgroup(group, groups) * 64u + lane;
  if (row >= P.padded) { return; }
  var rank = vec4u(0u);
  if (row < P.rows) {
    let label = labels[row];
    let base = row * P.quads;
    let own = x[base + u32(clamp(label, 0, i32(P.width) - 1)) / 4u][u32(max(label, 0)) % 4u];
    if (label < 0 || label >= i32(P.width) || isNan(own)) {
      rank.x = P.width;
    } else {
      let mine = orderOf(vec4f(own));
      for (var q = 0u; q < P.quads; q++) {
        let order = orderOf(x[base + q]);
        let columns = columnsOf(q);
        let before = (order > mine) | ((order == mine) & (columns < vec4u(u32(label))));
        rank += select(vec4u(0u), vec4u(1u), before & (columns < vec4u(P.width)));
      }
    }
  }
  ranks[row] = i32((rank.x + rank.y) + (rank.z + rank.w));
}

// How many rows have a rank below each of ks: one invocation, batches are small. A rank of `width` means never.
@compute @workgroup_size(64)
fn countBelow(@builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  if (lane != 0u) { return; }
  var total = vec4u(0u);
  for (var q = 0u; q < P.padded / 4u; q++) {
    let four = vec4u(labelRanks[q]);
    for (var e = 0u; e < 4u; e++) {
      if (q * 4u + e < P.rows) { total += select(vec4u(0u), vec4u(1u), vec4u(four[e]) < min(P.ks, vec4u(P.width))); }
    }
  }
  counts[0] = select(vec4f(0.0), vec4f(total), vec4u(0u, 1u, 2u, 3u) < vec4u(P.k));
}

// Finds the largest, then the largest behind it, and so on: k passes over a row, no sorting.
@compute @workgroup_size(64)
fn largest(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let row = linearWorkgroup(group, groups) * 64u + lane;
  if (row >= P.rows) { return; }
  var previous = 0u;
  var previousAt = 0u;
  var found = vec4i(0);
  for (var place = 0u; place < P.k; place++) {
    var best = 0u;
    var at = P.width;
    for (var q = 0u; q < P.quads; q++) {
      let order = orderOf(x[row * P.quads + q]);
      for (var e = 0u; e < 4u; e++) {
        let column = q * 4u + e;
        let left = place == 0u || order[e] < previous || (order[e] == previous && column > previousAt);
        if (column < P.width && left && order[e] > best) {
          best = order[e];
          at = column;
        }
      }
    }
    previous = best;
    previousAt = at;
    found[place % 4u] = i32(at);
    if (place % 4u == 3u || place + 1u == P.k) {
      indices[row * ((P.k + 3u) / 4u) + place / 4u] = found;
      found = vec4i(0);
    }
  }
}

// values[row, j] = x[row, positions[row, j]]; a position outside the row gives NaN bits.
@compute @workgroup_size(64)
fn take(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let i = linearWorkgroup(group, groups) * 64u + lane;
  let perRow = (P.k + 3u) / 4u;
  if (i >= P.rows * perRow) { return; }
  let at = cellOf(i, perRow);
  let wanted = positions[i];
  var v = vec4u(0u);
  for (var e = 0u; e < 4u; e++) {
    if (at.column * 4u + e < P.k) {
      v[e] = 0x7fc00000u;
      if (wanted[e] >= 0 && wanted[e] < i32(P.width)) { v[e] = elements[at.row * P.quads * 4u + u32(wanted[e])]; }
    }
  }
  values[i] = v;
}

// Gradient of x: an element sums the gradients of the places that took it, in their order. Positions outside the row took nothing.
@compute @workgroup_size(64)
fn giveBack(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let i = linearWorkgroup(group, groups) * 64u + lane;
  if (i >= P.rows * P.quads) { return; }
  let at = cellOf(i, P.quads);
  let columns = vec4i(columnsOf(at.column));
  let perRow = (P.k + 3u) / 4u;
  var sum = vec4f(0.0);
  for (var q = 0u; q < perRow; q++) {
    let takenFrom = positions[at.row * perRow + q];
    let share = given[at.row * perRow + q];
    for (var e = 0u; e < 4u; e++) {
      if (q * 4u + e < P.k) { sum += select(vec4f(0.0), vec4f(share[e]), columns == vec4i(takenFrom[e])); }
    }
  }
  gradient[i] = maskTail(sum, at.column, P.width);
}
