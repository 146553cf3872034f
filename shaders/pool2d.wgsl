// Maximum and mean over windows of images [n, h, w, c]. Backward gathers: each input pixel visits
// the windows that cover it, so nothing is added twice and no atomics are needed.
// An invocation handles $PER neighbouring vec4f of a pixel: finding the pixel costs several divisions.
//# include divide
//# include float
//# include grid
//# include tail

// Windows that divide the image into oh x ow parts instead of sliding.
override ADAPTIVE: bool = false;

struct Params {
  items: u32,             // groups of $PER vec4f to write
  quads: u32,             // vec4f of a pixel
  width: u32,             // channels
  h: i32,                 // input image
  w: i32,
  oh: i32,                // output image
  ow: i32,
  kh: i32,
  kw: i32,
  sh: i32,
  sw: i32,
  ph: i32,
  pw: i32,
  countIncludePad: u32,
}
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> indices: array<vec4i>;
@group(0) @binding(3) var<storage, read> gradient: array<vec4f>;
@group(0) @binding(4) var<storage, read> winners: array<vec4i>;
@group(0) @binding(5) var<storage, read_write> result: array<vec4f>;
@group(0) @binding(31) var<uniform> P: Params;

// For a of at least 0.
fn divided(a: i32, b: i32) -> i32 {
  return i32(quotient(u32(a), u32(b)));
}

// Where a window begins and ends along one axis, padding included.
fn windowSpan(o: i32, size: i32, count: i32, kernel: i32, stride: i32, pad: i32) -> vec2i {
  if (ADAPTIVE) { return vec2i(divided(o * size, count), divided((o + 1) * size + count - 1, count)); }
  let first = o * stride - pad;
  return vec2i(first, min(first + kernel, size + pad));
}

// First and last window that cover position i of one axis.
fn coveringWindows(i: i32, size: i32, count: i32, kernel: i32, stride: i32, pad: i32) -> vec2i {
  if (ADAPTIVE) { return vec2i(divided(i * count, size), divided((i + 1) * count + size - 1, size) - 1); }
  let reach = i + pad;
  let first = select(0, divided(max(reach - kernel, 0), stride) + 1, reach >= kernel);
  return vec2i(first, min(divided(reach, stride), count - 1));
}

fn rowsOf(o: i32) -> vec2i { return windowSpan(o, P.h, P.oh, P.kh, P.sh, P.ph); }
fn columnsOf(o: i32) -> vec2i { return windowSpan(o, P.w, P.ow, P.kw, P.sw, P.pw); }

// What a window's sum is divided by; `rows` and `columns` as from windowSpan.
fn divisor(rows: vec2i, columns: vec2i) -> f32 {
  if (P.countIncludePad == 1u) { return f32((rows.y - rows.x) * (columns.y - columns.x)); }
  return f32((min(rows.y, P.h) - max(rows.x, 0)) * (min(columns.y, P.w) - max(columns.x, 0)));
}

// Image, row, column and first vec4f within the pixel of the item-th group of images of the given size.
fn place(item: u32, height: i32, width: i32) -> vec4u {
  let ofPixel = cellOf(item, quotient(P.quads, u32($PER)));
  let ofRow = cellOf(ofPixel.row, u32(width));
  let ofImage = cellOf(ofRow.row, u32(height));
  return vec4u(ofImage.row, ofImage.column, ofRow.column, ofPixel.column * u32($PER));
}

struct Maxima {
  value: array<vec4f, $PER>,
  position: array<vec4i, $PER>,     // row * w + column, by channel
}

fn windowMaxima(at: vec4u) -> Maxima {
  let rows = clamp(rowsOf(i32(at.y)), vec2i(0), vec2i(P.h));
  let columns = clamp(columnsOf(i32(at.z)), vec2i(0), vec2i(P.w));
  let image = i32(at.x) * P.h * P.w;
  var best: Maxima;
  //# for k in 0..$PER
  best.value[$k] = x[u32(image + rows.x * P.w + columns.x) * P.quads + at.w + u32($k)];
  best.position[$k] = vec4i(rows.x * P.w + columns.x);
  //# end
  for (var r = rows.x; r < rows.y; r++) {
    for (var c = columns.x; c < columns.y; c++) {
      let first = u32(image + r * P.w + c) * P.quads + at.w;
      // A NaN wins over all numbers; among equals the first stays.
      //# for k in 0..$PER
      let v$k = x[first + u32($k)];
      let better$k = ((v$k > best.value[$k]) & !isNan4(best.value[$k])) | isNan4(v$k);
      best.value[$k] = select(best.value[$k], v$k, better$k);
      best.position[$k] = select(best.position[$k], vec4i(r * P.w + c), better$k);
      //# end
    }
  }
  return best;
}

