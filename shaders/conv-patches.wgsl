// Convolutions of few input channels: a tap then fills less than a vec4f or two, and most of the work of an implicit
// product would be finding pixels. The taps and channels of each output pixel are laid out as one row instead.
//# include grid

@group(0) @binding(0) var<storage, read> source: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;

struct Params {
  rows: u32,              // pixels of the convolution's output (unfold) or input (fold), all images
  inH: u32, inW: u32,
  outH: u32, outW: u32,
  kernelH: u32, kernelW: u32,
  strideY: u32, strideX: u32,
  padY: u32, padX: u32,
  dilationY: u32, dilationX: u32,
  channels: u32,
  inStride: u32,          // elements between pixels of the convolution's input
  rowStride: u32,         // elements of a row of taps and channels
  quads: u32,             // vec4f in a row of y
}
@group(1) @binding(0) var<uniform> P: Params;

fn inputAt(image: u32, oy: u32, ox: u32, element: u32) -> f32 {
  let tap = element / P.channels;
  let iy = i32(oy * P.strideY + tap / P.kernelW * P.dilationY) - i32(P.padY);
  let ix = i32(ox * P.strideX + tap % P.kernelW * P.dilationX) - i32(P.padX);
  let inside = element < P.kernelH * P.kernelW * P.channels && iy >= 0 && iy < i32(P.inH) && ix >= 0 && ix < i32(P.inW);
  let at = ((image * P.inH + u32(iy)) * P.inW + u32(ix)) * P.inStride + element % P.channels;
  return select(0.0, source[select(0u, at, inside)], inside);
}

// y[output pixel][tap, channel] = source[its input pixel][channel]
@compute @workgroup_size(64)
fn unfold(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let item = linearWorkgroup(group, groups) * 64u + lane;
  if (item >= P.rows * P.quads) { return; }
  let pixel = item / P.quads;
  let element = item % P.quads * 4u;
  let ox = pixel % P.outW;
  let oy = pixel / P.outW % P.outH;
  let image = pixel / (P.outW * P.outH);
  y[item] = vec4f(inputAt(image, oy, ox, element), inputAt(image, oy, ox, element + 1u), inputAt(image, oy, ox, element + 2u), inputAt(image, oy, ox, element + 3u));
}

// The other way round: y[input pixel][channel] = sum of source over the places that unfold copied it to.
@compute @workgroup_size(64)
fn fold(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let item = linearWorkgroup(group, groups) * 64u + lane;
  if (item >= P.rows * P.quads) { return; }
  let pixel = item / P.quads;
  let channel = item % P.quads * 4u;
  let ix = pixel % P.inW + P.padX;
  let iy = pixel / P.inW % P.inH + P.padY;
  let image = pixel / (P.inW * P.inH);
  var sum = vec4f(0.0);
  for (var r = 0u; r < P.kernelH; r++) {
    let down = iy - min(iy, r * P.dilationY);
    if (iy < r * P.dilationY || down % P.strideY != 0u || down / P.strideY >= P.outH) { continue; }
    for (var s = 0u; s < P.kernelW; s++) {
      let across = ix - min(ix, s * P.dilationX);
      if (ix < s * P.dilationX || across % P.strideX != 0u || across / P.strideX >= P.outW) { continue; }
      let at = ((image * P.outH + down / P.strideY) * P.outW + across / P.strideX) * P.rowStride + (r * P.kernelW + s) * P.channels + channel;
      for (var c = 0u; c < min(4u, P.channels - channel); c++) { sum[c] += source[at + c]; }
    }
  }
  y[item] = sum;
}
