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
  runs: u32,          // parts into which the columns of a mask are cut, of `run` rows
  run: u32,
}
@group(0) @binding(0) var<storage, read> maps: array<f32>;
@group(0) @binding(1) var<storage, read> theta: array<f32>;
@group(0) @binding(2) var<storage, read_write> limits: array<vec2f>;    // per image: threshold, and 1 if the map is usable
@group(0) @binding(3) var<storage, read> threshold: array<vec2f>;
@group(0) @binding(4) var<storage, read_write> degenerate: array<u32>;
@group(0) @binding(5) var<storage, read_write> bounds: array<vec2u>;    // per image column: first hot row, and one past the last
@group(0) @binding(6) var<storage, read> columnBounds: array<vec2u>;
@group(0) @binding(7) var<storage, read_write> result: array<vec4f>;
@group(0) @binding(31) var<uniform> P: Params;

// Down one image column, through one gap between map rows after the other.
struct Walk {
  left: u32,        // map columns to the left and to the right, in the image's first map row
  right: u32,
  weight: f32,      // of `right`
  rows: Axis,
  y: u32,           // image row
  gap: u32,         // before this map row
  part: u32,        // how far the image row is behind the map row above; below the gap: more than all parts
  above: f32,
  below: f32,
}
fn walkFrom(image: u32, x: u32, y: u32) -> Walk {
  let columns = axisOf(P.mapWidth, P.width, P.aligned == 1u);
  let across = positionOf(x, columns);
  let rows = axisOf(P.mapHeight, P.height, P.aligned == 1u);
  let down = positionOf(y, rows);
  let first = image * P.mapHeight * P.mapWidth;
  let left = first + max(across.row, 1u) - 1u;
  let right = first + min(across.row, P.mapWidth - 1u);
  var walk = Walk(left, right, f32(across.column) / f32(columns.parts), rows, y, down.row, down.column, 0.0, 0.0);
  walk.above = mapRow(walk, max(down.row, 1u) - 1u);
  walk.below = mapRow(walk, down.row);
  return walk;
}
// The first row continues above the map, the last one below. A pixel of the map takes a whole vec4f.
fn mapRow(walk: Walk, row: u32) -> f32 {
  let start = min(row, P.mapHeight - 1u) * P.mapWidth;
  let left = maps[(start + walk.left) * 4u];
  return left + walk.weight * (maps[(start + walk.right) * 4u] - left);
}
// Image rows in the gap, of those before `end`.
fn rowsInGap(walk: Walk, end: u32) -> u32 {
  return min(outputsFrom(walk.part, walk.rows), end - walk.y);
}
fn valueAt(walk: Walk, ahead: u32) -> f32 {
  return walk.above + (walk.below - walk.above) * (f32(walk.part + ahead * walk.rows.step) / f32(walk.rows.parts));
}
// The smallest and the largest value of that many rows. Rounding keeps the order of products and sums, so that the values in a gap
// rise or fall throughout.
fn extremes(walk: Walk, rows: u32) -> vec2f {
  let first = valueAt(walk, 0u);
  let last = valueAt(walk, rows - 1u);
  return vec2f(min(first, last), max(first, last));
}
fn nextGap(walk: ptr<function, Walk>, passed: u32) {
  (*walk).y += passed;
  (*walk).part = (*walk).part + passed * (*walk).rows.step - (*walk).rows.parts;
  (*walk).gap++;
  (*walk).above = (*walk).below;
  (*walk).below = mapRow(*walk, (*walk).gap);
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
fn findThreshold(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let image = linearWorkgroup(group, groups);
  var range = vec4f(-LOWEST, LOWEST, -LOWEST, LOWEST);
  var bad = 0u;
  if (image < P.batch) {
    let pixels = P.mapHeight * P.mapWidth;
    for (var i = lane; i < pixels; i += 64u) {
      let v = maps[(image * pixels + i) * 4u];
      if (isFinite(v)) { range = combineRanges(range, vec4f(v, v, -LOWEST, LOWEST)); } else { bad = 1u; }
    }
    for (var x = lane; x < P.width; x += 64u) {
      var walk = walkFrom(image, x, 0u);
      while (walk.y < P.height) {
        let rows = rowsInGap(walk, P.height);
        if (rows > 0u) { range = combineRanges(range, vec4f(-LOWEST, LOWEST, extremes(walk, rows))); }
        nextGap(&walk, rows);
      }
    }
  }
  lanes[lane] = range;
  broken[lane] = bad;
  workgroupBarrier();
  for (var reach = hidden(32u, P.batch); reach > 0u; reach >>= 1u) {
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
fn findBounds(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let i = linearWorkgroup(group, groups) * 64u + lane;
  let place = cellOf(i, P.width);
  if (place.row >= P.batch) { return; }
  let limit = threshold[place.row];
  var gaps = vec2u(P.height, 0u);     // where the first and the last gap with a hot row begin
  var walk = walkFrom(place.row, place.column, 0u);
  while (walk.y < P.height) {
    let rows = rowsInGap(walk, P.height);
    if (rows > 0u && extremes(walk, rows).y >= limit.x) { gaps = vec2u(min(gaps.x, walk.y), walk.y); }
    nextGap(&walk, rows);
  }
  var found = vec2u(P.height, 0u);
  if (gaps.x < P.height && limit.y == 1.0) {
    found.x = hotRows(walkFrom(place.row, place.column, gaps.x), limit.x).x;
    found.y = hotRows(walkFrom(place.row, place.column, gaps.y), limit.x).y;
  }
  bounds[i] = found;
}
// In a gap: the first hot row, and one past the last.
fn hotRows(walk: Walk, limit: f32) -> vec2u {
  var found = vec2u(P.height, 0u);
  let rows = rowsInGap(walk, P.height);
  for (var k = 0u; k < rows; k++) {
    if (valueAt(walk, k) >= limit) { found = vec2u(min(found.x, walk.y + k), walk.y + k + 1u); }
  }
  return found;
}

// The same for a given mask [B, H, W, 1].
@compute @workgroup_size(64)
fn findMaskBounds(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let i = linearWorkgroup(group, groups) * 64u + lane;
  let place = cellOf(i, P.width);
  if (place.row >= P.batch) { return; }
  var found = vec2u(P.height, 0u);
  for (var y = 0u; y < P.height; y++) {
    if (maps[((place.row * P.height + y) * P.width + place.column) * 4u] != 0.0) { found = vec2u(min(found.x, y), y + 1u); }
  }
  bounds[i] = found;
}

var<workgroup> boxes: array<vec4u, 64>;   // first row and column, one past the last row and column

// One workgroup per image: bounding box of its columns, padded; the whole image when no pixel is hot.
@compute @workgroup_size(64)
fn findBoxes(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let image = linearWorkgroup(group, groups);
  var box = vec4u(P.height, P.width, 0u, 0u);
  if (image < P.batch) {
    for (var x = lane; x < P.width; x += 64u) {
      let rows = columnBounds[image * P.width + x];
      if (rows.x < rows.y) { box = vec4u(min(box.x, rows.x), min(box.y, x), max(box.z, rows.y), x + 1u); }
    }
  }
  boxes[lane] = box;
  workgroupBarrier();
  for (var reach = hidden(32u, P.batch); reach > 0u; reach >>= 1u) {
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

// 1 where a pixel is kept, or, by plain comparison, where it is hot. An invocation walks down a column.
@compute @workgroup_size(64)
fn findMask(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let place = cellOf(linearWorkgroup(group, groups) * 64u + lane, P.width);
  let part = cellOf(place.row, P.runs);
  let image = part.row;
  if (image >= P.batch) { return; }
  let limit = threshold[image];
  let whenHot = select(0.0, 1.0, P.rule == 2u);
  let end = min((part.column + 1u) * P.run, P.height);
  let top = image * P.height * P.width + place.column;
  var walk = walkFrom(image, place.column, part.column * P.run);
  while (walk.y < end) {
    let rows = rowsInGap(walk, end);
    let first = top + walk.y * P.width;
    for (var k = 0u; k < rows; k++) {
      let hot = limit.y == 1.0 && valueAt(walk, k) >= limit.x;
      result[first + k * P.width] = vec4f(select(1.0 - whenHot, whenHot, hot), 0.0, 0.0, 0.0);
    }
    nextGap(&walk, rows);
  }
}