@compute @workgroup_size(64)
fn maxForward(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let i = linearWorkgroup(group, groups) * 64u + lane;
  if (i >= P.items) { return; }
  let at = place(i, P.oh, P.ow);
  let best = windowMaxima(at);
  //# for k in 0..$PER
  y[i * u32($PER) + u32($k)] = maskTail(best.value[$k], at.w + u32($k), P.width);
  //# end
}

// The same, and where each maximum stood.
@compute @workgroup_size(64)
fn maxForwardIndexed(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let i = linearWorkgroup(group, groups) * 64u + lane;
  if (i >= P.items) { return; }
  let at = place(i, P.oh, P.ow);
  let best = windowMaxima(at);
  //# for k in 0..$PER
  y[i * u32($PER) + u32($k)] = maskTail(best.value[$k], at.w + u32($k), P.width);
  indices[i * u32($PER) + u32($k)] = best.position[$k];
  //# end
}

@compute @workgroup_size(64)
fn maxBackward(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let i = linearWorkgroup(group, groups) * 64u + lane;
  if (i >= P.items) { return; }
  let at = place(i, P.h, P.w);
  let position = vec4i(i32(at.y) * P.w + i32(at.z));
  let rows = coveringWindows(i32(at.y), P.h, P.oh, P.kh, P.sh, P.ph);
  let columns = coveringWindows(i32(at.z), P.w, P.ow, P.kw, P.sw, P.pw);
  let image = i32(at.x) * P.oh * P.ow;
  var total: array<vec4f, $PER>;
  for (var r = rows.x; r <= rows.y; r++) {
    for (var c = columns.x; c <= columns.y; c++) {
      let o = u32(image + r * P.ow + c) * P.quads + at.w;
      //# for k in 0..$PER
      total[$k] += select(vec4f(0.0), gradient[o + u32($k)], winners[o + u32($k)] == position);
      //# end
    }
  }
  //# for k in 0..$PER
  result[i * u32($PER) + u32($k)] = maskTail(total[$k], at.w + u32($k), P.width);
  //# end
}

@compute @workgroup_size(64)
fn averageForward(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let i = linearWorkgroup(group, groups) * 64u + lane;
  if (i >= P.items) { return; }
  let at = place(i, P.oh, P.ow);
  let rows = rowsOf(i32(at.y));
  let columns = columnsOf(i32(at.z));
  let image = i32(at.x) * P.h * P.w;
  var total: array<vec4f, $PER>;
  for (var r = max(rows.x, 0); r < min(rows.y, P.h); r++) {
    // A line is summed by itself: many pixels one after the other would lose digits.
    var line = array<vec4f, $PER>();
    for (var c = max(columns.x, 0); c < min(columns.y, P.w); c++) {
      let first = u32(image + r * P.w + c) * P.quads + at.w;
      //# for k in 0..$PER
      line[$k] += x[first + u32($k)];
      //# end
    }
    //# for k in 0..$PER
    total[$k] += line[$k];
    //# end
  }
  let count = divisor(rows, columns);
  //# for k in 0..$PER
  y[i * u32($PER) + u32($k)] = maskTail(total[$k] / count, at.w + u32($k), P.width);
  //# end
}

@compute @workgroup_size(64)
fn averageBackward(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let i = linearWorkgroup(group, groups) * 64u + lane;
  if (i >= P.items) { return; }
  let at = place(i, P.h, P.w);
  let rows = coveringWindows(i32(at.y), P.h, P.oh, P.kh, P.sh, P.ph);
  let columns = coveringWindows(i32(at.z), P.w, P.ow, P.kw, P.sw, P.pw);
  let image = i32(at.x) * P.oh * P.ow;
  var total: array<vec4f, $PER>;
  for (var r = rows.x; r <= rows.y; r++) {
    for (var c = columns.x; c <= columns.y; c++) {
      let o = u32(image + r * P.ow + c) * P.quads + at.w;
      let count = divisor(rowsOf(r), columnsOf(c));
      //# for k in 0..$PER
      total[$k] += gradient[o + u32($k)] / count;
      //# end
    }
  }
  //# for k in 0..$PER
  result[i * u32($PER) + u32($k)] = maskTail(total[$k], at.w + u32($k), P.width);
  //# end
}
