// Convolutions of few input channels: a tap then fills less than a vec4f or two, and most of the work of an implicit
// product would be finding pixels. The taps and channels of each output pixel are laid out as one row instead.
// The grid is (pixels of a line, lines, images), because drivers on CPUs divide integers one lane at a time.
//# include divide
//# include tail

@group(0) @binding(0) var<storage, read> source: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> result: array<vec4f>;

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
  quads: u32,                 // vec4f in a row of taps and channels
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

// The other way, without dilation: result[input pixel][channel] = sum over the taps that reach it of
// source[their output pixel][tap, channel]. The grid is (pixels of a line, lines, images) of the input.
@compute @workgroup_size(64)
fn fold(@builtin(global_invocation_id) at: vec3u) {
  if (at.x >= P.inW) { return; }
  let image = P.firstImage + at.z;
  // The first tap that reaches this pixel belongs to the last output pixel, and so on by strides.
  let y0 = quotient(at.y + P.padY, P.strideY);
  let x0 = quotient(at.x + P.padX, P.strideX);
  let firstR = at.y + P.padY - y0 * P.strideY;
  let firstS = at.x + P.padX - x0 * P.strideX;
  let slot = ((image * P.inH + at.y) * P.inW + at.x) * (P.inStride / 4u);
  for (var q = 0u; q < P.inStride / 4u; q++) {
    let few = P.channels - q * 4u;
    var sum = vec4f(0.0);
    var oy = i32(y0);
    for (var r = firstR; r < P.kernelH; r += P.strideY) {
      var ox = i32(x0);
      for (var s = firstS; s < P.kernelW; s += P.strideX) {
        let inside = oy >= 0 && oy < i32(P.outH) && ox >= 0 && ox < i32(P.outW);
        let start = select(0u, ((image * P.outH + u32(oy)) * P.outW + u32(ox)) * P.quads * 4u + (r * P.kernelW + s) * P.channels + q * 4u, inside);
        let v = vec4f(source[start], source[start + min(1u, few - 1u)], source[start + min(2u, few - 1u)], source[start + min(3u, few - 1u)]);
        sum += select(vec4f(0.0), v, inside);
        ox -= 1;
      }
      oy -= 1;
    }
    result[slot + q] = maskTail(sum, q, P.channels);
  }
}
