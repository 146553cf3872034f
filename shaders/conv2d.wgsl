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
@group(1) @binding(0) var<uniform> P: Params;

@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let i = linearWorkgroup(group, groups) * 64u + lane;
  if (i >= P.images * P.outH * P.outW * P.outStride) { return; }
  let pixel = cellOf(i, P.outStride);
  let channel = pixel.column;
  let line = cellOf(pixel.row, P.outW);
  let ox = line.column;
  let image = quotient(line.row, P.outH);
  let oy = line.row - image * P.outH;
  var sum = 0.0;
  if (channel < P.groups * P.groupOut) {
    let first = (channel / P.groupOut) * P.groupIn;
    for (var r = 0u; r < P.kernelH; r++) {
      let iy = i32(oy * P.strideY + r * P.dilationY) - i32(P.padY);
      for (var s = 0u; s < P.kernelW; s++) {
        let ix = i32(ox * P.strideX + s * P.dilationX) - i32(P.padX);
        if (iy < 0 || iy >= i32(P.inH) || ix < 0 || ix >= i32(P.inW)) { continue; }
        let at = ((image * P.inH + u32(iy)) * P.inW + u32(ix)) * P.inStride + first;
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
  let pixel = cellOf(i, P.inStride);
  let channel = pixel.column;
  let line = cellOf(pixel.row, P.inW);
  let ix = line.column;
  let image = quotient(line.row, P.inH);
  let iy = line.row - image * P.inH;
  var sum = 0.0;
  if (channel < P.groups * P.groupIn) {
    let first = (channel / P.groupIn) * P.groupOut;
    let within = channel % P.groupIn;
    for (var r = 0u; r < P.kernelH; r++) {
      let ty = i32(iy + P.padY) - i32(r * P.dilationY);
      for (var s = 0u; s < P.kernelW; s++) {
        let tx = i32(ix + P.padX) - i32(s * P.dilationX);
        if (ty < 0 || tx < 0 || u32(ty) % P.strideY != 0u || u32(tx) % P.strideX != 0u) { continue; }
        let oy = u32(ty) / P.strideY;
        let ox = u32(tx) / P.strideX;
        if (oy >= P.outH || ox >= P.outW) { continue; }
        let at = ((image * P.outH + oy) * P.outW + ox) * P.outStride + first;
        let tap = ((r * P.kernelW + s) * P.groupIn + within) * P.outStride + first;
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
  let image = i / size;
  let channel = i % P.outStride;
  let within = (i / P.outStride) % P.groupIn;
  let tap = (i % size) / (P.outStride * P.groupIn);
  var sum = 0.0;
  if (channel < P.groups * P.groupOut) {
    let source = (channel / P.groupOut) * P.groupIn + within;
    for (var oy = 0u; oy < P.outH; oy++) {
      let iy = i32(oy * P.strideY + (tap / P.kernelW) * P.dilationY) - i32(P.padY);
      if (iy < 0 || iy >= i32(P.inH)) { continue; }
      for (var ox = 0u; ox < P.outW; ox++) {
        let ix = i32(ox * P.strideX + (tap % P.kernelW) * P.dilationX) - i32(P.padX);
        if (ix < 0 || ix >= i32(P.inW)) { continue; }
        sum += x[((image * P.inH + u32(iy)) * P.inW + u32(ix)) * P.inStride + source]
          * gradient[((image * P.outH + oy) * P.outW + ox) * P.outStride + channel];
      }
    }
  }
  result[i] = sum;
}
