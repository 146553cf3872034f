// Resizes images [B, H, W, C], or a box of each image: bilinear or nearest. Padding behind the channels needs no mask: sums
// of zeros are zero.
//# include divide
//# include grid
//# include tail
//# include taps
//# include pixel

override NEAREST: bool = false;
override ALIGNED: bool = false;   // aligned corners
override BOXED: bool = false;     // resize box b of image b instead of the whole image
override ROWS: bool = false;      // walk down columns instead of along lines; of `backward`, which resizes one axis: the rows
override LEAPING: bool = false;   // `forward`: there may be source elements that nothing is mixed from, as when shrinking

struct Params {
  batch: u32,
  inHeight: u32,
  inWidth: u32,
  outHeight: u32,
  outWidth: u32,
  quads: u32,           // vec4f of a pixel
  lines: u32,           // lines of an image, or columns, that are walked along
  runs: u32,            // parts into which the walked axis is cut, of `run` entries
  run: u32,
  inner: u32,           // `backward`: vec4f behind the axis
}
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> boxes: array<vec4f>;            // y0, x0, y1, x1, far edges exclusive
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(31) var<uniform> P: Params;

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

// The gradient uses the very positions and weights of the forward pass.
fn resizedAxis(size: u32, outSize: u32) -> Axis {
  if (NEAREST) { return Axis(size, size, outSize, 0); }
  return axisOf(size, outSize, ALIGNED);
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
  let ahead = u32(max(low * i32(axis.parts) - axis.offset, 0));
  return min(quotient(ahead + axis.step - 1u, axis.step), outSize);
}

// An axis, what it is cut from, and the vec4f between neighbours along it.
struct Side {
  axis: Axis,
  outSize: u32,
  origin: u32,
  inPitch: u32,
  outPitch: u32,
}
fn sideOf(window: Window, rows: bool) -> Side {
  if (rows) { return Side(resizedAxis(window.size.x, P.outHeight), P.outHeight, window.origin.x, P.inWidth * P.quads, P.outWidth * P.quads); }
  return Side(resizedAxis(window.size.y, P.outWidth), P.outWidth, window.origin.y, P.quads, P.quads);
}

// An invocation walks along $ACROSS neighbouring lines of the result: the two source lines of each stay the same and are mixed
// once. The outputs between two source elements form an inner loop that does little but store.
@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let pixel = cellOf(linearWorkgroup(group, groups) * 64u + lane, P.quads);
  let place = cellOf(pixel.row, (P.lines + $ACROSS - 1u) / $ACROSS);
  let part = cellOf(place.row, P.runs);
  let image = part.row;
  if (image >= P.batch) { return; }
  let window = windowOf(image);
  let side = sideOf(window, ROWS);
  let across = sideOf(window, !ROWS);
  let source = image * P.inHeight * P.inWidth * P.quads + side.origin * side.inPitch + pixel.column;
  let goal = image * P.outHeight * P.outWidth * P.quads + pixel.column;
  let step = stepOf(side.axis);
  var o = part.column * P.run;
  let end = min(o + P.run, side.outSize);
  var position = positionOf(o, side.axis);
  let start = lowOf(position, side.axis) * side.inPitch;
  //# for c in 0..$ACROSS
  let line$c = place.column * $ACROSS + $c;
  let crossing$c = positionOf(min(line$c, P.lines - 1u), across.axis);
  let weight$c = weightOf(crossing$c, across.axis);
  let low$c = source + (across.origin + lowOf(crossing$c, across.axis)) * across.inPitch;
  let high$c = source + (across.origin + highOf(lowOf(crossing$c, across.axis), across.axis)) * across.inPitch;
  var before$c: vec4f;
  var behind$c = mix(pixelAt(low$c + start), pixelAt(high$c + start), weight$c);
  //# end
  while (o < end) {
    let low = lowOf(position, side.axis);
    let high = min(position.row, side.axis.size - 1u);
    //# for c in 0..$ACROSS
    before$c = behind$c;
    if (LEAPING) { before$c = mix(pixelAt(low$c + low * side.inPitch), pixelAt(high$c + low * side.inPitch), weight$c); }
    behind$c = mix(pixelAt(low$c + high * side.inPitch), pixelAt(high$c + high * side.inPitch), weight$c);
    //# end
    // Outputs before the first source element have it on both sides.
    let counts = select(1.0, 0.0, NEAREST || position.row == 0u);
    loop {
      let weight = counts * f32(position.column) / f32(side.axis.parts);
      //# for c in 0..$ACROSS
      if (line$c < P.lines) { y[goal + line$c * across.outPitch + o * side.outPitch] = select(mix(before$c, behind$c, weight), before$c, NEAREST); }
      //# end
      o++;
      position.column += step.column;
      continuing { break if step.row > 0u || position.column >= side.axis.parts || o == end; }
    }
    let wraps = position.column >= side.axis.parts;
    position = Cell(position.row + step.row + select(0u, 1u, wraps), position.column - select(0u, side.axis.parts, wraps));
  }
}

// The gradient along one axis: x has the outputs' entries along it, y the source's. Each output is read once, between the
// two source elements that it mixes.
@compute @workgroup_size(64)
fn backward(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let outSize = select(P.outWidth, P.outHeight, ROWS);
  let inSize = select(P.inWidth, P.inHeight, ROWS);
  let item = cellOf(linearWorkgroup(group, groups) * 64u + lane, P.inner);
  let part = cellOf(item.row, P.runs);
  let place = cellOf(part.row, (P.lines + $ACROSS - 1u) / $ACROSS);
  let image = place.row;
  if (image >= P.batch) { return; }
  let window = windowOf(image);
  let origin = i32(select(window.origin.y, window.origin.x, ROWS));
  let axis = resizedAxis(select(window.size.y, window.size.x, ROWS), outSize);
  let step = stepOf(axis);
  let first = i32(part.column * P.run);
  let end = min(first + i32(P.run), i32(inSize));
  // The element before the first one shares outputs with it.
  var o = firstOutput(first - 1 - origin, axis, outSize);
  var position = positionOf(o, axis);
  //# for c in 0..$ACROSS
  let line$c = place.column * $ACROSS + $c;
  let outer$c = image * P.lines + min(line$c, P.lines - 1u);
  var carried$c = vec4f(0.0);
  //# end
  for (var i = first - 1; i < end; i++) {
    //# for c in 0..$ACROSS
    var own$c = vec4f(0.0);
    var following$c = vec4f(0.0);
    //# end
    while (o < outSize && i32(lowOf(position, axis)) == i - origin) {
      let weight = weightOf(position, axis);
      //# for c in 0..$ACROSS
      let passed$c = pixelAt((outer$c * outSize + o) * P.inner + item.column);
      own$c += (1.0 - weight) * passed$c;
      following$c += weight * passed$c;
      //# end
      position = moved(position, step, axis.parts);
      o++;
    }
    //# for c in 0..$ACROSS
    if (i - origin == i32(axis.size) - 1) {
      own$c += following$c;
      following$c = vec4f(0.0);
    }
    if (i >= first && line$c < P.lines) { y[(outer$c * inSize + u32(i)) * P.inner + item.column] = carried$c + own$c; }
    carried$c = following$c;
    //# end
  }
}
