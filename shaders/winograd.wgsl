// Convolutions without stride by Winograd's algorithm, with square taps or taps along one axis: input and weights are
// transformed, multiplied as DOWN_EDGE * EDGE matrix products (src/ops/gemm.ts), and the products transformed back. EDGE = RESULT +
// TAPS - 1 pixels of input give RESULT pixels of output along the first axis. Along the second it is the same, or, for taps of one line,
// all is 1; lines run down the image where the taps do. Per result and axis, TAPS products become EDGE / RESULT. The gradient of the
// weights is the transpose of the same algorithm: as many products of transformed input and output gradient.
//# include divide
//# include epilogue
//# include grid
//# include tail
//# include down
//# include toom-cook

@group(0) @binding(0) var<storage, read> source: array<vec4f>;

struct Params {
  inH: u32, inW: u32,     // input pixels along the second and the first axis
  inLine: u32,            // between them, in pixels as they are stored
  inPixel: u32,
  outH: u32, outW: u32,   // output pixels, likewise
  outLine: u32,
  outPixel: u32,
  tilesY: u32, tilesX: u32,
  firstTile: u32,         // of those in this part
  tiles: u32,             // in this part
  padY: i32, padX: i32,
  channels: u32,          // of input (input), of output (output); rows of the weight matrix (weights)
  quads: u32,             // vec4f of a row
  lines: u32,             // DOWN_EDGE: a loop bound the compiler must not know, so that it does not unroll
  scale: f32,             // the epilogue's, from here on
  biased: u32,
  adds: u32,
  relu: u32,
}
@group(0) @binding(31) var<uniform> P: Params;

override FLIP: bool = false;   // taps in reverse order, for the gradient of the input

const RESULT = u32($RESULT);
const EDGE = u32($EDGE);
const DOWN_RESULT = u32($DOWN_RESULT);
const DOWN_EDGE = u32($DOWN_EDGE);

// Column, row and image of an item's tile, and its channel.
fn tileOf(item: u32, width: u32) -> vec4u {
  let ofTile = cellOf(item, width);
  let ofLine = cellOf(P.firstTile + ofTile.row, P.tilesX);
  let ofImage = cellOf(ofLine.row, P.tilesY);
  return vec4u(ofLine.column, ofImage.column, ofImage.row, ofTile.column);
}

// y[e][tile][channel] = (Bt d B)[e] for the DOWN_EDGE * EDGE pixels d of each tile.
@compute @workgroup_size(64)
fn input(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let item = linearWorkgroup(group, groups) * 64u + lane;
  if (item >= P.tiles * P.quads) { return; }
  let t = tileOf(item, P.quads);
  let x0 = i32(t.x * RESULT) - P.padX;
  let y0 = i32(t.y * DOWN_RESULT) - P.padY;
  let image = t.z * P.inH * P.inW;
  let channel = t.w;
  //# for c in 0..$EDGE
  let inside$c = x0 + $c >= 0 && x0 + $c < i32(P.inW);
  let column$c = u32(clamp(x0 + $c, 0, i32(P.inW) - 1)) * P.inPixel;
  //# end
  var sum: array<vec4f, DOWN_EDGE * EDGE>;
  for (var r = 0u; r < lines(); r++) {
    let down = y0 + i32(r);
    let within = down >= 0 && down < i32(P.inH);
    let row = image + u32(clamp(down, 0, i32(P.inH) - 1)) * P.inLine;
    var d: array<vec4f, EDGE>;
    //# for c in 0..$EDGE
    d[$c] = select(vec4f(), source[(row + column$c) * P.quads + channel], within && inside$c);
    //# end
    let h = inputLine(d);
    let share = inputShare(r);
    //# for e in 0..$DOWN_EDGE
    //# for c in 0..$EDGE
    sum[$e * EDGE + $c] += share[$e] * h[$c];
    //# end
    //# end
  }
  //# for e in 0..$DOWN_EDGE
  //# for c in 0..$EDGE
  y[($e * EDGE + $c) * P.tiles * P.quads + item] = sum[$e * EDGE + $c];
  //# end
  //# end
}

// y[e][row of the weight matrix] = (G g Gt)[e] for the taps g.
@compute @workgroup_size(64)
fn weights(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let item = linearWorkgroup(group, groups) * 64u + lane;
  let items = P.channels * P.quads;
  if (item >= items) { return; }
  //# for r in 0..$DOWN_TAPS
  //# for c in 0..$TAPS
  let g$r$c = source[select(u32($r * $TAPS + $c), u32($DOWN_TAPS * $TAPS - 1 - $r * $TAPS - $c), FLIP) * items + item];
  //# end
  //# end
  for (var e = 0u; e < lines(); e++) {
    let share = weightShare(e);
    // Without this value some drivers go on with that of the turn before.
    var line = array<vec4f, $TAPS>();
    //# for r in 0..$DOWN_TAPS
    //# for c in 0..$TAPS
    line[$c] += share[$r] * g$r$c;
    //# end
    //# end
    let u = weightLine(line);
    //# for c in 0..$EDGE
    y[(e * EDGE + $c) * items + item] = u[$c];
    //# end
  }
}

