// From attention maps [B, h, w, 1] to boxes and masks of images: the map is upsampled on the fly and
// compared with a share of its maximum. Everything stays on the device.
//# include float
//# include divide
//# include grid
//# include taps

struct Params {
  batch: u32,
  mapHeight: u32,
  mapWidth: u32,
  height: u32,
  width: u32,
  nearY: u32,         // padding of the box in pixels
  farY: u32,
  nearX: u32,
  farX: u32,
  theta: f32,
  thetaTensor: u32,   // 1: a threshold per image
  aligned: u32,       // 1: corners of map and image coincide when upsampling
  upsampled: u32,     // 1: the maximum is that of the upsampled map
  rule: u32,          // when a map is unusable: 0 box, 1 dropping, 2 plain comparison
}
@group(0) @binding(0) var<storage, read> maps: array<f32>;
@group(0) @binding(1) var<storage, read> theta: array<f32>;
@group(0) @binding(2) var<storage, read_write> ranges: array<vec2f>;    // per image row: smallest and largest value
@group(0) @binding(3) var<storage, read> rowRanges: array<vec2f>;
@group(0) @binding(4) var<storage, read_write> limits: array<vec2f>;    // per image: threshold, and 1 if the map is usable
@group(0) @binding(5) var<storage, read> threshold: array<vec2f>;
@group(0) @binding(6) var<storage, read_write> degenerate: array<u32>;
@group(0) @binding(7) var<storage, read_write> bounds: array<vec2u>;    // per image row: first hot column, and one past the last
@group(0) @binding(8) var<storage, read> rowBounds: array<vec2u>;
@group(0) @binding(9) var<storage, read_write> result: array<vec4f>;
@group(1) @binding(0) var<uniform> P: Params;

// The upsampled map at one image row; holds the two map columns around the current pixel.
struct RowWalk {
  upper: u32,
  lower: u32,
  weight: f32,
  column: u32,
  left: f32,
  right: f32,
}
fn walkRow(image: u32, y: u32) -> RowWalk {
  let rows = tapsOf(y, P.mapHeight, P.height, P.aligned == 1u);
  let base = image * P.mapHeight;
  return RowWalk((base + rows.low) * P.mapWidth, (base + rows.high) * P.mapWidth, rows.weight, 0xffffffffu, 0.0, 0.0);
}
// A pixel of the map takes a whole vec4f.
fn mapColumn(walk: ptr<function, RowWalk>, column: u32) -> f32 {
  return mix(maps[((*walk).upper + column) * 4u], maps[((*walk).lower + column) * 4u], (*walk).weight);
}
fn valueAt(walk: ptr<function, RowWalk>, x: u32) -> f32 {
  let columns = tapsOf(x, P.mapWidth, P.width, P.aligned == 1u);
  if (columns.low != (*walk).column) {
    (*walk).column = columns.low;
    (*walk).left = mapColumn(walk, columns.low);
    (*walk).right = mapColumn(walk, columns.high);
  }
  return mix((*walk).left, (*walk).right, columns.weight);
}

@compute @workgroup_size(64)
fn findRanges(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let row = linearWorkgroup(group, groups) * 64u + lane;
  if (row >= P.batch * P.height) { return; }
  var walk = walkRow(row / P.height, row % P.height);
  var low = -LOWEST;
  var high = LOWEST;
  for (var x = 0u; x < P.width; x++) {
    let v = valueAt(&walk, x);
    low = min(low, v);
    high = max(high, v);
  }
  ranges[row] = vec2f(low, high);
}

var<workgroup> lanes: array<vec4f, 64>;   // smallest and largest of the map, smallest and largest of the upsampled map
var<workgroup> broken: array<u32, 64>;

fn combineRanges(a: vec4f, b: vec4f) -> vec4f {
  return vec4f(min(a.x, b.x), max(a.y, b.y), min(a.z, b.z), max(a.w, b.w));
}

fn usable(range: vec4f, limit: f32, finite: bool) -> bool {
  let varies = range.y > range.x;
  switch (P.rule) {
    case 0u: { return finite && varies && range.w >= limit; }   // some pixel is inside the box
    case 1u: { return finite && varies && range.z < limit; }    // some pixel is kept
    default: { return finite; }
  }
}

