// Grouped convolutions whose groups are not whole vec4f (depthwise above all): one invocation per
// result, scalar loads. Everything else goes through the GEMM family.
//# include divide
//# include grid

struct Params {
  images: u32,
  inH: u32, inW: u32,
  outH: u32, outW: u32,
  kernelH: u32, kernelW: u32,
  strideY: u32, strideX: u32,
  padY: u32, padX: u32,
  dilationY: u32, dilationX: u32,
  groups: u32,
  groupIn: u32,        // channels per group, of the input and the output
  groupOut: u32,
  inStride: u32,       // stored elements per pixel
  outStride: u32,
}
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> w: array<f32>;       // [kernelH][kernelW][groupIn][outStride]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<storage, read> gradient: array<f32>;
@group(0) @binding(4) var<storage, read_write> result: array<f32>;
@group(0) @binding(31) var<uniform> P: Params;

struct Place {
  image: u32,
  y: u32,
  x: u32,
  channel: u32,
}
// Of an element of images of the given size.
fn placeOf(i: u32, height: u32, width: u32, channels: u32) -> Place {
  let pixel = cellOf(i, channels);
  let line = cellOf(pixel.row, width);
  let image = cellOf(line.row, height);
  return Place(image.row, image.column, line.column, pixel.column);
}

@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let i = linearWorkgroup(group, groups) * 64u + lane;
  if (i >= P.images * P.outH * P.outW * P.outStride) { return; }
  let place = placeOf(i, P.outH, P.outW, P.outStride);
  let channel = place.channel;
  var sum = 0.0;
  if (channel < P.groups * P.groupOut) {
    let first = quotient(channel, P.groupOut) * P.groupIn;
    for (var r = 0u; r < P.kernelH; r++) {
      let iy = i32(place.y * P.strideY + r * P.dilationY) - i32(P.padY);
      for (var s = 0u; s < P.kernelW; s++) {
        let ix = i32(place.x * P.strideX + s * P.dilationX) - i32(P.padX);
        if (iy < 0 || iy >= i32(P.inH) || ix < 0 || ix >= i32(P.inW)) { continue; }
        let at = ((place.image * P.inH + u32(iy)) * P.inW + u32(ix)) * P.inStride + first;
        let tap = (r * P.kernelW + s) * P.groupIn * P.outStride + channel;
        for (var c = 0u; c < P.groupIn; c++) { sum += x[at + c] * w[tap + c * P.outStride]; }
      }
    }
  }
  y[i] = sum;
}

@compute @workgroup_size(64)
fn gradInput(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let i = linearWorkgroup(group, groups) * 64u + lane;
  if (i >= P.images * P.inH * P.inW * P.inStride) { return; }
  let place = placeOf(i, P.inH, P.inW, P.inStride);
  let channel = place.channel;
  var sum = 0.0;
  if (channel < P.groups * P.groupIn) {
    let member = cellOf(channel, P.groupIn);
    let first = member.row * P.groupOut;
    for (var r = 0u; r < P.kernelH; r++) {
      let ty = i32(place.y + P.padY) - i32(r * P.dilationY);
      for (var s = 0u; s < P.kernelW; s++) {
        let tx = i32(place.x + P.padX) - i32(s * P.dilationX);
        if (ty < 0 || tx < 0 || u32(ty) % P.strideY != 0u || u32(tx) % P.strideX != 0u) { continue; }
        let oy = u32(ty) / P.strideY;
        let ox = u32(tx) / P.strideX;
        if (oy >= P.outH || ox >= P.outW) { continue; }
        let at = ((place.image * P.outH + oy) * P.outW + ox) * P.outStride + first;
        let tap = ((r * P.kernelW + s) * P.groupIn + member.column) * P.outStride + first;
        for (var c = 0u; c < P.groupOut; c++) { sum += gradient[at + c] * w[tap + c]; }
      }
    }
  }
  result[i] = sum;
}

// One partial result per image, so that a depthwise gradient, which has few elements, fills the device.
@compute @workgroup_size(64)
fn gradWeight(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let i = linearWorkgroup(group, groups) * 64u + lane;
  let size = P.kernelH * P.kernelW * P.groupIn * P.outStride;
  if (i >= P.images * size) { return; }
  let row = cellOf(i, P.outStride);
  let channel = row.column;
  let member = cellOf(row.row, P.groupIn);
  let tap = cellOf(member.row, P.kernelH * P.kernelW);
  let image = tap.row;
  let offset = cellOf(tap.column, P.kernelW);
  var sum = 0.0;
  if (channel < P.groups * P.groupOut) {
    let source = quotient(channel, P.groupOut) * P.groupIn + member.column;
    for (var oy = 0u; oy < P.outH; oy++) {
      let iy = i32(oy * P.strideY + offset.row * P.dilationY) - i32(P.padY);
      if (iy < 0 || iy >= i32(P.inH)) { continue; }
      for (var ox = 0u; ox < P.outW; ox++) {
        let ix = i32(ox * P.strideX + offset.column * P.dilationX) - i32(P.padX);
        if (ix < 0 || ix >= i32(P.inW)) { continue; }
        sum += x[((image * P.inH + u32(iy)) * P.inW + u32(ix)) * P.inStride + source]
          * gradient[((image * P.outH + oy) * P.outW + ox) * P.outStride + channel];
      }
    }
  }
  result[i] = sum;
}
