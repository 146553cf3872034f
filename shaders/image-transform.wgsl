// From pictures of 8 bits a channel to network input: antialiased resize of a window, mirror, jitter, normalisation.
//# include divide
//# include grid

struct Params {
  batch: u32,
  size: u32,
  steps: u32,         // pixels for an invocation of direct and resample
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
@group(1) @binding(0) var<uniform> P: Params;

const GREY = vec3f(0.299, 0.587, 0.114);
const BRIGHTNESS = 0u;
const CONTRAST = 1u;
// The six orders of brightness, contrast (1) and saturation (2).
const ORDERS = array<vec3u, 6>(vec3u(0u, 1u, 2u), vec3u(0u, 2u, 1u), vec3u(1u, 0u, 2u), vec3u(1u, 2u, 0u), vec3u(2u, 0u, 1u), vec3u(2u, 1u, 0u));

struct Picture {
  offset: u32,
  size: vec2u,        // width, height
  order: u32,
  flip: bool,
  origin: vec2f,      // source position of the output's corner
  scale: vec2f,       // source pixels per output pixel
  factors: vec3f,
}
fn pictureOf(image: u32) -> Picture {
  let a = table[image * 3u];
  let b = bitcast<vec4f>(table[image * 3u + 1u]);
  let c = table[image * 3u + 2u];
  return Picture(a.x, a.yz, min(a.w, 5u), c.w == 1u, b.xy, b.zw, bitcast<vec3f>(c.xyz));
}

// Source pixels under a triangle: from x up to, not including, y. At least one, whatever the window.
fn tapsUnder(centre: f32, reach: f32, length: u32) -> vec2u {
  let limit = f32(length);
  let first = clamp(floor(centre - reach + 0.5), 0.0, limit - 1.0);
  return vec2u(u32(first), u32(clamp(floor(centre + reach + 0.5), first + 1.0, limit)));
}
fn triangle(i: u32, centre: f32, reach: f32) -> f32 {
  return max(1.0 - abs(f32(i) + 0.5 - centre) / reach, 0.0);
}

// The window's colour at output pixel (x, row), in 0 ... 1.
fn resampled(picture: Picture, x: u32, row: u32) -> vec3f {
  let column = select(x, P.size - 1u - x, picture.flip);
  let centre = picture.origin + (vec2f(f32(column), f32(row)) + 0.5) * picture.scale;
  let reach = max(picture.scale, vec2f(1.0));
  let across = tapsUnder(centre.x, reach.x, picture.size.x);
  let down = tapsUnder(centre.y, reach.y, picture.size.y);
  var acrossTotal = 0.0;
  for (var i = across.x; i < across.y; i++) { acrossTotal += triangle(i, centre.x, reach.x); }
  var sum = vec3f(0.0);
  var downTotal = 0.0;
  for (var j = down.x; j < down.y; j++) {
    let base = picture.offset + j * picture.size.x;
    let rowWeight = triangle(j, centre.y, reach.y);
    var rowSum = vec3f(0.0);
    for (var i = across.x; i < across.y; i++) { rowSum += triangle(i, centre.x, reach.x) * unpack4x8unorm(pixels[base + i]).xyz; }
    sum += rowWeight * rowSum;
    downTotal += rowWeight;
  }
  return sum / (downTotal * acrossTotal);
}

fn jittered(colour: vec3f, kind: u32, factor: f32, meanGrey: f32) -> vec3f {
  if (factor == 1.0) { return colour; }
  var pivot = dot(colour, GREY);
  if (kind == BRIGHTNESS) { pivot = 0.0; }
  if (kind == CONTRAST) { pivot = meanGrey; }
  return clamp(pivot + factor * (colour - pivot), vec3f(0.0), vec3f(1.0));
}

fn finished(picture: Picture, colour: vec3f, meanGrey: f32) -> vec4f {
  var c = colour;
  let order = ORDERS[picture.order];
  for (var k = 0u; k < 3u; k++) { c = jittered(c, order[k], picture.factors[order[k]], meanGrey); }
  return vec4f((c - P.mean.xyz) * P.inverseStd.xyz, 0.0);
}

fn invocation(group: vec3u, groups: vec3u, lane: u32) -> u32 {
  return linearWorkgroup(group, groups) * 64u + lane;
}

// Everything at once, for batches without contrast jitter.
@compute @workgroup_size(64)
fn direct(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let mine = stretchOf(linearWorkgroup(group, groups), lane, P.steps, P.batch * P.size * P.size);
  for (var i = mine.first; i < mine.end; i += ABREAST) {
    let pixel = cellOf(i, P.size);
    let line = cellOf(pixel.row, P.size);
    let picture = pictureOf(line.row);
    y[i] = finished(picture, resampled(picture, pixel.column, line.column), 0.0);
  }
}

// With contrast, which needs the mean grey of the picture as it is at that point, in four steps.
@compute @workgroup_size(64)
fn resample(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let mine = stretchOf(linearWorkgroup(group, groups), lane, P.steps, P.batch * P.size * P.size);
  for (var i = mine.first; i < mine.end; i += ABREAST) {
    let pixel = cellOf(i, P.size);
    let line = cellOf(pixel.row, P.size);
    y[i] = vec4f(resampled(pictureOf(line.row), pixel.column, line.column), 0.0);
  }
}

@compute @workgroup_size(64)
fn sumGreys(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let row = invocation(group, groups, lane);
  if (row >= P.batch * P.size) { return; }
  let picture = pictureOf(row / P.size);
  let order = ORDERS[picture.order];
  var sum = 0.0;
  for (var x = 0u; x < P.size; x++) {
    var c = raw[row * P.size + x].xyz;
    for (var k = 0u; k < 3u; k++) {
      if (order[k] == CONTRAST) { break; }
      c = jittered(c, order[k], picture.factors[order[k]], 0.0);
    }
    sum += dot(c, GREY);
  }
  rowGreys[row] = sum;
}

@compute @workgroup_size(64)
fn averageGreys(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let image = invocation(group, groups, lane);
  if (image >= P.batch) { return; }
  var sum = 0.0;
  for (var row = 0u; row < P.size; row++) { sum += greys[image * P.size + row]; }
  meanGreys[image] = sum / f32(P.size * P.size);
}

@compute @workgroup_size(64)
fn finish(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = invocation(group, groups, lane);
  let image = i / (P.size * P.size);
  if (image >= P.batch) { return; }
  y[i] = finished(pictureOf(image), raw[i].xyz, means[image]);
}
