// From pictures of 8 bits a channel to network input: antialiased resize of a window, mirror, jitter, normalisation.
//# include divide
//# include grid

override WIDE: bool = false;   // more than 4 pixels of some row count for one of the output

struct Params {
  batch: u32,
  size: u32,
  runs: u32,          // parts into which the columns of the output are cut, of `run` pixels
  run: u32,
  mean: vec4f,
  inverseStd: vec4f,
}
@group(0) @binding(0) var<storage, read> pixels: array<u32>;            // RGBA, red in the lowest byte
@group(0) @binding(1) var<storage, read> table: array<vec4u>;           // three per picture
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(3) var<storage, read> raw: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> rowGreys: array<f32>;
@group(0) @binding(5) var<storage, read> greys: array<f32>;
@group(0) @binding(6) var<storage, read_write> meanGreys: array<f32>;
@group(0) @binding(7) var<storage, read> means: array<f32>;
@group(0) @binding(31) var<uniform> P: Params;

const GREY = vec3f(0.299, 0.587, 0.114);
const BRIGHTNESS = 0u;
const CONTRAST = 1u;
// The six orders of brightness, contrast (1) and saturation (2).
const ORDERS = array<vec3u, 6>(vec3u(0u, 1u, 2u), vec3u(0u, 2u, 1u), vec3u(1u, 0u, 2u), vec3u(1u, 2u, 0u), vec3u(2u, 0u, 1u), vec3u(2u, 1u, 0u));

struct Picture {
  offset: u32,
  size: vec2u,        // width, height
  order: vec3u,       // of the changes of colour
  factors: vec3f,     // in that order
  flip: bool,
  origin: vec2f,      // source position of the output's corner
  scale: vec2f,       // source pixels per output pixel
}
fn pictureOf(image: u32) -> Picture {
  let a = table[image * 3u];
  let b = bitcast<vec4f>(table[image * 3u + 1u]);
  let c = table[image * 3u + 2u];
  let order = ORDERS[min(a.w, 5u)];
  let factors = bitcast<vec3f>(c.xyz);
  return Picture(a.x, a.yz, order, vec3f(factors[order.x], factors[order.y], factors[order.z]), c.w == 1u, b.xy, b.zw);
}

// Source pixels under a triangle: from x up to, not including, y. At least one, whatever the window.
fn tapsUnder(centre: f32, reach: f32, length: u32) -> vec2u {
  let limit = f32(length);
  let first = clamp(floor(centre - reach + 0.5), 0.0, limit - 1.0);
  return vec2u(vec2i(nearest(first), nearest(clamp(floor(centre + reach + 0.5), first + 1.0, limit))));
}
fn triangle(i: u32, centre: f32, reach: f32) -> f32 {
  return max(1.0 - abs(f32(i) + 0.5 - centre) / reach, 0.0);
}

// What an invocation walks over: a part of a column of the output.
struct Walk {
  image: u32,
  column: u32,
  row: u32,       // the first
  end: u32,       // behind the last
}
fn walkOf(item: u32) -> Walk {
  let place = cellOf(item, P.size);
  let part = cellOf(place.row, P.runs);
  let row = part.column * P.run;
  return Walk(part.row, place.column, row, min(row + P.run, P.size));
}
fn pixelOf(walk: Walk, row: u32) -> u32 {
  return (walk.image * P.size + row) * P.size + walk.column;
}