// One workgroup per image, and per lane of padding behind the last flag.
@compute @workgroup_size(64)
fn findThreshold(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let image = linearWorkgroup(group, groups);
  var range = vec4f(-LOWEST, LOWEST, -LOWEST, LOWEST);
  var bad = 0u;
  if (image < P.batch) {
    let pixels = P.mapHeight * P.mapWidth;
    for (var i = lane; i < pixels; i += 64u) {
      let v = maps[(image * pixels + i) * 4u];
      if (isFinite(v)) { range = combineRanges(range, vec4f(v, v, -LOWEST, LOWEST)); } else { bad = 1u; }
    }
    for (var y = lane; y < P.height; y += 64u) {
      let row = rowRanges[image * P.height + y];
      range = combineRanges(range, vec4f(-LOWEST, LOWEST, row));
    }
  }
  lanes[lane] = range;
  broken[lane] = bad;
  workgroupBarrier();
  for (var reach = 32u; reach > 0u; reach >>= 1u) {
    if (lane < reach) {
      lanes[lane] = combineRanges(lanes[lane], lanes[lane + reach]);
      broken[lane] |= broken[lane + reach];
    }
    workgroupBarrier();
  }
  if (lane == 0u && image < P.batch) {
    var share = P.theta;
    if (P.thetaTensor == 1u) { share = theta[image]; }
    let limit = share * select(lanes[0].y, lanes[0].w, P.upsampled == 1u);
    let fine = usable(lanes[0], limit, broken[0] == 0u);
    limits[image] = vec2f(limit, select(0.0, 1.0, fine));
    degenerate[image] = select(1u, 0u, fine);
  } else if (lane == 0u && image < arrayLength(&degenerate)) {
    degenerate[image] = 0u;     // padding of the row
  }
}

@compute @workgroup_size(64)
fn findBounds(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let row = linearWorkgroup(group, groups) * 64u + lane;
  if (row >= P.batch * P.height) { return; }
  let limit = threshold[row / P.height];
  var walk = walkRow(row / P.height, row % P.height);
  var found = vec2u(P.width, 0u);
  if (limit.y == 1.0) {
    for (var x = 0u; x < P.width; x++) {
      if (valueAt(&walk, x) >= limit.x) { found = vec2u(min(found.x, x), x + 1u); }
    }
  }
  bounds[row] = found;
}

// The same for a given mask [B, H, W, 1].
@compute @workgroup_size(64)
fn findMaskBounds(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let row = linearWorkgroup(group, groups) * 64u + lane;
  if (row >= P.batch * P.height) { return; }
  var found = vec2u(P.width, 0u);
  for (var x = 0u; x < P.width; x++) {
    if (maps[(row * P.width + x) * 4u] != 0.0) { found = vec2u(min(found.x, x), x + 1u); }
  }
  bounds[row] = found;
}

var<workgroup> boxes: array<vec4u, 64>;   // first row and column, one past the last row and column

// One workgroup per image: bounding box of its rows, padded; the whole image when no pixel is hot.
@compute @workgroup_size(64)
fn findBoxes(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let image = linearWorkgroup(group, groups);
  var box = vec4u(P.height, P.width, 0u, 0u);
  if (image < P.batch) {
    for (var y = lane; y < P.height; y += 64u) {
      let row = rowBounds[image * P.height + y];
      if (row.x < row.y) { box = vec4u(min(box.x, y), min(box.y, row.x), y + 1u, max(box.w, row.y)); }
    }
  }
  boxes[lane] = box;
  workgroupBarrier();
  for (var reach = 32u; reach > 0u; reach >>= 1u) {
    if (lane < reach) {
      let other = boxes[lane + reach];
      boxes[lane] = vec4u(min(boxes[lane].xy, other.xy), max(boxes[lane].zw, other.zw));
    }
    workgroupBarrier();
  }
  if (lane == 0u && image < P.batch) { result[image] = vec4f(padded(boxes[0])); }
}

fn padded(box: vec4u) -> vec4u {
  let size = vec2u(P.height, P.width);
  if (box.x >= box.z) { return vec4u(0u, 0u, size); }
  let near = vec2u(P.nearY, P.nearX);
  let low = max(box.xy, near) - near;
  // The far edge counts from the last hot pixel but is exclusive, as in the reference code: one pixel less than the near edge.
  let high = min(box.zw - 1u + vec2u(P.farY, P.farX), size);
  return vec4u(low, max(high, low + 1u));
}

// 1 where a pixel is kept, or, by plain comparison, where it is hot.
@compute @workgroup_size(64)
fn findMask(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = linearWorkgroup(group, groups) * 64u + lane;
  let pixel = cellOf(i, P.width);
  let line = cellOf(pixel.row, P.height);
  if (line.row >= P.batch) { return; }
  let limit = threshold[line.row];
  var walk = walkRow(line.row, line.column);
  let hot = limit.y == 1.0 && valueAt(&walk, pixel.column) >= limit.x;
  result[i] = vec4f(select(0.0, 1.0, hot == (P.rule == 2u)), 0.0, 0.0, 0.0);
}
