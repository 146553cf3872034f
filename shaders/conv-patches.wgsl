// Convolutions of few input channels: a tap then fills less than a vec4f or two, and most of the work of an implicit
// product would be finding pixels. The taps and channels of each output pixel are laid out as one row instead.
//# include divide
//# include grid

@group(0) @binding(0) var<storage, read> source: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> result: array<vec4f>;
@group(0) @binding(3) var<storage, read> x: array<vec4f>;

struct Params {
  inH: u32, inW: u32,
  outH: u32, outW: u32,
  kernelH: u32, kernelW: u32,
  strideY: u32, strideX: u32,
  padY: u32, padX: u32,
  dilationY: u32, dilationX: u32,
  firstImage: u32,
  firstLine: u32,
  items: u32,                 // output pixels
  inStride: u32,              // elements between pixels of the convolution's input
  quads: u32,                 // vec4f in a row of taps and channels
}
@group(1) @binding(0) var<uniform> P: Params;

// $LOW of them stand in a pixel's first vec4f, $HIGH in its second. Four taps fill as many vec4f as there are channels.
const CHANNELS = u32($CHANNELS);

// y[output pixel][tap, channel] = x[its input pixel][channel]
@compute @workgroup_size(64)
fn unfold(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let item = linearWorkgroup(group, groups) * 64u + lane;
  if (item >= P.items) { return; }
  let line = cellOf(item, P.outW);
  let at = cellOf(line.row, P.outH);
  let y0 = i32(at.column * P.strideY) - i32(P.padY);
  let x0 = i32(line.column * P.strideX) - i32(P.padX);
  let end = (item + 1u) * P.quads;
  var r = 0u;
  var s = 0u;
  for (var slot = item * P.quads; slot < end; slot += CHANNELS) {
    var v: array<f32, 4u * CHANNELS>;
    //# for u in 0..4
    let iy$u = y0 + i32(r * P.dilationY);
    let ix$u = x0 + i32(s * P.dilationX);
    let inside$u = r < P.kernelH && iy$u >= 0 && iy$u < i32(P.inH) && ix$u >= 0 && ix$u < i32(P.inW);
    let start$u = select(0u, ((at.row * P.inH + u32(iy$u)) * P.inW + u32(ix$u)) * (P.inStride / 4u), inside$u);
    let low$u = select(vec4f(0.0), x[start$u], inside$u);
    s = select(s + 1u, 0u, s + 1u == P.kernelW);
    r += select(0u, 1u, s == 0u);
    //# end
    //# for u in 0..4
    //# for c in 0..$LOW
    v[$u * CHANNELS + $c] = low$u[$c];
    //# end
    //# for c in 0..$HIGH
    v[$u * CHANNELS + 4 + $c] = select(0.0, x[start$u + 1u][$c], inside$u);
    //# end
    //# end
    //# for q in 0..$CHANNELS
    if (slot + $q < end) { y[slot + $q] = vec4f(v[4 * $q], v[4 * $q + 1], v[4 * $q + 2], v[4 * $q + 3]); }
    //# end
  }
}

// What a tap passes to a pixel's first vec4f, and to its second.
fn passedLow(start: u32) -> vec4f {
  var v = vec4f(0.0);
  //# for c in 0..$LOW
  v[$c] = source[start + $c];
  //# end
  return v;
}
fn passedHigh(start: u32) -> vec4f {
  var v = vec4f(0.0);
  //# for c in 0..$HIGH
  v[$c] = source[start + 4 + $c];
  //# end
  return v;
}

// The other way, without dilation: result[input pixel][channel] = sum over the taps that reach it of
// source[their output pixel][tap, channel]. The grid is (pixels of a line, lines, images) of the input.
@compute @workgroup_size(64)
fn fold(@builtin(global_invocation_id) invocation: vec3u) {
  let at = vec2u(invocation.x, P.firstLine + invocation.y);
  if (at.x >= P.inW) { return; }
  let image = P.firstImage + invocation.z;
  // The first tap that reaches this pixel belongs to the last output pixel, and so on by strides.
  let y0 = quotient(at.y + P.padY, P.strideY);
  let x0 = quotient(at.x + P.padX, P.strideX);
  let firstR = at.y + P.padY - y0 * P.strideY;
  let firstS = at.x + P.padX - x0 * P.strideX;
  var low = vec4f(0.0);
  var high = vec4f(0.0);
  var oy = i32(y0);
  for (var r = firstR; r < P.kernelH; r += P.strideY) {
    var ox = i32(x0);
    for (var s = firstS; s < P.kernelW; s += P.strideX) {
      let inside = oy >= 0 && oy < i32(P.outH) && ox >= 0 && ox < i32(P.outW);
      let start = select(0u, ((image * P.outH + u32(oy)) * P.outW + u32(ox)) * P.quads * 4u + (r * P.kernelW + s) * CHANNELS, inside);
      low += select(vec4f(0.0), passedLow(start), inside);
      high += select(vec4f(0.0), passedHigh(start), inside);
      ox -= 1;
    }
    oy -= 1;
  }
  let slot = ((image * P.inH + at.y) * P.inW + at.x) * (P.inStride / 4u);
  result[slot] = low;
  if (CHANNELS > 4u) { result[slot + 1u] = high; }
}
