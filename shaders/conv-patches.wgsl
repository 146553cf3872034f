// Convolutions of few input channels: a tap then fills less than a vec4f or two, and most of the work of an implicit
// product would be finding pixels. The taps and channels of each output pixel are laid out as one row instead.
// The grid is (pixels of a line, lines, images), because drivers on CPUs divide integers one lane at a time.

@group(0) @binding(0) var<storage, read> source: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;

struct Params {
  inH: u32, inW: u32,
  outH: u32, outW: u32,
  kernelH: u32, kernelW: u32,
  strideY: u32, strideX: u32,
  padY: u32, padX: u32,
  dilationY: u32, dilationX: u32,
  firstImage: u32,
  channels: u32,
  inStride: u32,              // elements between pixels of the convolution's input
  quads: u32,                 // vec4f in a row of y
}
@group(1) @binding(0) var<uniform> P: Params;

// y[output pixel][tap, channel] = source[its input pixel][channel]
@compute @workgroup_size(64)
fn unfold(@builtin(global_invocation_id) at: vec3u) {
  if (at.x >= P.outW) { return; }
  let image = P.firstImage + at.z;
  let y0 = i32(at.y * P.strideY) - i32(P.padY);
  let x0 = i32(at.x * P.strideX) - i32(P.padX);
  var slot = ((image * P.outH + at.y) * P.outW + at.x) * P.quads;
  var lanes = vec4f(0.0);
  var filled = 0u;
  for (var r = 0u; r < P.kernelH; r++) {
    let iy = y0 + i32(r * P.dilationY);
    for (var s = 0u; s < P.kernelW; s++) {
      let ix = x0 + i32(s * P.dilationX);
      let inside = iy >= 0 && iy < i32(P.inH) && ix >= 0 && ix < i32(P.inW);
      let start = select(0u, ((image * P.inH + u32(iy)) * P.inW + u32(ix)) * P.inStride, inside);
      for (var c = 0u; c < P.channels; c++) {
        lanes = select(lanes, vec4f(select(0.0, source[start + c], inside)), vec4u(0u, 1u, 2u, 3u) == vec4u(filled));
        filled += 1u;
        if (filled == 4u) {
          y[slot] = lanes;
          slot += 1u;
          lanes = vec4f(0.0);
          filled = 0u;
        }
      }
    }
  }
  if (filled > 0u) { y[slot] = lanes; }
}
