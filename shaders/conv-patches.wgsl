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
  everyY: u32, everyX: u32,   // taps between two that reach the same pixel of a strided input
  channels: u32,
  inStride: u32,          // elements between pixels of the convolution's input
  rowStride: u32,         // elements of a row of taps and channels
  quads: u32,             // vec4f in a row of y
}
@group(1) @binding(0) var<uniform> P: Params;

// y[output pixel][tap, channel] = source[its input pixel][channel]; one invocation per output pixel.
@compute @workgroup_size(64)
fn unfold(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let pixel = linearWorkgroup(group, groups) * 64u + lane;
  if (pixel >= P.rows) { return; }
  let y0 = i32(pixel / P.outW % P.outH * P.strideY) - i32(P.padY);
  let x0 = i32(pixel % P.outW * P.strideX) - i32(P.padX);
  let image = pixel / (P.outW * P.outH) * P.inH;
  var at = pixel * P.quads;
  var lanes = vec4f(0.0);
  var filled = 0u;
  for (var r = 0u; r < P.kernelH; r++) {
    let iy = y0 + i32(r * P.dilationY);
    for (var s = 0u; s < P.kernelW; s++) {
      let ix = x0 + i32(s * P.dilationX);
      let inside = iy >= 0 && iy < i32(P.inH) && ix >= 0 && ix < i32(P.inW);
      let start = select(0u, ((image + u32(iy)) * P.inW + u32(ix)) * P.inStride, inside);
      for (var c = 0u; c < P.channels; c++) {
        lanes = select(lanes, vec4f(select(0.0, source[start + c], inside)), vec4u(0u, 1u, 2u, 3u) == vec4u(filled));
        filled += 1u;
        if (filled == 4u) {
          y[at] = lanes;
          at += 1u;
          lanes = vec4f(0.0);
          filled = 0u;
        }
      }
    }
  }
  if (filled > 0u) { y[at] = lanes; }
}

// The first tap along an axis that reaches a padded pixel; only every `every`-th tap after it does.
fn firstTap(pixel: u32, dilation: u32, stride: u32, every: u32) -> u32 {
  for (var tap = 0u; tap < every; tap++) { if ((pixel + stride * tap * dilation - tap * dilation) % stride == 0u) { return tap; } }
  return 1u << 30u;
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
  let image = pixel / (P.inW * P.inH) * P.outH;
  let r0 = firstTap(iy, P.dilationY, P.strideY, P.everyY);
  let s0 = firstTap(ix, P.dilationX, P.strideX, P.everyX);
  // Whole numbers, by the choice of the first taps.
  let bottom = (i32(iy) - i32(r0 * P.dilationY)) / i32(P.strideY);
  let right = (i32(ix) - i32(s0 * P.dilationX)) / i32(P.strideX);
  let up = i32(P.everyY * P.dilationY / P.strideY);
  let left = i32(P.everyX * P.dilationX / P.strideX);
  var sum = vec4f(0.0);
  var oy = bottom;
  for (var r = r0; r < P.kernelH; r += P.everyY) {
    var ox = right;
    for (var s = s0; s < P.kernelW; s += P.everyX) {
      if (oy >= 0 && oy < i32(P.outH) && ox >= 0 && ox < i32(P.outW)) {
        let at = ((image + u32(oy)) * P.outW + u32(ox)) * P.rowStride + (r * P.kernelW + s) * P.channels + channel;
        let last = P.channels - channel - 1u;
        let v = vec4f(source[at], source[at + min(1u, last)], source[at + min(2u, last)], source[at + min(3u, last)]);
        sum += select(vec4f(0.0), v, vec4u(0u, 1u, 2u, 3u) <= vec4u(last));
      }
      ox -= left;
    }
    oy -= up;
  }
  y[item] = sum;
}
