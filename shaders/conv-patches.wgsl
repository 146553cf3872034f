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
  strideY: u32,
  padY: u32, padX: u32,
  dilationY: u32, dilationX: u32,
  firstImage: u32,
  firstLine: u32,
  items: u32,                 // output pixels
  inStride: u32,              // elements between pixels of the convolution's input
}
@group(0) @binding(31) var<uniform> P: Params;

// $LOW of them stand in a pixel's first vec4f, $HIGH in its second. Four taps fill as many vec4f as there are channels.
const CHANNELS = u32($CHANNELS);
// Known to the compiler, which then writes out what a line of taps needs.
const DOWN = u32($DOWN);               // taps below each other
const ACROSS = u32($ACROSS);           // and side by side
const STRIDE_X = u32($STRIDE_X);
const QUADS = (DOWN * ACROSS * CHANNELS + 3u) / 4u;    // vec4f in a row of taps and channels

// y[output pixel][tap, channel] = x[its input pixel][channel]
@compute @workgroup_size(64)
fn unfold(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let item = linearWorkgroup(group, groups) * 64u + lane;
  if (item >= P.items) { return; }
  let line = cellOf(item, P.outW);
  let at = cellOf(line.row, P.outH);
  let y0 = i32(at.column * P.strideY) - i32(P.padY);
  let x0 = i32(line.column * STRIDE_X) - i32(P.padX);
  let pitch = i32(P.inStride / 4u);
  let first = ((i32(at.row * P.inH) + y0) * i32(P.inW) + x0) * pitch;
  var r = 0u;
  var s = 0u;
  // One turn of the loop has all of a few taps; all of a 7×7 kernel would take seconds to compile.
  var quads = QUADS;
  if (QUADS > CHANNELS * $FOURS) { quads = hidden(QUADS, P.items); }
  for (var quad = 0u; quad < quads; quad += CHANNELS * $FOURS) {
    //# for t in 0..$FOURS
    {
      var v: array<f32, 4u * CHANNELS>;
      //# for u in 0..4
      let down$u = i32(r * P.dilationY);
      let right$u = i32(s * P.dilationX);
      let inside$u = r < DOWN && u32(y0 + down$u) < P.inH && u32(x0 + right$u) < P.inW;
      let start$u = select(0u, u32(first + (down$u * i32(P.inW) + right$u) * pitch), inside$u);
      let low$u = select(vec4f(0.0), x[start$u], inside$u);
      //# for c in 0..$LOW
      v[$u * CHANNELS + $c] = low$u[$c];
      //# end
      //# for c in 0..$HIGH
      v[$u * CHANNELS + 4 + $c] = select(0.0, x[start$u + 1u][$c], inside$u);
      //# end
      s = select(s + 1u, 0u, s + 1u == ACROSS);
      r += select(0u, 1u, s == 0u);
      //# end
      //# for q in 0..$CHANNELS
      if (quad + $t * CHANNELS + $q < QUADS) {
        y[item * QUADS + quad + $t * CHANNELS + $q] = vec4f(v[4 * $q], v[4 * $q + 1], v[4 * $q + 2], v[4 * $q + 3]);
      }
      //# end
    }
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

struct Pixel {
  low: vec4f,
  high: vec4f,
}

// What a pixel gets of all taps that reach it: of the first of them from the `last` of the output pixels, of the next one from the one before. Less than
// zero is beyond any size.
fn collected(image: u32, last: vec2u, first: vec2u) -> Pixel {
  var pixel = Pixel(vec4f(0.0), vec4f(0.0));
  var oy = last.y;
  for (var r = first.y; r < DOWN; r += P.strideY) {
    var ox = last.x;
    for (var s = first.x; s < ACROSS; s += STRIDE_X) {
      let inside = oy < P.outH && ox < P.outW;
      let start = select(0u, ((image * P.outH + oy) * P.outW + ox) * QUADS * 4u + (r * ACROSS + s) * CHANNELS, inside);
      pixel.low += select(vec4f(0.0), passedLow(start), inside);
      pixel.high += select(vec4f(0.0), passedHigh(start), inside);
      ox -= 1u;
    }
    oy -= 1u;
  }
  return pixel;
}

// The other way, without dilation: result[input pixel][channel] = sum over the taps that reach it of
// source[their output pixel][tap, channel]. An invocation has the pixels between two strides, which each tap reaches once: lanes with one pixel
// each would wait for those that more taps reach. The grid is (strides of a line, strides down, images) of the input with its padding before it.
@compute @workgroup_size($FOLDED)
fn fold(@builtin(global_invocation_id) invocation: vec3u) {
  let origin = vec2u(invocation.x, P.firstLine + invocation.y);
  let pad = vec2u(P.padX, P.padY);
  let size = vec2u(P.inW, P.inH);
  if (origin.x * STRIDE_X >= size.x + pad.x) { return; }
  let image = P.firstImage + invocation.z;
  for (var r = 0u; r < P.strideY; r++) {
    for (var s = 0u; s < STRIDE_X; s++) {
      let pixel = collected(image, origin, vec2u(s, r));
      let at = origin * vec2u(STRIDE_X, P.strideY) + vec2u(s, r) - pad;
      if (all(at < size)) {
        let slot = ((image * size.y + at.y) * size.x + at.x) * (P.inStride / 4u);
        result[slot] = pixel.low;
        if (CHANNELS > 4u) { result[slot + 1u] = pixel.high; }
      }
    }
  }
}
