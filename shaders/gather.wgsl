// Rows of a table by label, and the running centers of classes.
//# include divide
//# include grid
//# include tail

override ACCUMULATE: bool = true;   // all rows with one label count, instead of the last
override NORMALIZE: bool = true;    // centers are divided by their length before the step

struct Params {
  rows: u32,          // labels
  tableRows: u32,
  quads: u32,         // vec4f of a row
  parts: u32,         // of a row, ...
  steps: u32,         // ... each of so many vec4f for ABREAST invocations
  width: u32,
  beta: f32,
}
@group(0) @binding(0) var<storage, read> table: array<vec4f>;
@group(0) @binding(1) var<storage, read> labels: array<i32>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(3) var<storage, read> rows: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> centers: array<vec4f>;
@group(0) @binding(5) var<storage, read> factors: array<f32>;
@group(0) @binding(6) var<storage, read_write> inverseNorms: array<f32>;
@group(0) @binding(31) var<uniform> P: Params;

fn known(label: i32) -> bool {
  return label >= 0 && label < i32(P.tableRows);
}

// An invocation's part of a row: the vec4f first, first + ABREAST, ... before `end`.
struct Part {
  row: u32,
  first: u32,
  end: u32,
}
fn partOf(workgroup: u32, lane: u32) -> Part {
  let item = workgroup * 64u + lane;
  let part = cellOf(item / ABREAST, P.parts);
  let start = part.column * P.steps * ABREAST;
  return Part(part.row, start + item % ABREAST, min(start + P.steps * ABREAST, P.quads));
}

// NaN for a label outside the table: it must not pass unseen.
@compute @workgroup_size(64)
fn gather(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let mine = partOf(linearWorkgroup(group, groups), lane);
  if (mine.row >= P.rows) { return; }
  let label = labels[mine.row];
  let origin = u32(label) * P.quads;
  let goal = mine.row * P.quads;
  let end = select(0u, mine.end, known(label));
  for (var q = mine.first; q < end; q += ABREAST) { y[goal + q] = table[origin + q]; }
  let unknown = bitcast<vec4f>(vec4u(0x7fc00000u * u32(P.rows > 0u)));
  for (var q = max(mine.first, end); q < mine.end; q += ABREAST) { y[goal + q] = maskTail(unknown, q, P.width); }
}

// Gradient of the table: each of its rows sums the gradients of the rows taken from it, in their order.
@compute @workgroup_size(64)
fn scatterAdd(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let mine = partOf(linearWorkgroup(group, groups), lane);
  if (mine.row >= P.tableRows) { return; }
  // Most rows of a table were not taken: theirs are a loop of nothing but stores.
  var first = P.rows;
  var end = 0u;
  for (var r = 0u; r < P.rows; r++) {
    if (labels[r] == i32(mine.row)) {
      first = min(first, r);
      end = r + 1u;
    }
  }
  let goal = mine.row * P.quads;
  let taken = select(0u, mine.end, end > 0u);
  for (var q = mine.first; q < taken; q += ABREAST) {
    var sum = rows[first * P.quads + q];
    for (var r = first + 1u; r < end; r++) {
      if (labels[r] == i32(mine.row)) { sum += rows[r * P.quads + q]; }
    }
    y[goal + q] = sum;
  }
  for (var q = max(mine.first, taken); q < mine.end; q += ABREAST) { y[goal + q] = vec4f(0.0); }
}

var<workgroup> lanes: array<f32, 64>;

// 1 / max(length of the label's center, 1e-12); one workgroup per label.
@compute @workgroup_size(64)
fn centerNorms(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let r = linearWorkgroup(group, groups);
  var sum = 0.0;
  if (r < P.rows && known(labels[min(r, P.rows - 1u)])) {
    let base = u32(labels[r]) * P.quads;
    for (var q = lane; q < P.quads; q += 64u) { sum += dot(table[base + q], table[base + q]); }
  }
  lanes[lane] = sum;
  workgroupBarrier();
  for (var reach = hidden(32u, P.rows); reach > 0u; reach >>= 1u) {
    if (lane < reach) { lanes[lane] += lanes[lane + reach]; }
    workgroupBarrier();
  }
  if (lane == 0u && r < P.rows) { inverseNorms[r] = 1.0 / max(sqrt(lanes[0]), 1e-12); }
}

// centers[label] += beta (row - n) with n the old, normalised center. One invocation per element of a center that
// changes: that of the first row with its label, or of the last, so nothing is written twice.
@compute @workgroup_size(64)
fn update(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let i = linearWorkgroup(group, groups) * 64u + lane;
  let place = cellOf(i, P.quads);
  let row = place.row;
  if (row >= P.rows) { return; }
  let label = labels[row];
  if (!known(label)) { return; }
  let quad = place.column;
  for (var r = 0u; r < P.rows; r++) {
    let earlier = select(r > row, r < row, ACCUMULATE);
    if (earlier && labels[r] == label) { return; }
  }
  let at = u32(label) * P.quads + quad;
  let old = centers[at];
  var n = old;
  if (NORMALIZE) { n *= factors[row]; }
  var change = rows[row * P.quads + quad] - n;
  if (ACCUMULATE) {
    for (var r = row + 1u; r < P.rows; r++) {
      if (labels[r] == label) { change += rows[r * P.quads + quad] - n; }
    }
  }
  centers[at] = old + P.beta * change;
}
