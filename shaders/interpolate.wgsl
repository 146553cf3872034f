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
override DENSE: bool = false;     // `forward`: of two lines side by side, the second is mixed from one source line at most that the first is not

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
// Outputs before the first source element have it on both sides.
fn counting(position: Cell) -> f32 {
  return select(1.0, 0.0, NEAREST || position.row == 0u);
}
fn weightOf(position: Cell, axis: Axis) -> f32 {
  return counting(position) * f32(i32(position.column)) / f32(i32(axis.parts));
}
// The first output at `row` or behind it.
fn firstOutput(row: i32, axis: Axis, outSize: u32) -> u32 {
  if (row <= 0) { return 0u; }
  let ahead = u32(max((row - 1) * i32(axis.parts) - axis.offset, 0));
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

// Neighbouring lines of the result: where the two source lines of each begin, and the weight of the second.
struct Lines {
  //# for c in 0..$ACROSS
  low$c: u32,
  high$c: u32,
  weight$c: f32,
  //# end
}
fn linesFrom(line: u32, source: u32, across: Side) -> Lines {
  var lines: Lines;
  //# for c in 0..$ACROSS
  let position$c = positionOf(min(line + $c, P.lines - 1u), across.axis);
  let first$c = lowOf(position$c, across.axis);
  lines.low$c = source + (across.origin + first$c) * across.inPitch;
  lines.high$c = source + (across.origin + highOf(first$c, across.axis)) * across.inPitch;
  lines.weight$c = weightOf(position$c, across.axis);
  //# end
  return lines;
}
// A source element of each: the two source lines mixed.
struct Mixed {
  //# for c in 0..$ACROSS
  line$c: vec4f,
  //# end
}
fn mixedAt(element: u32, lines: Lines) -> Mixed {
  var mixed: Mixed;
  var low = pixelAt(lines.low0 + element);
  var high = pixelAt(lines.high0 + element);
  mixed.line0 = mix(low, high, lines.weight0);
  var begin = lines.low0;
  //# for c in 1..$ACROSS
  if (DENSE) { low = select(low, high, lines.low$c != begin); } else { low = pixelAt(lines.low$c + element); }
  begin = lines.low$c;
  high = pixelAt(lines.high$c + element);
  mixed.line$c = mix(low, high, lines.weight$c);
  //# end
  return mixed;
}

// An invocation walks along $ACROSS neighbouring lines of the result: the two source lines of each stay the same and are mixed
// once. The outputs between two source elements form an inner loop that does little but store. It tests at its start: a loop that does so
// at its end goes wrong on SwiftShader where some lanes are not in it.
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
  let line = place.column * $ACROSS;
  let lines = linesFrom(line, source, across);
  let goal = image * P.outHeight * P.outWidth * P.quads + line * across.outPitch + pixel.column;
  let step = stepOf(side.axis);
  var o = part.column * P.run;
  let end = min(o + P.run, side.outSize);
  var position = positionOf(o, side.axis);
  let parts = f32(i32(side.axis.parts));
  var before: Mixed;
  var behind = mixedAt(lowOf(position, side.axis) * side.inPitch, lines);
  while (o < end) {
    let low = lowOf(position, side.axis);
    let high = min(position.row, side.axis.size - 1u);
    before = behind;
    if (LEAPING) { before = mixedAt(low * side.inPitch, lines); }
    behind = mixedAt(high * side.inPitch, lines);
    let counts = counting(position);
    var more = true;
    while (more) {
      let weight = counts * f32(i32(position.column)) / parts;
      //# for c in 0..$ACROSS
      if (line + $c < P.lines) { y[goal + $c * across.outPitch + o * side.outPitch] = select(mix(before.line$c, behind.line$c, weight), before.line$c, NEAREST); }
      //# end
      o++;
      position.column += step.column;
      more = step.row == 0u && position.column < side.axis.parts && o < end;
    }
    position = moved(position, Cell(step.row, 0u), side.axis.parts);
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
  let parts = f32(i32(axis.parts));
  let first = i32(part.column * P.run);
  let end = min(first + i32(P.run), i32(inSize));
  // Outputs lie before a row of the axis, that is between its source elements row - 1 and row; beyond both ends there is but one of these.
  var row = first - origin;
  var o = firstOutput(row, axis, outSize);
  var position = positionOf(o, axis);
  //# for c in 0..$ACROSS
  let line$c = place.column * $ACROSS + $c;
  let outer$c = image * P.lines + min(line$c, P.lines - 1u);
  let from$c = outer$c * outSize * P.inner + item.column;
  var carried$c = vec4f(0.0);
  //# end
  for (var i = first - 1; i < end; i++) {
    //# for c in 0..$ACROSS
    var sum$c = vec4f(0.0);
    var following$c = vec4f(0.0);
    //# end
    if (o < outSize && i32(position.row) == row) {
      let counts = select(1.0, 0.0, NEAREST || row == 0 || row >= i32(axis.size));
      let least = select(0.0, 1.0, row == 0);
      var more = true;
      while (more) {
        let weight = least + counts * f32(i32(position.column)) / parts;
        //# for c in 0..$ACROSS
        let passed$c = pixelAt(from$c + o * P.inner);
        sum$c += passed$c;
        following$c += weight * passed$c;
        //# end
        o++;
        position.column += step.column;
        more = step.row == 0u && position.column < axis.parts && o < outSize;
      }
      position = moved(position, Cell(step.row, 0u), axis.parts);
    }
    //# for c in 0..$ACROSS
    if (i >= first && line$c < P.lines) { y[(outer$c * inSize + u32(i)) * P.inner + item.column] = carried$c + sum$c - following$c; }
    carried$c = following$c;
    //# end
    row++;
  }
}
