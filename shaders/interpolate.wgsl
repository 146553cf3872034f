// Resizes images [B, H, W, C], or a box of each image: bilinear or nearest. The gradient gathers
// for each input pixel the outputs that used it, so no two invocations write one place.
//# include grid
//# include tail
//# include taps

override NEAREST: bool = false;
override ALIGNED: bool = false;   // aligned corners
override BOXED: bool = false;     // resize box b of image b instead of the whole image

struct Params {
  batch: u32,
  inHeight: u32,
  inWidth: u32,
  outHeight: u32,
  outWidth: u32,
  quads: u32,           // vec4f of a pixel
  channels: u32,
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

fn axisTaps(o: u32, inSize: u32, outSize: u32) -> Taps {
  if (NEAREST) {
    let i = (o * inSize) / outSize;
    return Taps(i, i, 0.0);
  }
  return tapsOf(o, inSize, outSize, ALIGNED);
}

fn axisTouched(i: u32, inSize: u32, outSize: u32) -> vec2u {
  if (NEAREST) { return vec2u((i * outSize) / inSize, min(((i + 1u) * outSize) / inSize + 1u, outSize)); }
  return touchedBy(i, inSize, outSize, ALIGNED);
}

// Image, row, column and vec4f of an item of a tensor [B, height, width, quads].
fn locate(i: u32, height: u32, width: u32) -> vec4u {
  let pixel = i / P.quads;
  return vec4u(pixel / (width * height), (pixel / width) % height, pixel % width, i % P.quads);
}

@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = linearWorkgroup(group, groups) * 64u + lane;
  let at = locate(i, P.outHeight, P.outWidth);
  if (at.x >= P.batch) { return; }
  let window = windowOf(at.x);
  let rows = axisTaps(at.y, window.size.x, P.outHeight);
  let columns = axisTaps(at.z, window.size.y, P.outWidth);
  let upper = (at.x * P.inHeight + window.origin.x + rows.low) * P.inWidth + window.origin.y;
  let lower = (at.x * P.inHeight + window.origin.x + rows.high) * P.inWidth + window.origin.y;
  let above = mix(x[(upper + columns.low) * P.quads + at.w], x[(upper + columns.high) * P.quads + at.w], columns.weight);
  let below = mix(x[(lower + columns.low) * P.quads + at.w], x[(lower + columns.high) * P.quads + at.w], columns.weight);
  y[i] = maskTail(mix(above, below, rows.weight), at.w, P.channels);
}

// x is the gradient of the output here, y that of the input.
@compute @workgroup_size(64)
fn backward(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = linearWorkgroup(group, groups) * 64u + lane;
  let at = locate(i, P.inHeight, P.inWidth);
  if (at.x >= P.batch) { return; }
  let window = windowOf(at.x);
  var sum = vec4f(0.0);
  let here = at.yz - window.origin;     // wraps to a huge number before the origin
  if (all(here < window.size)) {
    let rows = axisTouched(here.x, window.size.x, P.outHeight);
    let columns = axisTouched(here.y, window.size.y, P.outWidth);
    for (var r = rows.x; r < rows.y; r++) {
      let rowWeight = weightOf(here.x, axisTaps(r, window.size.x, P.outHeight));
      if (rowWeight != 0.0) {
        let base = (at.x * P.outHeight + r) * P.outWidth;
        for (var c = columns.x; c < columns.y; c++) {
          let weight = rowWeight * weightOf(here.y, axisTaps(c, window.size.y, P.outWidth));
          if (weight != 0.0) { sum += weight * x[(base + c) * P.quads + at.w]; }
        }
      }
    }
  }
  y[i] = maskTail(sum, at.w, P.channels);
}