// The source columns that count in a column of the output.
struct Across {
  taps: vec2u,
  centre: f32,
  reach: f32,
  total: f32,         // of their weights
  columns: vec4u,     // the first four; the last one stands in for those that are missing, and weighs nothing
  weights: vec4f,
}
fn acrossOf(picture: Picture, x: u32) -> Across {
  let column = select(x, P.size - 1u - x, picture.flip);
  let centre = picture.origin.x + (f32(column) + 0.5) * picture.scale.x;
  let reach = max(picture.scale.x, 1.0);
  let taps = tapsUnder(centre, reach, picture.size.x);
  var total = 0.0;
  for (var i = taps.x; i < taps.y; i++) { total += triangle(i, centre, reach); }
  let four = vec4u(taps.x) + vec4u(0u, 1u, 2u, 3u);
  let weights = max(1.0 - abs(vec4f(four) + 0.5 - centre) / reach, vec4f(0.0));
  return Across(taps, centre, reach, total, min(four, vec4u(taps.y - 1u)), select(vec4f(0.0), weights, four < vec4u(taps.y)));
}
fn colourOf(pixel: u32) -> vec3f {
  return unpack4x8unorm(pixels[pixel]).xyz;
}
// Over the source row that begins at pixel `base`.
fn rowSum(base: u32, across: Across) -> vec3f {
  var sum = vec3f(0.0);
  //# for t in 0..4
  sum += across.weights[$t] * colourOf(base + across.columns[$t]);
  //# end
  if (WIDE) {
    for (var i = across.taps.x + 4u; i < across.taps.y; i++) { sum += triangle(i, across.centre, across.reach) * colourOf(base + i); }
  }
  return sum;
}
// What source rows add up to, for a row of the output and for the one behind it: when shrinking, each of them counts in two rows at
// most, and is read once.
struct Down {
  ahead: u32,         // the first source row that was not read
  sum: vec3f,
  total: f32,         // of the weights
  nextSum: vec3f,
  nextTotal: f32,
}
fn centreOf(picture: Picture, row: u32) -> f32 {
  return picture.origin.y + (f32(row) + 0.5) * picture.scale.y;
}
// For a row of the output, from what was found for the one before; before the first one nothing was.
fn downTo(picture: Picture, across: Across, row: u32, before: Down) -> Down {
  let centre = centreOf(picture, row);
  let nextCentre = centreOf(picture, row + 1u);
  let reach = max(picture.scale.y, 1.0);
  let taps = tapsUnder(centre, reach, picture.size.y);
  var down = Down(max(before.ahead, taps.x), before.nextSum, before.nextTotal, vec3f(0.0), 0.0);
  // When enlarging, a source row counts in any number of rows.
  if (picture.scale.y < 1.0) { down = Down(taps.x, vec3f(0.0), 0.0, vec3f(0.0), 0.0); }
  for (; down.ahead < taps.y; down.ahead++) {
    let colour = rowSum(picture.offset + down.ahead * picture.size.x, across);
    let weight = triangle(down.ahead, centre, reach);
    let nextWeight = triangle(down.ahead, nextCentre, reach);
    down.sum += weight * colour;
    down.total += weight;
    down.nextSum += nextWeight * colour;
    down.nextTotal += nextWeight;
  }
  return down;
}
// The window's colour, in 0 ... 1.
fn colourIn(down: Down, across: Across) -> vec3f { return down.sum / (down.total * across.total); }

fn jittered(colour: vec3f, kind: u32, factor: f32, meanGrey: f32) -> vec3f {
  if (factor == 1.0) { return colour; }
  var pivot = dot(colour, GREY);
  if (kind == BRIGHTNESS) { pivot = 0.0; }
  if (kind == CONTRAST) { pivot = meanGrey; }
  return clamp(pivot + factor * (colour - pivot), vec3f(0.0), vec3f(1.0));
}

fn finished(picture: Picture, colour: vec3f, meanGrey: f32) -> vec4f {
  var c = colour;
  //# for k in 0..3
  c = jittered(c, picture.order[$k], picture.factors[$k], meanGrey);
  //# end
  return vec4f((c - P.mean.xyz) * P.inverseStd.xyz, 0.0);
}

fn invocation(group: vec3u, groups: vec3u, lane: u32) -> u32 {
  return linearWorkgroup(group, groups) * 64u + lane;
}

// Everything at once, for batches without contrast jitter.
@compute @workgroup_size(64)
fn direct(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let walk = walkOf(invocation(group, groups, lane));
  if (walk.image >= P.batch) { return; }
  let picture = pictureOf(walk.image);
  let across = acrossOf(picture, walk.column);
  var down = Down();
  for (var row = walk.row; row < walk.end; row++) {
    down = downTo(picture, across, row, down);
    y[pixelOf(walk, row)] = finished(picture, colourIn(down, across), 0.0);
  }
}

// With contrast, which needs the mean grey of the picture as it is at that point, in four steps.
@compute @workgroup_size(64)
fn resample(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let walk = walkOf(invocation(group, groups, lane));
  if (walk.image >= P.batch) { return; }
  let picture = pictureOf(walk.image);
  let across = acrossOf(picture, walk.column);
  var down = Down();
  for (var row = walk.row; row < walk.end; row++) {
    down = downTo(picture, across, row, down);
    y[pixelOf(walk, row)] = vec4f(colourIn(down, across), 0.0);
  }
}

@compute @workgroup_size(64)
fn sumGreys(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let row = invocation(group, groups, lane);
  if (row >= P.batch * P.size) { return; }
  let picture = pictureOf(quotient(row, P.size));
  var sum = 0.0;
  for (var x = 0u; x < P.size; x++) {
    var c = raw[row * P.size + x].xyz;
    for (var k = 0u; k < 3u; k++) {
      if (picture.order[k] == CONTRAST) { break; }
      c = jittered(c, picture.order[k], picture.factors[k], 0.0);
    }
    sum += dot(c, GREY);
  }
  rowGreys[row] = sum;
}

@compute @workgroup_size(64)
fn averageGreys(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let image = invocation(group, groups, lane);
  if (image >= P.batch) { return; }
  var sum = 0.0;
  for (var row = 0u; row < P.size; row++) { sum += greys[image * P.size + row]; }
  meanGreys[image] = sum / f32(P.size * P.size);
}

@compute @workgroup_size(64)
fn finish(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let walk = walkOf(invocation(group, groups, lane));
  if (walk.image >= P.batch) { return; }
  let picture = pictureOf(walk.image);
  for (var row = walk.row; row < walk.end; row++) {
    let i = pixelOf(walk, row);
    y[i] = finished(picture, raw[i].xyz, means[walk.image]);
  }
}