// y[pixels of the tile][channel] = At m A for the products m, and what the epilogue adds.
@compute @workgroup_size(64)
fn output(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let item = linearWorkgroup(group, groups) * 64u + lane;
  let items = P.tiles * P.quads;
  if (item >= items) { return; }
  let t = tileOf(item, P.quads);
  let x0 = t.x * RESULT;
  let y0 = t.y * DOWN_RESULT;
  let image = t.z * P.outH * P.outW;
  let channel = t.w;
  var sum: array<vec4f, DOWN_RESULT * RESULT>;
  for (var r = 0u; r < lines(); r++) {
    var m: array<vec4f, EDGE>;
    //# for c in 0..$EDGE
    m[$c] = source[(r * EDGE + $c) * items + item];
    //# end
    let h = outputLine(m);
    let share = outputShare(r);
    //# for k in 0..$DOWN_RESULT
    //# for c in 0..$RESULT
    sum[$k * RESULT + $c] += share[$k] * h[$c];
    //# end
    //# end
  }
  let line = lineOf(channel, P.quads);
  // Line by line, and the next one moves to the front: the text for all would take drivers on CPUs seconds to compile.
  for (var r = 0u; r < min(DOWN_RESULT, lines()); r++) {
    let row = image + min(y0 + r, P.outH - 1u) * P.outLine;
    var more = array<vec4f, RESULT>();
    //# for c in 0..$RESULT
    let at$c = (row + min(x0 + $c, P.outW - 1u) * P.outPixel) * P.quads + channel;
    //# end
    // One branch for all: one around each load is slow to compile, too.
    if (P.adds != 0u) {
      //# for c in 0..$RESULT
      more[$c] = earlier(at$c);
      //# end
    }
    //# for c in 0..$RESULT
    if (y0 + r < P.outH && x0 + $c < P.outW) { y[at$c] = finished(channel, P.channels, sum[$c], line, more[$c]); }
    //# end
    //# for k in 1..$DOWN_RESULT
    //# for c in 0..$RESULT
    sum[($k - 1) * RESULT + $c] = sum[$k * RESULT + $c];
    //# end
    //# end
  }
}

// y[e][tile][channel] = (A g At)[e] for the DOWN_RESULT * RESULT pixels g of each tile of the output's gradient.
@compute @workgroup_size(64)
fn gradient(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let item = linearWorkgroup(group, groups) * 64u + lane;
  if (item >= P.tiles * P.quads) { return; }
  let t = tileOf(item, P.quads);
  let x0 = t.x * RESULT;
  let y0 = t.y * DOWN_RESULT;
  let image = t.z * P.outH * P.outW;
  let channel = t.w;
  //# for r in 0..$DOWN_RESULT
  let row$r = image + min(y0 + u32($r), P.outH - 1u) * P.outLine;
  //# for c in 0..$RESULT
  let g$r$c = select(vec4f(), source[(row$r + min(x0 + u32($c), P.outW - 1u) * P.outPixel) * P.quads + channel], y0 + u32($r) < P.outH && x0 + u32($c) < P.outW);
  //# end
  //# end
  for (var e = 0u; e < lines(); e++) {
    let share = outputShare(e);
    // As above.
    var line = array<vec4f, RESULT>();
    //# for r in 0..$DOWN_RESULT
    //# for c in 0..$RESULT
    line[$c] += share[$r] * g$r$c;
    //# end
    //# end
    let v = gradientLine(line);
    //# for c in 0..$EDGE
    y[(e * EDGE + $c) * P.tiles * P.quads + item] = v[$c];
    //# end
  }
}

// y[tap][row of the weight's gradient] = (Gt m G)[tap] for the products m, or that and what y holds.
@compute @workgroup_size(64)
fn collect(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let item = linearWorkgroup(group, groups) * 64u + lane;
  let items = P.channels * P.quads;
  if (item >= items) { return; }
  var sum: array<vec4f, $DOWN_TAPS * $TAPS>;
  for (var r = 0u; r < lines(); r++) {
    var m: array<vec4f, EDGE>;
    //# for c in 0..$EDGE
    m[$c] = source[(r * EDGE + $c) * items + item];
    //# end
    let h = collectLine(m);
    let share = weightShare(r);
    //# for k in 0..$DOWN_TAPS
    //# for c in 0..$TAPS
    sum[$k * $TAPS + $c] += share[$k] * h[$c];
    //# end
    //# end
  }
  // As above.
  for (var r = 0u; r < min(u32($DOWN_TAPS), lines()); r++) {
    let at = r * u32($TAPS) * items + item;
    var more = array<vec4f, $TAPS>();
    if (P.adds != 0u) {
      //# for c in 0..$TAPS
      more[$c] = y[at + $c * items];
      //# end
    }
    //# for c in 0..$TAPS
    y[at + $c * items] = sum[$c] + more[$c];
    //# end
    //# for k in 1..$DOWN_TAPS
    //# for c in 0..$TAPS
    sum[($k - 1) * $TAPS + $c] = sum[$k * $TAPS + $c];
    //# end
    //# end
  }
}
