// Resizes images [B, H, W, C], or a box of each image: bilinear or nearest. Padding behind the channels needs no mask: sums
// of zeros are zero.
//# include divide
//# include grid

override NEAREST: bool = false;
override ALIGNED: bool = false;   // aligned corners
override BOXED: bool = false;     // resize box b of image b instead of the whole image
override COLUMNS: bool = false;   // which axis `backward` takes

struct Params {
  batch: u32,
  inHeight: u32,
  inWidth: u32,
  outHeight: u32,
  outWidth: u32,
  quads: u32,           // vec4f of a pixel
  runs: u32,            // parts into which the walked axis is cut, of `run` entries
  run: u32,
}
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> boxes: array<vec4f>;            // y0, x0, y1, x1, far edges exclusive
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;
@group(1) @binding(0) var<uniform> P: Params;

struct Window {
  origin: vec2u,
  size: vec2u,
}
// Clamped to the image and at least one pixel, so that no box can lead outside.
fn windowOf(image: u32) -> Window {
  let limit = vec2i(i32(P.inHeight), i32(P.inWidth));
  if (!BOXED) { return Window(vec2u(0u), vec2u(limit)); }
  let box = boxes[image];
  let low = clamp(vec2i(box.xy), vec2i(0), limit - 1);
  let high = clamp(vec2i(box.zw), low + 1, limit);
  return Window(vec2u(low), vec2u(high - low));
}

// How an axis is resized, in exact fractions: output o lies at source position (o * step + offset) / parts. Positions are the same
// on every adapter, and the gradient uses the very weights of the forward pass.
struct Axis {
  size: u32,
  step: u32,
  parts: u32,
  offset: i32,
}
fn axisOf(size: u32, outSize: u32) -> Axis {
  if (NEAREST) { return Axis(size, size, outSize, 0); }
  if (ALIGNED) { return Axis(size, size - 1u, max(outSize - 1u, 1u), 0); }
  return Axis(size, 2u * size, 2u * outSize, i32(size) - i32(outSize));
}

// Where output o lies: one more than the source element before it, and how many parts behind that. 0 before the first element.
fn positionOf(o: u32, axis: Axis) -> Cell {
  return cellOf(u32(i32(o * axis.step + axis.parts) + axis.offset), axis.parts);
}
fn stepOf(axis: Axis) -> Cell {
  return cellOf(axis.step, axis.parts);
}
// The two source elements that are mixed, and the weight of the second.
fn lowOf(position: Cell, axis: Axis) -> u32 {
  return min(max(position.row, 1u) - 1u, axis.size - 1u);
}
fn highOf(low: u32, axis: Axis) -> u32 {
  return min(low + 1u, axis.size - 1u);
}
fn weightOf(position: Cell, axis: Axis) -> f32 {
  return select(f32(position.column) / f32(axis.parts), 0.0, NEAREST || position.row == 0u);
}
// The first output whose first source element is `low` or a later one.
fn firstOutput(low: i32, axis: Axis, outSize: u32) -> u32 {
  if (low <= 0) { return 0u; }
  if (axis.step == 0u) { return outSize; }
  let ahead = u32(max(low * i32(axis.parts) - axis.offset, 0));
  return min(quotient(ahead + axis.step - 1u, axis.step), outSize);
}

// An invocation walks down one column of the result: its two source columns stay the same, and each source row is mixed once.
@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let pixel = cellOf(linearWorkgroup(group, groups) * 64u + lane, P.quads);
  let place = cellOf(pixel.row, P.outWidth);
  let part = cellOf(place.row, P.runs);
  let image = part.row;
  if (image >= P.batch) { return; }
  let window = windowOf(image);
  let columns = axisOf(window.size.y, P.outWidth);
  let column = positionOf(place.column, columns);
  let weight = weightOf(column, columns);
  let left = (window.origin.y + lowOf(column, columns)) * P.quads + pixel.column;
  let right = (window.origin.y + highOf(lowOf(column, columns), columns)) * P.quads + pixel.column;
  let rows = axisOf(window.size.x, P.outHeight);
  let step = stepOf(rows);
  let pitch = P.inWidth * P.quads;
  let top = (image * P.inHeight + window.origin.x) * pitch;
  var o = part.column * P.run;
  let end = min(o + P.run, P.outHeight);
  var at = (image * P.outHeight + o) * P.outWidth * P.quads + place.column * P.quads + pixel.column;
  var row = positionOf(o, rows);
  var current = 0xffff0000u;      // no row is near it
  var above = vec4f(0.0);
  var below = vec4f(0.0);
  for (; o < end; o++) {
    let low = lowOf(row, rows);
    if (low != current) {
      let start = top + low * pitch;
      if (low == current + 1u) { above = below; } else { above = mix(x[start + left], x[start + right], weight); }
      let following = top + highOf(low, rows) * pitch;
      below = mix(x[following + left], x[following + right], weight);
      current = low;
    }
    y[at] = mix(above, below, weightOf(row, rows));
    at += P.outWidth * P.quads;
    row = moved(row, step, rows.parts);
  }
}

// The gradient along one axis: x has the outputs' entries along it, y the source's. Each output is read once, between the
// two source elements that it mixes.
@compute @workgroup_size(64)
fn backward(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let inner = select(P.outWidth * P.quads, P.quads, COLUMNS);
  let outSize = select(P.outHeight, P.outWidth, COLUMNS);
  let inSize = select(P.inHeight, P.inWidth, COLUMNS);
  let item = cellOf(linearWorkgroup(group, groups) * 64u + lane, inner);
  let part = cellOf(item.row, P.runs);
  let outer = part.row;
  let image = select(outer, outer / P.inHeight, COLUMNS);
  if (image >= P.batch) { return; }
  let window = windowOf(image);
  let origin = i32(select(window.origin.x, window.origin.y, COLUMNS));
  let axis = axisOf(select(window.size.x, window.size.y, COLUMNS), outSize);
  let step = stepOf(axis);
  let first = i32(part.column * P.run);
  let end = min(first + i32(P.run), i32(inSize));
  // The element before the first one shares outputs with it.
  var o = firstOutput(first - 1 - origin, axis, outSize);
  var position = positionOf(o, axis);
  var carried = vec4f(0.0);
  for (var i = first - 1; i < end; i++) {
    var own = vec4f(0.0);
    var following = vec4f(0.0);
    while (o < outSize && i32(lowOf(position, axis)) == i - origin) {
      let passed = x[(outer * outSize + o) * inner + item.column];
      let weight = weightOf(position, axis);
      own += (1.0 - weight) * passed;
      following += weight * passed;
      position = moved(position, step, axis.parts);
      o++;
    }
    if (i - origin == i32(axis.size) - 1) {
      own += following;
      following = vec4f(0.0);
    }
    if (i >= first) { y[(outer * inSize + u32(i)) * inner + item.column] = carried + own; }
    carried = following;
  }
}
